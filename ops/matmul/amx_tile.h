// The tile of bf16 products on Intel's matrix units (AMX, Isa::amx): 32 x 32 of C in four of eight tile registers of 16 rows of 64 bytes, two of A and two of B
// beside them. 32 steps of depth are four loads and four instructions of 16,384 multiply-adds each. Instructions as in Intel's Software Developer's Manual,
// volume 1, chapter 18. The kernel is a template of the units: PlainTiles does what each instruction means in plain loops (Isa::amx_emulated), so that all
// around the instructions is tested on machines that have none.
// Included by gemm_cpu.cpp only, at the level avx512.
#pragma once
#include "pumice/tensor/dtype.h"

namespace pumice::PUMICE_ISA {

struct MatrixUnits {
  // What LDTILECFG reads: the palette, and bytes of a row and rows of each tile.
  struct Config {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static PUMICE_INLINE void begin() {
    alignas(64) static constexpr Config config{};
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }
  static PUMICE_INLINE void end() { __asm__ volatile("tilerelease"); }
  template <int kTile> static PUMICE_INLINE void zero() { __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile)); }
  template <int kTile> static PUMICE_INLINE void load(const void* p, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile> static PUMICE_INLINE void store(void* p, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kC, int kA, int kB> static PUMICE_INLINE void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }
};
static_assert(sizeof(MatrixUnits::Config) == 64);

struct PlainTiles {
  typedef uint32_t Tile[16][16];
  static PUMICE_INLINE Tile* tiles() {
    static thread_local Tile t[8];
    return t;
  }
  static void begin() {}
  static void end() {}
  template <int kTile> static void zero() { std::memset(tiles()[kTile], 0, sizeof(Tile)); }
  template <int kTile> static void load(const void* p, int64_t stride) {
    for (int i = 0; i < 16; ++i) { std::memcpy(tiles()[kTile][i], static_cast<const char*>(p) + i * stride, 64); }
  }
  template <int kTile> static void store(void* p, int64_t stride) {
    for (int i = 0; i < 16; ++i) { std::memcpy(static_cast<char*>(p) + i * stride, tiles()[kTile][i], 64); }
  }
  static PUMICE_INLINE float number(uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
  }
  // Row m of C += the pairs of row m of A times the rows of pairs of B.
  template <int kC, int kA, int kB> static void multiply() {
    Tile *c = &tiles()[kC], *a = &tiles()[kA], *b = &tiles()[kB];
    for (int m = 0; m < 16; ++m) {
      for (int k = 0; k < 16; ++k) {
        const uint32_t x = (*a)[m][k];
        for (int n = 0; n < 16; ++n) {
          const uint32_t y = (*b)[k][n];
          const float sum = number((*c)[m][n]) + number(x << 16) * number(y << 16) + number(x & 0xffff0000u) * number(y & 0xffff0000u);
          std::memcpy(&(*c)[m][n], &sum, 4);
        }
      }
    }
  }
};

inline constexpr int kAmxSide = 32;  // of the square of C

// c (32, 32) (+)= 32 rows of pairs, `row` bytes apart, times b (pairs, 32 pairs of neighbours in depth); rows of c are `ldc` apart.
template <class Units, bool kAccumulate>
__attribute__((target("amx-tile,amx-bf16"), noinline)) void micro_tile_amx(int64_t pairs, const char* a, int64_t row, const uint32_t* b, float* c, int64_t ldc) {
  constexpr int64_t kStep = 16, kRowOfB = kAmxSide * 4;
  const int64_t row_of_c = ldc * 4;
  Units::begin();
  if constexpr (kAccumulate) {
    Units::template load<0>(c, row_of_c);
    Units::template load<1>(c + 16, row_of_c);
    Units::template load<2>(c + 16 * ldc, row_of_c);
    Units::template load<3>(c + 16 * ldc + 16, row_of_c);
  } else {
    Units::template zero<0>();
    Units::template zero<1>();
    Units::template zero<2>();
    Units::template zero<3>();
  }
  const auto step = [](const char* a, int64_t row, const uint32_t* b) __attribute__((target("amx-tile,amx-bf16"), always_inline)) {
    Units::template load<4>(a, row);
    Units::template load<6>(b, kRowOfB);
    Units::template load<7>(b + 16, kRowOfB);
    Units::template multiply<0, 4, 6>();
    Units::template load<5>(a + 16 * row, row);
    Units::template multiply<1, 4, 7>();
    Units::template multiply<2, 5, 6>();
    Units::template multiply<3, 5, 7>();
  };
  const int64_t whole = pairs / kStep, rest = pairs % kStep;
  for (int64_t k = 0; k < whole; ++k) { step(a + k * 64, row, b + k * kStep * kAmxSide); }
  if (rest) {  // the last pairs, filled with zeros on both sides
    alignas(64) uint32_t last_a[kAmxSide][16] = {}, last_b[16][kAmxSide] = {};
    for (int i = 0; i < kAmxSide; ++i) { std::memcpy(last_a[i], a + i * row + whole * 64, size_t(rest) * 4); }
    std::memcpy(last_b, b + whole * kStep * kAmxSide, size_t(rest) * kRowOfB);
    step(reinterpret_cast<const char*>(last_a), 64, last_b[0]);
  }
  Units::template store<0>(c, row_of_c);
  Units::template store<1>(c + 16, row_of_c);
  Units::template store<2>(c + 16 * ldc, row_of_c);
  Units::template store<3>(c + 16 * ldc + 16, row_of_c);
  Units::end();
}

}  // namespace pumice::PUMICE_ISA
