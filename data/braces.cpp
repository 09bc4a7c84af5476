#include "pumice/data/braces.h"

#include <algorithm>
#include <cstdlib>

#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr size_t kMost = 1'000'000;
constexpr size_t kLongest = 4096;  // of a path on Linux; braces cannot be nested deeper than that either

bool digits(const std::string& s) {
  return !s.empty() && s.size() <= 12 && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The position of the brace that closes the one at `open`.
size_t closing(const std::string& s, size_t open) {
  int depth = 0;
  for (size_t i = open; i < s.size(); ++i) {
    depth += s[i] == '{' ? 1 : s[i] == '}' ? -1 : 0;
    if (depth == 0) { return i; }
  }
  throw UsageError(concat_text("[shards] '", s, "' has a '{' without its '}'. Write ranges as name-{000000..000019}.tar"), __FILE__, __LINE__);
}

std::vector<std::string> alternatives(const std::string& inside) {
  size_t dots = inside.find("..");
  if (dots != std::string::npos && digits(inside.substr(0, dots)) && digits(inside.substr(dots + 2))) {
    std::string first = inside.substr(0, dots), last = inside.substr(dots + 2);
    long long a = std::atoll(first.c_str()), b = std::atoll(last.c_str());
    REQUIRE(UsageError, size_t(std::llabs(b - a)) < kMost, "[shards] the range {", inside, "} names more than a million files");
    bool pad = (first[0] == '0' && first.size() > 1) || (last[0] == '0' && last.size() > 1);
    size_t width = pad ? std::max(first.size(), last.size()) : 0;
    std::vector<std::string> all;
    for (long long i = a; ; i += a <= b ? 1 : -1) {
      std::string n = std::to_string(i);
      all.push_back(std::string(n.size() < width ? width - n.size() : 0, '0') + n);
      if (i == b) { return all; }
    }
  }
  std::vector<std::string> all(1);
  int depth = 0;
  for (char c : inside) {
    depth += c == '{' ? 1 : c == '}' ? -1 : 0;
    if (c == ',' && depth == 0) { all.emplace_back(); }
    else { all.back() += c; }
  }
  return all;
}

std::vector<std::string> expand_one(const std::string& spec) {
  size_t open = spec.find('{');
  if (open == std::string::npos) {
    REQUIRE(UsageError, spec.find('}') == std::string::npos, "[shards] '", spec,
            "' has a '}' without its '{'. Write ranges as name-{000000..000019}.tar");
    return {spec};
  }
  size_t close = closing(spec, open);
  std::vector<std::string> result, tails = expand_one(spec.substr(close + 1));
  for (const std::string& choice : alternatives(spec.substr(open + 1, close - open - 1))) {
    for (const std::string& middle : expand_one(choice)) {
      for (const std::string& tail : tails) {
        result.push_back(spec.substr(0, open) + middle + tail);
        REQUIRE(UsageError, result.size() <= kMost, "[shards] '", spec, "' names more than a million files");
      }
    }
  }
  return result;
}

}  // namespace

std::vector<std::string> expand_braces(const std::string& spec) {
  std::vector<std::string> all;
  for (size_t begin = 0; begin <= spec.size();) {
    size_t end = std::min(spec.find("::", begin), spec.size());
    REQUIRE(UsageError, end - begin <= kLongest, "[shards] '", spec.substr(begin, 40), "...' is ", end - begin, " bytes long; a path has at most ",
            kLongest, ". Join several with ::");
    for (std::string& name : expand_one(spec.substr(begin, end - begin))) { all.push_back(std::move(name)); }
    begin = end + 2;
  }
  return all;
}

}  // namespace pumice
