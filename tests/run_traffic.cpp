// run_traffic [substring]: what CUDA kernels ask of memory, counted by the emulator (tensor/simt/traffic.h) and held against a model that was written
// from the formula. Needs -DPUMICE_CUDA=emulate -DPUMICE_SIMT_CHECK=ON. Exits with 1 if a kernel moves more than 5 % above its model or uses
// less than 90 % of the sectors it touches.
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "pumice/autograd/autograd.h"
#include "pumice/moe/assignment_kernels.h"
#include "pumice/moe/dispatch_kernels.h"
#include "pumice/moe/gating_kernels.h"
#include "pumice/moe/grouped_linear_kernels.h"
#include "pumice/moe/router_losses_kernels.h"
#include "pumice/ops/attention/attention_kernels.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/elementwise/swiglu_kernels.h"
#include "pumice/ops/elementwise/unary_kernels.h"
#include "pumice/ops/embedding/rotary_kernels.h"
#include "pumice/ops/image/patchify.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/index/rows_kernels.h"
#include "pumice/ops/loss/contrastive_kernels.h"
#include "pumice/ops/loss/cross_entropy_kernels.h"
#include "pumice/ops/loss/sigmoid_cross_entropy_kernels.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/ops/norm/layer_norm_kernels.h"
#include "pumice/ops/norm/rms_norm_kernels.h"
#include "pumice/ops/random/dropout.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/ops/reduce/segment_mean_kernels.h"
#include "pumice/ops/reduce/softmax.h"
#include "pumice/ops/reduce/softmax_kernels.h"
#include "pumice/tensor/rng.h"
#include "pumice/tensor/simt/traffic.h"
#include "pumice/train/optim/optimizer_kernels.h"

namespace pumice::testing {
namespace {

const Device kCuda = Device::cuda();
constexpr double MiB = 1024 * 1024;

Tensor values(const Shape& shape, DType dtype = DType::f32) {
  return to_device(to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 7, .site = uint32_t(shape.elements())}), dtype), kCuda);
}
Tensor numbers(const Shape& shape, int32_t (*f)(int64_t)) {
  std::vector<int32_t> v;
  for (int64_t i = 0; i < shape.elements(); ++i) { v.push_back(f(i)); }
  return to_device(from_values<int32_t>(shape, v), kCuda);
}

struct Case {
  const char* name;
  const char* model;              // bytes, as a formula
  double bytes;
  std::function<void()> run;
  double sector_use = 0.9;  // at least
};

constexpr int64_t R = 512, C = 768, N = R * C;  // 1.5 MiB of f32
constexpr int64_t kMatrix = 512;                // of the products

using Cases = std::vector<Case>;

