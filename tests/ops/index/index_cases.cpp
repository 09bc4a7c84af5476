#include "pumice/ops/embedding/embedding.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/index/view.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

using Values = std::vector<std::vector<double>>;

// The reference of a view is the view itself, taken of the f64 tensor by Tensor's own methods, which have tests of their own.
OpCase view_case(const std::string& name, Shape x, std::function<Tensor(const Tensor&)> op, std::function<Tensor(const Tensor&)> plain) {
  return {.name = name,
          .inputs = {{x}},
          .run = [op](const std::vector<Tensor>& t) { return std::vector{op(t[0])}; },
          .reference = [plain](const std::vector<Tensor>& t) -> Values { return {plain(t[0]).to_vector<double>()}; },
          .bytes = 0, .flops = 0};
}

AddCases views({
    view_case("reshape", {3, 4}, [](const Tensor& t) { return reshape(t, {2, -1}); }, [](const Tensor& t) { return t.reshape({2, 6}); }),
    view_case("slice", {5, 4}, [](const Tensor& t) { return slice(t, 0, 1, 4); }, [](const Tensor& t) { return t.slice(0, 1, 4); }),
    view_case("slice last axis", {5, 4}, [](const Tensor& t) { return slice(t, -1, 2, 3); }, [](const Tensor& t) { return t.slice(1, 2, 3); }),
    view_case("permute", {2, 3, 4}, [](const Tensor& t) { return permute(t, {2, 0, 1}); },
              [](const Tensor& t) { return t.permute(std::vector<int>{2, 0, 1}); }),
    view_case("transpose", {3, 5}, [](const Tensor& t) { return transpose(t, 0, 1); }, [](const Tensor& t) { return t.transpose(0, 1); }),
    view_case("expand", {3, 1}, [](const Tensor& t) { return expand(t, {2, 3, 4}); }, [](const Tensor& t) { return t.expand({2, 3, 4}); }),
});

OpCase concat_case(std::vector<Shape> shapes, int axis) {
  std::vector<Input> inputs;
  for (const Shape& s : shapes) { inputs.push_back({s}); }
  return {.name = concat_text("concat ", shapes.size(), " parts of ", shapes[0], " along ", axis),
          .inputs = inputs,
          .run = [axis](const std::vector<Tensor>& t) { return std::vector{concat(t, axis)}; },
          .reference = [axis](const std::vector<Tensor>& t) -> Values {
            std::vector<double> y;  // outer index first, then each part's own block
            int64_t outer = 1, a = axis < 0 ? axis + t[0].rank() : axis;
            for (int i = 0; i < a; ++i) { outer *= t[0].dim(i); }
            for (int64_t o = 0; o < outer; ++o) {
              for (const Tensor& part : t) {
                std::vector<double> v = part.to_vector<double>();
                int64_t block = part.size() / outer;
                y.insert(y.end(), v.begin() + o * block, v.begin() + (o + 1) * block);
              }
            }
            return {y};
          }};
}
AddCases concats({concat_case({{3}}, 0), concat_case({{2, 3}, {4, 3}, {1, 3}}, 0), concat_case({{2, 3}, {2, 0}, {2, 5}}, -1),
                  concat_case({{2, 1, 4}, {2, 3, 4}}, 1)});

OpCase rows_case(const char* name, int64_t T, int64_t C, std::vector<double> rows) {
  const bool gather = std::string(name) == "gather_rows", table = std::string(name) == "embedding";
  const int64_t R = int64_t(rows.size());
  Input index{.shape = {R}, .dtype = DType::i32, .differentiable = false, .values = rows};
  return {.name = concat_text(name, " T=", T, " C=", C, " R=", R),
          .inputs = {{.shape = gather || table ? Shape{T, C} : Shape{R, C}}, index},
          .run = [=](const std::vector<Tensor>& t) {
            return std::vector{table ? embedding(t[1], t[0]) : gather ? gather_rows(t[0], t[1]) : scatter_add_rows(t[0], t[1], T)};
          },
          .reference = [=](const std::vector<Tensor>& t) -> Values {
            const double* x = t[0].data<double>();
            std::vector<double> y(size_t((gather || table ? R : T) * C));
            for (int64_t i = 0; i < R; ++i) {
              const int64_t row = int64_t(rows[i]);
              for (int64_t c = 0; row >= 0 && c < C; ++c) {
                if (gather || table) { y[i * C + c] = x[row * C + c]; }
                else { y[row * C + c] += x[i * C + c]; }
              }
            }
            return {y};
          },
          .bytes = 8.0 * double(R * C)};
}
AddCases rows({rows_case("gather_rows", 4, 3, {2, -1, 0, 2, 2, 3}), rows_case("gather_rows", 1, 1, {0}),
               rows_case("gather_rows", 50, 33, {7, 7, 49, 0, -1}), rows_case("scatter_add_rows", 4, 3, {1, 1, -1, 3, 1}),
               rows_case("scatter_add_rows", 60, 17, {59, 0, 0, 0}), rows_case("embedding", 5, 4, {4, 0, 4, 4, 1}),
               rows_case("embedding", 40, 16, {39, 39}),
               // more columns than one warp takes, by fours
               rows_case("scatter_add_rows", 5, 260, {4, -1, 0, 0, 4, 2, 0}), rows_case("embedding", 6, 260, {5, 0, 5, 3})});

}  // namespace
}  // namespace pumice::testing
