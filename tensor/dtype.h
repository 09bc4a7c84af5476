// Element types, their storage forms and the dispatch over them. Free of STL: CPU kernels of every ISA level include it,
// so everything here is forced inline and no copy compiled with AVX-512 can be picked by the linker for an older machine.
#pragma once
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define PUMICE_INLINE __host__ __device__ __forceinline__
#else
#define PUMICE_INLINE inline __attribute__((always_inline))
#endif

namespace pumice {

enum class DType : uint8_t { f32, bf16, f64, f16, i32, i64, u8, boolean };

const char* name(DType d);  // "f32", ... "bool"

PUMICE_INLINE constexpr int64_t size_of(DType d) {
  switch (d) {
    case DType::f64: case DType::i64: return 8;
    case DType::f32: case DType::i32: return 4;
    case DType::bf16: case DType::f16: return 2;
    case DType::u8: case DType::boolean: return 1;
  }
  return 0;
}
// f16 is storage only: it is read and converted, never computed with.
PUMICE_INLINE constexpr bool is_float(DType d) { return d == DType::f32 || d == DType::bf16 || d == DType::f64; }

// bfloat16: the upper half of an f32, rounded to nearest even. NaN stays NaN.
struct bf16 {
  uint16_t bits;
  bf16() = default;
  PUMICE_INLINE bf16(float f) {
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(f));  // one instruction for the same rounding
#else
    uint32_t u;
    std::memcpy(&u, &f, 4);
    bits = (u & 0x7fffffffu) > 0x7f800000u ? uint16_t((u >> 16) | 0x40u) : uint16_t((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
#endif
  }
  PUMICE_INLINE operator float() const {
    uint32_t u = uint32_t(bits) << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
  }
};

// IEEE binary16, storage only.
struct f16 {
  uint16_t bits;
};
float to_float(f16 h);
f16 to_f16(float f);  // rounds to nearest even, overflows to infinity

// What sums, statistics and transcendental functions of T are computed in (docs/numerics.md).
template <class T> struct AccumulatorOf { using type = float; };
template <> struct AccumulatorOf<double> { using type = double; };
template <class T> using Acc = typename AccumulatorOf<T>::type;

template <class T> struct DTypeOf;
template <> struct DTypeOf<float> { static constexpr DType value = DType::f32; };
template <> struct DTypeOf<bf16> { static constexpr DType value = DType::bf16; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::f64; };
template <> struct DTypeOf<f16> { static constexpr DType value = DType::f16; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::i32; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::i64; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::u8; };
template <> struct DTypeOf<bool> { static constexpr DType value = DType::boolean; };

[[noreturn]] void dtype_not_dispatched(DType d);

// dispatch_float(x.dtype, [&]<class T>() { ... });   T = float, bf16 or double
template <class F> PUMICE_INLINE void dispatch_float(DType d, F&& f) {
  switch (d) {
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    case DType::f64: return f.template operator()<double>();
    default: dtype_not_dispatched(d);
  }
}

}  // namespace pumice
