// Kernel<Args>: the only device dispatch. One function per device and, on the CPU, per instruction-set level, named by symbol
// where the kernel is defined: a static library cannot drop one, "go to definition" works, and a researcher may swap one at
// run time (`layer_norm_fwd.cuda = my_kernel;`).
//
//   // ops/norm/layer_norm_kernels.h
//   struct LayerNormFwd { View y, mean, rstd, x, w, b; int64_t rows, cols; double eps; };
//   PUMICE_DECLARE_KERNEL(layer_norm_fwd, LayerNormFwd);
//   // ops/norm/layer_norm.cpp
//   PUMICE_DEFINE_KERNEL(layer_norm_fwd, LayerNormFwd);
//   ... layer_norm_fwd(x.device(), {y, mean, rstd, x, w, b, rows, cols, eps});
//   // ops/norm/layer_norm_cpu.cpp, compiled once per level
//   namespace pumice::PUMICE_ISA { void layer_norm_fwd(const LayerNormFwd& a) { ... } }
//
// Free of STL, because CPU kernels include the headers that declare them.
#pragma once
#include "pumice/tensor/device.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/view.h"

namespace pumice {

// Called around every kernel: profiling and PUMICE_DEBUG. Defined in profile.cpp.
void kernel_begin(const char* op);
void kernel_end(const char* op);
[[noreturn]] void kernel_missing(const char* op, Device device);

template <class Args> struct Kernel {
  using Fn = void (*)(const Args&);
  const char* op;
  Fn portable, avx2, avx512;  // null where the level was not built
  Fn cuda;

  Fn on(Device device) const {
    if (device.kind == Device::kCuda) { return cuda; }
    switch (active_isa()) {
      case Isa::amx_emulated: case Isa::amx: case Isa::avx512_bf16: case Isa::avx512: if (avx512) { return avx512; } [[fallthrough]];
      case Isa::avx2: if (avx2) { return avx2; } [[fallthrough]];
      default: return portable;
    }
  }
  void operator()(Device device, const Args& args) const {
    Fn f = on(device);
    if (!f) { kernel_missing(op, device); }
    kernel_begin(op);
    f(args);
    kernel_end(op);
  }
};

}  // namespace pumice

#ifdef PUMICE_HAVE_AVX2
#define PUMICE_IF_AVX2(f) &f
#else
#define PUMICE_IF_AVX2(f) nullptr
#endif
#ifdef PUMICE_HAVE_AVX512
#define PUMICE_IF_AVX512(f) &f
#else
#define PUMICE_IF_AVX512(f) nullptr
#endif
#ifdef PUMICE_HAVE_CUDA
#define CUDA_KERNEL(f) &f
#else
#define CUDA_KERNEL(f) nullptr
#endif

// Inside namespace pumice. A kernel that has no *_cuda.cu yet is defined with PUMICE_DEFINE_CPU_KERNEL.
#define PUMICE_DECLARE_KERNEL(f, Args)          \
  namespace portable { void f(const Args&); }   \
  namespace avx2 { void f(const Args&); }       \
  namespace avx512 { void f(const Args&); }     \
  namespace cuda { void f(const Args&); }       \
  extern Kernel<Args> f
#define PUMICE_DEFINE_CPU_KERNEL(f, Args) \
  constinit Kernel<Args> f { #f, &portable::f, PUMICE_IF_AVX2(avx2::f), PUMICE_IF_AVX512(avx512::f), nullptr }
#define PUMICE_DEFINE_KERNEL(f, Args) \
  constinit Kernel<Args> f { #f, &portable::f, PUMICE_IF_AVX2(avx2::f), PUMICE_IF_AVX512(avx512::f), CUDA_KERNEL(cuda::f) }
