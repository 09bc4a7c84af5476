// A directory of Hugging Face's as something that answers: decoder, vision tower and projector where it has them, tokenizer, template, and how
// pictures are prepared.
//
//   LanguageModel model = LanguageModel::open("MoE-LLaVA-Phi2-2.7B-4e", {.dtype = DType::bf16});
//   Answerer answerer(model);  // answerer.h
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "pumice/data/picture_input.h"
#include "pumice/data/tokenizer.h"
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

}  // namespace pumice
