// One command of the `pumice` program: its name, its options and what it does. Each lives in a file of its own; main.cpp lists them.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pumice/tensor/options.h"

namespace pumice {

class Command {
 public:
  virtual ~Command() = default;
  virtual std::string name() const = 0;     // "train limoe"
  virtual std::string summary() const = 0;  // one line
  virtual std::string examples() const = 0; // whole command lines, one per line
  // Positional arguments as usage text ("DIR"), or "" when there are none; they reach run() in order.
  virtual std::string positional() const { return ""; }

  virtual void declare(OptionTable& options) = 0;  // binds every option to a member
  // Sets the bound members from a named preset, before the config and the flags. Commands without --preset need not override it.
  virtual void apply_preset(const std::string&) {}
  // A config to read when --config is not given: a resumed run continues with its own. `flags` are the raw command-line values.
  virtual std::string implied_config(const std::map<std::string, std::string>& flags) const { return (void)flags, ""; }
  // Returns the exit code. Throws Error.
  virtual int run(OptionTable& options, const std::vector<std::string>& arguments) = 0;
};

std::vector<std::unique_ptr<Command>> all_commands();

std::unique_ptr<Command> make_data_scenes();
std::unique_ptr<Command> make_train_limoe();
std::unique_ptr<Command> make_train_clip();
std::unique_ptr<Command> make_train_classifier();
std::unique_ptr<Command> make_train_lm();
std::unique_ptr<Command> make_eval_zeroshot();
std::unique_ptr<Command> make_eval_retrieval();
std::unique_ptr<Command> make_eval_fewshot();
std::unique_ptr<Command> make_eval_experts();
std::unique_ptr<Command> make_eval_lm();
std::unique_ptr<Command> make_chat();
std::unique_ptr<Command> make_generate();
std::unique_ptr<Command> make_model_info();
std::unique_ptr<Command> make_model_inspect();
std::unique_ptr<Command> make_model_convert();
std::unique_ptr<Command> make_model_init();
std::unique_ptr<Command> make_model_assemble();
std::unique_ptr<Command> make_model_export();
std::unique_ptr<Command> make_model_average();
std::unique_ptr<Command> make_model_upcycle();
std::unique_ptr<Command> make_model_prune();
std::unique_ptr<Command> make_tokenizer_train();
std::unique_ptr<Command> make_tokenizer_encode();
std::unique_ptr<Command> make_tokenizer_decode();
std::unique_ptr<Command> make_tokenizer_info();
std::unique_ptr<Command> make_presets();
std::unique_ptr<Command> make_doctor();
std::unique_ptr<Command> make_completion();
std::unique_ptr<Command> make_data_check();
std::unique_ptr<Command> make_data_inspect();
std::unique_ptr<Command> make_data_template();

}  // namespace pumice
