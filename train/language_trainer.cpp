#include "pumice/train/language_trainer.h"

#include <algorithm>
#include <cmath>

#include "pumice/data/documents.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/weights.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/train/language_model.h"
#include "pumice/train/metrics.h"

namespace pumice {
namespace {

// Windows [first, last) of a batch as a decoder's input, with how many tokens they predict.
struct Part {
  DecoderInput input;
  int64_t predicted = 0;
};
Part part_of(const TokenBatch& batch, int64_t first, int64_t last) {
  const int64_t a = batch.windows[size_t(first)], b = batch.windows[size_t(last)];
  const int32_t* s = batch.sequences.data<int32_t>();
  std::vector<int32_t> sequences(s + a, s + b + 1);
  const int32_t begin = sequences.front(), end = sequences.back();
  for (int32_t& x : sequences) { x -= begin; }
  Part part;
  part.input.ids = batch.ids.slice(0, begin, end);
  part.input.sequences = from_values<int32_t>({int64_t(sequences.size())}, sequences);
  part.predicted = (end - begin) - (b - a);
  return part;
}

void add_reports(std::vector<LayerReport>& layers, const std::vector<Routing>& routings, const DecoderConfig& config, double share) {
  NoGrad no_grad;
  layers.resize(routings.size());
  for (size_t i = 0; i < routings.size(); ++i) {
    layers[i].block = config.moe_layers[i];
    RoutingStats stats = collect_stats(routings[i]);
    const double balance = share * auxiliary_losses(routings[i], {.losses = {AuxLoss::balance}}).values[0].second.item();
    if (layers[i].losses.empty()) {
      layers[i].stats = std::move(stats);
      layers[i].losses = {{name(AuxLoss::balance), balance}};
    } else {
      layers[i].stats.merge(stats);
      layers[i].losses[0].second += balance;
    }
  }
}

Tokenizer make_tokenizer(const LanguageTraining& t, const Documents& documents, const std::string& start, const Observer<LanguageMetrics>& observer) {
  if (!t.tokenizer.empty()) {
    Tokenizer tokenizer = Tokenizer::load(t.tokenizer);
    if (!start.empty() && tokenizer.fingerprint() != Tokenizer::load(start).fingerprint()) {
      observer.message("note: " + t.tokenizer + " is not the tokenizer of " + t.init_from +
                       ", whose word embeddings were learned for other tokens; leave --tokenizer out to go on with its own");
    }
    return tokenizer;
  }
  if (!start.empty()) { return Tokenizer::load(start); }
  Tokenizer tokenizer = Tokenizer::train(documents.texts, {.vocab_size = int(t.sizes.vocabulary), .lowercase = false});
  observer.message(concat_text("tokenizer: ", tokenizer.vocab_size(), " byte-level BPE tokens learned from ", documents.texts.size(), " documents"));
  return tokenizer;
}

class Training {
 public:
  Training(LanguageTraining& t, Documents documents, TrainingRun& run, const Observer<LanguageMetrics>& observer)
      : t_(t),
        observer_(observer),
        run_(run),
        start_(!run.resume_from().empty() ? run.resume_from() : t.init_from.empty() ? "" : model_directory(t.init_from)),
        tokenizer_(run.resume_from().empty() ? make_tokenizer(t, documents, start_, observer) : Tokenizer::load(run.resume_from())),
        windows_(documents.texts, tokenizer_, {.length = t.length, .seed = t.seed, .shuffle = t.overfit == 0, .limit = t.overfit}),
        model_(make_model()) {
    observer.message(concat_text("text: ", windows_.tokens(), " tokens in ", documents.texts.size(), " documents, ", windows_.windows(), " windows of ",
                                 windows_.length(), " tokens in a pass"));
    if (const std::string report = documents.problems.report(documents.given, "documents"); !report.empty()) { observer.message(report); }
    t.set_steps(windows_.windows());
    if (run.resume_from().empty() && !start_.empty()) { observer.message("started from " + start_); }
    run_.begin(model_->parameters(), documents.fingerprint, to_json(t_), [](const std::string&) {});  // make_model() has read it
    run_.open();
  }

  TrainOutcome train() {
    const auto write = [this](const std::string& directory) {
      const Locate locate = [this](const std::string& name) { return hf_tensors_of(model_->config(), name); };
      write_safetensors(directory + "/model.safetensors", hf_tensors(model_->parameters(), locate, DType::f32));
      write_file_atomic(directory + "/config.json", config_);
      tokenizer_.save(directory);
    };
    while (run_.goes_on()) {
      LanguageMetrics m = one_step();
      if (run_.logged(m.step)) { run_.log(metrics_line(m)); }
      observer_.step(m);
      run_.save_if_due(write);
    }
    return run_.finish(write);
  }

 private:
  std::unique_ptr<Decoder> make_model() {
    std::string source;
    if (!start_.empty()) {
      config_ = read_file(start_ + "/config.json");
      source = start_ + "/config.json";
    } else {
      config_ = language_config(t_, tokenizer_.vocab_size(), source);
    }
    const DecoderConfig config = decoder_config_from_hf(config_, source);
    REQUIRE(UsageError, tokenizer_.vocab_size() <= config.vocabulary, "[train] the tokenizer has ", tokenizer_.vocab_size(), " ids, but ", source,
            " only a \"vocab_size\" of ", config.vocabulary);
    if (!start_.empty()) { return std::make_unique<Decoder>(load_decoder(start_, t_.device)); }
    return std::make_unique<Decoder>(config, t_.seed, DType::f32, t_.device);
  }

