#include <algorithm>
#include <cmath>

#include "pumice/ops/reduce/argmax.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/ops/reduce/segment_mean.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

using Values = std::vector<std::vector<double>>;

// Groups the elements of x by their index along the kept axes, in row-major order, and folds each group.
std::vector<double> fold(const Tensor& x, const std::vector<int>& axes, const std::function<double(const std::vector<double>&)>& f) {
  std::vector<bool> reduced(x.rank(), axes.empty());
  for (int a : axes) { reduced[a < 0 ? a + x.rank() : a] = true; }
  int64_t kept = 1;
  for (int i = 0; i < x.rank(); ++i) { kept *= reduced[i] ? 1 : x.dim(i); }
  std::vector<std::vector<double>> groups(kept);
  std::vector<double> v = x.to_vector<double>();
  for (int64_t flat = 0; flat < x.size(); ++flat) {
    int64_t rest = flat, place = 0, step = 1;
    for (int i = x.rank() - 1; i >= 0; --i) {
      int64_t index = rest % x.dim(i);
      rest /= x.dim(i);
      if (!reduced[i]) {
        place += index * step;
        step *= x.dim(i);
      }
    }
    groups[place].push_back(v[flat]);
  }
  std::vector<double> y;
  for (const auto& g : groups) { y.push_back(f(g)); }
  return y;
}

double total(const std::vector<double>& g) {
  double s = 0;
  for (double v : g) { s += v; }
  return s;
}

std::vector<OpCase> reduce_cases() {
  std::vector<OpCase> all;
  struct Form { Shape x; std::vector<int> axes; bool keepdims; };
  for (const Form& f : {Form{{}, {}, false}, Form{{7}, {}, false}, Form{{3, 5}, {1}, false}, Form{{3, 5}, {0}, true}, Form{{2, 3, 33}, {-1}, true},
                        Form{{4, 3, 5}, {0, 2}, false}, Form{{2, 300}, {0}, false}, Form{{2, 9000}, {1}, false}, Form{{5, 2, 3, 2}, {1, 2}, true}}) {
    auto make = [&](const char* name, auto op, auto g) {
      OpCase c;
      c.name = concat_text(name, " ", f.x, " axes=", f.axes.size(), f.keepdims ? " keepdims" : "");
      c.inputs = {{f.x}};
      c.run = [op, f](const std::vector<Tensor>& t) { return std::vector{op(t[0], f.axes, f.keepdims)}; };
      c.reference = [g, f](const std::vector<Tensor>& t) -> Values { return {fold(t[0], f.axes, g)}; };
      c.bytes = 4.0 * double(f.x.elements());
      c.flops = double(f.x.elements());
      c.widen = f.x.elements() > 1000 ? 10 : 1;
      c.why_widened = "a sum of thousands of terms";
      all.push_back(c);
    };
    make("sum", sum, total);
    make("mean", mean, [](const std::vector<double>& g) { return total(g) / double(g.size()); });
    make("max", max, [](const std::vector<double>& g) { return *std::max_element(g.begin(), g.end()); });
    all.back().bf16 = false;  // rounding makes ties, and the first of them takes the gradient in either type: not comparable with f64
  }
  return all;
}

OpCase segment_case(std::vector<double> offsets, int64_t C) {
  const int64_t T = int64_t(offsets.back());
  return {.name = "segment_mean segments=" + std::to_string(offsets.size() - 1) + " C=" + std::to_string(C),
          .inputs = {{.shape = {T, C}}, {.shape = {int64_t(offsets.size())}, .dtype = DType::i32, .differentiable = false, .values = offsets}},
          .run = [](const std::vector<Tensor>& t) { return std::vector{segment_mean(t[0], t[1])}; },
          .reference = [offsets, C](const std::vector<Tensor>& t) -> Values {
            const double* x = t[0].data<double>();
            std::vector<double> y;
            for (size_t n = 0; n + 1 < offsets.size(); ++n) {
              for (int64_t c = 0; c < C; ++c) {
                double s = 0;
                for (int64_t r = int64_t(offsets[n]); r < int64_t(offsets[n + 1]); ++r) { s += x[r * C + c]; }
                y.push_back(s / (offsets[n + 1] - offsets[n]));
              }
            }
            return {y};
          },
          .bytes = 4.0 * double(T * C), .flops = double(T * C)};
}

OpCase argmax_case(Shape x, std::vector<double> values) {
  return {.name = concat_text("argmax ", x),
          .inputs = {{.shape = x, .values = values}},
          .run = [](const std::vector<Tensor>& t) { return std::vector{argmax(t[0])}; },
          .reference = [](const std::vector<Tensor>& t) -> Values {
            std::vector<double> v = t[0].to_vector<double>(), y;
            const size_t C = size_t(t[0].dim(-1));
            for (size_t r = 0; r < v.size(); r += C) { y.push_back(double(std::max_element(v.begin() + r, v.begin() + r + C) - (v.begin() + r))); }
            return {y};
          },
          .bytes = 4.0 * double(x.elements()), .gradient = false, .exact = true};
}

AddCases reductions(reduce_cases());
AddCases segments({segment_case({0, 1}, 1), segment_case({0, 3, 4, 21}, 5), segment_case({0, 40, 80, 81}, 33)});
AddCases maxima({argmax_case({5}, {1, 3, 3, 2, 0}), argmax_case({2, 3}, {-1, -1, -2, 0.5, 2, 2}), argmax_case({3, 1}, {4, 5, 6})});

}  // namespace
}  // namespace pumice::testing
