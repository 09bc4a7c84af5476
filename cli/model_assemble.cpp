#include "pumice/cli/command.h"
#include "pumice/cli/model_output.h"
#include "pumice/cli/terminal.h"
#include "pumice/models/hf/assemble.h"
#include "pumice/models/hf/llava.h"
#include "pumice/tensor/error.h"
#include "pumice/train/language_model.h"

namespace pumice {
namespace {

class ModelAssemble : public Command {
 public:
  std::string name() const override { return "model assemble"; }
  std::string summary() const override { return "make a model that sees, of a language model, a vision tower and a new projector"; }
  std::string examples() const override {
    return "  pumice model assemble --decoder vicuna-7b/ --image-tower clip-vit-large-patch14-336/ --out llava/\n"
           "  pumice model assemble --decoder qwen2/ --image-tower runs/limoe --projector linear --out sees/   # a run of our own\n"
           "  pumice model assemble --decoder llama/ --image-tower siglip/ --layout hf --out sees/             # for Transformers\n"
           "  pumice model assemble --decoder phi-2/ --image-tower clip/ --projector-weights stage1/mm_projector.bin --out sees/\n";
  }
  void declare(OptionTable& o) override {
    o.add("decoder", decoder_, "Input", "directory of the language model, as Hugging Face writes it, or a run of train lm").alias("language-model");
    o.add("image-tower", tower_, "Input", "directory of the vision tower: CLIP, SigLIP, or a run of train limoe, clip or classifier")
        .alias("mm-vision-tower");
    o.add("projector", settings_.projector, "Projector", "linear, or mlpNx_gelu: N linear layers with gelu between them; unset: mlp2x_gelu, or as its "
          "weights are").alias("mm-projector-type").alias("image-projector-type");
    o.add("projector-weights", settings_.projector_weights, "Projector", "a projector that is trained already: mm_projector.bin or .safetensors, or a "
          "directory with one or with a whole model; unset: drawn").alias("pretrain-mm-mlp-adapter");
    o.add("vision-layer", settings_.vision_layer, "Projector", "layer of the tower whose hidden states it reads; negative ones count from the end")
        .alias("mm-vision-select-layer");
    o.add("seed", settings_.seed, "Projector", "of weights that are drawn");
    o.add("layout", settings_.layout, "Output", "names of tensors and fields: LLaVA's, Transformers' or MoE-LLaVA's")
        .one_of({"llava", "hf", "moe_llava"});
    o.add("out", out_, "Output", "directory of the new model").alias("output-dir");
    o.add("overwrite", overwrite_, "Output", "replace the model that is in --out");
    o.add("max-shard-bytes", shard_, "Output", "size of a shard");
  }
  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    const char* command = "pumice model assemble";
    REQUIRE(UsageError, arguments.empty(), command, ": everything is named by an option, got ", arguments.empty() ? "" : arguments[0]);
    REQUIRE(UsageError, !decoder_.empty() && !tower_.empty(), command, ": --decoder DIR and --image-tower DIR are required");
    if (settings_.layout == "hf") { settings_.image_token = image_token_of(model_directory(decoder_)); }
    const std::string decoder = model_directory(decoder_);
    const LlavaFiles made = assemble_llava(decoder, tower_, settings_);
    ModelOutput output(command, out_, overwrite_, {decoder_, decoder, tower_, settings_.projector_weights});
    const std::string& to = output.directory();
    copy_companions(decoder, to);
    write_llava(to, made, made.tower_read, {.max_shard_bytes = shard_});
    copy_preprocessor(made.tower_read, to);
    // reading it back is the test that every tensor stands where it should
    const Llava model = open_llava(to);
    output.commit();
    int64_t between = 0;
    for (const auto& p : model.parameters().all()) { between += p->name().rfind("projector.", 0) == 0 ? p->size() : 0; }
    print_line(out_ + ": " + human_count(double(model.parameters().size())) + " parameters, " + human_count(double(between)) + " of them " +
               (settings_.projector_weights.empty() ? "new " : "") + "in the projector; " + std::to_string(model.config().image_tokens()) + " tokens per picture");
    return 0;
  }

 private:
  std::string decoder_, tower_, out_;
  bool overwrite_ = false;
  uint64_t shard_ = 5'000'000'000;
  AssembleSettings settings_;
};

}  // namespace

std::unique_ptr<Command> make_model_assemble() { return std::make_unique<ModelAssemble>(); }

}  // namespace pumice
