#include "pumice/cli/arguments.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

struct Assignment { Option* option; std::string value, flag; };

bool looks_boolean(const std::string& given) {
  const std::string word = ascii_lower(given);
  return word == "true" || word == "false" || word == "yes" || word == "no" || word == "0" || word == "1";
}

// Finds the option of a flag word without its dashes; `off` is set for --no-name of a switch.
Option* option_of(OptionTable& options, const std::string& name, bool& off) {
  off = false;
  if (Option* option = options.find(name)) { return option; }
  if (name.rfind("no-", 0) == 0) {
    Option* option = options.find(name.substr(3));
    if (option && option->type == Option::kBoolean) {
      off = true;
      return option;
    }
  }
  return nullptr;
}

bool is_choice(const Option& option, const std::string& word) {
  return std::find(option.choices.begin(), option.choices.end(), option.value_of(word)) != option.choices.end();
}

struct Switched { Option* option; const Option::Switch* by; bool on; };
Switched switch_of(OptionTable& options, const std::string& name) {
  const bool negated = name.rfind("no-", 0) == 0 || name.rfind("no_", 0) == 0;
  OptionTable::SwitchOf s = options.find_switch(negated ? name.substr(3) : name);
  return {s.option, s.by, !negated};
}

bool is_true(const std::string& word, const std::string& flag) {
  REQUIRE(UsageError, looks_boolean(word), flag, " must be true or false, got '", word, "'");
  return word[0] == 't' || word[0] == 'T' || word[0] == 'y' || word[0] == 'Y' || word[0] == '1';
}

std::vector<Assignment> read_flags(const Command& command, OptionTable& options, const std::vector<std::string>& words, Parsed& parsed) {
  std::vector<Assignment> found;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--help" || word == "-h") { parsed.help = true; continue; }
    if (word == "--verbose") { parsed.verbose = true; continue; }
    if (word.size() < 2 || word[0] != '-' || (word[1] >= '0' && word[1] <= '9')) { parsed.positional.push_back(word); continue; }
    const bool letter = word.size() == 2 && word[1] != '-' && options.find(word.substr(1));  // an alias of one letter: -p
    REQUIRE(UsageError, word[1] == '-' || letter, "pumice ", command.name(), ": '", word, "' is not a flag; flags are spelled --name. See pumice ",
            command.name(), " --help");
    size_t equals = word.find('=');
    std::string name = letter ? word.substr(1) : word.substr(2, equals == std::string::npos ? equals : equals - 2), flag = letter ? word : "--" + name;
    if (auto [switched, by, on] = switch_of(options, name); switched) {
      if (equals != std::string::npos) { on = is_true(word.substr(equals + 1), flag); }
      else if (i + 1 < words.size() && looks_boolean(words[i + 1])) { on = is_true(words[++i], flag); }
      found.push_back({switched, on ? by->on : by->off, flag});
      continue;
    }
    bool off = false;
    Option* option = option_of(options, name, off);
    REQUIRE(UsageError, option, "pumice ", command.name(), ": there is no flag ", flag, ".",
            options.hint(name), " See pumice ", command.name(), " --help");
    if (off) { found.push_back({option, "false", flag}); continue; }
    if (equals != std::string::npos) { found.push_back({option, word.substr(equals + 1), flag}); continue; }
    if (option->type == Option::kBoolean) {
      bool given = i + 1 < words.size() && looks_boolean(words[i + 1]);
      found.push_back({option, given ? words[++i] : "true", flag});
      continue;
    }
    if (!option->bare.empty() && (i + 1 == words.size() || !is_choice(*option, words[i + 1]))) {
      found.push_back({option, option->bare, flag});
      continue;
    }
    REQUIRE(UsageError, i + 1 < words.size(), "pumice ", command.name(), ": ", flag, " needs a value (", option->help, ")");
    found.push_back({option, words[++i], flag});
  }
  return found;
}

std::string preset_in(const std::string& json, const std::string& source) {
  try {
    auto j = parse_json_with_comments(json);
    return j.is_object() && j.contains("preset") && j["preset"].is_string() ? j["preset"].get<std::string>() : "";
  } catch (const nlohmann::json::exception& e) {
    throw FormatError(concat_text(source, " is not valid JSON: ", e.what()), __FILE__, __LINE__);
  }
}

