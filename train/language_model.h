// A directory of Hugging Face's as something that answers: decoder, vision tower and projector where it has them, tokenizer, template, and how
// pictures are prepared.
//
//   LanguageModel model = LanguageModel::open("MoE-LLaVA-Phi2-2.7B-4e", {.dtype = DType::bf16});
//   Answerer answerer(model);
//   answerer.ask("What is this?", {picture}, sampling, [](const std::string& text) { print(text); return true; });
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pumice/data/conversation.h"
#include "pumice/data/picture_input.h"
#include "pumice/models/llava.h"
#include "pumice/models/sampling.h"

namespace pumice {

// The directory with a model's config.json that `path` means: itself, or of a run of `pumice train lm` its last checkpoint. Throws IoError.
std::string model_directory(const std::string& path);

struct LanguageModelOptions {
  std::string tower;               // directory of the vision tower; "": as config.json says
  std::string tokenizer;           // file or directory; "": the model's own
  std::string conversation;        // template; "": what the model's type is trained with, or the ChatML of its tokenizer
  std::string fit;                 // of pictures: pad, crop, squash; "": as config.json says
  DType dtype = DType::bf16;       // of activations, and of weights that lie in another type
  bool average = false;            // the moving average of the weights that `pumice train lm --ema-decay` kept
};

class LanguageModel {
 public:
  // `directory` may be a run: model_directory(). Throws IoError, FormatError, and UsageError for a name of a template or a fit that does not exist.
  static LanguageModel open(const std::string& directory, const LanguageModelOptions& options);

  const Decoder& decoder() const { return llava ? llava->decoder() : *text; }
  bool sees() const { return llava != nullptr; }

  std::string directory;
  std::shared_ptr<const Llava> llava;   // or
  std::shared_ptr<const Decoder> text;  // a model that reads text alone
  Tokenizer tokenizer;
  std::string conversation;
  PictureInput pictures;
  SamplingOptions defaults;             // generation_config.json; greedy without one
  DType dtype;

 private:
  explicit LanguageModel(Tokenizer t) : tokenizer(std::move(t)) {}
};

// What one generated text cost, and where its tokens went.
struct AnswerReport {
  int64_t prompt_tokens = 0, new_tokens = 0;  // a picture counts as its patches
  double first_seconds = 0, rest_seconds = 0; // until the first token; for the others
  bool stopped = false;                       // by the caller
  struct LayerLoad { int64_t layer; std::vector<int64_t> image, text; };  // choices per expert, by the kind of token
  std::vector<LayerLoad> routing;             // one per sparse layer
};

// One text continued. What has been read stays in a cache: of the next prompt only what differs from there on is read. The model must outlive it.
class Answerer {
 public:
  explicit Answerer(const LanguageModel& model);

  // Asks in the conversation so far; the answer joins it. `images` in the order of <image> in the question, which gets one in front for each that it
  // does not mention. `on_text` receives text as it comes; false stops the answer, which then ends there. Throws UsageError for pictures to a model that
  // reads text alone, and when no template is known for the model.
  AnswerReport ask(const std::string& question, const std::vector<Image>& images, const SamplingOptions& sampling,
                   const std::function<bool(const std::string&)>& on_text);
  // The same of a text without a template.
  AnswerReport complete(const std::string& text, const SamplingOptions& sampling, const std::function<bool(const std::string&)>& on_text);
  void clear();
  void stop_at(std::vector<std::string> strings) { stops_ = std::move(strings); }  // answers end before any of them
  const std::vector<Message>& messages() const { return conversation_.messages; }

 private:
  AnswerReport generate(std::vector<int32_t> ids, const SamplingOptions& sampling, const std::function<bool(const std::string&)>& on_text,
                        std::string& answer);
  void forget();  // what has been read
  Tensor read(const std::vector<int32_t>& ids, AnswerReport& report);  // logits (V) behind the last of them

  const LanguageModel& model_;
  Conversation conversation_;
  std::vector<Tensor> pixels_;       // of every picture of the conversation
  std::vector<int32_t> read_;        // ids that the cache has seen, a picture being one
  std::vector<int64_t> cached_;      // tokens in the cache behind each of them
  std::unique_ptr<KvCache> cache_;
  std::vector<std::string> stops_;
  int64_t answers_ = 0;
};

}  // namespace pumice
