// What every op says to operands that it cannot take: the op, what is required, what it got.
#include <gtest/gtest.h>

#include <functional>

#include "pumice/ops/attention/attention.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/embedding/embedding.h"
#include "pumice/ops/image/patchify.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/loss/contrastive.h"
#include "pumice/ops/loss/cross_entropy.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/ops/norm/layer_norm.h"
#include "pumice/ops/random/dropout.h"
#include "pumice/ops/reduce/argmax.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/ops/reduce/segment_mean.h"
#include "pumice/ops/reduce/softmax.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

struct Misuse {
  std::function<void()> call;
  std::string says;
};
template <class ErrorType> void expect(std::initializer_list<Misuse> cases) {
  for (const Misuse& c : cases) { EXPECT_EQ(message_of<ErrorType>(c.call).substr(0, c.says.size()), c.says); }
}

Tensor ints(std::vector<int32_t> v) { return from_values<int32_t>({int64_t(v.size())}, v); }

TEST(OpErrors, Shapes) {
  const Tensor x = zeros({4, 6}), v = zeros({6}), s = full({}, 1);
  const Tensor q = zeros({4, 2, 3});
  expect<ShapeError>({
      {[&] { add(x, zeros({4, 5})); },
       "[add] shapes must broadcast: lengths equal or 1 on each axis, got (4, 6) and (4, 5), which differ on axis 1 (6 and 5)"},
      {[&] { matmul(x, x); }, "[matmul] the inner lengths must agree, got (4, 6) and (4, 6)"},
      {[&] { matmul(x, v); }, "[matmul] a and b must have at least two axes, got (4, 6) and (6)"},
      {[&] { linear(x, zeros({3, 5}), {}); }, "[linear] x (..., in) and w (out, in) are required, got x (4, 6)"},
      {[&] { linear(x, zeros({3, 6}), zeros({4})); }, "[linear] b must be (out) = (3), got (4)"},
      {[&] { layer_norm(x, zeros({5}), zeros({5})); }, "[layer_norm] w and b must be (C) = (6) for"},
      {[&] { layer_norm(s, v, v); }, "[layer_norm] x must be (..., C), got ()"},
      {[&] { softmax(s); }, "[softmax] x must be (..., C), got ()"},
      {[&] { log_softmax(s); }, "[log_softmax] x must be (..., C), got ()"},
      {[&] { argmax(zeros({4, 0})); }, "[argmax] x must be (..., C) with C > 0, got (4, 0)"},
      {[&] { sum(x, {0, -2}); }, "[sum] each axis once is required, axis 0 is repeated"},
      {[&] { sum(x, {2}); }, "[sum] axis must be in"},
      {[&] { mean(zeros({0, 3}), {0}); }, "[mean] the mean of no elements is undefined"},
      {[&] { max(zeros({3, 0}), {1}); }, "[max] the maximum of no elements is undefined"},
      {[&] { segment_mean(x, ints({0, 2, 2, 4})); }, "[segment_mean] every segment needs a row; segment 1 is [2, 2)"},
      {[&] { segment_mean(x, ints({0, 3})); }, "[segment_mean] offsets must run from 0 to T = 4, got 0 to 3"},
      {[&] { concat({}, 0); }, "[concat] at least one tensor is required"},
      {[&] { concat({x, zeros({4, 5})}, 0); }, "[concat] lengths must agree on every axis but 0, got (4, 6) and (4, 5) (part 1)"},
      {[&] { reshape(x, {5, 5}); }, "[reshape] (4, 6) has 24 elements, which (5, 5) cannot hold"},
      {[&] { slice(x, 1, 2, 7); }, "[slice] 0 <= begin <= end <= 6 is required on axis 1 of (4, 6), got [2, 7)"},
      {[&] { permute(x, {0, 0}); }, "[permute] each axis once is required, axis 0 is repeated"},
      {[&] { expand(x, {4, 7}); }, "[expand] shapes must broadcast"},
      {[&] { gather_rows(x, ints({0, 4})); }, "[gather_rows] rows must be in [-1, 4), got 4 at 1"},
      {[&] { scatter_add_rows(x, ints({0, 1, 2, -2}), 3); }, "[scatter_add_rows] rows must be in [-1, 3), got -2 at 3"},
      {[&] { embedding(ints({0, 9}), x); }, "[embedding] ids must be in [0, 4), got 9 at 1"},
      {[&] { embedding(ints({0}), v); }, "[embedding] table must be (V, C), got (6)"},
      {[&] { attention(q, q, zeros({4, 2, 4}), ints({0, 4})); }, "[attention] q must be (Tq, H, D), k and v (Tk, Hkv, D) with the same D and H a multiple of Hkv, got (4, 2, 3)"},
      {[&] { attention(q, q, q, ints({0, 3})); }, "[attention] offsets must run from 0 to T = 4, got 0 to 3"},
      {[&] { attention(q, q, q, ints({0, 3, 1, 4})); }, "[attention] offsets must not fall, sequence 1 is [3, 1)"},
      {[&] { cross_attention(q, zeros({4, 2, 4}), zeros({4, 2, 4}), ints({0, 4}), ints({0, 4})); },
       "[attention] q must be (Tq, H, D), k and v (Tk, Hkv, D)"},
      {[&] { cross_attention(q, q, q, ints({0, 1, 4}), ints({0, 0, 4})); }, "[attention] sequence 0 has 1 queries and 0 keys"},
      {[&] { cross_attention(q, q, q, ints({0, 3, 4}), ints({0, 2, 4}), {.causal = true}); }, "[attention] sequence 0 has 3 queries and 2 keys"},
      {[&] { attention_qkv(zeros({4, 2, 2, 3}), ints({0, 4})); }, "[attention] qkv must be (T, 3, H, D), got (4, 2, 2, 3)"},
      {[&] { cross_entropy(x, ints({0, 1})); }, "[cross_entropy] logits must be (N, V) and labels (N), got (4, 6) and (2)"},
      {[&] { cross_entropy(x, ints({-100, -100, -100, -100})); }, "[cross_entropy] at least one label that is not ignored is required, all 4 are"},
      {[&] { contrastive_loss(x, zeros({3, 6}), s); },
       "[contrastive_loss] image and text must be (B, C) with at least one pair, got (4, 6) and (3, 6)"},
      {[&] { contrastive_loss(x, x, v); }, "[contrastive_loss] log_temperature must be a scalar ()"},
      {[&] { patchify(full({1, 8, 9, 3}, 0, DType::u8), 4, {}, DType::f32); }, "[patchify] patches of 4 x 4"},
      {[&] { patchify(full({1, 8, 8, 4}, 0, DType::u8), 4, {}, DType::f32); }, "[patchify] pixels must be (B, H, W, 3), got (1, 8, 8, 4)"},
  });
}