void elementwise_and_rows(Cases& all) {
  const Tensor x = values({R, C}), y = values({R, C}), z = empty({R, C}, DType::f32, kCuda), row = values({R}), w = values({C});
  const Tensor half = to_dtype(x, DType::bf16), half_z = empty({R, C}, DType::bf16, kCuda);
  auto one = [&](const char* name, const char* model, double bytes, std::function<void()> run) { all.push_back({name, model, bytes, std::move(run)}); };
  one("copy f32 to bf16", "6 N", 6.0 * N, [=] { copy_into(half_z, x); });
  one("add", "12 N", 12.0 * N, [=] { add(x, y); });
  one("add bf16", "6 N", 6.0 * N, [=] { add(half, half); });
  one("gelu", "8 N", 8.0 * N, [=] { gelu(x); });
  one("gelu backward", "12 N", 12.0 * N, [=] { unary_bwd(kCuda, {z, y, x, Unary::gelu_tanh, 0}); });
  one("swiglu", "12 N", 12.0 * N, [=] { swiglu_fwd(kCuda, {z, x, y}); });
  one("swiglu backward", "20 N", 20.0 * N, [z2 = empty({R, C}, DType::f32, kCuda), x, y, z] { swiglu_bwd(kCuda, {z, z2, y, x, y}); });
  one("dropout", "8 N", 8.0 * N, [=] {
    RandomScope scope({.seed = 1, .step = 1});
    dropout(x, 0.1, 1);
  });
  one("sum of rows", "4 N + 4 R", 4.0 * N + 4 * R, [=] { sum(x, {1}); });
  one("softmax", "8 N", 8.0 * N, [=] { softmax(x); });
  one("softmax backward", "12 N", 12.0 * N, [=] { softmax_bwd(kCuda, {z, y, x, R, C}); });
  one("l2_normalize", "8 N + 4 R", 8.0 * N + 4 * R, [=] { l2_normalize(x, 1e-6); });
  // w and b are read by each row, from the second-level cache
  one("layer_norm", "8 N + 8 R + 8 N of w and b", 16.0 * N + 8 * R, [=] { layer_norm_fwd(kCuda, {z, row, row, x, w, w, R, C, 1e-6}); });
  one("layer_norm bf16", "4 N + 8 R + 8 N of w and b", 12.0 * N + 8 * R, [=] { layer_norm_fwd(kCuda, {half_z, row, row, half, w, w, R, C, 1e-6}); });
  all.back().sector_use = 0.55;  // w and b are f32: the two halves of a sector are asked for by two instructions, the second from the first-level cache
  one("rms_norm", "8 N + 4 R + 4 N of w", 12.0 * N + 4 * R, [=] { rms_norm_fwd(kCuda, {z, row, x, w, R, C, 1e-6}); });
  one("rms_norm bf16", "4 N + 4 R + 4 N of w", 8.0 * N + 4 * R, [=] { rms_norm_fwd(kCuda, {half_z, row, half, w, R, C, 1e-6}); });
  all.back().sector_use = 0.6;  // as above
  {
    const int64_t rows_per_block = 64, blocks = R / rows_per_block;
    const Tensor dw = zeros({C}, DType::f32, kCuda), db = zeros({C}, DType::f32, kCuda), partial = empty({2, blocks, C}, DType::f32, kCuda);
    one("rms_norm backward", "12 N + 4 R + 8 C R / 64 + 8 C + 8 N of w", 20.0 * N + 4 * R + 8.0 * C * double(blocks) + 8 * C, [=] {
      rms_norm_bwd(kCuda, {z, dw, y, x, w, row, partial, R, C, rows_per_block, 0});
    });
    // partial sums are written and read, dw and db read and written; w three times per row from the cache
    one("layer_norm backward", "12 N + 8 R + 16 C R / 64 + 16 C + 12 N of w", 24.0 * N + 8 * R + 16.0 * C * double(blocks) + 16 * C, [=] {
      layer_norm_bwd(kCuda, {z, dw, db, y, x, w, row, row, partial, R, C, rows_per_block, 0});
    });
  }
  {
    const Tensor from = numbers({R}, [](int64_t i) { return int32_t(i * 5 % R); });
    one("gather_rows", "8 N + 4 R", 8.0 * N + 4 * R, [=] { gather_rows(x, from); });
    one("dispatch", "8 N + 4 R", 8.0 * N + 4 * R, [=] { dispatch_rows(kCuda, {z, x, from, R, C}); });
    const Tensor places = numbers({R, 1}, [](int64_t i) { return int32_t(i * 5 % R); }), gate = values({R, 1});
    one("combine", "8 N + 8 R", 8.0 * N + 8 * R, [=] { combine_rows(kCuda, {z, y, gate, places, R, 1, C}); });
  }
  {
    const int64_t H = 12, D = C / H;
    const Tensor positions = numbers({R}, [](int64_t i) { return int32_t(i * 7); }), frequencies = values({D / 2});
    const Tensor heads = x.reshape({R, H, D}), half_heads = half.reshape({R, H, D});
    one("rotary", "8 N + 4 R + 2 R D of frequencies", 8.0 * N + 4 * R + 2 * R * D, [=] {
      rotary_kernel(kCuda, {z.reshape({R, H, D}), heads, positions, frequencies, 1});
    });
    one("rotary bf16", "4 N + 4 R + 2 R D of frequencies", 4.0 * N + 4 * R + 2 * R * D, [=] {
      rotary_kernel(kCuda, {half_z.reshape({R, H, D}), half_heads, positions, frequencies, 1});
    });
  }
  {
    const Tensor pixels = to_device(zeros({8, 128, 128, 3}, DType::u8), kCuda);
    one("patchify", "5 bytes per channel", 5.0 * 8 * 128 * 128 * 3, [=] { patchify(pixels, 16, {}, DType::f32); });
  }
}

