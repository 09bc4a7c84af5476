#include "pumice/tensor/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

using Json = nlohmann::ordered_json;

template <class T> bool parse_number(const std::string& text, T& value) {
  T parsed{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  if (error != std::errc() || end != text.data() + text.size()) { return false; }
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(parsed)) { return false; }
  }
  value = parsed;
  return true;
}

std::string number_text(double value) {
  char buffer[32];
  auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);  // the shortest text that reads back the same
  return std::string(buffer, end);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string kebab(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

const char* must_be(const Option& option) {
  switch (option.type) {
    case Option::kInteger: return "an integer";
    case Option::kNumber: return "a number";
    case Option::kBoolean: return "true or false";
    case Option::kIntegers: return "integers separated by commas";
    default: return "what its description says";
  }
}

Json json_value(const Option& option) {
  std::string text = option.get();
  switch (option.type) {
    case Option::kInteger: case Option::kNumber: return parse_json(text);
    case Option::kBoolean: return text == "true";
    case Option::kIntegers: return parse_json("[" + text + "]");
    case Option::kTexts: return split(text);
    case Option::kText: break;
  }
  return text;
}

std::string text_of(const Json& value) {
  if (value.is_string()) { return value.get<std::string>(); }
  if (value.is_number_float()) { return number_text(value.get<double>()); }
  if (value.is_array()) {
    std::vector<std::string> parts;
    for (const Json& element : value) { parts.push_back(text_of(element)); }
    return join(parts, ",");
  }
  return value.dump();
}

}  // namespace

Option& Option::one_of(const std::vector<std::string>& values) {
  choices = values;
  return *this;
}

std::string Option::value_of(const std::string& given) const {
  for (const Synonym& s : synonyms) {
    if (s.given == given) { return s.value; }
  }
  return given;
}

Option& OptionTable::add_option(Option option) {
  REQUIRE(UsageError, !find(option.name), "[options] --", option.name, " is declared twice");
  option.fallback = option.get();
  options_.push_back(std::move(option));
  return options_.back();
}

Option& OptionTable::add(const std::string& name, int64_t& value, const std::string& group, const std::string& help) {
  return add_option({name, group, help, {}, {}, Option::kInteger, "", "", [&value] { return std::to_string(value); },
                     [&value](const std::string& text) { return parse_number(text, value); }});
}
Option& OptionTable::add(const std::string& name, int& value, const std::string& group, const std::string& help) {
  return add_option({name, group, help, {}, {}, Option::kInteger, "", "", [&value] { return std::to_string(value); },
                     [&value](const std::string& text) { return parse_number(text, value); }});
}
Option& OptionTable::add(const std::string& name, uint64_t& value, const std::string& group, const std::string& help) {
  return add_option({name, group, help, {}, {}, Option::kInteger, "", "", [&value] { return std::to_string(value); },
                     [&value](const std::string& text) { return parse_number(text, value); }});
}
Option& OptionTable::add(const std::string& name, double& value, const std::string& group, const std::string& help) {
  return add_option({name, group, help, {}, {}, Option::kNumber, "", "", [&value] { return number_text(value); },
                     [&value](const std::string& text) { return parse_number(text, value); }});
}
Option& OptionTable::add(const std::string& name, bool& value, const std::string& group, const std::string& help) {
  return add_option({name, group, help, {}, {}, Option::kBoolean, "", "", [&value] { return std::string(value ? "true" : "false"); },
                     [&value](std::string text) {
                       std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return char(std::tolower(c)); });
                       bool on = text == "true" || text == "1" || text == "yes", off = text == "false" || text == "0" || text == "no";
                       if (on || off) { value = on; }
                       return on || off;
                     }});
}
Option& OptionTable::add(const std::string& name, std::string& value, const std::string& group, const std::string& help) {
  return add_option({name, group, help, {}, {}, Option::kText, "", "", [&value] { return value; }, [&value](const std::string& text) {
                       value = text;
                       return true;
                     }});
}
Option& OptionTable::add(const std::string& name, std::vector<int64_t>& value, const std::string& group, const std::string& help) {
  return add_option({name, group, help, {}, {}, Option::kIntegers, "", "",
                     [&value] {
                       std::vector<std::string> parts;
                       for (int64_t v : value) { parts.push_back(std::to_string(v)); }
                       return join(parts, ",");
                     },
                     [&value](const std::string& text) {
                       std::vector<int64_t> parsed;
                       for (const std::string& part : split(text)) {
                         int64_t v = 0;
                         if (!parse_number(part, v)) { return false; }
                         parsed.push_back(v);
                       }
                       value = parsed;
                       return true;
                     }});
}
Option& OptionTable::add(const std::string& name, std::vector<std::string>& value, const std::string& group, const std::string& help) {
  return add_option({name, group, help, {}, {}, Option::kTexts, "", "", [&value] { return join(value, ","); },
                     [&value](const std::string& text) {
                       value = split(text);
                       return true;
                     }});
}
Option& OptionTable::add(const std::string& name, const std::string& group, const std::string& help, std::function<std::string()> get,
                         std::function<bool(const std::string&)> parse) {
  return add_option({name, group, help, {}, {}, Option::kText, "", "", std::move(get), std::move(parse)});
}

