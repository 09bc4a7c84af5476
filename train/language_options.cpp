// What a language model's training can be told: presets, flags, and what they say before anything is read or run.
#include <nlohmann/json.hpp>

#include "pumice/models/hf/config.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/suggest.h"
#include "pumice/train/language_trainer.h"

namespace pumice {
namespace {

struct Preset {
  const char* name;
  LanguageSizes sizes;
  int64_t length, batch_size;
};
const Preset kPresets[] = {
    {"micro", {.vocabulary = 512, .width = 64, .depth = 2, .heads = 4, .kv_heads = 2, .hidden = 192}, 64, 16},
    {"tiny", {.vocabulary = 2048, .width = 128, .depth = 4, .heads = 4, .kv_heads = 2, .hidden = 384}, 128, 32},
    {"small", {.vocabulary = 4096, .width = 256, .depth = 6, .heads = 8, .kv_heads = 4, .hidden = 768}, 256, 32},
    {"medium", {.vocabulary = 8192, .width = 512, .depth = 8, .heads = 8, .kv_heads = 4, .hidden = 1408}, 512, 32},
};

}  // namespace

std::vector<std::string> language_preset_names() {
  std::vector<std::string> names;
  for (const Preset& p : kPresets) { names.push_back(p.name); }
  return names;
}

void apply_language_preset(LanguageTraining& t, const std::string& preset) {
  for (const Preset& p : kPresets) {
    if (p.name != preset) { continue; }
    t.preset = preset;
    t.sizes = p.sizes;
    t.length = p.length;
    t.batch_size = p.batch_size;
    return;
  }
  throw UsageError(concat_text("there is no preset '", preset, "' of language models.", did_you_mean(preset, language_preset_names()), " There are ",
                               join(language_preset_names())), __FILE__, __LINE__);
}

void declare_moe_options(OptionTable& o, MoeSettings& m) {
  o.add("moe-mode", m.mode, "MoE", "which layers").one_of({"first_half", "second_half", "sparse", "dense"});
  o.add("moe-layers", m.layers, "MoE", "which layers, by number, instead of --moe-mode").alias("moe-layers-idx");
  o.add("experts", m.experts, "MoE", "per sparse layer: one number, or one for each").alias("num-experts");
  o.add("experts-per-token", m.experts_per_token, "MoE", "experts that a token visits").alias("top-k-experts");
  o.add("capacity-factor", m.capacity_factor, "MoE", "of training; 0 drops nothing");
  o.add("eval-capacity-factor", m.eval_capacity_factor, "MoE", "of evaluation; 0 drops nothing");
  o.add("min-capacity", m.min_capacity, "MoE", "places per expert at least");
  o.add("gate", m.gate, "MoE", "policy of the router: one whose answers repeat, DeepSpeed 0.9.5's, or the MoE-LLaVA paper's")
      .one_of(gate_names());
  o.add("order", m.order, "MoE", "who claims places first; unset: the gate's")
      .one_of(order_names()).synonym("batch-priority", "batch_priority");
  o.add("second-choice", m.second_choice, "MoE", "of two experts: most probable, or drawn in training, or always; unset: the gate's")
      .one_of(second_choice_names());
  o.add("gates", m.gates, "MoE", "factor of an expert: its probability, or that over the sum of the token's; unset: the gate's")
      .one_of(gates_names()).synonym("renormalized", "renormalised");
  o.add("use-residual", m.residual, "MoE", "keep the MLP beside the experts");
  o.add("router-aux-loss-coef", m.aux_weight, "MoE", "weight of the balance loss");
}

void declare_language_training_options(OptionTable& o, LanguageTraining& t) {
  o.add("train-data", t.train_data, "Data", ".txt files (<|endoftext|> separates documents), .jsonl, both also .gz, a folder of them, or captions as "
        "train limoe reads them; several joined by '::'").alias("data").alias("data-path");
  o.add("text-key", t.text_key, "Data", "JSON lines: the key of the text");
  o.add("length", t.length, "Data", "tokens of a window; what is learned is the next token from those before it in the window")
      .alias("max-length").alias("model-max-length").alias("block-size");
  o.add("overfit", t.overfit, "Data", "train on the first N windows only, in order: a check that a model can learn at all; 0 = off");
  o.add("tokenizer", t.tokenizer, "Data", "a tokenizer file or a directory with one; without it that of --init-from, or one is learned from the text");
  o.add("init-from", t.init_from, "Model", "go on with the weights of this directory, as Hugging Face writes it, or of a run")
      .alias("pretrained").alias("model-name-or-path");
  o.add("model-config", t.model_config, "Model", "config.json of a new model, instead of the sizes below");
  o.add("family", t.sizes.family, "Model", "what the new model is").one_of(known_model_types());
  o.add("vocab-size", t.sizes.vocabulary, "Model", "of the tokenizer that is learned");
  o.add("width", t.sizes.width, "Model", "of the stream").alias("hidden-size");
  o.add("depth", t.sizes.depth, "Model", "layers").alias("num-hidden-layers");
  o.add("heads", t.sizes.heads, "Model", "of attention").alias("num-attention-heads");
  o.add("kv-heads", t.sizes.kv_heads, "Model", "heads of keys and values; queries share them").alias("num-key-value-heads");
  o.add("hidden", t.sizes.hidden, "Model", "width inside of an MLP").alias("intermediate-size");
  o.add("moe", t.sparse, "MoE", "MLPs of the new model become mixtures of experts; an existing one: pumice model convert first");
  declare_moe_options(o, t.moe);
  o.add("batch-size", t.batch_size, "Optimiser", "windows per step").alias("per-device-train-batch-size");
  o.add("accum-freq", t.accum_freq, "Optimiser", "microbatches per step; the loss stays the mean over all tokens of the step")
      .alias("gradient-accumulation-steps");
  declare_recipe_options(o, t);
}

std::string to_json(const LanguageTraining& training) {
  LanguageTraining copy = training;
  OptionTable table;
  if (!copy.preset.empty()) { table.add("preset", copy.preset, "Model", "where the values came from"); }
  declare_language_training_options(table, copy);
  return table.to_json(options_of_place());
}

std::string language_config(const LanguageTraining& t, int64_t vocabulary, std::string& source) {
  std::string text;
  if (!t.model_config.empty()) {
    source = t.model_config;
    text = read_file(source);
  } else {
    source = "the model of these flags";
    const LanguageSizes& s = t.sizes;
    nlohmann::ordered_json j = {{"model_type", s.family}, {"vocab_size", vocabulary}, {"hidden_size", s.width}, {"num_hidden_layers", s.depth},
                                {"num_attention_heads", s.heads}, {"num_key_value_heads", s.kv_heads}, {"intermediate_size", s.hidden},
                                {"max_position_embeddings", t.length}, {"tie_word_embeddings", s.family != "phi"}, {"torch_dtype", "float32"}};
    if (s.family == "qwen") { j.update({{"intermediate_size", 2 * s.hidden}, {"seq_length", t.length}, {"tie_word_embeddings", false}}); }
    text = j.dump(2) + "\n";
  }
  return t.sparse ? upcycled_config(text, source, t.moe) : text;
}

void LanguageTraining::validate() const {
  validate_recipe();
  REQUIRE(UsageError, !train_data.empty(), "[train] --train-data is required: text files, for example --train-data book.txt");
  REQUIRE(UsageError, !out.empty(), "[train] --out is required: the directory of this run, for example --out runs/lm");
}

void LanguageTraining::validate_recipe() const {
  validate_common();
  REQUIRE(UsageError, length >= 2, "[train] --length must be at least 2 tokens, got ", length);
  REQUIRE(UsageError, overfit == 0 || overfit >= batch_size, "[train] --overfit must be at least the batch size ", batch_size, ", got ", overfit);
  REQUIRE(UsageError, init_from.empty() || model_config.empty(), "[train] --init-from has a model, --model-config describes a new one: leave one out");
  REQUIRE(UsageError, init_from.empty() || !sparse, "[train] --moe is for a new model. Turn the MLPs of ", init_from, " into experts with pumice model "
          "convert, and go on with the result");
  if (!init_from.empty()) { return; }
  std::string source;
  const std::string config = language_config(*this, sizes.vocabulary, source);
  decoder_config_from_hf(config, source);  // throws what does not fit
}

}  // namespace pumice