  LanguageMetrics one_step() {
    const TokenBatch batch = windows_.batch(run_.position(), t_.batch_size);
    RandomScope scope(run_.randomness());
    const DecoderRun pass{.dtype = t_.precision, .training = true, .recompute = t_.recompute};
    model_->parameters().zero_gradients();
    LanguageLoss loss = accumulate_gradients(*model_, batch, t_.accum_freq, pass, run_.logs_next());
    LanguageMetrics m;
    m.epoch = batch.epoch;
    m.loss = loss.loss;
    m.task = loss.task;
    m.aux = loss.aux;
    m.chance = std::log(double(model_->config().vocabulary));
    m.layers = std::move(loss.layers);
    run_.update(m, batch.position, [&] { accumulate_gradients(*model_, batch, t_.accum_freq, pass, false); });
    m.tokens_per_second = double(batch.ids.size()) / m.seconds;
    return m;
  }

  LanguageTraining& t_;
  const Observer<LanguageMetrics>& observer_;
  TrainingRun& run_;
  std::string start_;   // directory of the model that this goes on from; empty: random weights
  Tokenizer tokenizer_;
  TokenWindows windows_;
  std::string config_;  // the model's config.json
  std::unique_ptr<Decoder> model_;
};

}  // namespace

LanguageLoss accumulate_gradients(const Decoder& model, const TokenBatch& batch, int64_t accum_freq, const DecoderRun& run, bool reports) {
  const int64_t windows = int64_t(batch.windows.size()) - 1, each = windows / accum_freq;
  REQUIRE(UsageError, each * accum_freq == windows, "[train] the batch size must be a multiple of --accum-freq, got ", windows, " and ", accum_freq);
  const Device device = model.parameters().device();
  const int64_t all = part_of(batch, 0, windows).predicted;
  REQUIRE(FormatError, all > 0, "[train] no token of the batch follows another one: every document is a single token");
  LanguageLoss result;
  for (int64_t i = 0; i < accum_freq; ++i) {
    const Part part = part_of(batch, i * each, (i + 1) * each);
    if (part.predicted == 0) { continue; }
    const double share = double(part.predicted) / double(all);
    std::vector<Routing> routings;
    DecoderRun pass = run;
    if (reports) { pass.routings = &routings; }
    DecoderInput input = part.input;
    input.ids = to_device(input.ids, device);
    DecoderOutput out = model.forward(input, pass);
    Tensor loss = model.loss(out.hidden, part.input.ids, part.input.sequences);
    const Tensor task = loss.detach(), aux = out.aux.defined() ? out.aux.detach() : Tensor();
    if (out.aux.defined()) { loss = add(loss, out.aux); }
    out = DecoderOutput();
    if (reports) { add_reports(result.layers, routings, model.config(), share); }
    routings.clear();
    const std::vector<Tensor> outputs = {loss}, gradients = {full({}, share, loss.dtype(), loss.device())};
    loss = Tensor();
    backward(outputs, gradients);
    result.task += share * task.item();
    if (aux.defined()) { result.aux += share * aux.item(); }
  }
  result.loss = result.task + result.aux;
  return result;
}

std::string metrics_line(const LanguageMetrics& m) {
  return metrics_line(m, {{"cross_entropy", m.task}, {"perplexity", std::exp(m.task)}, {"tokens_per_second", m.tokens_per_second}});
}

TextScore score_text(const Decoder& model, const Tokenizer& tokenizer, const std::vector<std::string>& texts, int64_t length, DType dtype) {
  REQUIRE(UsageError, length >= 2, "[eval] --length must be at least 2, got ", length);
  NoGrad no_grad;
  TextScore score;
  double bytes = 0;
  std::vector<int32_t> ids, sequences = {0};
  const auto run = [&] {
    const Tensor tokens = from_values<int32_t>({int64_t(ids.size())}, ids), begin = from_values<int32_t>({int64_t(sequences.size())}, sequences);
    const DecoderOutput out = model.forward({.ids = to_device(tokens, model.parameters().device()), .sequences = begin}, {.dtype = dtype});
    const int64_t predicted = int64_t(ids.size()) - int64_t(sequences.size()) + 1;
    score.loss += double(predicted) * model.loss(out.hidden, tokens, begin).item();
    score.tokens += predicted;
    ids.clear();
    sequences = {0};
  };
  for (const std::string& text : texts) {
    std::vector<int32_t> document = tokenizer.prefix();
    const std::vector<int32_t> body = tokenizer.encode(text);
    document.insert(document.end(), body.begin(), body.end());
    document.push_back(tokenizer.eos_id());
    bytes += double(text.size());
    // pieces share a token with the next one: each token but the first is predicted once
    for (size_t begin = 0; begin + 1 < document.size(); begin += size_t(length) - 1) {
      const size_t end = std::min(document.size(), begin + size_t(length));
      ids.insert(ids.end(), document.begin() + long(begin), document.begin() + long(end));
      sequences.push_back(int32_t(ids.size()));
      if (int64_t(ids.size()) >= std::max<int64_t>(length, 2048)) { run(); }
    }
  }
  if (!ids.empty()) { run(); }
  REQUIRE(FormatError, score.tokens > 0, "[eval] no token of the text follows another one");
  score.bits_per_byte = score.loss / bytes / std::log(2.0);
  score.loss /= double(score.tokens);
  return score;
}

TrainOutcome train_language(const LanguageTraining& training, const Observer<LanguageMetrics>& observer) {
  training.validate();
  LanguageTraining t = training;
  TrainingRun run(t, observer.message, observer.should_stop);
  return Training(t, read_documents(t.train_data, t.text_key), run, observer).train();
}

}  // namespace pumice
