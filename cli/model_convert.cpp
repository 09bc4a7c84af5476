#include <filesystem>
#include <optional>

#include "pumice/cli/command.h"
#include "pumice/cli/model_output.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/tokenizer.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/weights.h"
#include "pumice/models/hf/write.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/weight_writer.h"
#include "pumice/train/language_model.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

class ModelConvert : public Command {
 public:
  std::string name() const override { return "model convert"; }
  std::string summary() const override { return "turn the MLPs of a language model into experts, or write its weights anew"; }
  std::string positional() const override { return "DIR"; }
  std::string examples() const override {
    return "  pumice model convert stage2/ --out stage3/ --moe-mode sparse --experts 4 --experts-per-token 2\n"
           "  pumice model convert old-bin/ --out new/ --no-moe          # .bin to safetensors, shards of 5 GB\n";
  }
  void declare(OptionTable& o) override {
    o.add("out", out_, "Output", "directory of the new model").alias("output-dir");
    o.add("overwrite", overwrite_, "Output", "write into a directory that is not empty");
    o.add("max-shard-bytes", shard_, "Output", "size of a shard");
    o.add("image-tower", tower_, "Output", "directory of the vision tower, where the model does not hold it; to read the result back");
    o.add("moe", moe_, "Experts", "turn MLPs into experts");
    o.add("moe-mode", settings_.mode, "Experts", "which layers").one_of({"first_half", "second_half", "sparse", "dense"});
    o.add("moe-layers", settings_.layers, "Experts", "which layers, by number, instead of --moe-mode").alias("moe-layers-idx");
    o.add("experts", settings_.experts, "Experts", "per sparse layer: one number, or one for each").alias("num-experts");
    o.add("experts-per-token", settings_.experts_per_token, "Experts", "experts that a token visits").alias("top-k-experts");
    o.add("capacity-factor", settings_.capacity_factor, "Experts", "of training; 0 drops nothing");
    o.add("eval-capacity-factor", settings_.eval_capacity_factor, "Experts", "of evaluation; 0 drops nothing");
    o.add("min-capacity", settings_.min_capacity, "Experts", "places per expert at least");
    o.add("gate", settings_.gate, "Experts", "policy of the router: one whose answers repeat, DeepSpeed 0.9.5's, or the MoE-LLaVA paper's")
        .one_of(gate_names());
    o.add("order", settings_.order, "Experts", "who claims places first; unset: the gate's")
        .one_of(order_names()).synonym("batch-priority", "batch_priority");
    o.add("second-choice", settings_.second_choice, "Experts", "of two experts: most probable, or drawn in training, or always; unset: the gate's")
        .one_of(second_choice_names());
    o.add("gates", settings_.gates, "Experts", "factor of an expert: its probability, or that over the sum of the token's; unset: the gate's")
        .one_of(gates_names()).synonym("renormalized", "renormalised");
    o.add("use-residual", settings_.residual, "Experts", "keep the MLP beside the experts");
    o.add("router-aux-loss-coef", settings_.aux_weight, "Experts", "weight of the balance loss");
    o.add("seed", seed_, "Experts", "of the new routers");
  }
  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, arguments.size() == 1, "pumice model convert: one directory is required, got ", arguments.size());
    const std::string from = model_directory(arguments[0]), path = from + "/config.json";
    const std::string config = read_file(path);
    const bool sees = is_llava_config(config, path);
    const std::string new_config = moe_ ? upcycled_config(config, path, settings_) : config;
    const WeightFiles weights = WeightFiles::open(from);
    NamedTensors tensors;
    if (moe_) {
      std::string prefix;
      const DecoderConfig sparse = text_config_of(new_config, path, prefix);
      tensors = upcycled_tensors(weights, sparse, prefix, seed_);
    } else {
      for (const std::string& name : weights.names()) { tensors.emplace_back(name, weights.load(name)); }
    }
    make_output("pumice model convert", out_, overwrite_, {from});
    copy_companions(from, out_);
    write_weights(out_, tensors, {.max_shard_bytes = shard_});
    write_file_atomic(out_ + "/config.json", new_config);
    // reading it back is the test that every tensor stands where it should
    const DecoderCost cost = cost_of(sees ? open_llava(out_, tower_).config().text : open_decoder(out_).config());
    print_line(out_ + ": language model of " + human_count(double(cost.parameters)) + " parameters, " + human_count(double(cost.active_parameters)) + " for one token");
    return 0;
  }

 private:
  std::string out_, tower_;
  bool overwrite_ = false, moe_ = true;
  uint64_t shard_ = 5'000'000'000, seed_ = 0;
  MoeSettings settings_;
};

