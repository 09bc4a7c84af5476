#include "pumice/train/language_model.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "pumice/autograd/autograd.h"
#include "pumice/data/conversation_templates.h"
#include "pumice/data/text.h"
#include "pumice/data/text_stream.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/suggest.h"
#include "pumice/train/checkpoint.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

// What MoE-LLaVA and LLaVA train each family with. A plain language model has the ChatML of its tokenizer, or none.
std::string template_of(const Decoder& decoder, bool sees, const Tokenizer& tokenizer) {
  const std::string& family = decoder.config().family;
  if (sees && (family == "phi" || family == "stablelm")) { return family; }
  if (sees && (family == "qwen" || family == "qwen2")) { return "qwen"; }
  if (sees && family == "mistral") { return tokenizer.id_of("<|end_of_turn|>") ? "openchat" : "mistral"; }
  if (sees) { return "v1"; }
  if (tokenizer.id_of("<|im_start|>")) { return "chatml"; }
  return "";
}

SamplingOptions defaults_of(const std::string& directory, const Tokenizer& tokenizer) {
  SamplingOptions s{.temperature = 0};
  const std::string path = directory + "/generation_config.json";
  if (fs::exists(path)) {
    const nlohmann::json value = parse_hf_object(read_file(path), path);
    const Fields g(value, path);
    if (g.boolean("do_sample", false)) { s.temperature = g.number("temperature", 1); }
    s.top_k = g.integer("top_k", 50);
    s.top_p = g.number("top_p", 1);
    s.repetition_penalty = g.number("repetition_penalty", 1);
    if (g.has("eos_token_id")) {
      for (int64_t id : g.integers("eos_token_id")) {
        REQUIRE(FormatError, id >= 0 && id <= INT32_MAX, path, ": \"eos_token_id\" must hold token ids, got ", id);
        s.end_tokens.push_back(int32_t(id));
      }
    }
  }
  if (s.end_tokens.empty()) { s.end_tokens = {tokenizer.eos_id()}; }
  return s;
}

