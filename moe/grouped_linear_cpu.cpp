// Each expert is one product over its own rows; the gemm seam runs all of them in one parallel region.
#include "pumice/moe/grouped_linear_kernels.h"
#include "pumice/ops/matmul/gemm_cpu.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int kSlot = 5;  // the gemm uses 0 to 4

PUMICE_INLINE char* at(const View& v, int64_t element) { return static_cast<char*>(v.data) + element * size_of(v.dtype); }
// From an element on, of a matrix that may be absent.
PUMICE_INLINE void* beside(const View& v, int64_t element) { return v.data ? at(v, element) : nullptr; }
PUMICE_INLINE int64_t accumulator_size(DType d) { return d == DType::f64 ? 8 : 4; }

}  // namespace

void grouped_forward(const GroupedForward& a) {
  const int64_t E = a.w.shape[0], out = a.w.shape[1], in = a.w.shape[2];
  const int32_t* offsets = a.offsets.as<int32_t>();
  Product* products = scratch<Product>(kSlot, E);
  for (int64_t e = 0; e < E; ++e) {
    const int64_t first = offsets[e], rows = offsets[e + 1] - first;
    const void* bias = a.b ? static_cast<char*>(a.b.data) + e * out * accumulator_size(a.x.dtype) : nullptr;
    products[e] = {rows, out, in, at(a.x, first * in), at(a.w, e * out * in), in, 1, 1, in, at(a.y, first * out), out, 1, bias, 0,
                   a.epilogue.kind, a.epilogue.f, beside(a.epilogue.y, first * out), beside(a.epilogue.other, first * out)};
  }
  gemm(products, E, a.x.dtype, a.y.dtype);
}

void grouped_dgrad(const GroupedDgrad& a) {
  const int64_t E = a.w.shape[0], out = a.w.shape[1], in = a.w.shape[2];
  const int32_t* offsets = a.offsets.as<int32_t>();
  Product* products = scratch<Product>(kSlot, E);
  for (int64_t e = 0; e < E; ++e) {
    const int64_t first = offsets[e], rows = offsets[e + 1] - first;
    products[e] = {rows, in, out, at(a.dy, first * out), at(a.w, e * out * in), out, 1, in, 1, at(a.dx, first * in), in, 1, nullptr, 0,
                   a.epilogue.kind, a.epilogue.f, beside(a.epilogue.y, first * in), beside(a.epilogue.other, first * in)};
  }
  gemm(products, E, a.dy.dtype, a.dx.dtype);
}

void grouped_wgrad(const GroupedWgrad& a) {
  const int64_t E = a.dw.shape[0], out = a.dw.shape[1], in = a.dw.shape[2];
  const int32_t* offsets = a.offsets.as<int32_t>();
  Product* products = scratch<Product>(kSlot, E);
  for (int64_t e = 0; e < E; ++e) {
    const int64_t first = offsets[e], rows = offsets[e + 1] - first;
    products[e] = {out, in, rows, at(a.dy, first * out), at(a.x, first * in), 1, out, in, 1, at(a.dw, e * out * in), in, 1, nullptr, a.beta};
  }
  gemm(products, E, a.dy.dtype, a.dw.dtype);
}

void grouped_bias(const GroupedBias& a) {
  const int64_t E = a.db.shape[0], out = a.db.shape[1];
  const int32_t* offsets = a.offsets.as<int32_t>();
  dispatch_float(a.dy.dtype, [&]<class T>() {
    using A = Acc<T>;
    // A task owns some columns of one expert and adds its rows in order.
    constexpr int64_t kColumns = 64;
    const int64_t stripes = (out + kColumns - 1) / kColumns;
    parallel_blocks(E * stripes, [&](int64_t task) {
      const int64_t e = task / stripes, begin = task % stripes * kColumns, end = begin + kColumns < out ? begin + kColumns : out;
      A sums[kColumns] = {};
      for (int64_t r = offsets[e]; r < offsets[e + 1]; ++r) {
        const T* dy = a.dy.as<T>() + r * out;
        for (int64_t j = begin; j < end; ++j) { sums[j - begin] += A(dy[j]); }
      }
      for (int64_t j = begin; j < end; ++j) { a.db.as<A>()[e * out + j] += sums[j - begin]; }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
