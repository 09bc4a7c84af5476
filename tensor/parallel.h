// The one compute pool: threads spin for new work, then park. Free of STL, because CPU kernels of every ISA level include it.
//
//   parallel_for(rows, grain, [&](int64_t begin, int64_t end) { ... });
//
// The range is cut into blocks of `grain` whatever the number of threads, so a result that depends on how the range is cut
// (a partial sum per block) does not depend on the machine. Blocks run in any order. A call from inside a block, or while
// another thread uses the pool, runs on the calling thread. An exception in a block reaches the caller.
#pragma once
#include "pumice/tensor/dtype.h"

namespace pumice {

int thread_count();              // compute threads, PUMICE_THREADS or one per core
void set_thread_count(int n);    // for tests and benchmarks; not while work is running

void run_blocks(int64_t blocks, void (*block)(void*, int64_t), void* context);

template <class F> PUMICE_INLINE void parallel_blocks(int64_t blocks, const F& f) {
  if (blocks <= 0) { return; }
  run_blocks(blocks, [](void* context, int64_t i) { (*static_cast<const F*>(context))(i); }, const_cast<F*>(&f));
}

template <class F> PUMICE_INLINE void parallel_for(int64_t n, int64_t grain, const F& f) {
  parallel_blocks((n + grain - 1) / grain, [&](int64_t i) {
    int64_t begin = i * grain, end = begin + grain < n ? begin + grain : n;
    f(begin, end);
  });
}

// A grain that makes a block worth handing to another thread (about 16 K elementary operations).
PUMICE_INLINE int64_t grain_for(int64_t work_per_item) {
  int64_t g = 16384 / (work_per_item > 0 ? work_per_item : 1);
  return g > 1 ? g : 1;
}

}  // namespace pumice
