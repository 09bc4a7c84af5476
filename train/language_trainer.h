// Training of a language model on text, dense or with experts, from files to checkpoints. A checkpoint is a directory as Hugging Face writes it
// (config.json, model.safetensors in f32, tokenizer) with the state of the training beside it: every command that reads a model reads it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "pumice/data/token_windows.h"
#include "pumice/models/decoder.h"
#include "pumice/models/hf/write.h"
#include "pumice/train/run.h"

namespace pumice {

// Sizes of a new model; what else its family needs has the family's defaults.
struct LanguageSizes {
  std::string family = "qwen2";  // known_model_types()
  int64_t vocabulary = 2048;     // of the tokenizer that is learned; a model has as many rows as its tokenizer has ids
  int64_t width = 128, depth = 4, heads = 4, kv_heads = 2, hidden = 384;
};

struct LanguageTraining : TrainingRecipe {  // an example is a window of `length` tokens
  std::string preset;
  std::string train_data;       // see read_documents()
  std::string text_key = "text";
  int64_t length = 128;         // tokens of a window
  std::string tokenizer;        // a path for Tokenizer::load; empty: that of init_from, or one is learned from the text
  std::string init_from;        // a directory of a language model, or a run; empty: random weights
  std::string model_config;     // a config.json for a model with random weights; empty: one of `sizes`
  LanguageSizes sizes;
  bool sparse = false;          // layers of the new model become mixtures of experts, as `moe` says
  MoeSettings moe;
  int64_t overfit = 0;          // use only the first N windows, in order

  void validate() const;        // throws UsageError naming the flag
  void validate_recipe() const; // the same without train_data and out
};
// micro, tiny, small, medium. Throws UsageError listing them.
void apply_language_preset(LanguageTraining& training, const std::string& preset);
std::vector<std::string> language_preset_names();

// --moe-mode, --experts, --gate, ...: every setting of experts but whether there are any.
void declare_moe_options(OptionTable& options, MoeSettings& settings);
void declare_language_training_options(OptionTable& table, LanguageTraining& training);
std::string to_json(const LanguageTraining& training);

// config.json of a new model whose tokenizer has `vocabulary` ids, which a model_config overrides; `source` receives what errors about it are to name.
std::string language_config(const LanguageTraining& training, int64_t vocabulary, std::string& source);

struct LanguageMetrics : StepMetrics {  // task: cross-entropy of the next token, in nats
  double tokens_per_second = 0;
};
std::string metrics_line(const LanguageMetrics& metrics);

TrainOutcome train_language(const LanguageTraining& training, const Observer<LanguageMetrics>& observer);

// Gradients of one step are added to the arena: the mean cross-entropy over all predicted tokens of the batch, however it is cut into microbatches,
// and the layers' auxiliary losses, weighted by their tokens.
struct LanguageLoss {
  double loss = 0, task = 0, aux = 0;
  std::vector<LayerReport> layers;  // where `reports`
};
LanguageLoss accumulate_gradients(const Decoder& model, const TokenBatch& batch, int64_t accum_freq, const DecoderRun& run, bool reports);

// What texts cost a model: the cross-entropy of every token but the first of each document, which nothing predicts. A token sees at most length - 1
// tokens before it, of its own document.
struct TextScore {
  double loss = 0;              // nats per token
  double bits_per_byte = 0;     // the same by the bytes of the texts, which compares models with different tokenizers
  int64_t tokens = 0;
};
TextScore score_text(const Decoder& model, const Tokenizer& tokenizer, const std::vector<std::string>& texts, int64_t length, DType dtype);

}  // namespace pumice
