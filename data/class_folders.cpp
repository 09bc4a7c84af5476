#include "pumice/data/class_folders.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

}  // namespace

bool is_picture_name(const std::string& name) {
  const std::string e = ascii_lower(fs::path(name).extension());
  return e == ".png" || e == ".jpg" || e == ".jpeg" || e == ".webp";
}

ClassFolders read_class_folders(const std::string& path, const std::string& split) {
  const fs::path directory = fs::is_directory(fs::path(path) / split) ? fs::path(path) / split : fs::path(path);
  std::map<std::string, std::vector<std::string>> classes;
  try {
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (!entry.is_directory()) { continue; }
      for (const auto& file : fs::directory_iterator(entry.path())) {
        if (is_picture_name(file.path().string())) { classes[entry.path().filename().string()].push_back(file.path().string()); }
      }
    }
  } catch (const fs::filesystem_error& e) {
    throw IoError(concat_text("[data] ", directory.string(), " cannot be read: ", e.code().message()), __FILE__, __LINE__);
  }
  ClassFolders found;
  for (auto& [name, paths] : classes) {
    std::sort(paths.begin(), paths.end());
    for (const std::string& file : paths) { found.files.emplace_back(file, int(found.classnames.size())); }
    found.classnames.push_back(name);
    std::replace(found.classnames.back().begin(), found.classnames.back().end(), '_', ' ');
  }
  return found;
}

std::vector<std::string> read_lines(const std::string& path) { return lines_of(read_file(path)); }

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string line(text.substr(0, end));
    if (!line.empty() && line.back() == '\r') { line.pop_back(); }
    if (!line.empty()) { lines.push_back(line); }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace pumice
