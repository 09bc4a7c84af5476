#include "pumice/tensor/basic_kernels.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/strided.h"

namespace pumice::PUMICE_ISA {
namespace {

// Reads any element type as D, the type it is converted to on the way (f32, f64 or i64, whichever holds both ends).
template <class D, class S> PUMICE_INLINE D convert(S s) {
  if constexpr (__is_same(D, bool)) { return s != S(0); }
  else { return D(s); }
}
template <class D> PUMICE_INLINE D convert(bf16 s) { return convert<D>(float(s)); }

template <class F> PUMICE_INLINE void dispatch_plain(DType d, F&& f) {
  switch (d) {
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    case DType::f64: return f.template operator()<double>();
    case DType::i32: return f.template operator()<int32_t>();
    case DType::i64: return f.template operator()<int64_t>();
    case DType::u8: return f.template operator()<uint8_t>();
    case DType::boolean: return f.template operator()<bool>();
    case DType::f16: dtype_not_dispatched(d);
  }
}

template <class D, class S> PUMICE_INLINE void store(D& d, S s) {
  if constexpr (__is_same(D, bf16)) { d = bf16(convert<float>(s)); }
  else { d = convert<D>(s); }
}

}  // namespace

void copy_kernel(const CopyArgs& a) {
  Strided2 walk(a.dst, a.src);
  if (a.dst.dtype == DType::f16 || a.src.dtype == DType::f16) {
    parallel_for(walk.rows, grain_for(walk.cols * 4), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        int64_t d, s;
        walk.start(r, d, s);
        for (int64_t i = 0; i < walk.cols; ++i, d += walk.dst_step, s += walk.src_step) {
          float value = 0;
          if (a.src.dtype == DType::f16) { value = to_float(a.src.as<f16>()[s]); }
          else { dispatch_plain(a.src.dtype, [&]<class S>() { value = convert<float>(a.src.as<S>()[s]); }); }
          if (a.dst.dtype == DType::f16) { a.dst.as<f16>()[d] = to_f16(value); }
          else { dispatch_plain(a.dst.dtype, [&]<class D>() { store(a.dst.as<D>()[d], value); }); }
        }
      }
    });
    return;
  }
  dispatch_plain(a.dst.dtype, [&]<class D>() {
    dispatch_plain(a.src.dtype, [&]<class S>() {
      D* dst = a.dst.as<D>();
      const S* src = a.src.as<S>();
      walk.for_each_row([&](int64_t d, int64_t s, int64_t n, int64_t dstep, int64_t sstep) {
        if (dstep == 1 && sstep == 1) {
          for (int64_t i = 0; i < n; ++i) { store(dst[d + i], src[s + i]); }
        } else {
          for (int64_t i = 0; i < n; ++i) { store(dst[d + i * dstep], src[s + i * sstep]); }
        }
      });
    });
  });
}

void accumulate_kernel(const AccumulateArgs& a) {
  Strided2 walk(a.dst, a.src);
  dispatch_float(a.dst.dtype, [&]<class D>() {
    dispatch_float(a.src.dtype, [&]<class S>() {
      D* dst = a.dst.as<D>();
      const S* src = a.src.as<S>();
      walk.for_each_row([&](int64_t d, int64_t s, int64_t n, int64_t dstep, int64_t sstep) {
        if (dstep == 1 && sstep == 1) {
          for (int64_t i = 0; i < n; ++i) { dst[d + i] = D(Acc<D>(dst[d + i]) + Acc<D>(src[s + i])); }
        } else {
          for (int64_t i = 0; i < n; ++i) { dst[d + i * dstep] = D(Acc<D>(dst[d + i * dstep]) + Acc<D>(src[s + i * sstep])); }
        }
      });
    });
  });
}

void fill_kernel(const FillArgs& a) {
  Strided2 walk(a.dst, a.dst);
  if (a.dst.dtype == DType::f16) {
    f16 value = to_f16(float(a.value));
    walk.for_each_row([&](int64_t d, int64_t, int64_t n, int64_t step, int64_t) {
      for (int64_t i = 0; i < n; ++i) { a.dst.as<f16>()[d + i * step] = value; }
    });
    return;
  }
  dispatch_plain(a.dst.dtype, [&]<class D>() {
    D* dst = a.dst.as<D>(), value;
    store(value, a.value);
    walk.for_each_row([&](int64_t d, int64_t, int64_t n, int64_t step, int64_t) {
      for (int64_t i = 0; i < n; ++i) { dst[d + i * step] = value; }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
