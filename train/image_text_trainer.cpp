#include "pumice/train/image_text_trainer.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/data/loader.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/rng.h"
#include "pumice/models/transfer.h"
#include "pumice/tensor/suggest.h"
#include "pumice/train/checkpoint.h"
#include "pumice/train/image_text_options.h"
#include "pumice/train/metrics.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Resume = ImageTextTraining::Resume;

// Refuses to mix two runs. Touches nothing: what is in the directory stays until the new run is known to work.
void check_directory(const ImageTextTraining& t) {
  const bool used = fs::exists(fs::path(t.out) / "config.json") || fs::exists(fs::path(t.out) / "checkpoints");
  REQUIRE(UsageError, t.resume != Resume::always || used, "[train] --resume: ", t.out, " holds no run to resume. Leave --resume out to start one");
  REQUIRE(UsageError, t.resume != Resume::never || !used || t.overwrite, "[train] ", t.out,
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

// The classes of a classifier are those of its data.
ImageTextConfig with_classes(ImageTextConfig config, const PairSource& source) {
  if (config.architecture != Architecture::classifier) { return config; }
  config.classnames = source.classnames();
  REQUIRE(UsageError, config.classnames.size() >= 2,
          "[train] a classifier needs labelled pictures: a folder per class, an IDX folder, a CLIP_benchmark directory, a CSV with a "
          "column of labels (--csv-label-key), or shards with .cls and classnames.txt beside them; the training data names ",
          config.classnames.size(), " classes");
  for (int64_t i = 0; i < source.size(); ++i) {
    REQUIRE(FormatError, source.label(i) >= 0, "[train] ", source.name(i), " has no class; every picture of a classifier's training data needs one");
  }
  return config;
}

// The loss of a model that knows nothing.
double chance_loss(const ImageTextConfig& c, int64_t batch_size) {
  const double n = c.architecture == Architecture::classifier ? double(c.classnames.size()) : double(batch_size);
  // every pair or class a question: all answered with the share of right answers
  return c.loss == Loss::sigmoid ? std::log(n) + (n - 1) * std::log(n / (n - 1)) : std::log(n);
}

Tokenizer make_tokenizer(const ImageTextTraining& t, const PairSource& source, const LoadedImageText* start, const TrainObserver& observer) {
  const bool reads_text = start && start->model->config().architecture != Architecture::classifier;
  if (!t.tokenizer.empty()) {
    Tokenizer tokenizer = load_tokenizer(t);
    if (reads_text && tokenizer.fingerprint() != start->tokenizer.fingerprint()) {
      observer.message("note: " + t.tokenizer + " is not the tokenizer of " + t.init_from +
                       ", whose word embeddings were learned for other tokens; leave --tokenizer out to go on with its own");
    }
    return tokenizer;
  }
  if (reads_text) { return start->tokenizer; }
  std::vector<std::string> captions;
  for (int64_t i = 0; i < source.size(); ++i) { captions.push_back(source.caption(i)); }
  TokenizerTraining options;
  options.vocab_size = int(t.model.vocabulary);
  Tokenizer tokenizer = Tokenizer::train(captions, options);
  observer.message(concat_text("tokenizer: ", tokenizer.vocab_size(), " byte-level BPE tokens learned from ", captions.size(), " captions"));
  return tokenizer;
}

std::unique_ptr<Optimizer> make_optimizer(const ImageTextTraining& t, ParameterStore& parameters) {
  std::vector<ParameterPlan> plan = plan_parameters(parameters, t.groups);
  if (t.optimizer == ImageTextTraining::Optim::adafactor) { return std::make_unique<Adafactor>(parameters, t.adafactor, std::move(plan)); }
  return std::make_unique<AdamW>(parameters, t.adamw, std::move(plan));
}

// What is left of a run whose numbers broke.
std::string what_is_saved(const std::string& out) {
  return has_checkpoint(out) ? "The last checkpoint in " + out + " is untouched" : "No checkpoint had been saved";
}

// The step's arithmetic is exact, so running it again with every op checked finds where the number broke.
[[noreturn]] void explain_broken_loss(const ImageTextModel& model, const Batch& batch, const ImageTextTraining& t, const ImageTextRun& run,
                                      int64_t step, double loss) {
  std::string cause = "no single op could be named";
  try {
    ValueCheck check;
    accumulate_gradients(model, batch, t.accum_freq, run);
  } catch (const NumericError& e) {
    cause = e.what();
  }
  throw NumericError(concat_text("[train] the loss of step ", step, " is ", loss, ". First op with a value that is not finite: ", cause, ". ",
                                 what_is_saved(t.out), "; try a lower --lr or a longer --warmup"), __FILE__, __LINE__);
}

std::string checkpoint_to_resume(const ImageTextTraining& t) {
  const std::string checkpoint = find_checkpoint(t.out);
  std::vector<std::string> more = {"optimizer.safetensors"};
  if (t.ema_decay > 0) { more.push_back("ema.safetensors"); }
  require_complete(checkpoint, more);
  return checkpoint;
}

class Run {
 public:
  Run(const ImageTextTraining& t, std::unique_ptr<PairSource> source, const TrainObserver& observer)
      : t_(t),
        observer_(observer),
        source_(std::move(source)),
        resume_from_(t.resume != Resume::never && has_checkpoint(t.out) ? checkpoint_to_resume(t) : ""),
        start_(resume_from_.empty() && !t.init_from.empty() ? std::make_unique<LoadedImageText>(load_image_text(t.init_from)) : nullptr),
        tokenizer_(resume_from_.empty() ? make_tokenizer(t, *source_, start_.get(), observer) : Tokenizer::load(resume_from_)),
        model_(make_model(with_classes(t.model, *source_), t.seed, DType::f32, t.device)),
        optimizer_(make_optimizer(t, model_->parameters())) {
    if (t.ema_decay > 0) { average_ = std::make_unique<WeightAverage>(model_->parameters(), t.ema_decay); }
    state_.seed = t.seed;
    state_.data = source_->fingerprint();
    state_.options = to_json(t);
    if (start_) { begin_with(*start_->model); }
    for (const std::string& line : describe(plan_parameters(model_->parameters(), t.groups), model_->parameters())) { observer.message(line); }
    if (!resume_from_.empty()) { restore(); }
    if (!source_->report().empty()) { observer.message(source_->report()); }
    if (model_->config().architecture != Architecture::classifier && !t.dedupe_batch) { warn_of_duplicates(); }
    loader_ = std::make_unique<Loader>(*source_, tokenizer_, LoaderOptions{
        .batch_size = t.batch_size, .image_size = t.model.image_size, .text_length = t.model.text_length, .seed = t.seed,
        .shuffle = t.overfit == 0, .distinct = t.dedupe_batch, .augmentation = t.augmentation, .decoding = t.decoding,
        .limit = t.overfit, .prefetch = t.prefetch, .position = state_.loader_position});
    if (resume_from_.empty()) {
      if (t.resume == Resume::always) { observer.message(t.out + " was stopped before its first checkpoint; starting from step 0"); }
      make_fresh_directory(t.out);
      write_file_atomic(t.out + "/config.json", state_.options);
    }
    metrics_ = std::make_unique<MetricsFile>(t.out + "/metrics.jsonl", state_.metrics_bytes);
  }

  TrainOutcome train() {
    const auto start = Clock::now();
    auto saved = start;
    const int64_t first = state_.step;
    TrainOutcome outcome;
    while (state_.step < t_.schedule.steps && !observer_.should_stop()) {
      auto begin = Clock::now();
      StepMetrics m = one_step();
      outcome.loss = m.loss;
      double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      double per_step = std::chrono::duration<double>(Clock::now() - start).count() / double(state_.step - first);
      m.pairs_per_second = double(t_.batch_size) / seconds;
      m.seconds_left = per_step * double(t_.schedule.steps - state_.step);
      m.seconds_waited = loader_->seconds_waited();
      if (logged(state_.step)) { metrics_->write(m); }
      observer_.step(m);
      auto multiple_of = [&](int64_t every) { return every > 0 && state_.step % every == 0; };
      const bool due = multiple_of(t_.save_every) || multiple_of(t_.keep_every);
      const bool overdue = t_.save_minutes > 0 && std::chrono::duration<double>(Clock::now() - saved).count() > 60 * t_.save_minutes;
      if ((due || overdue) && state_.step < t_.schedule.steps) {
        save();
        saved = Clock::now();
      }
    }
    if (state_.step > first) { save(); }
    for (const std::string& problem : loader_->report().first_problems) { observer_.message("left out: " + problem); }
    outcome.step = state_.step;
    outcome.steps_done = state_.step - first;
    outcome.finished = state_.step >= t_.schedule.steps;
    outcome.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return outcome;
  }

 private:
  void restore() {
    const std::string& checkpoint = resume_from_;
    TrainState saved = load_state(checkpoint);
    const std::string changed = differences(nlohmann::json::parse(saved.options), nlohmann::json::parse(state_.options));
    REQUIRE(UsageError, changed.empty(), "[train] --resume: these options differ from those of ", checkpoint, ":", changed,
            "\nResume with the same options, or start a new --out");
    REQUIRE(UsageError, saved.data == state_.data, "[train] --resume: the training data changed since ", checkpoint, " was saved (", saved.data,
            " then, ", state_.data, " now)");
    load_parameters(checkpoint, model_->parameters());
    load_optimizer(checkpoint, *optimizer_, average_.get(), model_->parameters());
    state_ = saved;
    observer_.message(concat_text("resumed from ", checkpoint, " at step ", state_.step));
  }

  void begin_with(const ImageTextModel& from) {
    Transfer done = transfer_parameters(from, *model_);
    auto some = [](const std::vector<std::string>& names) {
      std::vector<std::string> first(names.begin(), names.begin() + std::min<long>(3, long(names.size())));
      return join(first) + (names.size() > 3 ? ", ..." : "");
    };
    observer_.message(concat_text("started from ", start_->checkpoint, ": ", done.copied, " parameters copied, ", done.resized.size(), " resized, ",
                                  done.upcycled.size(), " copied into every expert, ", done.fresh.size(), " fresh",
                                  done.fresh.empty() ? "" : " (" + some(done.fresh) + ")", ", ", done.unused.size(), " not used",
                                  done.unused.empty() ? "" : " (" + some(done.unused) + ")"));
    start_.reset();
    if (t_.ema_decay > 0) { average_ = std::make_unique<WeightAverage>(model_->parameters(), t_.ema_decay); }
  }

  void warn_of_duplicates() {
    auto note = [&](double share, const char* what) {
      if (share >= 0.05) {
        observer_.message(concat_text("note: about ", int64_t(std::lround(100 * share)), " % of the examples of a batch share their ", what));
      }
    };
    note(duplicate_share(*source_, t_.batch_size),
         "caption with another one. Equal captions are right answers for each other, so this is sound, but teaches less; "
         "--dedupe-batch leaves them out");
    note(duplicate_picture_share(*source_, t_.batch_size),
         "picture with another one, whose caption then counts as wrong; --dedupe-batch leaves them out");
  }

  bool logged(int64_t step) const { return step % t_.log_every == 0 || step == 1 || step == t_.schedule.steps; }

  StepMetrics one_step() {
    Batch batch = loader_->next();
    ParameterStore& parameters = model_->parameters();
    RandomScope scope({.seed = t_.seed, .step = uint32_t(state_.step)});
    ImageTextRun run{.dtype = t_.precision, .training = true, .recompute = t_.recompute, .reports = logged(state_.step + 1)};
    parameters.zero_gradients();
    LossReport report = accumulate_gradients(*model_, batch, t_.accum_freq, run);
    if (!std::isfinite(report.loss)) { explain_broken_loss(*model_, batch, t_, run, state_.step + 1, report.loss); }
    if (state_.step == 0) { warn_unreached(); }

    StepMetrics m;
    m.gradient_norm = gradient_norm(parameters);
    REQUIRE(NumericError, std::isfinite(m.gradient_norm), "[train] the gradient norm of step ", state_.step + 1, " is ", m.gradient_norm,
            " although the loss is ", report.loss, ". ", what_is_saved(t_.out), "; try a lower --lr");
    m.learning_rate = learning_rate(t_.schedule, state_.step);
    optimizer_->step({.learning_rate = m.learning_rate, .schedule = m.learning_rate / t_.schedule.peak,
                      .gradient_scale = t_.clip > 0 && m.gradient_norm > t_.clip ? t_.clip / m.gradient_norm : 1});
    if (average_) { average_->update(); }
    ++state_.step;
    state_.loader_position = batch.position;

    m.step = state_.step;
    m.steps = t_.schedule.steps;
    m.epoch = batch.epoch;
    m.loss = report.loss;
    m.task = report.task;
    m.aux = report.aux;
    m.classifier = model_->config().architecture == Architecture::classifier;
    m.chance = chance_loss(model_->config(), t_.batch_size);
    m.image_to_text = report.image_to_text;
    m.text_to_image = report.text_to_image;
    if (!m.classifier) { m.temperature = std::exp(model_->log_temperature().item()); }
    m.layers = std::move(report.layers);
    m.corrupt_samples = loader_->report().corrupt;
    return m;
  }

  void warn_unreached() {
    for (const std::string& name : model_->parameters().unreached()) {
      observer_.message(concat_text("warning: no gradient has reached the parameter ", name));
    }
  }

  void save() {
    state_.metrics_bytes = metrics_->bytes();
    save_checkpoint(t_.out, *model_, *optimizer_, average_.get(), tokenizer_, state_, {t_.keep, t_.keep_every});
    observer_.message(concat_text("saved ", t_.out, "/checkpoints at step ", state_.step));
  }

  const ImageTextTraining& t_;
  const TrainObserver& observer_;
  std::unique_ptr<PairSource> source_;
  std::string resume_from_;  // a checkpoint, or empty
  std::unique_ptr<LoadedImageText> start_;  // the model to start from, until its weights are taken
  Tokenizer tokenizer_;
  std::unique_ptr<ImageTextModel> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightAverage> average_;  // null without --ema-decay
  TrainState state_;
  std::unique_ptr<MetricsFile> metrics_;
  std::unique_ptr<Loader> loader_;
};

}  // namespace

Tokenizer load_tokenizer(const ImageTextTraining& t) {
  Tokenizer tokenizer = Tokenizer::load(t.tokenizer);
  REQUIRE(UsageError, tokenizer.vocab_size() <= t.model.vocabulary, "[train] ", t.tokenizer, " has ", tokenizer.vocab_size(),
          " tokens; the model's text embedding has ", t.model.vocabulary, " rows. Raise --vocab-size or choose another tokenizer");
  return tokenizer;
}

TrainOutcome train_image_text(const ImageTextTraining& training, const TrainObserver& observer) {
  training.validate();
  check_directory(training);
  ImageTextTraining t = training;
  std::unique_ptr<PairSource> source = open_pairs(t.train_data, t.data);
  if (t.epochs > 0) {
    t.schedule.steps = std::max<int64_t>(1, std::llround(t.epochs * double(source->size()) / double(t.batch_size)));
    t.schedule.warmup = std::min(t.schedule.warmup, t.schedule.steps / 4);
  }
  Run run(t, std::move(source), observer);
  return run.train();
}

}  // namespace pumice
