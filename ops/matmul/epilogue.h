// What a product does with its finished numbers v, the bias added and rounded to c's type, before they leave the cache. The bits are those of the
// product and an elementwise op after it; what is saved is that op's way to memory and back. Free of STL.
#pragma once
#include "pumice/ops/elementwise/unary_kernels.h"

namespace pumice {

struct Epilogue {
  enum Kind : int32_t {
    none,
    gelu,             // c = v                 y = f(v)              without y: c = f(v)
    gelu_backward,    // c = v f'(x)           y = f(x)              x: what stood in c before
    add,              // c = v + other
    swiglu,           // c = v                 y = silu(other) v     without y: c = silu(other) v
    swiglu_backward,  // c = v silu(other)     y = silu(other) x     other = v x silu'(other)
  };
  Kind kind = none;
  Unary f = Unary::gelu_tanh;  // a form of gelu
  View y = {}, other = {};     // of c's type and shape, packed as c is; a backward pass needs no y

  // Whether it reads what stands in c.
  static constexpr bool reads_c(Kind kind) { return kind == gelu_backward || kind == swiglu_backward; }
};

// call.template operator()<F>() for a form of gelu. Host only, and always inlined: CPU kernels of every level include it.
template <class G> inline __attribute__((always_inline)) void with_gelu(Unary f, const G& call) {
  switch (f) {
    case Unary::gelu_erf: return call.template operator()<Unary::gelu_erf>();
    case Unary::gelu_quick: return call.template operator()<Unary::gelu_quick>();
    default: return call.template operator()<Unary::gelu_tanh>();
  }
}

}  // namespace pumice
