#include "pumice/train/image_text_trainer.h"

#include <cmath>

#include "pumice/data/loader.h"
#include "pumice/models/transfer.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"
#include "pumice/train/image_text_options.h"
#include "pumice/train/image_text_steps.h"
#include "pumice/train/metrics.h"

namespace pumice {
namespace {

// The classes of a classifier are those of its data.
ImageTextConfig with_classes(ImageTextConfig config, const PairSource& source) {
  if (config.architecture != Architecture::classifier) { return config; }
  config.classnames = source.classnames();
  REQUIRE(UsageError, config.classnames.size() != 1, "[train] a classifier needs two classes at least; the training data has one, '",
          config.classnames[0], "'");
  REQUIRE(UsageError, !config.classnames.empty(),
          "[train] a classifier needs labelled pictures: a folder per class, an IDX folder, a CLIP_benchmark directory, a CSV with a "
          "column of labels (--csv-label-key), or shards with .cls and classnames.txt beside them; the training data names no class");
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

Tokenizer make_tokenizer(const ImageTextTraining& t, const PairSource& source, const LoadedImageText* start, const ImageTextObserver& observer) {
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

class Training {
 public:
  Training(const ImageTextTraining& t, std::unique_ptr<PairSource> source, TrainingRun& run, const ImageTextObserver& observer)
      : t_(t),
        observer_(observer),
        run_(run),
        source_(std::move(source)),
        start_(run.resume_from().empty() && !t.init_from.empty() ? std::make_unique<LoadedImageText>(load_image_text(t.init_from)) : nullptr),
        tokenizer_(run.resume_from().empty() ? make_tokenizer(t, *source_, start_.get(), observer) : Tokenizer::load(run.resume_from())),
        model_(make_model(with_classes(t.model, *source_), t.seed, DType::f32, t.device)) {
    if (start_) { begin_with(*start_->model); }
    run_.begin(model_->parameters(), source_->fingerprint(), to_json(t),
               [this](const std::string& checkpoint) { load_parameters(checkpoint, model_->parameters()); });
    if (!source_->report().empty()) { observer.message(source_->report()); }
    if (model_->config().architecture != Architecture::classifier && !t.dedupe_batch) { warn_of_duplicates(); }
    loader_ = std::make_unique<Loader>(*source_, tokenizer_, LoaderOptions{
        .batch_size = t.batch_size, .image_size = t.model.image_size, .text_length = t.model.text_length, .seed = t.seed,
        .shuffle = t.overfit == 0, .distinct = t.dedupe_batch, .augmentation = t.augmentation, .decoding = t.decoding,
        .limit = t.overfit, .prefetch = t.prefetch, .position = run_.position()});
    run_.open();
  }

  TrainOutcome train() {
    const auto write = [this](const std::string& directory) { write_image_text(directory, *model_, tokenizer_); };
    if (t_.device.kind == Device::kCuda && model_->config().architecture != Architecture::classifier) {
      train_without_waiting(write);
    } else {
      while (run_.goes_on()) {
        ImageTextMetrics m = one_step();
        tell(m);
        run_.save_if_due(write);
      }
    }
    const TrainOutcome outcome = run_.finish(write);
    for (const std::string& problem : loader_->report().first_problems) { observer_.message("left out: " + problem); }
    return outcome;
  }

 private:
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

  void tell(ImageTextMetrics& m) {
    m.chance = chance_loss(model_->config(), t_.batch_size);
    m.corrupt_samples = loader_->report().corrupt;
    m.seconds_waited = loader_->seconds_waited();
    if (run_.logged(m.step)) { run_.log(metrics_line(m)); }
    observer_.step(m);
  }

  void train_without_waiting(const TrainingRun::WriteModel& write) {
    ImageTextSteps steps(*model_, t_, run_);
    bool prepared = false;
    while (run_.goes_on()) {
      if (!prepared) { steps.prepare(loader_->next()); }
      steps.launch();
      prepared = run_.step() < t_.schedule.steps;
      if (prepared) { steps.prepare(loader_->next()); }
      const bool save = run_.save_due();  // of weights that are known to be sound
      steps.finish(save || run_.logged(run_.step()), [this](ImageTextMetrics& m) { tell(m); });
      if (save) { run_.save_if_due(write); }
    }
    steps.finish(true, [this](ImageTextMetrics& m) { tell(m); });
  }

  ImageTextMetrics one_step() {
    Batch batch = loader_->next();
    RandomScope scope(run_.randomness());
    const ImageTextRun pass{.dtype = t_.precision, .training = true, .recompute = t_.recompute, .reports = run_.logs_next()};
    model_->parameters().zero_gradients();
    LossReport report = accumulate_gradients(*model_, batch, t_.accum_freq, pass);

    ImageTextMetrics m;
    m.epoch = batch.epoch;
    m.loss = report.loss;
    m.task = report.task;
    m.aux = report.aux;
    m.classifier = model_->config().architecture == Architecture::classifier;
    m.image_to_text = report.image_to_text;
    m.text_to_image = report.text_to_image;
    m.layers = std::move(report.layers);
    run_.update(m, batch.position, [&] { accumulate_gradients(*model_, batch, t_.accum_freq, pass); });
    if (!m.classifier) { m.temperature = std::exp(model_->log_temperature().item()); }
    m.pairs_per_second = double(t_.batch_size) / m.seconds;
    return m;
  }

  const ImageTextTraining& t_;
  const ImageTextObserver& observer_;
  TrainingRun& run_;
  std::unique_ptr<PairSource> source_;
  std::unique_ptr<LoadedImageText> start_;  // the model to start from, until its weights are taken
  Tokenizer tokenizer_;
  std::unique_ptr<ImageTextModel> model_;
  std::unique_ptr<Loader> loader_;
};

}  // namespace

std::string metrics_line(const ImageTextMetrics& m) {
  NamedValues values = {{m.classifier ? "classification" : "contrastive", m.task}, {m.classifier ? "accuracy" : "image_to_text", m.image_to_text}};
  if (!m.classifier) {
    values.emplace_back("text_to_image", m.text_to_image);
    values.emplace_back("temperature", m.temperature);
  }
  values.emplace_back("corrupt_samples", double(m.corrupt_samples));
  values.emplace_back("pairs_per_second", m.pairs_per_second);
  values.emplace_back("seconds_waited", m.seconds_waited);
  return metrics_line(m, values);
}

Tokenizer load_tokenizer(const ImageTextTraining& t) {
  Tokenizer tokenizer = Tokenizer::load(t.tokenizer);
  REQUIRE(UsageError, tokenizer.vocab_size() <= t.model.vocabulary, "[train] ", t.tokenizer, " has ", tokenizer.vocab_size(),
          " tokens; the model's text embedding has ", t.model.vocabulary, " rows. Raise --vocab-size or choose another tokenizer");
  return tokenizer;
}

TrainOutcome train_image_text(const ImageTextTraining& training, const ImageTextObserver& observer) {
  training.validate();
  ImageTextTraining t = training;
  TrainingRun run(t, observer.message, observer.should_stop);
  std::unique_ptr<PairSource> source = open_pairs(t.train_data, t.data);
  if (t.fit_batch) {
    while (t.batch_size > 2 && t.batch_size > source->size()) { t.batch_size /= 2; }
    t.validate();
    observer.message(concat_text("batch size ", t.batch_size, ": the largest power of two that memory and data have room for"));
  }
  t.set_steps(source->size());
  return Training(t, std::move(source), run, observer).train();
}

}  // namespace pumice
