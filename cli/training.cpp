#include "pumice/cli/training.h"

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "pumice/tensor/error.h"
#include "pumice/train/metrics.h"

namespace pumice {

void TrainingFlags::declare(OptionTable& options) {
  options.add("preset", preset, "Model", "sizes and defaults; see pumice presets");
  options.add("config", config, "Run", "a JSON file of option names and values");
  options.add("dry-run", dry_run, "Run", "print what would be trained, its parameters, FLOPs and memory, and stop");
  options.add("log-format", "Run", "of lines on the terminal: json is one object per line, with the keys of metrics.jsonl",
              [this] { return std::string(json ? "json" : "text"); },
              [this](const std::string& text) {
                json = text == "json";
                return true;
              }).one_of({"text", "json"});
}

std::string config_to_resume(const std::map<std::string, std::string>& flags) {
  const auto resume = flags.find("resume"), out = flags.find("out");
  if (resume == flags.end() || resume->second == "never" || out == flags.end()) { return ""; }
  const std::string config = out->second + "/config.json";
  if (resume->second == "auto" && !std::filesystem::exists(config)) { return ""; }
  REQUIRE(UsageError, std::filesystem::exists(config), "[train] --resume: ", out->second,
          " holds no run to resume (no config.json). Leave --resume out to start one");
  return config;
}

void settle_length(OptionTable& options, TrainingRecipe& recipe) {
  auto flagged = [&](const char* name) { return options.find(name)->source.rfind("--", 0) == 0; };
  if (flagged("steps") && recipe.epochs > 0) {
    REQUIRE(UsageError, !flagged("epochs"), "[train] --steps ", recipe.schedule.steps, " and --epochs ", recipe.epochs,
            " both say how long to train; leave one out");
    recipe.epochs = 0;
  }
  if (options.find("warmup")->source.empty()) { recipe.schedule.warmup = std::min(recipe.schedule.warmup, recipe.schedule.steps / 4); }
}

void print_sources(const OptionTable& options) {
  for (const Option& o : options.all()) {
    if (!o.source.empty()) { print_line(format("%-22s %-28s from %s", o.name.c_str(), o.get().c_str(), o.source.c_str())); }
  }
}

int report_outcome(RunLog& log, const std::string& command, const TrainingRecipe& recipe, const TrainOutcome& outcome, double chance) {
  if (!outcome.finished) {
    log.line(format("stopped at step %lld; continue with: pumice %s --out %s --resume", static_cast<long long>(outcome.step), command.c_str(),
                    recipe.out.c_str()));
    return stop_exit_code();
  }
  if (outcome.steps_done == 0) {
    log.line(format("nothing to do: %s has all its %lld steps. Start a longer run with another --out", recipe.out.c_str(),
                    static_cast<long long>(outcome.step)));
    return 0;
  }
  log.line(format("trained %lld steps in %s, final loss %.3f (chance %.2f)", static_cast<long long>(outcome.steps_done),
                  human_time(outcome.seconds).c_str(), outcome.loss, chance));
  return 0;
}

void RunLog::line(const std::string& text) {
  print_line(json_ ? message_line(text) : text);
  char stamp[32];
  std::time_t now = std::time(nullptr);
  std::strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S  ", std::localtime(&now));
  waiting_ += stamp + text + "\n";
  flush();
}

void RunLog::open(const std::string& directory) {
  if (!file_.is_open()) { file_.open(directory + "/log.txt", std::ios::app); }
  flush();
}

void RunLog::flush() {
  if (!file_.is_open()) { return; }
  file_ << waiting_ << std::flush;
  waiting_.clear();
}

void RunLog::routing(const std::vector<LayerReport>& layers) {
  for (const LayerReport& layer : layers) {
    std::string text = format("  %sblock %lld", layer.tower.empty() ? "" : (layer.tower + " ").c_str(), static_cast<long long>(layer.block));
    auto part = [&text](const char* name, const ModalityStats& s) {
      if (s.tokens) { text += format("  %s: %s kept, %.1f experts ", name, percent(s.success_rate()).c_str(), s.effective_experts()); }
    };
    part("image", layer.stats.image());
    part("text", layer.stats.text());
    line(text + format("  dropped %s", percent(1 - layer.stats.all().success_rate()).c_str()));
  }
}

}  // namespace pumice
