#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct SegmentMeanFwd { View y, x, offsets; };
struct SegmentMeanBwd { View dx, dy, offsets; };
PUMICE_DECLARE_KERNEL(segment_mean_fwd, SegmentMeanFwd);
PUMICE_DECLARE_KERNEL(segment_mean_bwd, SegmentMeanBwd);

}  // namespace pumice
