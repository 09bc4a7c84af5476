// Steps of a contrastive training on CUDA. The host launches them and goes on; what they found is read when it has arrived, and waited for only where
// it is logged or saved. The batch of the next step is copied beside the step before it.
//
//   ImageTextSteps steps(model, training, run);
//   steps.prepare(loader.next());
//   while (run.goes_on()) {
//     steps.launch();
//     steps.prepare(loader.next());
//     steps.finish(wait, [](ImageTextMetrics& m) { ... });   // of this step or of earlier ones
//   }
#pragma once
#include <chrono>
#include <deque>
#include <functional>
#include <memory>

#include "pumice/data/loader.h"
#include "pumice/tensor/upload.h"
#include "pumice/train/image_text_trainer.h"
#include "pumice/train/step_graphs.h"

namespace pumice {

class ImageTextSteps {
 public:
  // All must outlive it. model is on CUDA and no classifier.
  ImageTextSteps(ImageTextModel& model, const ImageTextTraining& training, TrainingRun& run);
  ~ImageTextSteps();

  void prepare(Batch batch);  // of the step that comes next
  void launch();
  // Calls `done` for steps whose numbers have arrived, in order; for all that were launched if `wait`. Throws as TrainingRun::update() does.
  void finish(bool wait, const std::function<void(ImageTextMetrics&)>& done);

 private:
  struct Found;
  struct Prepared {
    Batch batch;
    StepInput input;
    Tensor numbers;  // u8: StepNumbers
  };
  struct Launched {
    ImageTextMetrics metrics;
    Prepared step;
    RandomKey random;
    cuda_device::Event arrived;
    const Found* found;  // pinned
  };
  void work(const StepInput& input, bool reports);

  ImageTextModel& model_;
  const ImageTextTraining& t_;
  TrainingRun& run_;
  Upload upload_;
  int64_t upload_moves_ = 0;
  StepGraphs graphs_;
  Tensor found_;                    // u8 on the device: a Found
  Found* pinned_ = nullptr;         // kMostLaunched + 1 of them
  Prepared next_;
  const StepNumbers* numbers_ = nullptr;  // on the device
  std::vector<LayerReport> layers_;
  std::deque<Launched> launched_;
  int64_t count_ = 0;
  std::chrono::steady_clock::time_point finished_;
};

}  // namespace pumice
