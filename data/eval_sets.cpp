#include "pumice/data/eval_sets.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "pumice/data/class_folders.h"
#include "pumice/data/coco.h"
#include "pumice/data/csv_classes.h"
#include "pumice/data/idx.h"
#include "pumice/data/source_problems.h"
#include "pumice/data/text.h"
#include "pumice/data/webdataset.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kDefaultTemplates = {"a photo of a {}.", "a picture of a {}.", "{}"};

// Its bytes; what cannot be read is named with the line that asks for it.
std::string picture_of(const std::string& file, const std::string& place) {
  try {
    return read_file(file);
  } catch (const IoError& e) {
    throw IoError(concat_text("[eval] ", place, ": ", e.what()), __FILE__, __LINE__);
  }
}

LabelledSet from_shards(const std::string& spec, const fs::path& names, const fs::path& templates) {
  auto data = std::make_shared<WebDataset>(spec);
  REQUIRE(FormatError, data->size() > 0, "[eval] '", spec, "' holds no sample: an image (.png, .jpg, .webp) and a class (.cls) of one key");
  REQUIRE(IoError, fs::exists(names), "[eval] '", spec, "' needs ", names.string(), ": a class name per line, in the order of the numbers in .cls");
  LabelledSet set;
  set.classnames = read_lines(names.string());
  set.templates = fs::exists(templates) ? read_lines(templates.string()) : kDefaultTemplates;
  set.count = data->size();
  const int classes = int(set.classnames.size());
  set.read = [data, classes, names = names.string()](int64_t i) {
    auto image = data->image(i), label = data->find(i, "cls");
    REQUIRE(FormatError, image && label, "[eval] ", data->name(i), " needs an image (.png, .jpg, .webp) and a class (.cls)");
    int value = -1;
    std::from_chars(label->data(), label->data() + label->size(), value);
    REQUIRE(FormatError, value >= 0 && value < classes, "[eval] ", data->name(i), ".cls must be a line number of ", names, " from 0 to ", classes - 1,
            ", got '", *label, "'");
    return LabelledSample{std::string(*image), data->name(i), value};
  };
  return set;
}

LabelledSet from_folders(const std::string& path, const std::string& split) {
  ClassFolders found = read_class_folders(path, split);
  REQUIRE(FormatError, found.classnames.size() >= 2, "[eval] ", path,
          " is no evaluation set: looked for classnames.txt with test/nshards.txt (CLIP_benchmark), "
          "t10k-images-idx3-ubyte, or at least two folders with pictures, one per class; found ", found.classnames.size(), " such folders");
  LabelledSet set;
  set.templates = kDefaultTemplates;
  set.classnames = found.classnames;
  set.count = int64_t(found.files.size());
  set.read = [files = std::make_shared<std::vector<std::pair<std::string, int>>>(std::move(found.files))](int64_t i) {
    const auto& [file, label] = (*files)[size_t(i)];
    return LabelledSample{read_file(file), file, label};
  };
  return set;
}

LabelledSet from_idx(const std::string& path, const std::string& split) {
  auto data = std::make_shared<IdxSet>(read_idx_set(path, split));
  LabelledSet set;
  set.templates = kDefaultTemplates;
  set.classnames = data->classnames;
  set.count = data->images.count;
  set.read = [data, path](int64_t i) {
    return LabelledSample{idx_picture(data->images, i), concat_text(path, ": picture ", i), int(data->labels[size_t(i)])};
  };
  return set;
}