std::string padded(const std::string& text, size_t width) { return text.size() < width ? text + std::string(width - text.size(), ' ') : text + " "; }

}  // namespace

Parsed parse_arguments(Command& command, OptionTable& options, const std::vector<std::string>& words) {
  Parsed parsed;
  std::vector<Assignment> flags = read_flags(command, options, words, parsed);
  if (parsed.help) { return parsed; }
  REQUIRE(UsageError, parsed.positional.empty() || !command.positional().empty(), "pumice ", command.name(), ": unexpected argument '",
          parsed.positional.empty() ? "" : parsed.positional[0], "'; values follow their --flag. See pumice ", command.name(), " --help");

  std::map<std::string, std::string> given;
  for (const Assignment& a : flags) { given[a.option->name] = a.option->value_of(a.value); }
  std::string config = given.count("config") ? given["config"] : command.implied_config(given), json;
  if (!config.empty()) { json = read_file(config); }
  std::string preset = given.count("preset") ? given["preset"] : json.empty() ? "" : preset_in(json, config);
  if (preset.empty() && options.find("preset")) { preset = options.find("preset")->get(); }
  if (!preset.empty()) {
    std::map<std::string, std::string> before;
    for (const Option& option : options.all()) { before[option.name] = option.get(); }
    command.apply_preset(preset);
    for (Option& option : options.all()) {
      if (option.get() != before[option.name]) { option.source = "preset " + preset; }
    }
  }
  if (!json.empty()) { options.set_from_json(json, config); }
  for (const Assignment& a : flags) { options.set(*a.option, a.value, a.flag); }
  return parsed;
}

std::string help_of(const Command& command, const OptionTable& options) {
  std::string text = "pumice " + command.name() + ": " + command.summary() + "\n\nUsage: pumice " + command.name();
  if (!command.positional().empty()) { text += " " + command.positional(); }
  text += " [--flag value ...]\n";
  std::vector<std::string> groups;
  for (const Option& o : options.all()) {
    if (std::find(groups.begin(), groups.end(), o.group) == groups.end()) { groups.push_back(o.group); }
  }
  for (const std::string& group : groups) {
    text += "\n" + group + "\n";
    for (const Option& o : options.all()) {
      if (o.group != group) { continue; }
      const std::string value = o.type == Option::kBoolean ? "" : o.type == Option::kInteger ? " N" : o.type == Option::kNumber ? " X" : " ...";
      const std::string left = "  --" + o.name + value;
      text += padded(left, 30) + o.help;
      if (!o.choices.empty()) { text += " (" + join(o.choices, " | ") + ")"; }
      if (!o.fallback.empty() && o.fallback != "false") { text += " [" + o.fallback + "]"; }
      for (const std::string& alias : o.aliases) {
        text += (&alias == &o.aliases[0] ? "  also " : ", ") + std::string(alias.size() == 1 ? "-" : "--") + alias;
      }
      for (const Option::Switch& s : o.switches) { text += "  --" + s.name + " is --" + o.name + " " + s.on; }
      text += "\n";
    }
  }
  return text + "\n  --verbose" + std::string(19, ' ') + "show where in Pumice an error comes from\n\nExamples:\n" + command.examples();
}

std::string help_of_group(const std::vector<std::unique_ptr<Command>>& commands, const std::string& group) {
  std::string text;
  for (const auto& c : commands) {
    if (c->name().rfind(group + " ", 0) == 0) { text += "  " + padded(c->name(), 18) + c->summary() + "\n"; }
  }
  return text.empty() ? "" : "Usage: pumice " + group + " COMMAND [--flag value ...]\n\nCommands:\n" + text;
}

std::string help_of_program(const std::vector<std::unique_ptr<Command>>& commands) {
  std::string text =
      "pumice: train and evaluate sparse multimodal models.\n\nUsage: pumice COMMAND [--flag value ...]\n\nCommands:\n";
  for (const auto& c : commands) { text += "  " + padded(c->name(), 18) + c->summary() + "\n"; }
  return text +
         "\nExamples:\n"
         "  pumice data scenes --out datasets/scenes\n"
         "  pumice train limoe --preset tiny --train-data 'datasets/scenes/train/train-{000000..000019}.tar' --out runs/a\n"
         "  pumice eval zeroshot --model runs/a --data datasets/scenes/eval-objects\n"
         "\n'pumice COMMAND --help' shows the flags of a command.\n";
}

}  // namespace pumice
