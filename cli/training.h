// What the commands that train have in common: flags beside those of the recipe, a log, and what they print while they train.
#pragma once
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "pumice/cli/terminal.h"
#include "pumice/tensor/options.h"
#include "pumice/train/run.h"

namespace pumice {

struct TrainingFlags {
  std::string preset = "tiny", config;
  bool dry_run = false, json = false;
  void declare(OptionTable& options);
};

// The config.json of the run in --out that --resume goes on with; "" when a new one starts. Throws UsageError when there is none to resume.
std::string config_to_resume(const std::map<std::string, std::string>& flags);

// Which of --steps and --epochs says how long, where both are given: flags beat a config. Two flags are an error. By default a warm-up is at most a
// quarter of the steps.
void settle_length(OptionTable& options, TrainingRecipe& recipe);

// "batch-size  64  from --batch-size": a line for each option that is not at its default.
void print_sources(const OptionTable& options);

// Lines for the terminal that are kept in the run's log.txt as well, with the time. The trainer prepares the directory, so lines wait until open()
// is called at the first step.
class RunLog {
 public:
  explicit RunLog(bool json) : json_(json) {}  // terminal lines are JSON objects
  void line(const std::string& text);
  void open(const std::string& directory);
  // A line per sparse layer: how many tokens found a place, and over how many experts each modality spreads.
  void routing(const std::vector<LayerReport>& layers);

 private:
  void flush();
  bool json_;
  std::string waiting_;
  std::ofstream file_;
};

// Says how it ended, and returns the exit code.
int report_outcome(RunLog& log, const std::string& command, const TrainingRecipe& recipe, const TrainOutcome& outcome, double chance);

// Trains, with `header` first and `status` of a step on the line that is refreshed. `command`: "train limoe".
template <class Training, class Metrics>
int run_training(const std::string& command, const Training& training, bool json, const std::string& header,
                 TrainOutcome (*train)(const Training&, const Observer<Metrics>&), std::string (*status)(const Metrics&)) {
  RunLog log(json);
  log.line(header);
  catch_stop_signals();
  double chance = 0;
  Observer<Metrics> observer;
  observer.message = [&log](const std::string& text) { log.line(text); };
  observer.should_stop = stop_requested;
  observer.step = [&](const Metrics& m) {
    log.open(training.out);
    chance = m.chance;
    const bool ends = m.step == 1 || m.step == m.steps;
    if (json) {
      if (ends || m.step % training.log_every == 0) {
        std::string line = metrics_line(m);
        line.pop_back();  // its line end
        print_line(line);
      }
    } else if (ends || m.step % (10 * training.log_every) == 0) {
      log.line(status(m) + format("  lr %.2e  |g| %.2f", m.learning_rate, m.gradient_norm));
      log.routing(m.layers);
    } else {
      print_status(status(m));
    }
  };
  const TrainOutcome outcome = train(training, observer);
  clear_status();
  return report_outcome(log, command, training, outcome, chance);
}

}  // namespace pumice
