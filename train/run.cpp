#include "pumice/train/run.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "pumice/train/metrics.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using Resume = TrainingRecipe::Resume;

// Refuses to mix two runs.
void check_directory(const TrainingRecipe& r) {
  const bool used = fs::exists(fs::path(r.out) / "config.json") || fs::exists(fs::path(r.out) / "checkpoints");
  REQUIRE(UsageError, r.resume != Resume::always || used, "[train] --resume: ", r.out, " holds no run to resume. Leave --resume out to start one");
  REQUIRE(UsageError, r.resume != Resume::never || !used || r.overwrite, "[train] ", r.out,
          " holds a run already. Continue it with --resume, replace it with "
          "--overwrite, or choose another --out");
}

void make_fresh_directory(const std::string& out) {
  std::error_code error;
  for (const char* old : {"checkpoints", "metrics.jsonl", "log.txt", "config.json"}) { fs::remove_all(fs::path(out) / old, error); }
  fs::create_directories(out, error);
  REQUIRE(IoError, !error, "[train] the run directory ", out, " cannot be made: ", error.message());
}

// "lr: 0.001 then, 0.5 now", a line for each option that differs.
std::string differences(const nlohmann::json& then, const nlohmann::json& now) {
  std::string text;
  auto value = [](const nlohmann::json& j, const std::string& key) { return j.contains(key) ? j[key].dump() : "not there"; };
  nlohmann::json keys = then;
  keys.update(now);
  for (const auto& [key, unused] : keys.items()) {
    if (value(then, key) != value(now, key)) { text += concat_text("\n  ", key, ": ", value(then, key), " then, ", value(now, key), " now"); }
  }
  return text;
}

// What is left of a run whose numbers broke.
std::string what_is_saved(const std::string& out) {
  return has_checkpoint(out) ? "The last checkpoint in " + out + " is untouched" : "No checkpoint had been saved";
}

std::string checkpoint_to_resume(const TrainingRecipe& r) {
  const std::string checkpoint = find_checkpoint(r.out);
  std::vector<std::string> more = {"optimizer.safetensors"};
  if (r.ema_decay > 0) { more.push_back("ema.safetensors"); }
  require_complete(checkpoint, more);
  return checkpoint;
}

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

TrainingRun::TrainingRun(const TrainingRecipe& recipe, std::function<void(const std::string&)> message, std::function<bool()> should_stop)
    : recipe_(recipe), message_(std::move(message)), should_stop_(std::move(should_stop)) {
  check_directory(recipe);
  if (recipe.resume != Resume::never && has_checkpoint(recipe.out)) { resume_from_ = checkpoint_to_resume(recipe); }
}

TrainingRun::~TrainingRun() = default;

void TrainingRun::begin(ParameterStore& parameters, const std::string& data, const std::string& options,
                        const std::function<void(const std::string&)>& load) {
  parameters_ = &parameters;
  optimizer_ = make_optimizer(recipe_, parameters);
  if (recipe_.ema_decay > 0) { average_ = std::make_unique<WeightAverage>(parameters, recipe_.ema_decay); }
  state_.seed = recipe_.seed;
  state_.data = data;
  state_.options = options;
  for (const std::string& line : describe(plan_parameters(parameters, recipe_.groups), parameters)) { message_(line); }
  if (!resume_from_.empty()) { restore(load); }
}

void TrainingRun::restore(const std::function<void(const std::string&)>& load) {
  const std::string& checkpoint = resume_from_;
  TrainState saved = load_state(checkpoint);
  const std::string changed = differences(parse_json(saved.options), parse_json(state_.options));
  REQUIRE(UsageError, changed.empty(), "[train] --resume: these options differ from those of ", checkpoint, ":", changed,
          "\nResume with the same options, or start a new --out");
  REQUIRE(UsageError, saved.data == state_.data, "[train] --resume: the training data changed since ", checkpoint, " was saved (", saved.data,
          " then, ", state_.data, " now)");
  load(checkpoint);
  load_optimizer(checkpoint, *optimizer_, average_.get(), *parameters_);
  state_ = saved;
  message_(concat_text("resumed from ", checkpoint, " at step ", state_.step));
}

void TrainingRun::open() {
  if (resume_from_.empty()) {
    if (recipe_.resume == Resume::always) { message_(recipe_.out + " was stopped before its first checkpoint; starting from step 0"); }
    make_fresh_directory(recipe_.out);
    write_file_atomic(recipe_.out + "/config.json", state_.options);
  }
  metrics_ = std::make_unique<MetricsFile>(recipe_.out + "/metrics.jsonl", state_.metrics_bytes);
  first_ = state_.step;
  first_update_ = optimizer_->steps();
  start_ = saved_ = Clock::now();
}

bool TrainingRun::goes_on() {
  step_start_ = Clock::now();
  return state_.step < recipe_.schedule.steps && !should_stop_();
}

bool TrainingRun::logs_next() const { return logged(state_.step + 1); }