LabelledSet from_csv(const std::string& path, const EvalFiles& options) {
  const CsvTable table = parse_csv(read_file(path), path);
  const size_t image = column_of(table, path, options.image_column, kImageColumns, "--csv-img-key");
  CsvClasses classes = read_csv_classes(table, path, column_of(table, path, options.label_column, kLabelColumns, "--csv-label-key"));
  const fs::path folder = options.image_folder.empty() ? fs::path(path).parent_path() : fs::path(options.image_folder);
  auto rows = std::make_shared<std::vector<LabelledSample>>();
  for (size_t i = 0; i < table.rows.size(); ++i) {
    if (classes.labels[i] < 0) { continue; }
    rows->push_back({(folder / table.rows[i][image]).string(), concat_text(path, " line ", table.lines[i]), classes.labels[i]});
  }
  REQUIRE(FormatError, !rows->empty(), "[eval] ", path, " has no row with a label");
  LabelledSet set;
  set.classnames = std::move(classes.names);
  set.templates = kDefaultTemplates;
  set.count = int64_t(rows->size());
  set.read = [rows](int64_t i) {
    const LabelledSample& row = (*rows)[size_t(i)];
    return LabelledSample{picture_of(row.image, row.name), row.name + " (" + row.image + ")", row.label};
  };
  return set;
}

std::vector<std::string> captions_of(const WebDataset& data, int64_t i) {
  if (auto json = data.find(i, "json")) {
    auto j = parse_json_or_discard(*json);
    if (j.is_object() && j.contains("captions") && j["captions"].is_array()) {
      std::vector<std::string> captions;
      for (const auto& c : j["captions"]) {
        if (c.is_string()) { captions.push_back(c.get<std::string>()); }
      }
      if (!captions.empty()) { return captions; }
    }
  }
  auto text = data.find(i, "txt");
  return text ? lines_of(*text) : std::vector<std::string>();
}

// Trimmed, without empty ones; at least one.
std::vector<std::string> usable_captions_of(const WebDataset& data, int64_t i) {
  std::vector<std::string> captions;
  for (const std::string& given : captions_of(data, i)) {
    const std::string text = trimmed(given), fault = text.empty() ? "" : caption_fault(text);
    REQUIRE(FormatError, fault.empty(), "[eval] ", data.name(i), ": ", fault);
    if (!text.empty()) { captions.push_back(text); }
  }
  REQUIRE(FormatError, !captions.empty(), "[eval] ", data.name(i), " needs a caption (.txt, or \"captions\" in .json)");
  return captions;
}

RetrievalSet retrieval_from_shards(const std::string& spec) {
  auto data = std::make_shared<WebDataset>(spec);
  REQUIRE(FormatError, data->size() > 0, "[eval] '", spec, "' holds no sample: an image (.png, .jpg, .webp) and captions (.txt) of one key");
  RetrievalSet set;
  set.count = data->size();
  set.read = [data](int64_t i) {
    auto image = data->image(i);
    REQUIRE(FormatError, image.has_value(), "[eval] ", data->name(i), " needs an image (.png, .jpg, .webp)");
    return RetrievalSample{std::string(*image), data->name(i), usable_captions_of(*data, i)};
  };
  return set;
}

// places[i] is where files[i] is named.
RetrievalSet retrieval_from_files(std::vector<CaptionedFile> files, std::vector<std::string> places) {
  RetrievalSet set;
  set.count = int64_t(files.size());
  auto all = std::make_shared<std::vector<CaptionedFile>>(std::move(files));
  set.read = [all, places = std::make_shared<std::vector<std::string>>(std::move(places))](int64_t i) {
    const CaptionedFile& f = (*all)[size_t(i)];
    return RetrievalSample{picture_of(f.file, (*places)[size_t(i)]), f.file, f.captions};
  };
  return set;
}

RetrievalSet retrieval_from_csv(const std::string& path, const EvalFiles& options) {
  CsvTable table = parse_csv(read_file(path), path);
  const size_t image = column_of(table, path, options.image_column, kImageColumns, "--csv-img-key");
  const size_t caption = column_of(table, path, options.caption_column, kCaptionColumns, "--csv-caption-key");
  const fs::path folder = options.image_folder.empty() ? fs::path(path).parent_path() : fs::path(options.image_folder);
  std::vector<CaptionedFile> files;
  std::vector<std::string> places;
  std::map<std::string, size_t> place;
  for (size_t i = 0; i < table.rows.size(); ++i) {
    const auto& row = table.rows[i];
    const std::string text = trimmed(row[caption]), where = concat_text(path, " line ", table.lines[i]), fault = caption_fault(text);
    REQUIRE(FormatError, fault.empty(), "[eval] ", where, ": ", fault, ". Leave the row out: what a set holds decides its recall");
    auto [entry, fresh] = place.emplace(row[image], files.size());
    if (fresh) {
      files.push_back({(folder / row[image]).string(), {}});
      places.push_back(where);
    }
    files[entry->second].captions.push_back(text);
  }
  REQUIRE(FormatError, !files.empty(), "[eval] ", path, " has a header and no rows");
  return retrieval_from_files(std::move(files), std::move(places));
}