Tensor scalar(DType dtype = DType::f32) { return empty({}, dtype, kCuda); }

void losses(Cases& all) {
  const Tensor x = values({R, C}), dx = empty({R, C}, DType::f32, kCuda), half = to_dtype(x, DType::bf16), half_dx = empty({R, C}, DType::bf16, kCuda);
  const Tensor labels = numbers({R}, [](int64_t i) { return int32_t(i * 7 % C); }), lse = empty({R}, DType::f32, kCuda), row_loss = empty_like(lse);
  const Tensor loss = scalar(), dy = full({}, 1, DType::f32, kCuda), census = full({2}, double(R), DType::i64, kCuda);
  auto forward = [=](const Tensor& logits) { cross_entropy_fwd(kCuda, {loss, lse, census, row_loss, logits, labels, logits.dim(0), logits.dim(1), -1, 0}); };
  auto backward = [=](const Tensor& d, const Tensor& logits) {
    cross_entropy_bwd(kCuda, {d, dy, logits, labels, lse, census, logits.dim(0), logits.dim(1), -1, 0});
  };
  forward(x);  // lse and the count of labels, for the backward passes
  // per row: the label, its logit, lse and the loss written; the loss and the label again for the mean
  all.push_back({"cross_entropy", "4 N + 24 R", 4.0 * N + 24 * R, [=] { forward(x); }});
  all.push_back({"cross_entropy bf16", "2 N + 22 R", 2.0 * N + 22 * R, [=] { forward(half); }});
  // per row: label and lse; dy and the count of labels, which all rows share, from cache
  all.push_back({"cross_entropy backward", "8 N + 8 R + 12 R of dy and count", 8.0 * N + 20 * R, [=] { backward(dx, x); }});
  all.push_back({"cross_entropy backward bf16", "4 N + 8 R + 12 R of dy and count", 4.0 * N + 20 * R, [=] { backward(half_dx, half); }});
  const Tensor wide = values({32, 16384}), dwide = empty_like(wide);
  all.push_back({"cross_entropy 32 x 16384", "4 N", 4.0 * double(wide.size()), [=] { forward(wide); }});
  all.push_back({"cross_entropy backward 32 x 16384", "8 N", 8.0 * double(wide.size()), [=] { backward(dwide, wide); }});
  all.push_back({"sigmoid_cross_entropy", "4 N + 16 R", 4.0 * N + 16 * R, [=] { sigmoid_cross_entropy_fwd(kCuda, {loss, row_loss, x, labels, R, C}); }});
  all.push_back({"sigmoid_cross_entropy backward", "8 N + 4 R + 4 R of dy", 8.0 * N + 8 * R, [=] {
    sigmoid_cross_entropy_bwd(kCuda, {dx, dy, x, labels, R, C});
  }});

  // Tiles of 64 rows and 128 columns of logits, for both sides; backward multiplies each tile once more, with 128 rows of features, and sums both
  // sides' gradients over as many splits of the columns as there are panels here (2): written, read, and their sum written.
  const int64_t B = 256, W = 256, splits = 2;
  const Tensor image = values({B, W}), text = to_device(to_dtype(random_uniform_tensor({B, W}, -1, 1, {.seed = 8}), DType::f32), kCuda);
  const Tensor t = full({}, -2, DType::f32, kCuda), hits = empty({2}, DType::i64, kCuda), both = empty({2, B}, DType::f32, kCuda);
  const Tensor group = numbers({B}, [](int64_t i) { return int32_t(i); }), members = numbers({B}, [](int64_t) { return 1; });
  auto pairs = [=] { contrastive_fwd(kCuda, {loss, hits, both, {}, {}, {}, image, text, t, {group, members}, B, W}); };
  pairs();
  const double tile = 4.0 * double(B * B * W) * (1.0 / 64 + 1.0 / 128), features = 4.0 * double(B * W);
  all.push_back({"contrastive", "8 B^2 C (1/64 + 1/128)", 2 * tile, pairs});
  const Tensor dimage = empty_like(image), dtext = empty_like(text), dt = scalar();
  all.push_back({"contrastive backward", "8 B^2 C (2/64 + 1/128) + 8 B C (2 splits + 1) + 8 B C", 2 * (tile + 4.0 * double(B * B * W) / 64) +
                 2 * features * (2 * splits + 1) + 2 * features, [=] {
    contrastive_bwd(kCuda, {dimage, dtext, dt, dy, image, text, t, both, {}, {group, members}, B, W});
  }});
}