Option* OptionTable::find(const std::string& given) {
  const std::string wanted = kebab(given);
  for (Option& option : options_) {
    if (option.name == wanted || std::find(option.aliases.begin(), option.aliases.end(), wanted) != option.aliases.end()) { return &option; }
  }
  return nullptr;
}

OptionTable::SwitchOf OptionTable::find_switch(const std::string& name) {
  for (Option& option : options_) {
    for (const Option::Switch& s : option.switches) {
      if (s.name == kebab(name)) { return {&option, &s}; }
    }
  }
  return {};
}

std::string OptionTable::hint(const std::string& name) const {
  for (const auto& [foreign, instead] : explanations_) {
    if (foreign == kebab(name)) { return " " + instead; }
  }
  return did_you_mean(name, names());
}

void OptionTable::set(Option& option, const std::string& given, const std::string& source) {
  const auto& choices = option.choices;
  const std::string value = option.value_of(given);
  const std::string flag = "--" + option.name, where = source == flag ? flag : source + ": " + flag;
  const bool unset = value.empty() && option.fallback.empty() && source != flag;  // as a config says it of an option that has no default
  REQUIRE(UsageError, choices.empty() || unset || std::find(choices.begin(), choices.end(), value) != choices.end(), where, " must be one of ",
          join(choices), ", got '", value, "'.", did_you_mean(value, choices));
  REQUIRE(UsageError, option.parse(value), where, " must be ", must_be(option), " (", option.help, "), got '", value, "'");
  option.source = source;
}

std::vector<std::string> OptionTable::names() const {
  std::vector<std::string> all;
  for (const Option& option : options_) {
    all.push_back(option.name);
    all.insert(all.end(), option.aliases.begin(), option.aliases.end());
    for (const Option::Switch& s : option.switches) { all.push_back(s.name); }
  }
  return all;
}

std::string OptionTable::to_json(const std::vector<std::string>& leave_out) const {
  Json j = Json::object();
  for (const Option& option : options_) {
    if (std::find(leave_out.begin(), leave_out.end(), option.name) == leave_out.end()) { j[option.name] = json_value(option); }
  }
  return j.dump(2) + "\n";
}

void OptionTable::set_from_json(const std::string& text, const std::string& source) {
  Json j;
  try {
    j = parse_json_with_comments(text);
  } catch (const Json::exception& e) {
    throw FormatError(concat_text(source, " is not valid JSON: ", e.what()), __FILE__, __LINE__);
  }
  REQUIRE(FormatError, j.is_object(), source, " must hold a JSON object of option names and values, got ", j.type_name());
  for (const auto& [key, value] : j.items()) {
    if (SwitchOf s = find_switch(key); s.option) {
      REQUIRE(UsageError, value.is_boolean(), source, ": '", key, "' must be true or false, got ", value.dump());
      set(*s.option, value.get<bool>() ? s.by->on : s.by->off, source);
      continue;
    }
    Option* option = find(key);
    REQUIRE(UsageError, option, source, ": there is no option '", key, "'.", hint(key));
    set(*option, text_of(value), source);
  }
}

}  // namespace pumice
