#include "pumice/ops/matmul/gemm.h"

namespace pumice {
PUMICE_DEFINE_KERNEL(gemm_batch, GemmArgs);
PUMICE_DEFINE_KERNEL(column_sums, ColumnSumsArgs);
}  // namespace pumice