class ModelInit : public Command {
 public:
  std::string name() const override { return "model init"; }
  std::string summary() const override { return "make a language model with random weights from a config.json"; }
  std::string examples() const override { return "  pumice model init --model-config qwen2-tiny.json --tokenizer runs/a --out models/tiny\n"; }
  void declare(OptionTable& o) override {
    o.add("model-config", config_, "Input", "config.json as Hugging Face writes it, or a directory with one; a vision tower is described inside or found as in chat");
    o.add("image-tower", tower_, "Input", "directory of a vision tower with its config.json");
    o.add("tokenizer", tokenizer_, "Input", "tokenizer file or directory to put beside the weights");
    o.add("seed", seed_, "Input", "of the weights");
    o.add("dtype", dtype_, "Output", "of the weights").one_of({"bf16", "f32"}).synonym("bfloat16", "bf16").synonym("float32", "f32");
    o.add("out", out_, "Output", "directory of the new model");
    o.add("overwrite", overwrite_, "Output", "write into a directory that is not empty");
    o.add("max-shard-bytes", shard_, "Output", "size of a shard");
  }
  int run(OptionTable&, const std::vector<std::string>&) override {
    REQUIRE(UsageError, !config_.empty(), "pumice model init: --model-config FILE is required");
    const fs::path given(config_);
    const std::string path = fs::is_directory(given) ? (given / "config.json").string() : config_, text = read_file(path);
    const DType dtype = dtype_ == "bf16" ? DType::bf16 : DType::f32;
    const auto store = std::make_shared<ParameterStore>(seed_);  // never packed: there are no gradients to hold
    NamedTensors tensors;
    if (is_llava_config(text, path)) {
      REQUIRE(UsageError, fs::path(path).filename() == "config.json", "pumice model init: the config of a model that sees must be called config.json, got ", path);
      const LlavaConfig config = read_llava_config(fs::path(path).parent_path().string(), tower_);
      const Llava model(config, store);
      tensors = hf_tensors(*store, [&](const std::string& name) { return hf_llava_tensors(config, name); }, dtype);
    } else {
      const DecoderConfig config = decoder_config_from_hf(text, path);
      const Decoder model(config, store);
      tensors = hf_tensors(*store, [&](const std::string& name) { return hf_tensors_of(config, name); }, dtype);
    }
    std::optional<Tokenizer> tokenizer;
    if (!tokenizer_.empty()) {
      std::string prefix;
      const int64_t vocabulary = text_config_of(text, path, prefix).vocabulary;
      tokenizer = Tokenizer::load(tokenizer_);
      REQUIRE(UsageError, tokenizer->vocab_size() <= vocabulary, "pumice model init: the tokenizer ", tokenizer_, " has ", tokenizer->vocab_size(),
              " ids, but ", path, " only a \"vocab_size\" of ", vocabulary);
    }
    make_output("pumice model init", out_, overwrite_);
    if (tokenizer) { tokenizer->save(out_); }
    write_weights(out_, tensors, {.max_shard_bytes = shard_});
    write_file_atomic(out_ + "/config.json", text);
    double elements = 0;
    for (const auto& [name, tensor] : tensors) { elements += double(tensor.size()); }
    print_line(out_ + ": " + human_count(elements) + " random parameters");
    return 0;
  }

 private:
  std::string config_, tower_, tokenizer_, out_, dtype_ = "bf16";
  bool overwrite_ = false;
  uint64_t seed_ = 0, shard_ = 5'000'000'000;
};

}  // namespace

std::unique_ptr<Command> make_model_convert() { return std::make_unique<ModelConvert>(); }
std::unique_ptr<Command> make_model_init() { return std::make_unique<ModelInit>(); }

}  // namespace pumice
