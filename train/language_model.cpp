#include "pumice/train/language_model.h"

#include <filesystem>

#include "pumice/data/conversation_templates.h"
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

}  // namespace pumice