void optimizers(Cases& all) {
  const int64_t P = N;
  const Tensor p = values({P}), m = zeros({P}, DType::f32, kCuda), v = full({P}, 1, DType::f32, kCuda), g = values({P});
  const Tensor half_m = zeros({P}, DType::bf16, kCuda), sums = empty({P / 1024}, DType::f64, kCuda);
  all.push_back({"AdamW", "28 P", 28.0 * P, [=] {
    cuda::adamw_step({p, m, v, g, 0, P, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, 1, 1, 1});
  }});
  all.push_back({"average of the weights", "12 P", 12.0 * P, [=] { cuda::average_step({m, p, P, 0.999f}); }});
  all.push_back({"sum of squares", "4 P + 8 P / 1024", 4.0 * P + 8.0 * P / 1024, [=] { cuda::sum_squares({sums, g, P, 1024}); }});
  AdafactorStep a{.p = p.data<float>(), .m = half_m, .g = g.data<float>(), .v = v.data<float>(), .count = 1, .rows = 1, .cols = P, .lr = 1e-3f,
                  .beta1 = 0.9f, .beta2 = 0.99f, .gradient_scale = 1};
  all.push_back({"Adafactor, bf16 momentum", "24 P", 24.0 * P, [=, keep = std::vector<Tensor>{p, half_m, g, v}] { cuda::adafactor_step(a); }});
  // three reads of the gradient; f64 sums of 64 rows of a column written and read; a column's mean is read by each row, from cache
  const Tensor row = full({R}, 1, DType::f32, kCuda), col = full({C}, 1, DType::f32, kCuda), partial = empty({R / kAdafactorRows, C}, DType::f64, kCuda);
  AdafactorStep f = a;
  f.v = nullptr, f.row = row.data<float>(), f.col = col.data<float>(), f.partial = partial.data<double>(), f.rows = R, f.cols = C;
  all.push_back({"Adafactor, factored", "24 P + 16 P / 64 + 4 P of column means", 28.25 * P, [=, keep = std::vector<Tensor>{p, half_m, g, row, col, partial}] {
    cuda::adafactor_step(f);
  }});
}