RetrievalSet retrieval_from_json(const std::string& path, const EvalFiles& options) {
  std::vector<CaptionedFile> files = parse_caption_json(read_file(path), path, "test");
  const std::vector<std::string> places(files.size(), path);
  const fs::path folder = options.image_folder.empty() ? fs::path(path).parent_path() : fs::path(options.image_folder);
  for (CaptionedFile& f : files) { f.file = (folder / f.file).string(); }
  return retrieval_from_files(std::move(files), places);
}

std::string extension_of(const std::string& path) { return ascii_lower(fs::path(path).extension()); }
bool is_csv(const std::string& path) { return extension_of(path) == ".csv" || extension_of(path) == ".tsv"; }
bool is_json(const std::string& path) { return extension_of(path) == ".json"; }

}  // namespace

bool is_benchmark_directory(const std::string& path, const std::string& split) { return fs::exists(fs::path(path) / split / "nshards.txt"); }

std::string benchmark_shards(const std::string& directory, const std::string& split) {
  const std::string file = fs::path(directory) / split / "nshards.txt";
  std::vector<std::string> lines = read_lines(file);
  int count = 0;
  bool valid = lines.size() == 1 && std::from_chars(lines[0].data(), lines[0].data() + lines[0].size(), count).ec == std::errc() && count > 0;
  REQUIRE(FormatError, valid, "[data] ", file, " must hold the number of shards, got '", lines.empty() ? "" : lines[0], "'");
  return (fs::path(directory) / split / concat_text("{0..", count - 1, "}.tar")).string();
}

LabelledSet open_labelled_set(const std::string& path, const std::string& split, const EvalFiles& options) {
  if (names_shards(path)) {
    fs::path beside = fs::path(path).parent_path();
    return from_shards(path, beside / "classnames.txt", beside / "templates.txt");
  }
  if (is_csv(path)) { return from_csv(path, options); }
  fs::path directory(path);
  REQUIRE(IoError, fs::exists(directory), "[eval] ", path, " does not exist");
  REQUIRE(IoError, fs::is_directory(directory), "[eval] ", path,
          " is not a directory. Give a CLIP_benchmark directory, a folder per class, an IDX folder, a CSV with labels, or .tar shards");
  if (fs::exists(directory / "classnames.txt") && is_benchmark_directory(path, split)) {
    return from_shards(benchmark_shards(path, split), directory / "classnames.txt", directory / "zeroshot_classification_templates.txt");
  }
  return is_idx_folder(path) ? from_idx(path, split) : from_folders(path, split);
}

bool has_train_side(const std::string& path) {
  if (names_shards(path) || is_csv(path)) { return false; }
  const bool folders = fs::is_directory(fs::path(path) / "train") && fs::is_directory(fs::path(path) / "test");
  return folders || is_benchmark_directory(path, "train") || has_idx_split(path, "train");
}

RetrievalSet open_retrieval_set(const std::string& path, const EvalFiles& options) {
  if (names_shards(path)) { return retrieval_from_shards(path); }
  if (fs::is_directory(path)) {
    REQUIRE(UsageError, is_benchmark_directory(path, "test"), "[eval] ", path,
            " is no retrieval set: a directory needs test/nshards.txt (CLIP_benchmark). Give a CSV, a captions JSON "
            "or .tar shards otherwise");
    return retrieval_from_shards(benchmark_shards(path, "test"));
  }
  return is_json(path) ? retrieval_from_json(path, options) : retrieval_from_csv(path, options);
}

}  // namespace pumice
