#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/tokenizer.h"
#include "pumice/tensor/error.h"
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

// Lines for the terminal that are kept in the run's directory as well, with the time. The trainer prepares the directory, so lines
// wait until open() is called at the first step.
class RunLog {
 public:
  explicit RunLog(bool json) : json_(json) {}
  void line(const std::string& text) {
    print_line(json_ ? message_line(text) : text);
    char stamp[32];
    std::time_t now = std::time(nullptr);
    std::strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S  ", std::localtime(&now));
    waiting_ += stamp + text + "\n";
    flush();
  }
  void open(const std::string& directory) {
    if (!file_.is_open()) { file_.open(directory + "/log.txt", std::ios::app); }
    flush();
  }

 private:
  void flush() {
    if (!file_.is_open()) { return; }
    file_ << waiting_ << std::flush;
    waiting_.clear();
  }
  bool json_;  // terminal lines are JSON objects
  std::string waiting_;
  std::ofstream file_;
};

// One line per sparse block: how many tokens found a place, and over how many experts each modality spreads.
void print_routing(const ImageTextMetrics& m, RunLog& log) {
  for (const LayerReport& layer : m.layers) {
    std::string line = format("  %sblock %lld", layer.tower.empty() ? "" : (layer.tower + " ").c_str(), static_cast<long long>(layer.block));
    auto part = [&line](const char* name, const ModalityStats& s) {
      if (s.tokens) { line += format("  %s: %s kept, %.1f experts ", name, percent(s.success_rate()).c_str(), s.effective_experts()); }
    };
    part("image", layer.stats.image());
    part("text", layer.stats.text());
    log.line(line + format("  dropped %s", percent(1 - layer.stats.all().success_rate()).c_str()));
  }
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
    apply_training_preset(training_, "tiny", architecture_);
    preset_ = "tiny";
    options.add("preset", preset_, "Model", "sizes and defaults; see pumice presets");
    options.add("config", config_, "Run", "a JSON file of option names and values");
    options.add("dry-run", dry_run_, "Run", "print what would be trained, its parameters, FLOPs and memory, and stop");
    options.add("log-format", "Run", "of lines on the terminal: json is one object per line, with the keys of metrics.jsonl",
                [this] { return std::string(json_ ? "json" : "text"); },
                [this](const std::string& text) {
                  json_ = text == "json";
                  return true;
                }).one_of({"text", "json"});
    declare_training_options(options, training_);
  }
  void apply_preset(const std::string& preset) override { apply_training_preset(training_, preset, architecture_); }
  std::string implied_config(const std::map<std::string, std::string>& flags) const override {
    auto resume = flags.find("resume"), out = flags.find("out"), start = flags.find("init-from");
    if (start != flags.end() && resume == flags.end()) { return find_checkpoint(start->second) + "/config.json"; }
    if (resume == flags.end() || resume->second == "never" || out == flags.end()) { return ""; }
    if (resume->second == "auto" && !std::filesystem::exists(out->second + "/config.json")) {
      return start == flags.end() ? "" : find_checkpoint(start->second) + "/config.json";
    }
    REQUIRE(UsageError, std::filesystem::exists(out->second + "/config.json"), "[train] --resume: ", out->second,
            " holds no run to resume (no config.json). "
            "Leave --resume out to start one");
    return out->second + "/config.json";
  }

  int run(OptionTable& options, const std::vector<std::string>&) override {
    training_.model.preset = preset_;
    if (!training_.init_from.empty()) {  // its sizes, in this command's architecture
      training_.model.architecture = architecture_;
      training_.model.classnames.clear();
      if (architecture_ != Architecture::two_tower) { training_.model.text_moe_layers.clear(); }
    }
    REQUIRE(UsageError, training_.model.architecture == architecture_, "pumice ", name(), ": ", options.find("architecture")->source,
            " says architecture ", options.find("architecture")->get(), ", which pumice ", command_of(training_.model.architecture), " trains");
    if (options.find("warmup")->source.empty()) { training_.schedule.warmup = std::min(training_.schedule.warmup, training_.schedule.steps / 4); }
    if (dry_run_) {
      print_plan(options);
      return 0;
    }
    training_.validate();
    RunLog log(json_);
    log.line(header());
    catch_stop_signals();
    ImageTextObserver observer;
    observer.message = [&log](const std::string& text) { log.line(text); };
    observer.should_stop = stop_requested;
    observer.step = [this, &log](const ImageTextMetrics& m) {
      log.open(training_.out);
      chance_ = m.chance;
      if (json_) {
        if (!m.layers.empty() || m.step % training_.log_every == 0 || m.step == 1 || m.step == m.steps) {
          std::string line = metrics_line(m);
          line.pop_back();  // its line end
          print_line(line);
        }
        return;
      }
      if (m.step % (10 * training_.log_every) == 0 || m.step == 1 || m.step == m.steps) {
        log.line(status_of(m) + format("  lr %.2e  |g| %.2f", m.learning_rate, m.gradient_norm));
        print_routing(m, log);
      } else {
        print_status(status_of(m));
      }
    };
    TrainOutcome outcome = train_image_text(training_, observer);
    clear_status();
    if (!outcome.finished) {
      log.line(format("stopped at step %lld; continue with: pumice %s --out %s --resume", static_cast<long long>(outcome.step), name().c_str(),
                      training_.out.c_str()));
      return stop_exit_code();
    }
    if (outcome.steps_done == 0) {
      log.line(format("nothing to do: %s has all its %lld steps. Start a longer run with another --out", training_.out.c_str(),
                      static_cast<long long>(outcome.step)));
      return 0;
    }
    log.line(format("trained %lld steps in %s, final loss %.3f (chance %.2f)", static_cast<long long>(outcome.steps_done),
                      human_time(outcome.seconds).c_str(), outcome.loss, chance_));
    return 0;
  }

 private:
  std::string header() const {
    ImageTextCost cost = cost_of(training_.model);
    return format("pumice %s, %s: %s parameters, %s active per token; %d threads, %s kernels, %s", PUMICE_VERSION, preset_.c_str(),
                  human_count(double(cost.parameters)).c_str(), human_count(double(cost.active_parameters)).c_str(), thread_count(),
                  pumice::name(active_isa()), training_.precision == DType::bf16 ? "bf16" : "fp32");
  }

  void print_plan(OptionTable& options) const {
    training_.validate_recipe();
    for (const Option& o : options.all()) {
      if (!o.source.empty()) { print_line(format("%-22s %-28s from %s", o.name.c_str(), o.get().c_str(), o.source.c_str())); }
    }
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
  double chance_ = 0;
  std::string preset_, config_;
  bool dry_run_ = false, json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_train_limoe() { return std::make_unique<TrainLimoe>(Architecture::limoe); }
std::unique_ptr<Command> make_train_clip() { return std::make_unique<TrainLimoe>(Architecture::two_tower); }
std::unique_ptr<Command> make_train_classifier() { return std::make_unique<TrainLimoe>(Architecture::classifier); }

}  // namespace pumice
