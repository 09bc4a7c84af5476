#include "pumice/cli/command.h"
#include "pumice/cli/training.h"
#include "pumice/models/hf/config.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/parallel.h"
#include "pumice/train/language_model.h"
#include "pumice/train/language_trainer.h"

namespace pumice {
namespace {

std::string status_of(const LanguageMetrics& m) {
  return format("step %lld/%lld  loss %.3f (chance %.2f)  %.0f tokens/s  %s left", static_cast<long long>(m.step), static_cast<long long>(m.steps), m.loss,
                m.chance, m.tokens_per_second, human_time(m.seconds_left).c_str());
}

class TrainLm : public Command {
 public:
  std::string name() const override { return "train lm"; }
  std::string summary() const override { return "train a language model on text, or go on with one; dense or with experts"; }
  std::string examples() const override {
    return "  pumice train lm --preset tiny --train-data book.txt --out runs/lm\n"
           "  pumice train lm --preset small --moe --experts 8 --train-data stories.jsonl --epochs 2 --out runs/sparse\n"
           "  pumice train lm --init-from qwen2-0.5b --train-data notes/ --lr 1e-5 --precision bf16 --out runs/tuned\n"
           "  pumice generate --model runs/lm --raw -p 'Once upon a time'\n";
  }
  void declare(OptionTable& options) override {
    apply_language_preset(training_, flags_.preset);
    training_.schedule.peak = 2e-3;
    flags_.declare(options);
    declare_language_training_options(options, training_);
  }
  void apply_preset(const std::string& preset) override { apply_language_preset(training_, preset); }
  std::string implied_config(const std::map<std::string, std::string>& flags) const override { return config_to_resume(flags); }

  int run(OptionTable& options, const std::vector<std::string>&) override {
    training_.preset = flags_.preset;
    settle_length(options, training_);
    if (flags_.dry_run) {
      training_.validate_recipe();
      print_sources(options);
      print_plan();
      return 0;
    }
    training_.validate();
    return run_training(name(), training_, flags_.json, header(), train_language, status_of);
  }

 private:
  DecoderConfig config() const {
    if (!training_.init_from.empty()) {
      const std::string path = model_directory(training_.init_from) + "/config.json";
      return decoder_config_from_hf(read_file(path), path);
    }
    std::string source;
    const std::string text = language_config(training_, training_.sizes.vocabulary, source);
    return decoder_config_from_hf(text, source);
  }
  std::string what() const {
    return !training_.init_from.empty() ? training_.init_from : !training_.model_config.empty() ? training_.model_config : training_.preset;
  }
  std::string header() const {
    const DecoderCost cost = cost_of(config());
    return format("pumice %s, %s: %s parameters, %s active per token; %d threads, %s kernels, %s", PUMICE_VERSION, what().c_str(),
                  human_count(double(cost.parameters)).c_str(), human_count(double(cost.active_parameters)).c_str(), thread_count(),
                  pumice::name(active_isa()), training_.precision == DType::bf16 ? "bf16" : "fp32");
  }
  void print_plan() const {
    const DecoderConfig c = config();
    const DecoderCost cost = cost_of(c);
    const double tokens = double(training_.batch_size * training_.length), parameters = double(cost.parameters);
    // the embedding is looked up, not multiplied; scores and their values: half of length^2, causal
    const double lookup = c.tied ? 0 : double(c.vocabulary * c.width);
    const double macs = double(cost.active_parameters) - lookup + double(c.layers * c.heads * c.head_width) * double(training_.length);
    const double flops = 6 * macs * tokens * (training_.recompute ? 4.0 / 3 : 1);
    const double compute = training_.precision == DType::bf16 ? 2 : 0;  // copies of the weights
    print_line(format("parameters    %s total, %s active per token", human_count(parameters).c_str(), human_count(double(cost.active_parameters)).c_str()));
    print_line(format("compute       %sFLOP per step of %s tokens, %sFLOP for %lld steps", human_count(flops).c_str(), human_count(tokens).c_str(),
                      human_count(flops * double(training_.schedule.steps)).c_str(), static_cast<long long>(training_.schedule.steps)));
    print_line(format("memory        weights %s, gradients %s, optimizer %s, and activations", human_bytes(parameters * (4 + compute)).c_str(),
                      human_bytes(parameters * 4).c_str(), human_bytes(parameters * optimizer_bytes(training_)).c_str()));
  }

  LanguageTraining training_;
  TrainingFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_train_lm() { return std::make_unique<TrainLm>(); }

}  // namespace pumice
