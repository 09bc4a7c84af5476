// run_traffic [substring]: what CUDA kernels ask of memory, counted by the emulator (tensor/simt/traffic.h) and held against a model that was written
// from the formula. Needs -DPUMICE_CUDA=emulate -DPUMICE_SIMT_CHECK=ON. Exits with 1 if a kernel moves more than 5 % above its model or uses
// less than 90 % of the sectors it touches.
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "pumice/autograd/autograd.h"
#include "pumice/moe/dispatch_kernels.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/elementwise/swiglu_kernels.h"
#include "pumice/ops/elementwise/unary_kernels.h"
#include "pumice/ops/embedding/rotary_kernels.h"
#include "pumice/ops/image/patchify.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/ops/norm/layer_norm_kernels.h"
#include "pumice/ops/norm/rms_norm_kernels.h"
#include "pumice/ops/random/dropout.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/ops/reduce/softmax.h"
#include "pumice/ops/reduce/softmax_kernels.h"
#include "pumice/tensor/rng.h"
#include "pumice/tensor/simt/traffic.h"

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

std::vector<Case> cases() {
  std::vector<Case> all;
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
      rms_norm_bwd(kCuda, {z, dw, y, x, w, row, partial, R, C, rows_per_block});
    });
    // partial sums are written and read, dw and db read and written; w three times per row from the cache
    one("layer_norm backward", "12 N + 8 R + 16 C R / 64 + 16 C + 12 N of w", 24.0 * N + 8 * R + 16.0 * C * double(blocks) + 16 * C, [=] {
      layer_norm_bwd(kCuda, {z, dw, db, y, x, w, row, row, partial, R, C, rows_per_block});
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
  {
    const int64_t M = kMatrix;
    const Tensor a = values({M, M}, DType::bf16), b = values({M, M}, DType::bf16);
    // tiles of 64 x 64: each reads its rows of a and columns of b once; c is written once
    one("matmul bf16 512^3", "2 M N K (1/64 + 1/64) + 2 M N", 2.0 * double(M * M * M) * 2 / 64 + 2.0 * double(M * M), [=] { matmul(a, b); });
  }
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
