// One run of a training: its directory, its optimizer, when it saves and what it resumes. The training itself says what a step is:
//
//   TrainingRun run(recipe, observer);              // where to resume from, if anywhere
//   ... data, model: random, or of run.resume_from() ...
//   run.begin(parameters, fingerprint, options);    // the optimizer; restores its state
//   run.open();                                     // from here on the directory is this run's
//   while (run.goes_on()) {
//     RandomScope scope(run.randomness());
//     ... gradients of the next batch, losses into the metrics ...
//     run.update(metrics, position, explain);
//     if (run.logged(metrics.step)) { run.log(line); }
//     run.save_if_due(write_model);
//   }
//   return run.finish(write_model);
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pumice/models/image_text_model.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/checkpoint.h"
#include "pumice/train/optim/optimizer_kernels.h"
#include "pumice/train/recipe.h"

namespace pumice {

class MetricsFile;

struct StepMetrics {
  int64_t step = 0, steps = 0;  // done, in total
  double epoch = 0;
  double loss = 0, task = 0, aux = 0, chance = 0;  // task: the loss without auxiliary ones; chance: that of guessing
  double learning_rate = 0, gradient_norm = 0;
  double seconds = 0, seconds_left = 0;  // of this step; until the end
  std::vector<LayerReport> layers;       // on steps that are logged
};

// What happens is told to the observer, which may ask to stop. `step` is called after every step, with the training's own kind of metrics.
template <class Metrics> struct Observer {
  std::function<void(const std::string&)> message = [](const std::string&) {};  // one line about something that happened
  std::function<void(const Metrics&)> step = [](const Metrics&) {};
  std::function<bool()> should_stop = [] { return false; };  // true: save and return
};

struct TrainOutcome {
  int64_t step = 0, steps_done = 0;  // reached in all, and by this call
  bool finished = false;  // false when should_stop() ended it
  double loss = 0, seconds = 0;
};

class TrainingRun {
 public:
  // Throws UsageError when the directory holds another run, or none to resume, and FormatError when its checkpoint is incomplete. Touches nothing:
  // what is in the directory stays until open(). `recipe` must outlive the run; schedule.steps may be set until begin().
  TrainingRun(const TrainingRecipe& recipe, std::function<void(const std::string&)> message, std::function<bool()> should_stop);
  ~TrainingRun();

  const std::string& resume_from() const { return resume_from_; }  // a checkpoint; empty: a fresh start
  // `data`: fingerprint of the training data; `options`: the resolved options as JSON. A resumed run must have those of its checkpoint: throws
  // UsageError listing what differs. `load` reads the model's weights of that checkpoint.
  void begin(ParameterStore& parameters, const std::string& data, const std::string& options, const std::function<void(const std::string&)>& load);
  void open();

  int64_t position() const { return state_.loader_position; }  // of the data's stream: where to go on
  int64_t step() const { return state_.step; }                 // done
  bool goes_on();                     // false at the end, or when asked to stop; begins the next step otherwise
  bool logs_next() const;             // whether the step that has begun is one of those that are logged
  RandomKey randomness() const { return {.seed = recipe_.seed, .step = uint32_t(state_.step)}; }

  // Clips, updates the weights and the average, and counts the step; fills what StepMetrics has beside losses and layers. `explain` is called when
  // `m.loss` is not finite: it runs the step again, under ValueCheck. Throws NumericError then, and when the gradients are not finite.
  void update(StepMetrics& m, int64_t position, const std::function<void()>& explain);
  // The same on CUDA without waiting, in three parts: what a step that was begun will need of the CPU; launches, which can be recorded; and counting
  // the step, after which the next one may begin. `losses` f64 on the device must be finite: otherwise `step.state` halts, and nothing changes any more.
  StepNumbers numbers() const;
  void launch_update(const Tensor& losses, const StepOnDevice& step, StepState* state);
  void count_update(StepMetrics& m, int64_t position);
  // Once m.loss and m.gradient_norm of a step have been read, `seconds` after those of the step before. Throws as update() does.
  void finish_update(StepMetrics& m, double seconds, const std::function<void()>& explain);
  bool save_due() const;  // whether save_if_due() will save
  void log(const std::string& line);  // a line of metrics.jsonl
  bool logged(int64_t step) const { return step % recipe_.log_every == 0 || step == 1 || step == recipe_.schedule.steps; }

  // Writes model, config and tokenizer into a checkpoint's directory.
  using WriteModel = std::function<void(const std::string& directory)>;
  void save_if_due(const WriteModel& write);
  TrainOutcome finish(const WriteModel& write);  // saves the last step

 private:
  using Clock = std::chrono::steady_clock;
  void restore(const std::function<void(const std::string&)>& load);
  void save(const WriteModel& write);
  [[noreturn]] void explain_broken_loss(int64_t step, double loss, const std::function<void()>& again) const;
  void check(const StepMetrics& m, const std::function<void()>& explain) const;
  void warn_of_unreached() const;
  void count(StepMetrics& m, int64_t position);

  const TrainingRecipe& recipe_;
  std::function<void(const std::string&)> message_;
  std::function<bool()> should_stop_;
  std::string resume_from_;
  TrainState state_;
  ParameterStore* parameters_ = nullptr;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightAverage> average_;  // null without --ema-decay
  std::unique_ptr<MetricsFile> metrics_;
  int64_t first_ = 0, first_update_ = 0;    // step, and optimizer's step, at which this call began
  double loss_ = 0;
  Clock::time_point start_, step_start_, saved_;
};

}  // namespace pumice
