#include "pumice/ops/elementwise/unary.h"

#include "pumice/autograd/saved.h"
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/ops/elementwise/unary_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(unary_fwd, UnaryFwd);
PUMICE_DEFINE_KERNEL(unary_bwd, UnaryBwd);

namespace {

enum class Save { nothing, x, y };

Tensor apply(const char* name, const Tensor& input, Unary f, Save save, double scale = 1, double shift = 0) {
  require_float(name, "x", input);
  Tensor x = packed(input.detach());
  const auto value = [x, f, scale, shift] {
    Tensor y = empty_like(x);
    if (x.size()) { unary_fwd(x.device(), {y, x, f, scale, shift}); }
    return y;
  };
  Tensor y = value();
  Tensor saved = save == Save::x ? x : save == Save::y ? y : Tensor();
  y = record(name, y, {input}, [saved, f, scale](const Tensor& dy, std::span<GradSink> dx) {
    const bool over = dy.contiguous() && dy.sole_owner();  // nobody else reads dy: dx takes its place
    Tensor g = packed(dy), d = over ? g : empty_like(g);
    if (g.size()) { unary_bwd(g.device(), {d, g, saved, f, scale}); }
    dx[0].put(d);
  });
  return save == Save::x ? remakeable(y, value) : y;
}

}  // namespace

Unary unary_of(Gelu form) { return form == Gelu::tanh ? Unary::gelu_tanh : form == Gelu::erf ? Unary::gelu_erf : Unary::gelu_quick; }

Tensor scale(const Tensor& x, double s) { return apply("scale", x, Unary::affine, Save::nothing, s, 0); }
Tensor add_scalar(const Tensor& x, double s) { return apply("add_scalar", x, Unary::affine, Save::nothing, 1, s); }
Tensor neg(const Tensor& x) { return apply("neg", x, Unary::affine, Save::nothing, -1, 0); }
Tensor exp(const Tensor& x) { return apply("exp", x, Unary::exp, Save::y); }          // dx = dy y
Tensor log(const Tensor& x) { return apply("log", x, Unary::log, Save::x); }          // dx = dy / x
Tensor sqrt(const Tensor& x) { return apply("sqrt", x, Unary::sqrt, Save::y); }       // dx = dy / (2 y)
Tensor square(const Tensor& x) { return apply("square", x, Unary::square, Save::x); } // dx = 2 x dy
Tensor tanh(const Tensor& x) { return apply("tanh", x, Unary::tanh, Save::y); }       // dx = dy (1 - y^2)
Tensor sigmoid(const Tensor& x) { return apply("sigmoid", x, Unary::sigmoid, Save::y); }  // dx = dy y (1 - y)
Tensor relu(const Tensor& x) { return apply("relu", x, Unary::relu, Save::x); }       // dx = dy [x > 0]
Tensor silu(const Tensor& x) { return apply("silu", x, Unary::silu, Save::x); }       // s = sigmoid(x): dx = dy s (1 + x (1 - s))
Tensor gelu(const Tensor& x, Gelu form) {
  return apply("gelu", x, unary_of(form), Save::x);
}

}  // namespace pumice