PictureInput pictures_of(const std::string& directory, const std::string& config, const VisionConfig& vision, const std::string& fit) {
  PictureInput p;
  const std::string path = directory + "/preprocessor_config.json";
  if (vision.run) {  // as it was trained, whatever its files say of other towers
    p.fit = PictureInput::Fit::crop;
    std::copy_n(vision.run->pixels.mean, 3, p.mean);
    std::copy_n(vision.run->pixels.std, 3, p.std);
  } else if (fs::exists(path)) { p = picture_input_from_hf(read_file(path), path); }
  else if (vision.family == "siglip") {
    p.fit = PictureInput::Fit::squash;
    for (int c = 0; c < 3; ++c) { p.mean[c] = p.std[c] = 0.5f; }
  }
  if (p.size != vision.image_size) { p.edge = 0; }  // settings of another size
  p.size = vision.image_size;
  const nlohmann::json value = parse_hf_object(read_file(config), config);
  if (Fields(value, config).text("image_aspect_ratio", "") == "pad") { p.fit = PictureInput::Fit::pad; }
  if (fit.empty()) { return p; }
  REQUIRE(UsageError, fit == "pad" || fit == "crop" || fit == "squash", "pictures are fitted by pad, crop or squash, got '", fit, "'");
  p.fit = fit == "pad" ? PictureInput::Fit::pad : fit == "crop" ? PictureInput::Fit::crop : PictureInput::Fit::squash;
  return p;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string model_directory(const std::string& path) { return fs::exists(fs::path(path) / "checkpoints") ? find_checkpoint(path) : path; }

LanguageModel LanguageModel::open(const std::string& path, const LanguageModelOptions& o) {
  const std::string directory = model_directory(path);
  const std::string config = directory + "/config.json";
  const bool sees = is_llava_config(read_file(config), config);
  LanguageModel m(Tokenizer::load(o.tokenizer.empty() ? directory : o.tokenizer));
  m.directory = directory;
  m.dtype = o.dtype;
  if (o.average) {
    REQUIRE(UsageError, !sees, directory, ": only language models that are trained here keep a moving average of their weights");
    auto decoder = std::make_shared<Decoder>(load_decoder(directory));
    load_parameters(directory, decoder->parameters(), Weights::average);
    m.text = std::move(decoder);
  } else if (sees) {
    m.llava = std::make_shared<const Llava>(open_llava(directory, o.tower));
    m.pictures = pictures_of(directory, config, m.llava->config().vision, o.fit);
  } else {
    m.text = std::make_shared<const Decoder>(open_decoder(directory));
  }
  REQUIRE(FormatError, m.tokenizer.vocab_size() <= m.decoder().config().vocabulary, directory, ": the tokenizer has ", m.tokenizer.vocab_size(),
          " ids, but the model only ", m.decoder().config().vocabulary, ": do they belong together?");
  m.conversation = o.conversation.empty() ? template_of(m.decoder(), sees, m.tokenizer) : conversation_template(o.conversation).name;
  m.defaults = defaults_of(directory, m.tokenizer);
  return m;
}

Answerer::Answerer(const LanguageModel& model) : model_(model) { clear(); }

void Answerer::clear() {
  conversation_ = {.template_name = model_.conversation, .name = "the conversation"};
  pixels_.clear();
  forget();
}

void Answerer::forget() {
  read_.clear();
  cached_.clear();
  cache_ = std::make_unique<KvCache>(model_.decoder().config(), 1, model_.dtype);
}

AnswerReport Answerer::ask(const std::string& question, const std::vector<Image>& images, const SamplingOptions& sampling,
                           const std::function<bool(const std::string&)>& on_text) {
  REQUIRE(UsageError, !model_.conversation.empty(), model_.directory, ": no conversation template is known for this model: name one with --conv-mode (",
          join(conversation_template_names()), "), or continue a text as it is");
  REQUIRE(UsageError, images.empty() || model_.sees(), model_.directory, ": this model reads text alone, not pictures");
  std::string text = question;
  for (int64_t missing = int64_t(images.size()) - count_images(question); missing > 0; --missing) { text = std::string(kImageText) + "\n" + text; }
  const size_t messages = conversation_.messages.size(), pictures = pixels_.size();
  conversation_.messages.push_back({Role::user, text});
  try {
    for (const Image& image : images) { pixels_.push_back(picture_tensor(image, model_.pictures)); }
    const std::vector<int32_t> ids = encode_prompt(model_.tokenizer, conversation_, int64_t(pixels_.size()));
    SamplingOptions s = sampling;
    s.end_tokens.push_back(end_of_answer(model_.tokenizer, model_.conversation));
    std::string answer;
    AnswerReport report = generate(ids, s, on_text, answer);
    conversation_.messages.push_back({Role::assistant, trimmed(answer)});  // templates bring the space before it
    return report;
  } catch (...) {  // the conversation goes on as if the question had not been asked
    conversation_.messages.resize(messages);
    pixels_.resize(pictures);
    forget();  // the cache may hold its pictures, which ids do not tell from those of the next
    throw;
  }
}

AnswerReport Answerer::complete(const std::string& text, const SamplingOptions& sampling, const std::function<bool(const std::string&)>& on_text) {
  clear();
  std::vector<int32_t> ids = model_.tokenizer.prefix();
  for (int32_t id : model_.tokenizer.encode(text)) { ids.push_back(id); }
  REQUIRE(UsageError, !ids.empty(), "a text to continue is required: the prompt is empty");
  std::string answer;
  return generate(ids, sampling, on_text, answer);
}

// Reads ids that the cache has not seen; of those that it has, what differs is forgotten.
Tensor Answerer::read(const std::vector<int32_t>& ids, AnswerReport& report) {
  size_t same = 0;
  while (same < read_.size() && same + 1 < ids.size() && read_[same] == ids[same]) { ++same; }
  cache_->truncate(0, same ? cached_[same - 1] : 0);
  read_.resize(same);
  cached_.resize(same);
  const std::vector<int32_t> fresh(ids.begin() + long(same), ids.end());
  const Tensor sequences = from_values<int32_t>({2}, std::vector<int32_t>{0, int32_t(fresh.size())}), tensor = from_values<int32_t>({int64_t(fresh.size())}, fresh);
  std::vector<Routing> routings;
  DecoderInput input{.ids = tensor, .sequences = sequences};
  const bool pictures = std::find(fresh.begin(), fresh.end(), kImageToken) != fresh.end();
  if (pictures) {
    const int64_t before = std::count(ids.begin(), ids.begin() + long(same), kImageToken);
    const int64_t S = model_.pictures.size, count = std::count(fresh.begin(), fresh.end(), kImageToken);
    Tensor pixels = empty({count, 3, S, S});
    for (int64_t i = 0; i < count; ++i) { copy_into(pixels.slice(0, i, i + 1).reshape({3, S, S}), pixels_[size_t(before + i)]); }
    input = model_.llava->splice({.ids = tensor, .sequences = sequences, .pixels = pixels}, model_.dtype).input;
  }
  const Decoder& decoder = model_.decoder();
  DecoderOutput out = decoder.forward(input, {.dtype = model_.dtype, .cache = cache_.get(), .routings = &routings});
  const int64_t patches = model_.sees() ? model_.llava->config().image_tokens() : 0;
  int64_t length = cached_.empty() ? 0 : cached_.back();
  for (int32_t id : fresh) {
    length += id == kImageToken ? patches : 1;
    read_.push_back(id);
    cached_.push_back(length);
  }
  report.routing.resize(routings.size());
  for (size_t l = 0; l < routings.size(); ++l) {
    AnswerReport::LayerLoad& load = report.routing[l];
    const Routing& r = routings[l];
    load.layer = decoder.config().moe_layers[l];
    load.image.resize(size_t(r.experts()));
    load.text.resize(size_t(r.experts()));
    const std::vector<int32_t> expert = r.expert.to_vector<int32_t>(), row = r.row.to_vector<int32_t>();
    const std::vector<uint8_t> modality = r.groups.modality.to_vector<uint8_t>();
    for (size_t i = 0; i < expert.size(); ++i) {
      const bool image = modality[i / size_t(r.experts_per_token())] == uint8_t(Modality::image);
      if (row[i] >= 0) { (image ? load.image : load.text)[size_t(expert[i])] += 1; }
    }
  }
  const int64_t T = out.hidden.dim(0);
  return to_dtype(decoder.logits(out.hidden.slice(0, T - 1, T)), DType::f32).reshape({decoder.config().vocabulary});
}

AnswerReport Answerer::generate(std::vector<int32_t> ids, const SamplingOptions& sampling, const std::function<bool(const std::string&)>& on_text,
                                std::string& answer) {
  NoGrad no_grad;
  check_sampling(sampling);
  AnswerReport report;
  TextStream stream(model_.tokenizer, stops_);
  const auto pass_on = [&](const std::string& text) {
    answer += text;
    if (!text.empty() && !on_text(text)) { report.stopped = true; }
  };
  auto start = std::chrono::steady_clock::now();
  const int64_t words = model_.tokenizer.vocab_size();  // rows beyond them were never trained
  for (int64_t step = 0; step < sampling.max_new_tokens && !stream.stopped() && !report.stopped; ++step) {
    AnswerReport pass;
    const Tensor logits = read(ids, pass);
    if (step == 0) { report.prompt_tokens = cached_.back(); }
    if (report.routing.empty()) { report.routing = pass.routing; }
    else {
      for (size_t l = 0; l < pass.routing.size(); ++l) {
        for (size_t e = 0; e < pass.routing[l].text.size(); ++e) { report.routing[l].text[e] += pass.routing[l].text[e]; }
      }
    }
    const int32_t next = sample_token({logits.data<float>(), size_t(words)}, ids, sampling, step, answers_);
    if (step == 0) {
      report.first_seconds = seconds_since(start);
      start = std::chrono::steady_clock::now();
    }
    report.new_tokens += 1;
    if (ends_text(sampling, next)) { break; }
    ids.push_back(next);
    pass_on(stream.push(next));
  }
  if (!report.stopped) { pass_on(stream.finish()); }
  report.rest_seconds = seconds_since(start);
  ++answers_;
  return report;
}

}  // namespace pumice
