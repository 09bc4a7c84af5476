#include <filesystem>
#include <optional>

#include "pumice/cli/command.h"
#include "pumice/cli/model_output.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/tokenizer.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/export.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/weights.h"
#include "pumice/models/hf/write.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/weight_writer.h"
#include "pumice/train/language_model.h"
#include "pumice/train/language_trainer.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

class ModelConvert : public Command {
 public:
  std::string name() const override { return "model convert"; }
  std::string summary() const override { return "turn the MLPs of a language model, or one that sees, into experts"; }
  std::string positional() const override { return "DIR"; }
  std::string examples() const override {
    return "  pumice model convert stage2/ --out stage3/ --moe-mode sparse --experts 4 --experts-per-token 2\n";
  }
  void declare(OptionTable& o) override {
    o.add("out", out_, "Output", "directory of the new model").alias("output-dir");
    o.add("overwrite", overwrite_, "Output", "replace the model that is in --out");
    o.add("max-shard-bytes", shard_, "Output", "size of a shard");
    o.add("image-tower", tower_, "Output", "directory of the vision tower, where the model does not hold it; to read the result back");
    declare_moe_options(o, settings_);
    o.add("seed", seed_, "MoE", "of the new routers");
  }
  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, arguments.size() == 1, kCommand, ": one directory is required, got ", arguments.size());
    const std::string from = model_directory(arguments[0]), path = from + "/config.json";
    const std::string config = read_file(path);
    const bool sees = is_llava_config(config, path);
    REQUIRE(UsageError, sees || tower_.empty(), kCommand, ": ", from, " reads text alone; --image-tower has no part in it");
    LlavaFiles model = sees ? export_llava(from, tower_, {.layout = "moe_llava"}) : LlavaFiles{.config = config, .tensors = export_decoder(from)};
    model.config = upcycled_config(model.config, path, settings_);
    model.tensors = upcycled_tensors(model.tensors, decoder_config_from_hf(model.config, path), seed_);
    ModelOutput output(kCommand, out_, overwrite_, {arguments[0], from, model.tower_read});
    const std::string& to = output.directory();
    copy_companions(from, to);
    write_llava(to, model, model.tower_read, {.max_shard_bytes = shard_});
    // reading it back is the test that every tensor stands where it should
    const DecoderCost cost = cost_of(sees ? open_llava(to, model.tower_config.empty() ? model.tower_read : "").config().text : open_decoder(to).config());
    output.commit();
    print_line(out_ + ": " + (sees ? "MoE-LLaVA, with a language model of " : "language model of ") + human_count(double(cost.parameters)) + " parameters, " +
               human_count(double(cost.active_parameters)) + " for one token");
    return 0;
  }

 private:
  static constexpr const char* kCommand = "pumice model convert";

  std::string out_, tower_;
  bool overwrite_ = false;
  uint64_t shard_ = 5'000'000'000, seed_ = 0;
  MoeSettings settings_;
};

// A directory that describes a model may become the model, one that holds it may not be lost.
bool holds_weights(const std::string& directory) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (fs::exists(fs::path(directory) / name)) { return true; }
  }
  return false;
}

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
    o.add("overwrite", overwrite_, "Output", "replace the model that is in --out");
    o.add("max-shard-bytes", shard_, "Output", "size of a shard");
  }
  int run(OptionTable&, const std::vector<std::string>&) override {
    REQUIRE(UsageError, !config_.empty(), "pumice model init: --model-config FILE is required");
    const fs::path given(config_);
    const std::string path = fs::is_directory(given) ? (given / "config.json").string() : config_, text = read_file(path);
    const DType dtype = dtype_ == "bf16" ? DType::bf16 : DType::f32;
    const auto store = std::make_shared<ParameterStore>(seed_, dtype);  // never packed: there are no gradients to hold
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
      const int64_t vocabulary = text_config_of(text, path).vocabulary;
      tokenizer = Tokenizer::load(tokenizer_);
      REQUIRE(UsageError, tokenizer->vocab_size() <= vocabulary, "pumice model init: the tokenizer ", tokenizer_, " has ", tokenizer->vocab_size(),
              " ids, but ", path, " only a \"vocab_size\" of ", vocabulary);
    }
    const std::string described = fs::path(path).parent_path().string();
    ModelOutput output("pumice model init", out_, overwrite_, {holds_weights(described) ? described : "", tower_, tokenizer_});
    if (tokenizer) { tokenizer->save(output.directory()); }
    write_weights(output.directory(), tensors, {.max_shard_bytes = shard_});
    write_file_atomic(output.directory() + "/config.json", text);
    output.commit();
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
