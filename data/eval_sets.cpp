#include "pumice/data/eval_sets.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "pumice/data/csv.h"
#include "pumice/data/webdataset.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kDefaultTemplates = {"a photo of a {}.", "a picture of a {}.", "{}"};

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

// The shards of one split of a CLIP_benchmark directory as a brace specification.
std::string benchmark_shards(const fs::path& directory, const std::string& split) {
  const std::string file = directory / split / "nshards.txt";
  std::vector<std::string> lines = lines_of(read_file(file));
  int count = 0;
  bool valid = lines.size() == 1 && std::from_chars(lines[0].data(), lines[0].data() + lines[0].size(), count).ec == std::errc() && count > 0;
  REQUIRE(FormatError, valid, "[eval] ", file, " must hold the number of shards, got '", lines.empty() ? "" : lines[0], "'");
  return (directory / split / concat_text("{0..", count - 1, "}.tar")).string();
}

LabelledSet from_shards(const std::string& spec, const fs::path& names, const fs::path& templates) {
  auto data = std::make_shared<WebDataset>(spec);
  LabelledSet set;
  set.classnames = lines_of(read_file(names));
  set.templates = fs::exists(templates) ? lines_of(read_file(templates)) : kDefaultTemplates;
  set.count = data->size();
  const int classes = int(set.classnames.size());
  set.read = [data, classes, names = names.string()](int64_t i) {
    auto image = data->image(i), label = data->find(i, "cls");
    REQUIRE(FormatError, image && label, "[eval] ", data->name(i), " needs an image (.png, .jpg) and a class (.cls)");
    int value = -1;
    std::from_chars(label->data(), label->data() + label->size(), value);
    REQUIRE(FormatError, value >= 0 && value < classes, "[eval] ", data->name(i), ".cls must be a line number of ", names, " from 0 to ", classes - 1, ", got '", *label, "'");
    return LabelledSample{std::string(*image), data->name(i), value};
  };
  return set;
}

bool is_picture(const fs::path& p) {
  std::string e = p.extension().string();
  std::transform(e.begin(), e.end(), e.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return e == ".png" || e == ".jpg" || e == ".jpeg";
}

LabelledSet from_folders(const fs::path& directory) {
  std::map<std::string, std::vector<std::string>> classes;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (!entry.is_directory()) { continue; }
    for (const auto& file : fs::directory_iterator(entry.path())) {
      if (is_picture(file.path())) { classes[entry.path().filename().string()].push_back(file.path().string()); }
    }
  }
  REQUIRE(FormatError, classes.size() >= 2, "[eval] ", directory.string(), " is no evaluation set: looked for classnames.txt with test/nshards.txt (CLIP_benchmark), or at least "
          "two folders with pictures, one per class; found ", classes.size(), " such folders");
  LabelledSet set;
  set.templates = kDefaultTemplates;
  auto files = std::make_shared<std::vector<std::pair<std::string, int>>>();
  for (auto& [name, paths] : classes) {
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) { files->emplace_back(path, int(set.classnames.size())); }
    std::string shown = name;
    std::replace(shown.begin(), shown.end(), '_', ' ');
    set.classnames.push_back(shown);
  }
  set.count = int64_t(files->size());
  set.read = [files](int64_t i) {
    const auto& [path, label] = (*files)[size_t(i)];
    return LabelledSample{read_file(path), path, label};
  };
  return set;
}

std::vector<std::string> captions_of(const WebDataset& data, int64_t i) {
  if (auto json = data.find(i, "json")) {
    auto j = nlohmann::json::parse(*json, nullptr, false);
    if (j.is_object() && j.contains("captions") && j["captions"].is_array()) {
      std::vector<std::string> captions;
      for (const auto& c : j["captions"]) {
        if (c.is_string() && !c.get<std::string>().empty()) { captions.push_back(c.get<std::string>()); }
      }
      if (!captions.empty()) { return captions; }
    }
  }
  auto text = data.find(i, "txt");
  std::vector<std::string> captions = text ? lines_of(*text) : std::vector<std::string>();
  REQUIRE(FormatError, !captions.empty(), "[eval] ", data.name(i), " needs a caption (.txt, or \"captions\" in .json)");
  return captions;
}

RetrievalSet retrieval_from_shards(const std::string& spec) {
  auto data = std::make_shared<WebDataset>(spec);
  RetrievalSet set;
  set.count = data->size();
  set.read = [data](int64_t i) {
    auto image = data->image(i);
    REQUIRE(FormatError, image.has_value(), "[eval] ", data->name(i), " needs an image (.png, .jpg)");
    return RetrievalSample{std::string(*image), data->name(i), captions_of(*data, i)};
  };
  return set;
}

RetrievalSet retrieval_from_csv(const std::string& path, const std::string& image_column, const std::string& caption_column) {
  CsvTable table = parse_csv(read_file(path), path);
  const size_t image = column_of(table, path, image_column, {"filepath", "image", "path", "file_name"}, "--csv-img-key");
  const size_t caption = column_of(table, path, caption_column, {"title", "caption", "text"}, "--csv-caption-key");
  auto samples = std::make_shared<std::vector<std::pair<std::string, std::vector<std::string>>>>();
  std::map<std::string, size_t> place;
  for (const auto& row : table.rows) {
    auto [entry, fresh] = place.emplace(row[image], samples->size());
    if (fresh) { samples->push_back({(fs::path(path).parent_path() / row[image]).string(), {}}); }
    (*samples)[entry->second].second.push_back(row[caption]);
  }
  REQUIRE(FormatError, !samples->empty(), "[eval] ", path, " has a header and no rows");
  RetrievalSet set;
  set.count = int64_t(samples->size());
  set.read = [samples](int64_t i) {
    const auto& [file, captions] = (*samples)[size_t(i)];
    return RetrievalSample{read_file(file), file, captions};
  };
  return set;
}

bool names_shards(const std::string& path) { return path.find(".tar") != std::string::npos; }

}  // namespace

LabelledSet open_labelled_set(const std::string& path, const std::string& split) {
  if (names_shards(path)) {
    fs::path beside = fs::path(path).parent_path();
    return from_shards(path, beside / "classnames.txt", beside / "templates.txt");
  }
  fs::path directory(path);
  REQUIRE(IoError, fs::is_directory(directory), "[eval] ", path, " is not a directory. Give a CLIP_benchmark directory, a folder per class, or .tar shards");
  if (fs::exists(directory / "classnames.txt") && fs::exists(directory / split / "nshards.txt")) {
    return from_shards(benchmark_shards(directory, split), directory / "classnames.txt", directory / "zeroshot_classification_templates.txt");
  }
  return from_folders(fs::is_directory(directory / split) ? directory / split : directory);
}

bool has_train_side(const std::string& path) {
  return !names_shards(path) && (fs::exists(fs::path(path) / "train" / "nshards.txt") || (fs::is_directory(fs::path(path) / "train") && fs::is_directory(fs::path(path) / "test")));
}

RetrievalSet open_retrieval_set(const std::string& path, const std::string& image_column, const std::string& caption_column) {
  if (names_shards(path)) { return retrieval_from_shards(path); }
  if (fs::is_directory(path)) { return retrieval_from_shards(benchmark_shards(path, "test")); }
  return retrieval_from_csv(path, image_column, caption_column);
}

}  // namespace pumice
