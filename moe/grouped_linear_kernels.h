// What the kernels of grouped_linear share. All experts run side by side in one parallel region, over the rows that exist.
#pragma once
#include "pumice/ops/matmul/epilogue.h"
#include "pumice/tensor/kernel.h"

namespace pumice {

// Of the epilogues, forward takes gelu and swiglu, dgrad their backward passes and add; the matrices beside c have its rows.
struct GroupedForward { View y, x, w, b, offsets; Epilogue epilogue = {}; };  // (R, out), (R, in), (E, out, in), (E, out) or absent, (E + 1)
struct GroupedDgrad { View dx, dy, w, offsets; Epilogue epilogue = {}; };
struct GroupedWgrad { View dw, dy, x, offsets; int beta; };  // dw (E, out, in) = beta dw + dy^T x; experts without rows: beta dw
struct GroupedBias { View db, dy, offsets; };          // db (E, out) f32 or f64 += column sums

PUMICE_DECLARE_KERNEL(grouped_forward, GroupedForward);
PUMICE_DECLARE_KERNEL(grouped_dgrad, GroupedDgrad);
PUMICE_DECLARE_KERNEL(grouped_wgrad, GroupedWgrad);
PUMICE_DECLARE_KERNEL(grouped_bias, GroupedBias);

}  // namespace pumice
