#include "pumice/data/csv_classes.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "pumice/data/class_folders.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"

namespace pumice {

CsvClasses read_csv_classes(const CsvTable& table, const std::string& path, size_t column) {
  CsvClasses found;
  const std::filesystem::path names = std::filesystem::path(path).parent_path() / "classnames.txt";
  auto numeric = [](const std::string& s) { return !s.empty() && s.size() < 10 && s.find_first_not_of("0123456789") == std::string::npos; };
  std::vector<std::string> values;
  for (const auto& row : table.rows) { values.push_back(trimmed(row[column])); }
  const bool numbers = std::all_of(values.begin(), values.end(), [&](const std::string& v) { return v.empty() || numeric(v); });
  if (numbers && std::filesystem::exists(names)) {
    found.names = read_lines(names.string());
    for (size_t i = 0; i < values.size(); ++i) {
      found.labels.push_back(values[i].empty() ? -1 : std::stoi(values[i]));
      REQUIRE(FormatError, found.labels[i] < int(found.names.size()), "[csv] ", path, " line ", table.lines[i], ": the label is ", values[i],
              ", but ", names.string(), " names ", found.names.size(), " classes, counted from 0");
    }
    return found;
  }
  std::map<std::pair<int64_t, std::string>, int> order;  // by value, then by text
  for (const std::string& v : values) {
    if (!v.empty()) { order[{numbers ? std::stoll(v) : 0, v}] = 0; }
  }
  for (auto& [key, label] : order) {
    label = int(found.names.size());
    found.names.push_back(key.second);
  }
  for (const std::string& v : values) { found.labels.push_back(v.empty() ? -1 : order.at({numbers ? std::stoll(v) : 0, v})); }
  return found;
}

}  // namespace pumice
