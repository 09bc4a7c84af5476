// What this machine can do at most, measured by all threads at once: multiply-adds that never leave the registers, and bytes copied between arrays that no
// cache holds. Benchmarks print their shares of it.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "pumice/tensor/dtype.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/tensor.h"

namespace pumice::bench {

using Clock = std::chrono::steady_clock;
inline double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

inline constexpr int kChains = 12;      // enough to fill the latency of the units
inline constexpr int64_t kRounds = 4'000'000;

#if defined(__x86_64__)
__attribute__((target("avx512f"))) inline float chains_avx512() {
  __m512 sum[kChains], factor = _mm512_set1_ps(1.0001f), term = _mm512_set1_ps(1e-4f);
  for (auto& s : sum) { s = term; }
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) { sum[c] = _mm512_fmadd_ps(sum[c], factor, term); }
  }
  float all = 0;
  for (auto& s : sum) { all += _mm512_cvtss_f32(s); }
  return all;
}
__attribute__((target("avx512bf16,avx512f"))) inline float chains_avx512_bf16() {
  __m512 sum[kChains];
  const __m512bh factor = __m512bh(_mm512_set1_epi16(0x3f80));
  for (auto& s : sum) { s = _mm512_set1_ps(1e-4f); }
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) { sum[c] = _mm512_dpbf16_ps(sum[c], factor, factor); }
  }
  float all = 0;
  for (auto& s : sum) { all += _mm512_cvtss_f32(s); }
  return all;
}
// Matrix units with the loads that feed them: 32 x 32 of C by 32 steps of depth, four tiles loaded and four multiplied.
inline constexpr int64_t kAmxRounds = kRounds / 64;
__attribute__((target("amx-tile,amx-bf16"))) inline float chains_amx() {
  struct { uint8_t palette = 1, start = 0, reserved[14] = {}; uint16_t row_bytes[16]; uint8_t rows[16]; } config;
  for (int t = 0; t < 16; ++t) {
    config.row_bytes[t] = t < 8 ? 64 : 0;
    config.rows[t] = t < 8 ? 16 : 0;
  }
  alignas(64) char operands[4][1024] = {};
  const int64_t stride = 64;
  __asm__ volatile("ldtilecfg %0" : : "m"(config) : "memory");
  __asm__ volatile("tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n tilezero %%tmm3" : :);
  for (int64_t i = 0; i < kAmxRounds; ++i) {
    __asm__ volatile("tileloadd (%0,%4,1), %%tmm4\n tileloadd (%1,%4,1), %%tmm6\n tileloadd (%2,%4,1), %%tmm7\n tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n"
                     "tileloadd (%3,%4,1), %%tmm5\n tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n tdpbf16ps %%tmm7, %%tmm5, %%tmm3"
                     : : "r"(operands[0]), "r"(operands[1]), "r"(operands[2]), "r"(operands[3]), "r"(stride) : "memory");
  }
  __asm__ volatile("tilerelease" : :);
  return 0;
}
__attribute__((target("avx2,fma"))) inline float chains_avx2() {
  __m256 sum[kChains], factor = _mm256_set1_ps(1.0001f), term = _mm256_set1_ps(1e-4f);
  for (auto& s : sum) { s = term; }
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) { sum[c] = _mm256_fmadd_ps(sum[c], factor, term); }
  }
  float all = 0;
  for (auto& s : sum) { all += _mm256_cvtss_f32(s); }
  return all;
}
#endif

// GFLOP/s of multiply-adds; 0 where there is no such unit.
inline double multiply_roof(DType dtype) {
#if defined(__x86_64__)
  const Isa isa = active_isa();
  const bool pairs = dtype == DType::bf16 && isa == Isa::avx512_bf16, tiles = dtype == DType::bf16 && isa == Isa::amx;
  float (*chains)() = tiles ? chains_amx : pairs ? chains_avx512_bf16 : isa >= Isa::avx512 ? chains_avx512 : isa == Isa::avx2 ? chains_avx2 : nullptr;
  if (!chains) { return 0; }
  const double each = tiles ? 4.0 * 2 * 16 * 16 * 32 * kAmxRounds : double(kRounds) * kChains * (pairs ? 64 : isa >= Isa::avx512 ? 32 : 16);
  const double flops = each * thread_count();
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    const auto start = Clock::now();
    volatile float kept = 0;
    parallel_blocks(thread_count(), [&](int64_t) { kept = chains(); });
    best = std::max(best, flops / seconds_since(start) / 1e9);
  }
  return best;
#else
  return 0;
#endif
}

// GB/s, read and written, of a copy.
inline double copy_roof() {
  const int64_t n = int64_t(48) << 20, parts = thread_count(), each = n / parts;  // f32
  const Tensor a = full({n}, 1), b = full({n}, 2);  // in the large pages that tensors have
  const float* from = a.data<float>();
  float* to = b.data<float>();
  double best = 0;
  for (int i = 0; i < 7; ++i) {
    const auto start = Clock::now();
    parallel_blocks(parts, [&](int64_t p) {
      if (i % 2) { std::memcpy(to + p * each, from + p * each, size_t(each) * sizeof(float)); }  // past the caches in libc, or not: the better
      else { for (int64_t k = p * each; k < (p + 1) * each; ++k) { to[k] = from[k] + 1; } }
    });
    best = std::max(best, 2e-9 * double(each * parts) * sizeof(float) / seconds_since(start));
  }
  return best;
}

}  // namespace pumice::bench
