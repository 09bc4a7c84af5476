// How much memory a device can still give, for estimates made before a run: what other programs do meanwhile changes it.
#pragma once
#include <cstdint>

#include "pumice/tensor/device.h"

namespace pumice {

// Of the CPU: what the kernel could give without swapping, no more than the limit of this process's control group leaves.
uint64_t free_memory(Device device);

}  // namespace pumice
