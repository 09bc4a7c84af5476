#include "pumice/ops/loss/linear_cross_entropy.h"

#include <algorithm>
#include <vector>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/index/rows_kernels.h"
#include "pumice/ops/loss/cross_entropy_kernels.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/ops/require.h"

namespace pumice {
namespace {

constexpr int64_t kPieceBytes = 16 << 20;  // of logits that exist at a time

struct Counted {
  Tensor rows, labels;  // i32 (R) each: the rows that are not ignored, and their labels; on the device of x
};

Counted counted_rows(const Tensor& labels, int64_t V, int ignore, Device device) {
  std::vector<int32_t> rows, kept;
  const std::vector<int32_t> label = labels.to_vector<int32_t>();
  for (size_t n = 0; n < label.size(); ++n) {
    if (label[n] == ignore) { continue; }
    REQUIRE(UsageError, label[n] >= 0 && label[n] < V, "[linear_cross_entropy] labels must be in [0, ", V, ") or ", ignore, " (ignored), got ", label[n],
            " in row ", n, " of ", label.size(), ": does the vocabulary of the data fit the model?");
    rows.push_back(int32_t(n));
    kept.push_back(label[n]);
  }
  REQUIRE(ShapeError, !rows.empty(), "[linear_cross_entropy] at least one label that is not ignored is required, all ", label.size(), " are ", ignore,
          ": was the answer cut off by the length limit?");
  const Shape shape{int64_t(rows.size())};
  return {to_device(from_values<int32_t>(shape, rows), device), to_device(from_values<int32_t>(shape, kept), device)};
}

// f(begin, end, logits) for pieces of the R rows of x: logits (end - begin, V) = x[begin, end) w^T + b, in one buffer for all pieces.
template <class F> void each_piece(const Tensor& x, const Tensor& w, const Tensor& b, const F& f) {
  const int64_t R = x.dim(0), V = w.dim(0), most = std::clamp<int64_t>(kPieceBytes / std::max<int64_t>(1, V * size_of(x.dtype())), 16, R < 16 ? 16 : R);
  Tensor buffer = empty({std::min(most, R), V}, x.dtype(), x.device());
  for (int64_t begin = 0; begin < R; begin += most) {
    const int64_t end = std::min(R, begin + most);
    Tensor logits = buffer.slice(0, 0, end - begin);
    gemm_batch(x.device(), {logits, x.slice(0, begin, end), w.transpose(0, 1), b, 0});
    f(begin, end, logits);
  }
}

}  // namespace

Tensor linear_cross_entropy(const Tensor& input, const Tensor& w_in, const Tensor& b_in, const Tensor& labels_in, int ignore) {
  require_float("linear_cross_entropy", "x", input);
  require_dtype("linear_cross_entropy", "w", w_in, input.dtype());
  require_dtype("linear_cross_entropy", "labels", labels_in, DType::i32);
  require_same_device("linear_cross_entropy", input, w_in);
  REQUIRE(ShapeError, input.rank() == 2 && w_in.rank() == 2 && input.dim(1) == w_in.dim(1) && labels_in.shape() == Shape{input.dim(0)},
          "[linear_cross_entropy] x (N, C), w (V, C) and labels (N) are required, got ", input.shape(), ", ", w_in.shape(), " and ", labels_in.shape());
  REQUIRE(ShapeError, !b_in.defined() || b_in.shape() == Shape{w_in.dim(0)}, "[linear_cross_entropy] b must be (V) = (", w_in.dim(0), "), got ",
          b_in.defined() ? b_in.shape() : Shape{});
  if (b_in.defined()) { require_parameter_dtype("linear_cross_entropy", "b", b_in, input.dtype()); }
  const Device device = input.device();
  const DType wide = input.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const int64_t N = input.dim(0), V = w_in.dim(0), C = w_in.dim(1);
  const auto [rows, labels] = counted_rows(labels_in, V, ignore, device);
  const int64_t R = rows.dim(0);

  Tensor w = packed(w_in), b = b_in.defined() ? packed(b_in) : Tensor(), x = empty({R, C}, input.dtype(), device);
  gather_rows_kernel(device, {x, packed(input), rows});
  Tensor lse = empty({R}, wide, device), row_loss = empty_like(lse), piece_loss = empty({}, wide, device), piece_census = empty({2}, DType::i64, device);
  each_piece(x, w, b, [&, labels = labels](int64_t begin, int64_t end, const Tensor& logits) {
    cross_entropy_fwd(device, {piece_loss, lse.slice(0, begin, end), piece_census, row_loss.slice(0, begin, end), logits, labels.slice(0, begin, end),
                               end - begin, V, ignore, 0});
  });
  Tensor loss;
  {
    NoGrad no_grad;
    loss = mean(row_loss).detach();
  }

  // dlogits = dy / R (softmax(logits) - onehot(label)):   dx = dlogits w     dw = dlogits^T x     db = sum over rows of dlogits
  return record("linear_cross_entropy", loss, {input, w_in, b_in},
                [x, w, b, rows = rows, labels = labels, lse, N, R, V, ignore](const Tensor& dy, std::span<GradSink> dx) {
    const Device device = x.device();
    Tensor census = to_device(from_values<int64_t>({2}, std::vector<int64_t>{R, -1}), device);
    auto sum_for = [&](GradSink& sink, const Shape& shape) {
      return !sink.needed() ? Tensor() : sink.is_leaf() ? sink.accumulator() : zeros(shape, lse.dtype(), device);
    };
    Tensor dkept = dx[0].needed() ? empty_like(x) : Tensor(), dw = sum_for(dx[1], w.shape()), db = sum_for(dx[2], {V}), dlogits;
    each_piece(x, w, b, [&](int64_t begin, int64_t end, const Tensor& logits) {
      if (!dlogits.defined()) { dlogits = empty_like(logits); }
      Tensor d = dlogits.slice(0, 0, end - begin);
      cross_entropy_bwd(device, {d, dy, logits, labels.slice(0, begin, end), lse.slice(0, begin, end), census, end - begin, V, ignore, 0});
      if (dkept.defined()) { gemm_batch(device, {dkept.slice(0, begin, end), d, w, {}, 0}); }
      if (dw.defined()) { gemm_batch(device, {dw, d.transpose(0, 1), x.slice(0, begin, end), {}, 1}); }
      if (db.defined()) { column_sums(device, {db, d}); }
    });
    if (dkept.defined()) {
      Tensor dinput = empty({N, x.dim(1)}, x.dtype(), device);
      scatter_add_into(dinput, dkept, rows, 0);
      dx[0].put(dinput);
    }
    if (dw.defined() && !dx[1].is_leaf()) { dx[1].put(to_dtype(dw, w.dtype())); }
    if (db.defined() && !dx[2].is_leaf()) { dx[2].put(db); }
  });
}

}  // namespace pumice
