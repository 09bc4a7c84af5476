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
  std::string bare = "";               // the value of a flag without one; empty: it needs one. Switches (kBoolean) need not set it

  Option& alias(const std::string& other) { aliases.push_back(other); return *this; }
  Option& one_of(const std::vector<std::string>& values);
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
  std::deque<Option> options_;  // references stay valid as the table grows
};

}  // namespace pumice
