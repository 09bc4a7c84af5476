// Steps that are launched kernel by kernel at first, and replayed as one graph once their shape has been seen (docs/cuda.md, "A step without waiting").
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/memory.h"

namespace pumice {

class StepGraphs {
 public:
  StepGraphs();
  // Runs `work`, or replays it: work of one `shape` must launch the same kernels on the same addresses, but for what StepMemory gives it, and leave
  // nothing allocated on the device the second time it runs. `replay` false: it is run whatever was recorded.
  // A shape is run as it is the first time, recorded the second time and replayed from then on.
  void run(const std::vector<int64_t>& shape, bool replay, const std::function<void()>& work);
  void forget();  // all recordings: addresses have changed

 private:
  struct Step {
    bool seen = false, refused = false;  // refused: it copies from or to the host, which no replay would repeat
    std::unique_ptr<cuda_device::Graph> graph;
    int64_t blocks = 0;                  // of memory_ in use when it was recorded: no more may be when it is replayed
  };
  void drop_graphs();
  bool record(Step& step, const std::function<void()>& work);

  StepMemory memory_;
  std::map<std::vector<int64_t>, Step> steps_;
};

}  // namespace pumice
