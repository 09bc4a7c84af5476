#include "pumice/tensor/basic_kernels.h"

namespace pumice {
PUMICE_DEFINE_KERNEL(copy_kernel, CopyArgs);
PUMICE_DEFINE_KERNEL(accumulate_kernel, AccumulateArgs);
PUMICE_DEFINE_KERNEL(fill_kernel, FillArgs);

f16 to_f16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  uint32_t sign = u >> 16 & 0x8000u, exponent = u >> 23 & 0xffu, mantissa = u & 0x7fffffu;
  if (exponent == 0xff) { return {uint16_t(sign | 0x7c00u | (mantissa ? 0x200u | mantissa >> 13 : 0))}; }
  int e = int(exponent) - 127 + 15;
  if (e >= 31) { return {uint16_t(sign | 0x7c00u)}; }
  if (e <= 0) {  // subnormal: shift the implicit one into place
    if (e < -10) { return {uint16_t(sign)}; }
    mantissa |= 0x800000u;
    uint32_t shift = uint32_t(14 - e), half = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), mid = 1u << (shift - 1);
    return {uint16_t(sign | (half + (rest > mid || (rest == mid && (half & 1)))))};
  }
  uint32_t half = uint32_t(e) << 10 | mantissa >> 13, rest = mantissa & 0x1fffu;
  return {uint16_t(sign | (half + (rest > 0x1000u || (rest == 0x1000u && (half & 1)))))};  // a carry into the exponent is right
}

float to_float(f16 h) {
  uint32_t sign = uint32_t(h.bits & 0x8000u) << 16, exponent = h.bits >> 10 & 0x1fu, mantissa = h.bits & 0x3ffu, u;
  if (exponent == 0) {
    float magnitude = float(mantissa) * 0x1p-24f;
    std::memcpy(&u, &magnitude, 4);
    u |= sign;
  } else {
    u = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
  }
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

}  // namespace pumice
