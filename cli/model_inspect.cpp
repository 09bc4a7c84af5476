#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"
#include "pumice/tensor/weight_files.h"
#include "pumice/train/language_model.h"

namespace pumice {
namespace {

using Json = nlohmann::ordered_json;

// {0, 1, 2, 3} -> "{0-3}", {0, 2, 4, 6} -> "{0,2,..,6}", {7} -> "7"
std::string numbers_text(const std::set<int64_t>& numbers) {
  const std::vector<int64_t> n(numbers.begin(), numbers.end());
  if (n.size() == 1) { return std::to_string(n[0]); }
  const int64_t step = n[1] - n[0];
  bool even = n.size() > 2;
  for (size_t i = 1; i < n.size(); ++i) { even &= n[i] - n[i - 1] == step; }
  if (even && step == 1) { return format("{%lld-%lld}", static_cast<long long>(n.front()), static_cast<long long>(n.back())); }
  if (even && n.size() > 3) {
    return format("{%lld,%lld,..,%lld}", static_cast<long long>(n[0]), static_cast<long long>(n[1]), static_cast<long long>(n.back()));
  }
  std::vector<std::string> all;
  for (int64_t number : n) { all.push_back(std::to_string(number)); }
  return "{" + join(all, ",") + "}";
}

bool is_number(const std::string& part) {
  return !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
}

std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts(1);
  for (char c : name) {
    if (c == '.') { parts.emplace_back(); }
    else { parts.back() += c; }
  }
  return parts;
}

// Tensors of one dtype and shape whose names differ in numbers alone: the same weight of every layer and expert.
struct Group {
  std::vector<std::string> parts;              // of the names, between dots
  std::vector<std::set<int64_t>> numbers;      // at each part: empty where it is a word
  std::set<size_t> files;
  const WeightInfo* first = nullptr;
  int64_t count = 0;

  void add(const WeightInfo& info) {
    parts = parts_of(info.name);
    numbers.resize(parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      if (is_number(parts[i])) { numbers[i].insert(std::stoll(parts[i])); }
    }
    files.insert(info.file);
    if (!first) { first = &info; }
    ++count;
  }
  std::string name() const {
    std::vector<std::string> shown = parts;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (!numbers[i].empty()) { shown[i] = numbers_text(numbers[i]); }
    }
    return join(shown, ".");
  }
};

// In the order of each group's first tensor.
std::vector<Group> groups_of(const WeightFiles& weights, bool every_tensor) {
  std::vector<Group> groups;
  std::map<std::string, size_t> places;
  for (const WeightInfo& info : weights.all()) {
    std::string key = info.name;
    if (!every_tensor) {
      std::vector<std::string> parts = parts_of(info.name);
      for (std::string& part : parts) {
        if (is_number(part)) { part = "#"; }
      }
      key = concat_text(join(parts, "."), " ", info.dtype, info.shape);
    }
    const auto [at, fresh] = places.emplace(key, groups.size());
    if (fresh) { groups.emplace_back(); }
    groups[at->second].add(info);
  }
  return groups;
}

struct Total { int64_t tensors = 0, elements = 0; uint64_t bytes = 0; };

std::map<std::string, Total> totals_of(const WeightFiles& weights) {
  std::map<std::string, Total> totals;
  for (const WeightInfo& info : weights.all()) {
    Total& t = totals[info.dtype];
    ++t.tensors;
    t.elements += info.shape.elements();
    t.bytes += info.bytes;
  }
  return totals;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

class ModelInspect : public Command {
 public:
  std::string name() const override { return "model inspect"; }
  std::string summary() const override { return "list the tensors of safetensors and PyTorch files, whole or in shards"; }
  std::string positional() const override { return "DIR|FILE"; }
  std::string examples() const override {
    return "  pumice model inspect MoE-LLaVA-Phi2-2.7B-4e        a directory: model.safetensors, pytorch_model.bin, or shards and their index\n"
           "  pumice model inspect mm_projector.bin --all\n"
           "  pumice model inspect model.safetensors --json > tensors.json\n";
  }
  void declare(OptionTable& o) override {
    o.add("all", all_, "Output", "a line for every tensor; otherwise those that differ in numbers alone (layers, experts) share one");
    o.add("json", json_, "Output", "print JSON: files, every tensor, totals");
  }

  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, arguments.size() == 1, "pumice model inspect: one directory or file of weights is required, got ", arguments.size());
    const WeightFiles weights = WeightFiles::open(model_directory(arguments[0]));
    if (json_) { print_line(json_of(weights).dump(2)); }
    else { print_table(weights); }
    return 0;
  }

 private:
  void print_table(const WeightFiles& weights) const {
    for (const WeightFile& f : weights.files()) {
      const std::string under = f.found_under.empty() ? "" : ", its state dict is under the key " + f.found_under;
      print_line(f.path + "  " + f.format + ", " + human_bytes(double(f.bytes)) + under);
    }
    std::vector<std::vector<std::string>> rows = {{"tensor", "dtype", "shape", "size", "file"}};
    for (const Group& g : groups_of(weights, all_)) {
      const std::string each = human_bytes(double(g.first->bytes));
      const std::string file = g.files.size() == 1 ? base_name(weights.files()[g.first->file].path) : format("%zu files", g.files.size());
      rows.push_back({g.name(), g.first->dtype, concat_text(g.first->shape),
                      g.count == 1 ? each : format("%lld x %s", static_cast<long long>(g.count), each.c_str()), file});
    }
    print_columns(rows);
    for (const auto& [dtype, t] : totals_of(weights)) {
      print_line(format("%-5s %lld tensors, %s elements, %s", dtype.c_str(), static_cast<long long>(t.tensors),
                        human_count(double(t.elements)).c_str(), human_bytes(double(t.bytes)).c_str()));
    }
  }
  static void print_columns(const std::vector<std::vector<std::string>>& rows) {
    std::vector<size_t> widths(rows[0].size());
    for (const auto& row : rows) {
      for (size_t i = 0; i < row.size(); ++i) { widths[i] = std::max(widths[i], row[i].size()); }
    }
    for (const auto& row : rows) {
      std::string line;
      for (size_t i = 0; i < row.size(); ++i) { line += row[i] + (i + 1 < row.size() ? std::string(widths[i] - row[i].size() + 2, ' ') : ""); }
      print_line(line);
    }
  }

  static Json json_of(const WeightFiles& weights) {
    Json j = {{"files", Json::array()}, {"tensors", Json::array()}, {"totals", Json::object()}};
    for (const WeightFile& f : weights.files()) {
      j["files"].push_back({{"path", f.path}, {"format", f.format}, {"found_under", f.found_under}, {"bytes", f.bytes}});
    }
    for (const WeightInfo& info : weights.all()) {
      const std::vector<int64_t> shape(info.shape.begin(), info.shape.end());
      j["tensors"].push_back({{"name", info.name}, {"dtype", info.dtype}, {"shape", shape}, {"bytes", info.bytes}, {"file", info.file}});
    }
    for (const auto& [dtype, t] : totals_of(weights)) { j["totals"][dtype] = {{"tensors", t.tensors}, {"elements", t.elements}, {"bytes", t.bytes}}; }
    return j;
  }

  bool all_ = false, json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_model_inspect() { return std::make_unique<ModelInspect>(); }

}  // namespace pumice
