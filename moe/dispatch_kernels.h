#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct CombineFwd { View out, y, gate, row; };                    // (T, C), (R, C), (T, K) f32 or f64, i32 (T, K)
struct CombineBwd { View dy, dgate, dout, y, gate, row; };  // dy or dgate may be absent
PUMICE_DECLARE_KERNEL(combine_fwd, CombineFwd);
PUMICE_DECLARE_KERNEL(combine_bwd, CombineBwd);

}  // namespace pumice