void attention(Cases& all) {
  const int64_t T = 1024, H = 12, D = 64;
  const double elements = double(T * H * D), rows = double(T * H);
  auto offsets = [=](int64_t S) {
    std::vector<int32_t> v;
    for (int64_t i = 0; i <= T; i += S) { v.push_back(int32_t(i)); }
    return to_device(from_values<int32_t>({int64_t(v.size())}, v), kCuda);
  };
  const Tensor q = values({T, H, D}, DType::bf16), out = empty_like(q), dq = empty_like(q), dk = empty_like(q), dv = empty_like(q);
  const Tensor lse = empty({T, H}, DType::f32, kCuda);
  auto forward = [=](int64_t S) {
    return [=, o = offsets(S)] { attention_fwd(kCuda, {out, lse, q, q, q, o, o, 0.125, false, 0}); };
  };
  auto backward = [=](int64_t S) {
    return [=, o = offsets(S)] { attention_bwd(kCuda, {dq, dk, dv, q, out, lse, q, q, q, o, o, 0.125, false, 0}); };
  };
  forward(256)();
  // T tokens of H heads of D = 64. Short form, up to 272 tokens: all is read once. Online form: K and V once per 64 queries of a sequence of S.
  all.push_back({"attention bf16, S = 256", "8 T H D + 4 T H", 8 * elements + 4 * rows, forward(256)});
  all.push_back({"attention bf16, S = 512", "4 T H D (1 + S/64) + 4 T H", 4 * elements * (1 + 512 / 64) + 4 * rows, forward(512)});
  // delta = <dout, out> first. Blocks that own queries read q, dout, k, v and write dq; those that own keys read the same and write dk and dv.
  // lse and delta go to both; the other side is read once, or once per 64 rows
  all.push_back({"attention backward bf16, S = 256", "26 T H D + 20 T H", 26 * elements + 20 * rows, backward(256)});
  all.push_back({"attention backward bf16, S = 512", "18 T H D + 8 T H D S/64 + 12 T H + 8 T H S/64", (18 + 8 * 512 / 64) * elements +
                 (12 + 8 * 512 / 64) * rows, backward(512)});
}

// One segment of T tokens. Sums over tokens are made in pieces of 256, in f64: written and read again, 16 bytes for each of their columns.
void router_losses(Cases& all) {
  const int64_t T = 4096, E = 64, K = 2;
  const double probs_bytes = 4.0 * double(T * E), pieces = 16.0 * double(T) / 256;
  const Tensor p = softmax(values({T, E})), logits = values({T, E}), noisy = values({T, E}), expert = numbers({T, K}, [](int64_t i) { return int32_t(i * 5 % 64); });
  const Tensor lse = values({T}), entropy = values({T}), dlogits = empty({T, E}, DType::f32, kCuda), loss = empty({}, DType::f32, kCuda), dy = values({});
  const auto doubles = [](const Shape& shape, double value) { return to_device(full(shape, value, DType::f64), kCuda); };
  const Tensor c = doubles({1}, 1), v = doubles({1, E}, 0.5), value = doubles({1}, 0), tokens = doubles({1}, double(T)), share = doubles({1}, 1);
  const Tensor offsets = to_device(from_values<int64_t>({2}, std::vector<int64_t>{0, T}), kCuda);
  const Segments segments{.offsets = offsets, .tokens = tokens, .share = share, .count = 1, .experts = E, .wanted = 0};
  const std::vector<Tensor> keep{offsets, tokens, share};
  const auto one = [&](const char* name, const char* model, double bytes, double sector_use, std::function<void()> run) {
    all.push_back({name, model, bytes, [keep, run = std::move(run)] { run(); }, sector_use});
  };
  // A warp asks for single numbers of its token and segment: each is a sector, which the next tokens find in the first-level cache.
  constexpr double kScalars = 0.83;
  const MeanProbsLoss mean{loss, c, v, value, p, expert, segments, K, 1.0};
  const std::vector<Tensor> held{loss, c, v, value, p, expert, logits, noisy, lse, entropy, dlogits, dy};
  one("importance loss", "4 T E + 16 E T/256", probs_bytes + pieces * E, 0.9, [=] { (void)held; importance_loss_fwd(kCuda, mean); });
  one("global entropy loss", "4 T E + 16 E T/256", probs_bytes + pieces * E, 0.9, [=] { (void)held; global_entropy_loss_fwd(kCuda, mean); });
  // as there; a token's first choice is asked for by the two warps of its columns that count choices
  one("balance loss", "4 T E + 8 T + 32 E T/256", probs_bytes + 8.0 * T + 2 * pieces * E, 0.82, [=] { (void)held; balance_loss_fwd(kCuda, mean); });
  one("local entropy loss", "8 T E + 12 T", 2 * probs_bytes + 12.0 * T, 0.9, [=] {
    (void)held;
    local_entropy_loss_fwd(kCuda, {loss, entropy, value, logits, lse, p, segments});
  });
  // as there: the last choice and its noisy logit, by two warps
  one("load loss", "4 T E + 16 T + 16 E T/256", probs_bytes + 16.0 * T + pieces * E, 0.7, [=] {
    (void)held;
    load_loss_fwd(kCuda, {loss, c, v, value, logits, noisy, expert, segments, K, 0.1});
  });
  one("importance, balance, global entropy backward", "8 T E + 12 T, and 16 T E of v from the cache", 6 * probs_bytes + 12.0 * T, 0.9, [=] {
    (void)held;
    mean_probs_loss_bwd(kCuda, {dlogits, dy, c, v, p, segments});
  });
  one("load loss backward", "8 T E + 20 T, and 16 T E of g from the cache", 6 * probs_bytes + 20.0 * T, 0.9, [=] {
    (void)held;
    load_loss_bwd(kCuda, {dlogits, dy, c, v, logits, noisy, expert, segments, K, 0.1});
  });
  one("z loss backward", "8 T E + 24 T", 2 * probs_bytes + 24.0 * T, kScalars, [=] { (void)held; z_loss_bwd(kCuda, {dlogits, dy, lse, p, segments}); });
  one("local entropy loss backward", "12 T E + 28 T", 3 * probs_bytes + 28.0 * T, kScalars, [=] {
    (void)held;
    local_entropy_loss_bwd(kCuda, {dlogits, dy, entropy, logits, lse, p, segments});
  });
}