void TrainingRun::update(StepMetrics& m, int64_t position, const std::function<void()>& explain) {
  m.step = state_.step + 1;
  if (!std::isfinite(m.loss)) { explain_broken_loss(m.step, m.loss, explain); }
  warn_of_unreached();
  m.gradient_norm = gradient_norm(*parameters_);
  check(m, explain);
  m.learning_rate = learning_rate(recipe_.schedule, state_.step);
  optimizer_->step({.learning_rate = m.learning_rate, .schedule = m.learning_rate / recipe_.schedule.peak,
                    .gradient_scale = recipe_.clip > 0 && m.gradient_norm > recipe_.clip ? recipe_.clip / m.gradient_norm : 1});
  if (average_) { average_->update(); }
  count(m, position);
  loss_ = m.loss;
  const auto now = Clock::now();
  m.seconds = seconds_between(step_start_, now);
  m.seconds_left = seconds_between(start_, now) / double(state_.step - first_) * double(m.steps - m.step);
}

void TrainingRun::warn_of_unreached() const {
  if (state_.step > 0) { return; }
  for (const std::string& name : parameters_->unreached()) { message_(concat_text("warning: no gradient has reached the parameter ", name)); }
}

void TrainingRun::count(StepMetrics& m, int64_t position) {
  ++state_.step;
  state_.loader_position = position;
  m.step = state_.step;
  m.steps = recipe_.schedule.steps;
}

StepNumbers TrainingRun::numbers() const {
  const double rate = learning_rate(recipe_.schedule, state_.step);
  const auto [first, second] = optimizer_->numbers_of(optimizer_->steps() + 1);
  return {.learning_rate = rate, .schedule = rate / recipe_.schedule.peak, .of_optimizer = {first, second}, .step = uint32_t(state_.step)};
}

void TrainingRun::launch_update(const Tensor& losses, const StepOnDevice& step, StepState* state) {
  clip_on_device(*parameters_, losses, recipe_.clip, state);
  optimizer_->step_on_device(step);
  if (average_) { average_->update(state); }
}

void TrainingRun::count_update(StepMetrics& m, int64_t position) {
  warn_of_unreached();
  m.learning_rate = learning_rate(recipe_.schedule, state_.step);
  count(m, position);
  optimizer_->set_steps(first_update_ + state_.step - first_);
  parameters_->changed();  // a replay does not say so
}

void TrainingRun::finish_update(StepMetrics& m, double seconds, const std::function<void()>& explain) {
  check(m, explain);
  loss_ = m.loss;
  m.seconds = seconds;
  m.seconds_left = seconds_between(start_, Clock::now()) / double(m.step - first_) * double(m.steps - m.step);
}

void TrainingRun::check(const StepMetrics& m, const std::function<void()>& explain) const {
  if (!std::isfinite(m.loss)) { explain_broken_loss(m.step, m.loss, explain); }
  REQUIRE(NumericError, std::isfinite(m.gradient_norm), "[train] the gradient norm of step ", m.step, " is ", m.gradient_norm,
          " although the loss is ", m.loss, ". ", what_is_saved(recipe_.out), "; try a lower --lr");
}

// The step's arithmetic is exact, so running it again with every op checked finds where the number broke.
void TrainingRun::explain_broken_loss(int64_t step, double loss, const std::function<void()>& again) const {
  std::string cause = "no single op could be named";
  try {
    ValueCheck check;
    again();
  } catch (const NumericError& e) {
    cause = e.what();
  }
  throw NumericError(concat_text("[train] the loss of step ", step, " is ", loss, ". First op with a value that is not finite: ", cause,
                                 ". ", what_is_saved(recipe_.out), "; try a lower --lr or a longer --warmup"), __FILE__, __LINE__);
}

void TrainingRun::log(const std::string& line) { metrics_->write(line); }

void TrainingRun::save(const WriteModel& write) {
  state_.metrics_bytes = metrics_->bytes();
  save_checkpoint(recipe_.out, state_, {recipe_.keep, recipe_.keep_every}, [&](const std::string& directory) {
    write(directory);
    save_optimizer(directory, *optimizer_, average_.get(), *parameters_);
  });
  message_(concat_text("saved ", recipe_.out, "/checkpoints at step ", state_.step));
  saved_ = Clock::now();
}

bool TrainingRun::save_due() const {
  auto multiple_of = [&](int64_t every) { return every > 0 && state_.step % every == 0; };
  const bool due = multiple_of(recipe_.save_every) || multiple_of(recipe_.keep_every);
  const bool overdue = recipe_.save_minutes > 0 && seconds_between(saved_, Clock::now()) > 60 * recipe_.save_minutes;
  return (due || overdue) && state_.step < recipe_.schedule.steps;
}

void TrainingRun::save_if_due(const WriteModel& write) {
  if (save_due()) { save(write); }
}

TrainOutcome TrainingRun::finish(const WriteModel& write) {
  if (state_.step > first_) { save(write); }
  return {.step = state_.step, .steps_done = state_.step - first_, .finished = state_.step >= recipe_.schedule.steps, .loss = loss_,
          .seconds = seconds_between(start_, Clock::now())};
}

}  // namespace pumice
