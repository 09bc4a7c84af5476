#include "pumice/ops/require.h"

namespace pumice {

void require_float(const char* op, const char* operand, const Tensor& t) {
  REQUIRE(DTypeError, is_float(t.dtype()), "[", op, "] ", operand, " must be f32, bf16 or f64, got ", name(t.dtype()), " ", t.shape());
}

void require_dtype(const char* op, const char* operand, const Tensor& t, DType wanted) {
  REQUIRE(DTypeError, t.dtype() == wanted, "[", op, "] ", operand, " must be ", name(wanted), ", got ", name(t.dtype()), " ", t.shape());
}

void require_parameter_dtype(const char* op, const char* operand, const Tensor& t, DType activation) {
  require_dtype(op, operand, t, activation == DType::f64 ? DType::f64 : DType::f32);
}

void require_same_device(const char* op, const Tensor& a, const Tensor& b) {
  REQUIRE(DeviceError, a.device() == b.device(), "[", op, "] operands must live on one device, got ", a.device(), " and ", b.device());
}

}  // namespace pumice
