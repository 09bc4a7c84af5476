#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/matmul/gemm_cpu.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {

void gemm_batch(const GemmArgs& g) {
  const int r = g.c.rank, batch_axes = r - 2;
  int64_t count = 1;
  for (int i = 0; i < batch_axes; ++i) { count *= g.c.shape[i]; }
  constexpr int kSlot = 5;
  Product* products = scratch<Product>(kSlot, count);
  for (int64_t n = 0; n < count; ++n) {
    int64_t a = 0, b = 0, c = 0, rest = n;
    for (int i = batch_axes - 1; i >= 0; --i) {
      int64_t index = rest % g.c.shape[i];
      rest /= g.c.shape[i];
      a += index * g.a.stride[i];
      b += index * g.b.stride[i];
      c += index * g.c.stride[i];
    }
    auto at = [](const View& v, int64_t offset) { return static_cast<char*>(v.data) + offset * size_of(v.dtype); };
    products[n] = {g.c.shape[r - 2], g.c.shape[r - 1], g.a.shape[r - 1], at(g.a, a), at(g.b, b), g.a.stride[r - 2], g.a.stride[r - 1],
                   g.b.stride[r - 2], g.b.stride[r - 1], at(g.c, c), g.c.stride[r - 2], g.c.stride[r - 1], g.bias.data, g.beta,
                   g.epilogue.kind, g.epilogue.f, g.epilogue.y.data, g.epilogue.other.data};
  }
  gemm(products, count, g.a.dtype, g.c.dtype);
}

void column_sums(const ColumnSumsArgs& a) {
  const int64_t R = a.x.shape[0], N = a.x.shape[1], block = 256, blocks = (R + block - 1) / block;
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    A* partial = scratch<A>(6, blocks * N + 1);
    parallel_for(R, block, [&](int64_t begin, int64_t end) {
      A* sums = partial + begin / block * N;
      for (int64_t j = 0; j < N; ++j) { sums[j] = 0; }
      for (int64_t i = begin; i < end; ++i) {
        const T* x = a.x.as<T>() + i * a.x.stride[0];
        for (int64_t j = 0; j < N; ++j) { sums[j] += A(x[j]); }
      }
    });
    for (int64_t b = 0; b < blocks; ++b) {
      for (int64_t j = 0; j < N; ++j) { a.sums.as<A>()[j] += partial[b * N + j]; }
    }
  });
}

}  // namespace pumice::PUMICE_ISA