TEST(OpErrors, DTypes) {
  const Tensor x = zeros({4, 6}), d = zeros({4, 6}, DType::f64), i = full({4, 6}, 0, DType::i32);
  expect<DTypeError>({
      {[&] { add(x, d); }, "[add] b must be f32, got f64 (4, 6)"},
      {[&] { add(i, i); }, "[add] a must be f32, bf16 or f64, got i32 (4, 6)"},
      {[&] { gelu(i); }, "[gelu] x must be f32, bf16 or f64, got i32"},
      {[&] { softmax(i); }, "[softmax] x must be f32, bf16 or f64, got i32"},
      {[&] { sum(i); }, "[sum] x must be f32, bf16 or f64, got i32"},
      {[&] { matmul(x, zeros({6, 2}, DType::bf16)); }, "[matmul] b must be f32, got bf16 (6, 2)"},
      {[&] { layer_norm(x, zeros({6}, DType::f64), zeros({6}, DType::f64)); }, "[layer_norm] w must be f32, got f64 (6)"},
      {[&] { embedding(x, x); }, "[embedding] ids must be i32, got f32"},
      {[&] { cast(x, DType::i32); }, "[cast] the new dtype must be f32, bf16 or f64, got i32"},
      {[&] { gather_rows(x, full({2}, 0, DType::i64)); }, "[gather_rows] rows must be i32, got i64 (2)"},
      {[&] { patchify(zeros({1, 8, 8, 3}), 4, {}, DType::f32); }, "[patchify] pixels must be u8, got f32 (1, 8, 8, 3)"},
      {[&] { x.data<double>(); }, "[data] the tensor (4, 6) holds f32, not f64"},
  });
}

TEST(OpErrors, Options) {
  const Tensor x = zeros({4, 6});
  expect<UsageError>({
      {[&] { dropout(x, 1, 0); }, "[dropout] the probability must be in [0, 1), got 1"},
      {[&] { dropout(x, -0.1, 0); }, "[dropout] the probability must be in [0, 1), got -0.1"},
      {[&] { cross_entropy(x, ints({0, 1, 6, 2})); }, "[cross_entropy] labels must be in [0, 6) or -100 (ignored), got 6"},
      {[&] { cross_entropy(x, ints({0, 1, 2, 2}), -100, 1.5); }, "[cross_entropy] label_smoothing must be in [0, 1], got 1.5"},
  });
}

}  // namespace
}  // namespace pumice