void segments_and_slots(Cases& all) {
  {
    const int64_t segments = 8;
    const Tensor x = values({R, C}), y = values({segments, C}), dx = empty({R, C}, DType::f32, kCuda), offsets = numbers({segments + 1}, [](int64_t i) { return int32_t(i * R / 8); });
    all.push_back({"segment_mean of 64 rows", "4 N + 4 N / 64", 4.0 * N * 65 / 64, [=] { segment_mean_fwd(kCuda, {y, x, offsets}); }});
    all.push_back({"segment_mean backward", "4 N + 4 N / 64", 4.0 * N * 65 / 64, [=] { segment_mean_bwd(kCuda, {dx, y, offsets}); }});
  }
  // Per token: its key made (12), up to four passes that count digits (4) and move key and number (16), and 12 for each choice.
  const int64_t T = 16384, E = 64, K = 2, G = 8;
  const Tensor gate = to_device(random_uniform_tensor({T, K}, 0, 1, {.seed = 7, .site = 1}), kCuda), expert = numbers({T, K}, [](int64_t i) { return int32_t(i * 7 % 64); });
  const Tensor slot = empty({T, K}, DType::i32, kCuda), claims = empty({G, E}, DType::i32, kCuda);
  std::vector<int64_t> begins, places;
  for (int64_t g = 0; g <= G; ++g) { begins.push_back(g * T / G); }
  places.assign(size_t(G), 40);
  const Tensor offsets = to_device(from_values<int64_t>({G + 1}, begins), kCuda), capacity = to_device(from_values<int64_t>({G}, places), kCuda);
  all.push_back({"slots by batch priority", "(12 + 4 (4 + 16) + 12 K) T", double((12 + 4 * 20 + 12 * K) * T), [=] {
    assign_slots_kernel(kCuda, {slot, claims, expert, gate, offsets, capacity, G, E, K, 0, Order::batch_priority, {}});
  }});
  all.back().sector_use = 0.29;  // a sort scatters: the lists of a group, 32 KiB here, stay in the first-level cache
}

