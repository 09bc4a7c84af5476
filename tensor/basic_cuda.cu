#include "pumice/tensor/basic_kernels.h"
#include "pumice/tensor/simt/simt.h"
#include "pumice/tensor/simt/strided.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

// The type through which an element is converted: f64 and i64 hold all that their kind holds.
template <class D, class S> __device__ __forceinline__ D convert(S s) {
  if constexpr (std::is_same_v<S, bf16>) { return convert<D>(float(s)); }
  else if constexpr (std::is_same_v<D, bf16>) { return bf16(float(s)); }
  else if constexpr (std::is_same_v<D, bool>) { return s != S(0); }
  else { return D(s); }
}

template <class D, class S> __global__ void __launch_bounds__(kBlock) copy_elements(simt::Walk<2> walk, D* dst, const S* src) {
  for (int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x; i < walk.size; i += int64_t(gridDim.x) * kBlock) {
    int64_t at[2];
    walk.offsets(i, at);
    dst[at[0]] = convert<D>(src[at[1]]);
  }
}
template <class D, class S> __global__ void __launch_bounds__(kBlock) accumulate_elements(simt::Walk<2> walk, D* dst, const S* src) {
  for (int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x; i < walk.size; i += int64_t(gridDim.x) * kBlock) {
    int64_t at[2];
    walk.offsets(i, at);
    dst[at[0]] = D(Acc<D>(dst[at[0]]) + Acc<D>(src[at[1]]));
  }
}
template <class D> __global__ void __launch_bounds__(kBlock) fill_elements(simt::Walk<1> walk, D* dst, D value) {
  for (int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x; i < walk.size; i += int64_t(gridDim.x) * kBlock) {
    int64_t at[1];
    walk.offsets(i, at);
    dst[at[0]] = value;
  }
}

template <class F> void dispatch_any(DType d, F&& f) {
  switch (d) {
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    case DType::f64: return f.template operator()<double>();
    case DType::i32: return f.template operator()<int32_t>();
    case DType::i64: return f.template operator()<int64_t>();
    case DType::u8: return f.template operator()<uint8_t>();
    case DType::boolean: return f.template operator()<bool>();
    case DType::f16: simt::dtype_has_no_kernel(d);
  }
}

template <int N> unsigned grid_of(const simt::Walk<N>& walk) { return simt::blocks_for(walk.size, kBlock * 4, 65536); }

}  // namespace

void copy_kernel(const CopyArgs& a) {
  const simt::Walk<2> walk(a.dst, a.src);
  dispatch_any(a.dst.dtype, [&]<class D>() {
    dispatch_any(a.src.dtype, [&]<class S>() {
      simt::launch<copy_elements<D, S>>({.grid = grid_of(walk), .block = kBlock}, walk, a.dst.as<D>(), a.src.as<S>());
    });
  });
}

void accumulate_kernel(const AccumulateArgs& a) {
  const simt::Walk<2> walk(a.dst, a.src);
  simt::launch_typed(a.dst.dtype, [&]<class D>() {
    simt::launch_typed(a.src.dtype, [&]<class S>() {
      simt::launch<accumulate_elements<D, S>>({.grid = grid_of(walk), .block = kBlock}, walk, a.dst.as<D>(), a.src.as<S>());
    });
  });
}

void fill_kernel(const FillArgs& a) {
  const simt::Walk<1> walk(a.dst);
  dispatch_any(a.dst.dtype, [&]<class D>() {
    D value;
    if constexpr (std::is_same_v<D, bf16>) { value = bf16(float(a.value)); }
    else if constexpr (std::is_same_v<D, bool>) { value = a.value != 0; }
    else { value = D(a.value); }
    simt::launch<fill_elements<D>>({.grid = grid_of(walk), .block = kBlock}, walk, a.dst.as<D>(), value);
  });
}

}  // namespace pumice::cuda
