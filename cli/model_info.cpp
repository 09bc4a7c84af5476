#include "pumice/cli/command.h"
#include "pumice/cli/language_info.h"
#include "pumice/cli/terminal.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/train/checkpoint.h"
#include "pumice/train/language_model.h"

namespace pumice {
namespace {

class ModelInfo : public Command {
 public:
  std::string name() const override { return "model info"; }
  std::string summary() const override { return "what a run, a Hugging Face directory or a .safetensors file holds"; }
  std::string positional() const override { return "RUN|DIR|FILE"; }
  std::string examples() const override {
    return "  pumice model info runs/a\n"
           "  pumice model info MoE-LLaVA-Phi2-2.7B-4e      # sizes, parameters, memory; config.json alone is enough\n"
           "  pumice model info model.safetensors --tensors\n";
  }
  void declare(OptionTable& o) override {
    o.add("tensors", tensors_, "Output", "list every tensor");
    o.add("image-tower", tower_, "Model", "directory of the vision tower, where a Hugging Face directory does not hold it").alias("mm-vision-tower");
  }

  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, arguments.size() == 1,
            "pumice model info: one run directory, checkpoint, Hugging Face directory or .safetensors file is required, got ", arguments.size());
    std::string file = model_directory(arguments[0]);
    if (is_hf_directory(file)) {
      print_hf_model(file, tower_, tensors_);
      return 0;
    }
    if (file.size() < 12 || file.substr(file.size() - 12) != ".safetensors") {
      std::string checkpoint = find_checkpoint(file);
      print_checkpoint(checkpoint);
      file = checkpoint + "/model.safetensors";
    }
    print_tensors(file);
    return 0;
  }

 private:
  static void print_checkpoint(const std::string& checkpoint) {
    LoadedImageText loaded = load_image_text(checkpoint);
    const ImageTextConfig& c = loaded.model->config();
    ImageTextCost cost = cost_of(c);
    const std::string architecture =
        c.architecture == Architecture::limoe ? "LIMoE" : c.architecture == Architecture::two_tower ? "two-tower" : "classifier";
    print_line(format("checkpoint  %s, step %lld", checkpoint.c_str(), static_cast<long long>(loaded.state.step)));
    print_line(format("model       %s %s: %lld blocks, width %lld, %lld px in patches of %lld, captions of up to %lld tokens", architecture.c_str(),
                      c.preset.c_str(), static_cast<long long>(c.depth), static_cast<long long>(c.width), static_cast<long long>(c.image_size),
                      static_cast<long long>(c.patch), static_cast<long long>(c.text_length)));
    if (!c.moe_layers.empty() && !c.dense_twin) {
      print_line(format("experts     %d in each of %zu blocks, %d per token", c.router.experts, c.moe_layers.size(), c.router.experts_per_token));
    }
    print_line(format("parameters  %s total, %s active per token", human_count(double(cost.parameters)).c_str(),
                      human_count(double(cost.active_parameters)).c_str()));
    print_line(format("compute     %sMAC per picture, %sMAC per caption (forward)", human_count(cost.image_macs).c_str(),
                      human_count(cost.text_macs).c_str()));
    print_line(format("tokenizer   %d tokens", int(loaded.tokenizer.vocab_size())));
  }

  void print_tensors(const std::string& path) const {
    SafetensorsFile file = SafetensorsFile::open(path);
    int64_t elements = 0;
    for (const std::string& name : file.names()) {
      elements += file.shape(name).elements();
      if (tensors_) { print_line(format("  %-44s %s", name.c_str(), concat_text(file.shape(name)).c_str())); }
    }
    print_line(format("tensors     %zu with %s elements in %s", file.names().size(), human_count(double(elements)).c_str(), path.c_str()));
  }

  bool tensors_ = false;
  std::string tower_;
};

}  // namespace

std::unique_ptr<Command> make_model_info() { return std::make_unique<ModelInfo>(); }

}  // namespace pumice
