#include "pumice/ops/matmul/matmul.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

struct Form {
  Shape a, b;
  bool trans_a, trans_b;
};

OpCase matmul_case(const Form& f) {
  auto reference = [f](const std::vector<Tensor>& in) -> std::vector<std::vector<double>> {
    Tensor a = f.trans_a ? in[0].transpose(-1, -2) : in[0], b = f.trans_b ? in[1].transpose(-1, -2) : in[1];
    Shape batch = broadcast_shapes("reference", Shape(a.shape().begin(), a.rank() - 2), Shape(b.shape().begin(), b.rank() - 2));
    Shape wide_a = batch, wide_b = batch;
    for (int i : {-2, -1}) {
      wide_a.push_back(a.dim(i));
      wide_b.push_back(b.dim(i));
    }
    std::vector<double> x = a.expand(wide_a).to_vector<double>(), y = b.expand(wide_b).to_vector<double>(), z;
    int64_t M = a.dim(-2), K = a.dim(-1), N = b.dim(-1);
    for (int64_t n = 0; n < batch.elements(); ++n) {
      for (int64_t i = 0; i < M; ++i) {
        for (int64_t j = 0; j < N; ++j) {
          double sum = 0;
          for (int64_t k = 0; k < K; ++k) { sum += x[(n * M + i) * K + k] * y[(n * K + k) * N + j]; }
          z.push_back(sum);
        }
      }
    }
    return {z};
  };
  return {.name = concat_text("matmul ", f.a, f.trans_a ? "^T" : "", " ", f.b, f.trans_b ? "^T" : ""),
          .inputs = {{f.a}, {f.b}},
          .run = [f](const std::vector<Tensor>& t) { return std::vector{matmul(t[0], t[1], f.trans_a, f.trans_b)}; },
          .reference = reference,
          .bytes = 4.0 * double(f.a.elements() + f.b.elements()), .flops = 2.0 * double(f.a.elements() * f.b.back()),
          .widen = 4, .why_widened = "a sum of many products rounds more than one product"};
}

AddCases cases({matmul_case({{1, 1}, {1, 1}, false, false}), matmul_case({{3, 5}, {5, 2}, false, false}), matmul_case({{5, 3}, {5, 2}, true, false}),
                matmul_case({{3, 5}, {2, 5}, false, true}), matmul_case({{5, 3}, {2, 5}, true, true}),
                matmul_case({{2, 3, 4}, {2, 4, 5}, false, false}), matmul_case({{2, 1, 3, 4}, {3, 4, 5}, false, false}),
                matmul_case({{3, 4}, {2, 4, 5}, false, false}), matmul_case({{33, 17}, {17, 65}, false, false}),
                matmul_case({{2, 15, 33}, {2, 31, 33}, false, true})});

// Products large enough for the tiles of 128 of a card, with rows of whole 16-byte chunks and without; a depth that is cut into parts; and more
// columns than a CPU keeps in its second-level cache, over one block of depth and over two.
OpCase forward_only(OpCase c) {  // its gradient and strided forms are products like those above; at this size they would only cost time
  c.gradient = c.strided_inputs = false;
  c.widen = 10;
  return c;
}
AddCases large({forward_only(matmul_case({{132, 66, 40}, {132, 40, 72}, false, false})),
                forward_only(matmul_case({{132, 40, 72}, {132, 72, 40}, true, true})),
                forward_only(matmul_case({{132, 65, 33}, {132, 67, 33}, false, true})),
                forward_only(matmul_case({{2, 16, 1100}, {1100, 24}, false, false})), forward_only(matmul_case({{20, 330}, {330, 450}, false, false})),
                forward_only(matmul_case({{20, 520}, {520, 300}, false, false}))});

}  // namespace
}  // namespace pumice::testing
