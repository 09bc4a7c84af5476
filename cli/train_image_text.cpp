#include <algorithm>
#include <filesystem>

#include "pumice/cli/command.h"
#include "pumice/cli/training.h"
#include "pumice/data/tokenizer.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/free_memory.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/parallel.h"
#include "pumice/train/checkpoint.h"
#include "pumice/train/image_text_options.h"
#include "pumice/train/metrics.h"

namespace pumice {
namespace {

// Choices that a preset makes beside the model: what fits its size.
void apply_training_preset(ImageTextTraining& t, const std::string& preset, Architecture architecture) {
  t.model = as_architecture(limoe_preset(preset), architecture);
  if (preset == "micro") { t.batch_size = 8; }
}

std::string status_of(const ImageTextMetrics& m) {
  const double right = m.classifier ? m.image_to_text : (m.image_to_text + m.text_to_image) / 2;
  return format("step %lld/%lld  loss %.3f (chance %.2f)  %s %s  %.0f %s/s  %s left", static_cast<long long>(m.step), static_cast<long long>(m.steps),
                m.loss, m.chance,
                m.classifier ? "right" : "in-batch", percent(right).c_str(), m.pairs_per_second, m.classifier ? "pictures" : "pairs",
                    human_time(m.seconds_left).c_str());
}

const char* command_of(Architecture architecture) {
  return architecture == Architecture::limoe ? "train limoe" : architecture == Architecture::two_tower ? "train clip" : "train classifier";
}

// `train limoe`, `train clip` and `train classifier`: one trainer, three architectures.
class TrainLimoe : public Command {
 public:
  explicit TrainLimoe(Architecture architecture) : architecture_(architecture) {}
  std::string name() const override { return command_of(architecture_); }
  std::string summary() const override {
    if (architecture_ == Architecture::limoe) { return "train a sparse image-text model with a contrastive loss"; }
    if (architecture_ == Architecture::two_tower) { return "the same with a tower for each: CLIP, SigLIP, LiT"; }
    return "train a sparse image classifier (V-MoE)";
  }
  std::string examples() const override {
    if (architecture_ == Architecture::two_tower) {
      return "  pumice train clip --preset tiny --train-data 'datasets/scenes/train/train-{000000..000019}.tar' --out runs/clip\n"
             "  pumice train clip --loss sigmoid --train-data pictures.csv --out runs/siglip\n"
             "  pumice train clip --init-from runs/classifier --train-data pictures.csv --out runs/tuned\n";
    }
    if (architecture_ == Architecture::classifier) {
      return "  pumice train classifier --preset tiny --train-data pictures-by-class --out runs/vmoe\n"
             "  pumice train classifier --preset tiny --train-data fashion-mnist --moe-layers '' --out runs/vit\n";
    }
    return "  pumice train limoe --preset tiny --train-data 'datasets/scenes/train/train-{000000..000019}.tar' --out runs/a --steps 1000\n"
           "  pumice train limoe --out runs/a --resume\n"
           "  pumice train limoe --preset small --train-data shards.tar --out runs/b --dry-run\n";
  }
  void declare(OptionTable& options) override {
    apply_training_preset(training_, flags_.preset, architecture_);
    flags_.declare(options);
    declare_training_options(options, training_);
  }
  void apply_preset(const std::string& preset) override { apply_training_preset(training_, preset, architecture_); }
  std::string implied_config(const std::map<std::string, std::string>& flags) const override {
    const auto start = flags.find("init-from");
    const std::string resumed = config_to_resume(flags);
    return resumed.empty() && start != flags.end() ? find_checkpoint(start->second) + "/config.json" : resumed;
  }

  int run(OptionTable& options, const std::vector<std::string>&) override {
    training_.model.preset = flags_.preset;
    if (!training_.init_from.empty()) {  // its sizes, in this command's architecture
      training_.model.architecture = architecture_;
      training_.model.classnames.clear();
      if (architecture_ != Architecture::two_tower) { training_.model.text_moe_layers.clear(); }
    }
    REQUIRE(UsageError, training_.model.architecture == architecture_, "pumice ", name(), ": ", options.find("architecture")->source,
            " says architecture ", options.find("architecture")->get(), ", which pumice ", command_of(training_.model.architecture), " trains");
    settle_length(options, training_);
    if (training_.fit_batch) { training_.batch_size = largest_batch(training_, 0.8 * double(free_memory(training_.device))); }
    if (flags_.dry_run) {
      print_plan(options);
      return 0;
    }
    training_.validate();
    return run_training(name(), training_, flags_.json, header(), train_image_text, status_of);
  }

 private:
  std::string header() const {
    ImageTextCost cost = cost_of(training_.model);
    return format("pumice %s, %s: %s parameters, %s active per token; %d threads, %s kernels, %s", PUMICE_VERSION, flags_.preset.c_str(),
                  human_count(double(cost.parameters)).c_str(), human_count(double(cost.active_parameters)).c_str(), thread_count(),
                  pumice::name(active_isa()), training_.precision == DType::bf16 ? "bf16" : "fp32");
  }

  void print_plan(OptionTable& options) const {
    training_.validate_recipe();
    print_sources(options);
    if (!training_.tokenizer.empty()) { load_tokenizer(training_); }
    ImageTextCost cost = cost_of(training_.model);
    ImageTextMemory memory = memory_of(training_);
    double flops =
        6 * (cost.image_macs + cost.text_macs) * double(training_.batch_size) * (training_.recompute || training_.accum_freq > 1 ? 4.0 / 3 : 1);
    print_line(format("parameters    %s total, %s active per token", human_count(double(cost.parameters)).c_str(),
                      human_count(double(cost.active_parameters)).c_str()));
    print_line(format("compute       %sFLOP per step of %lld pairs, %sFLOP for %lld steps", human_count(flops).c_str(),
                      static_cast<long long>(training_.batch_size),
                      human_count(flops * double(training_.schedule.steps)).c_str(), static_cast<long long>(training_.schedule.steps)));
    print_line(format("memory        about %s: weights %s, gradients %s, optimizer %s, activations %s", human_bytes(memory.total()).c_str(),
                      human_bytes(memory.weights).c_str(), human_bytes(memory.gradients).c_str(), human_bytes(memory.optimizer).c_str(),
                      human_bytes(memory.activations).c_str()));
  }

  Architecture architecture_;
  ImageTextTraining training_;
  TrainingFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_train_limoe() { return std::make_unique<TrainLimoe>(Architecture::limoe); }
std::unique_ptr<Command> make_train_clip() { return std::make_unique<TrainLimoe>(Architecture::two_tower); }
std::unique_ptr<Command> make_train_classifier() { return std::make_unique<TrainLimoe>(Architecture::classifier); }

}  // namespace pumice