void experts_and_embedding(Cases& all) {
  const int64_t T = 4096, E = 64, K = 2;
  auto over = [](int64_t rows, int64_t columns, DType dtype = DType::f32) { return empty({rows, columns}, dtype, kCuda); };
  const Tensor logits = values({T, E}), noise = values({E, T}).reshape({T, E}), probs = over(T, E), noisy = over(T, E), clean = over(T, E);
  const Tensor lse = over(T, 1), noisy_lse = over(T, 1), expert = over(T, K, DType::i32), gate = over(T, K), dlogits = over(T, E);
  auto route = [=] { gating_fwd(kCuda, {{}, {}, lse, {}, probs, expert, gate, logits, {}, {}, T, E, K}); };
  route();
  all.push_back({"router, 64 experts, top 2", "8 T E + 4 T + 8 T K", double(T * (8 * E + 4 + 8 * K)), route});
  all.push_back({"router with noise", "20 T E + 8 T + 8 T K", double(T * (20 * E + 8 + 8 * K)), [=] {
    gating_fwd(kCuda, {noisy, clean, lse, noisy_lse, probs, expert, gate, logits, noise, {}, T, E, K});
  }});
  all.push_back({"router backward", "12 T E + 8 T K", double(T * (12 * E + 8 * K)), [=] {
    gating_bwd(kCuda, {dlogits, clean, gate, probs, expert, T, E, K});
  }});
  {
    const Tensor y = values({R, C}), dy = over(R, C), gates = values({R, 1}), dgate = over(R, 1);
    const Tensor places = numbers({R, 1}, [](int64_t i) { return int32_t(i * 5 % R); });
    all.push_back({"combine backward", "12 N + 12 R", 12.0 * N + 12 * R, [=, dout = values({R, C})] {
      combine_rows_bwd(kCuda, {dy, dgate, dout, y, gates, places, R, 1, C});
    }});
  }
  {
    // R ids, all different, of V: rows of dy, and the rows of the table that they name read and written; the ids twice for each 256 rows of the table, and
    // the sorted list written and read
    const int64_t V = 2048;
    const Tensor table = zeros({V, C}, DType::f32, kCuda), dy = values({R, C}), ids = numbers({R}, [](int64_t i) { return int32_t(i * 5 % V); });
    const Tensor first = empty({V + 1}, DType::i32, kCuda), next = empty({R}, DType::i32, kCuda);
    all.push_back({"embedding backward, V = 2048", "12 N + 8 R V/256 + 8 V + 8 R", 12.0 * N + 8.0 * R * V / 256 + 8 * V + 8 * R, [=] {
      scatter_add_rows_kernel(kCuda, {table, dy, ids, first, next, 1});
    }});
  }
  {
    const int64_t experts = 4, in = 512, out = 256;
    const Tensor x = values({R, in}, DType::bf16), w = values({experts, out, in}, DType::bf16), y = over(R, out, DType::bf16);
    const Tensor dx = over(R, in, DType::bf16), dw = zeros({experts, out, in}, DType::f32, kCuda);
    const Tensor offsets = numbers({experts + 1}, [](int64_t e) { return int32_t(e * R / 4); });
    const double product = 2.0 * double(R * in * out) * 2 / 64;  // as of matmul: each expert's rows are whole tiles
    all.push_back({"grouped_linear bf16, 4 experts", "2 R in out (1/64 + 1/64) + 2 R out", product + 2.0 * double(R * out), [=] {
      grouped_forward(kCuda, {y, x, w, {}, offsets});
    }});
    all.push_back({"its dx", "2 R in out (1/64 + 1/64) + 2 R in", product + 2.0 * double(R * in), [=] { grouped_dgrad(kCuda, {dx, y, w, offsets}); }});
    all.push_back({"its dw, added", "2 R in out (1/64 + 1/64) + 8 E in out", product + 8.0 * double(experts * in * out), [=] {
      grouped_wgrad(kCuda, {dw, y, x, offsets, 1});
    }});
    // GELU at the end of a product: h and gelu(h) are written; backward dy w gelu'(h) takes the place of h, and gelu(h) is written again
    const Tensor h = over(R, out, DType::bf16), held = values({R, in}, DType::bf16), g = over(R, in, DType::bf16);
    all.push_back({"grouped_linear with gelu", "2 R in out (1/64 + 1/64) + 4 R out", product + 4.0 * double(R * out), [=] {
      grouped_forward(kCuda, {y, x, w, {}, offsets, {.kind = Epilogue::gelu, .y = h}});
    }});
    all.push_back({"its dx with gelu backward", "2 R in out (1/64 + 1/64) + 6 R in", product + 6.0 * double(R * in), [=] {
      grouped_dgrad(kCuda, {held, y, w, offsets, {.kind = Epilogue::gelu_backward, .y = g}});
    }});
  }
}

