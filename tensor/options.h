// Option tables: one description of every setting of a command, from which flags, JSON keys, help, completion and did-you-mean
// are made. An option is bound to the variable it sets; its default is the variable's value when the table is built.
//
//   OptionTable table;
//   table.add("batch-size", batch_size, "Data", "examples per step").alias("per_device_train_batch_size");
//   table.set("batch-size", "64", "--batch-size");      // parses, or throws UsageError naming where the value came from
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace pumice {

struct Option {
  enum Type { kInteger, kNumber, kBoolean, kText, kIntegers, kTexts };
  std::string name;                   // kebab-case: the flag is --name, the JSON key is name
  std::string group, help;
  std::vector<std::string> aliases;   // other spellings, also kebab-case
  std::vector<std::string> choices;   // allowed values of a text; empty = any
  Type type = kText;
  std::string fallback;               // default as text
  std::string source;                 // where the value in force came from; empty = the default
  std::function<std::string()> get;
  std::function<bool(const std::string&)> parse;  // false: not a value of this type
  struct Synonym { std::string given, value; };
  std::vector<Synonym> synonyms;      // other spellings of choices: amp_bf16 is bf16
  struct Switch { std::string name, on, off; };
  std::vector<Switch> switches;       // flags without a variable of their own: --bf16 is --precision bf16, --no-bf16 is --precision fp32
  std::string bare = "";               // the value of a flag without one; empty: it needs one. Switches (kBoolean) need not set it

  std::string value_of(const std::string& given) const;  // `given`, or the choice that it is a synonym of
  Option& alias(const std::string& other) { aliases.push_back(other); return *this; }
  Option& one_of(const std::vector<std::string>& values);
  Option& synonym(const std::string& given, const std::string& value) { synonyms.push_back({given, value}); return *this; }
  Option& switched_by(const std::string& flag, const std::string& on, const std::string& off) { switches.push_back({flag, on, off}); return *this; }
};

class OptionTable {
 public:
  Option& add(const std::string& name, int64_t& value, const std::string& group, const std::string& help);
  Option& add(const std::string& name, int& value, const std::string& group, const std::string& help);
  Option& add(const std::string& name, uint64_t& value, const std::string& group, const std::string& help);
  Option& add(const std::string& name, double& value, const std::string& group, const std::string& help);
  Option& add(const std::string& name, bool& value, const std::string& group, const std::string& help);
  Option& add(const std::string& name, std::string& value, const std::string& group, const std::string& help);
  Option& add(const std::string& name, std::vector<int64_t>& value, const std::string& group, const std::string& help);  // "1,3,5"
  Option& add(const std::string& name, std::vector<std::string>& value, const std::string& group, const std::string& help);
  // A setting without a variable of a plain type behind it: enumerations and the like.
  Option& add(const std::string& name, const std::string& group, const std::string& help, std::function<std::string()> get,
              std::function<bool(const std::string&)> parse);

  // By name or alias, with '_' read as '-'; null if there is none.
  Option* find(const std::string& name);
  struct SwitchOf { Option* option = nullptr; const Option::Switch* by = nullptr; };
  SwitchOf find_switch(const std::string& name);
  // A name that other programs use and this one has no counterpart for: `instead` says what to do, and is what an error about it says.
  void explain(const std::string& name, const std::string& instead) { explanations_.push_back({name, instead}); }
  // "Did you mean ...?" or the explanation of a name that is no option, with a space before it; empty if there is nothing to say.
  std::string hint(const std::string& name) const;

  // Throws UsageError "`source`: --name must be ..., got ...".
  void set(Option& option, const std::string& value, const std::string& source);
  std::vector<std::string> names() const;
  const std::deque<Option>& all() const { return options_; }
  std::deque<Option>& all() { return options_; }

  // {"name": value, ...} of every option. `leave_out` names options that are not part of what is described.
  std::string to_json(const std::vector<std::string>& leave_out = {}) const;
  // Sets every key of a JSON object (comments allowed). Throws FormatError for bad JSON and UsageError for unknown keys or bad
  // values, naming `source`.
  void set_from_json(const std::string& text, const std::string& source);

 private:
  Option& add_option(Option option);
  std::vector<std::pair<std::string, std::string>> explanations_;
  std::deque<Option> options_;  // references stay valid as the table grows
};

}  // namespace pumice
