#include "pumice/train/step_graphs.h"

#include <algorithm>

#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr size_t kMostShapes = 64;  // a run has a few; what it has seen of more is forgotten

}  // namespace

// Out of memory. While a step is recorded the wait throws, so that the step is launched as ever: what it has freed so far, its graph would use.
StepGraphs::StepGraphs()
    : memory_([this] {
        cuda_device::synchronize();
        drop_graphs();
      }) {}

bool StepGraphs::record(Step& step, const std::function<void()>& work) {
  cuda_device::begin_recording();
  try {
    work();
    step.graph = cuda_device::end_recording();
  } catch (const DeviceError&) {
    cuda_device::abandon_recording();
    step.refused = true;
    return false;
  } catch (...) {
    cuda_device::abandon_recording();
    throw;
  }
  step.blocks = memory_.blocks();
  return true;
}

void StepGraphs::run(const std::vector<int64_t>& shape, bool replay, const std::function<void()>& work) {
  if (steps_.size() >= kMostShapes && !steps_.count(shape)) { forget(); }
  Step& step = steps_[shape];
  const bool ready = step.graph && memory_.blocks() == step.blocks;
  const StepMemory::Use use(memory_);
  if (replay && (ready || (step.seen && !step.graph && !step.refused && record(step, work)))) { return step.graph->replay(); }
  work();
  step.seen = true;
}

// Shapes stay known, so that the next step of each is recorded again.
void StepGraphs::drop_graphs() {
  for (auto& [shape, step] : steps_) { step.graph.reset(); }
}

void StepGraphs::forget() {
  if (std::any_of(steps_.begin(), steps_.end(), [](const auto& step) { return step.second.graph != nullptr; })) {
    cuda_device::synchronize();  // one may be running
  }
  drop_graphs();
  steps_.clear();
}

}  // namespace pumice