void products(Cases& all) {
  // tiles of 64 x 64: each reads its rows of a and columns of b once; c is written once
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const int64_t M = dtype == DType::bf16 ? kMatrix : kMatrix / 2, bytes = size_of(dtype);
    const Tensor a = values({M, M}, dtype), b = values({M, M}, dtype);
    all.push_back({dtype == DType::bf16 ? "matmul bf16 512^3" : "matmul f32 256^3",
                   dtype == DType::bf16 ? "2 M N K (1/64 + 1/64) + 2 M N" : "4 M N K (1/64 + 1/64) + 4 M N",
                   double(bytes) * (double(M * M * M) * 2 / 64 + double(M * M)), [=] { matmul(a, b); }});
    const Tensor c = empty({M, M}, dtype, kCuda), residual = values({M, M}, dtype);
    all.push_back({dtype == DType::bf16 ? "matmul bf16 and a residual" : "matmul f32 and a residual",
                   dtype == DType::bf16 ? "2 M N K (1/64 + 1/64) + 4 M N" : "4 M N K (1/64 + 1/64) + 8 M N",
                   double(bytes) * (double(M * M * M) * 2 / 64 + 2 * double(M * M)), [=] {
      gemm_batch(kCuda, {c, a, b.transpose(0, 1), {}, 0, {.kind = Epilogue::add, .other = residual}});
    }});
  }
}

Cases cases() {
  Cases all;
  for (auto add : {elementwise_and_rows, losses, optimizers, attention, router_losses, segments_and_slots, experts_and_embedding, products}) { add(all); }
  return all;
}

}  // namespace

int run_program(int argc, char** argv) {
  const std::string pick = argc > 1 ? argv[1] : "";
  NoGrad no_grad;
  int failed = 0;
  std::printf("| kernel | model, bytes | MiB | counted / model | sectors used | bank conflicts / pass | barriers | launches |\n|---|---|---|---|---|---|---|---|\n");
  for (const Case& c : cases()) {
    if (std::string(c.name).find(pick) == std::string::npos) { continue; }
    simt::start_counting_traffic();
    c.run();
    const simt::Traffic t = simt::stop_counting_traffic();
    const double ratio = double(t.loaded + t.stored) / c.bytes;
    const bool good = ratio <= 1.05 && ratio > 0.5 && t.sector_use() >= c.sector_use;
    failed += !good;
    std::printf("| %s | %s | %.2f | %.3f | %.1f %% | %.3f | %lld | %lld |%s\n", c.name, c.model, c.bytes / MiB, ratio, 100 * t.sector_use(),
                t.shared_accesses ? double(t.bank_conflicts) / double(t.shared_accesses) : 0.0, static_cast<long long>(t.barriers),
                static_cast<long long>(t.launches), good ? "" : "  <- above its model");
    std::fflush(stdout);
  }
  return failed ? 1 : 0;
}

}  // namespace pumice::testing

int main(int argc, char** argv) {
  try {
    return pumice::testing::run_program(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
