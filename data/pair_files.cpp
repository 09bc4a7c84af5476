#include "pumice/data/pair_files.h"

#include <cstdio>
#include <filesystem>

#include "pumice/data/class_folders.h"
#include "pumice/data/coco.h"
#include "pumice/data/csv_classes.h"
#include "pumice/data/idx.h"
#include "pumice/data/source_problems.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

std::string fingerprint_of(int64_t count, uint64_t hash) {
  char text[40];
  std::snprintf(text, sizeof text, "%lld-%016llx", static_cast<long long>(count), static_cast<unsigned long long>(hash));
  return text;
}

std::string class_caption(const std::string& name) { return "a photo of a " + name + "."; }

class FilePairs : public PairSource {
 public:
  FilePairs(std::vector<PairFile> files, std::vector<std::string> classnames, const std::string& origin) : classnames_(std::move(classnames)),
      given_(int64_t(files.size())) {
    uint64_t hash = hash_of("");
    for (PairFile& file : files) {
      std::error_code error;
      const bool directory = fs::is_directory(file.image, error);
      const uintmax_t bytes = directory ? 0 : fs::file_size(file.image, error);
      const bool missing = error == std::errc::no_such_file_or_directory;
      const std::string fault = directory ? " is a directory" : missing ? " does not exist" : error ? " cannot be read: " + error.message() :
                                bytes == 0 ? " is empty" : "";
      const std::string lack = fault.empty() ? caption_fault(file.caption) : "the picture " + file.image + fault;
      if (!lack.empty()) {
        problems_.left_out(file.place + ": " + lack);
        continue;
      }
      problems_.check_caption(file.place, file.caption);
      hash = hash_of(concat_text(file.image, "\t", bytes, "\t", file.caption, "\t", file.label, "\n"), hash);
      files_.push_back(std::move(file));
    }
    fingerprint_ = fingerprint_of(int64_t(files_.size()), hash);
    const std::string first = problems_.none() ? "" : problems_.first()[0];
    REQUIRE(FormatError, given_ > 0, "[data] ", origin, " holds no entry: a pair is a picture and its caption");
    REQUIRE(FormatError, !files_.empty(), "[data] ", origin, " holds no complete pair among ", given_, " entries",
            first.empty() ? "" : ". The first problem: " + first,
            first.find("does not exist") == std::string::npos ? "" : ". Relative paths start at the file's folder; --image-folder names another");
  }
  int64_t size() const override { return int64_t(files_.size()); }
  std::string image(int64_t i) const override { return read_file(files_[size_t(i)].image); }
  std::string caption(int64_t i) const override { return files_[size_t(i)].caption; }
  std::string name(int64_t i) const override { return files_[size_t(i)].place + " (" + files_[size_t(i)].image + ")"; }
  int label(int64_t i) const override { return files_[size_t(i)].label; }
  std::vector<std::string> classnames() const override { return classnames_; }
  std::string fingerprint() const override { return fingerprint_; }
  std::string report() const override { return problems_.report(given_, "entries"); }
  std::vector<std::string> problems() const override { return problems_.first(); }

 private:
  std::vector<PairFile> files_;
  std::vector<std::string> classnames_;
  int64_t given_ = 0;
  SourceProblems problems_;
  std::string fingerprint_;
};

class IdxPairs : public PairSource {
 public:
  IdxPairs(const std::string& directory, const std::string& split) : directory_(directory), set_(read_idx_set(directory, split)) {
    REQUIRE(UsageError, set_.images.count > 0, "[data] ", directory, " holds no pictures");
    uint64_t hash = hash_of({reinterpret_cast<const char*>(set_.images.pixels.data()), set_.images.pixels.size()});
    hash = hash_of({reinterpret_cast<const char*>(set_.labels.data()), set_.labels.size()}, hash);
    fingerprint_ = fingerprint_of(set_.images.count, hash);
  }
  int64_t size() const override { return set_.images.count; }
  std::string image(int64_t i) const override { return idx_picture(set_.images, i); }
  std::string caption(int64_t i) const override { return class_caption(set_.classnames[set_.labels[size_t(i)]]); }
  std::string name(int64_t i) const override { return directory_ + ": picture " + std::to_string(i); }
  int label(int64_t i) const override { return set_.labels[size_t(i)]; }
  std::vector<std::string> classnames() const override { return set_.classnames; }
  std::string fingerprint() const override { return fingerprint_; }
  std::string report() const override { return ""; }

 private:
  std::string directory_, fingerprint_;
  IdxSet set_;
};

// Where a relative path of `file` leads.
std::string path_of(const std::string& relative, const std::string& file, const std::string& image_folder) {
  return (image_folder.empty() ? fs::path(file).parent_path() / relative : fs::path(image_folder) / relative).string();
}

}  // namespace

std::unique_ptr<PairSource> pairs_of_files(std::vector<PairFile> files, std::vector<std::string> classnames, const std::string& origin) {
  return std::make_unique<FilePairs>(std::move(files), std::move(classnames), origin);
}

std::unique_ptr<PairSource> open_csv_pairs(const std::string& path, const PairOptions& options) {
  CsvTable table = parse_csv(read_file(path), path);
  const size_t image = column_of(table, path, options.image_column, kImageColumns, "--csv-img-key");
  const auto label = options.label_column.empty() ? find_column(table, kLabelColumns)
                                                  : column_of(table, path, options.label_column, kLabelColumns, "--csv-label-key");
  // a file of labels needs no captions
  auto caption = options.caption_column.empty() && label ? find_column(table, kCaptionColumns)
                                                         : column_of(table, path, options.caption_column, kCaptionColumns, "--csv-caption-key");
  const CsvClasses classes = label ? read_csv_classes(table, path, *label) : CsvClasses();
  std::vector<PairFile> files;
  for (size_t i = 0; i < table.rows.size(); ++i) {
    const int own = label ? classes.labels[i] : -1;
    std::string text = caption ? trimmed(table.rows[i][*caption]) : "";
    if (!caption && own >= 0) { text = class_caption(classes.names[size_t(own)]); }
    files.push_back({path_of(table.rows[i][image], path, options.image_folder), std::move(text), concat_text(path, " line ", table.lines[i]), own});
  }
  return pairs_of_files(std::move(files), classes.names, path);
}

std::unique_ptr<PairSource> open_json_pairs(const std::string& path, const PairOptions& options) {
  std::vector<PairFile> files;
  for (const CaptionedFile& file : parse_caption_json(read_file(path), path, options.split)) {
    for (const std::string& caption : file.captions) {
      files.push_back({path_of(file.file, path, options.image_folder), caption, concat_text(path, ": ", file.file)});
    }
  }
  return pairs_of_files(std::move(files), {}, path);
}

std::unique_ptr<PairSource> open_folder_pairs(const std::string& path, const PairOptions& options) {
  ClassFolders found = read_class_folders(path, options.split);
  REQUIRE(UsageError, found.classnames.size() >= 2, "[data] ", path,
          " is no source of pairs: looked for two folders with pictures, one per class (found ", found.classnames.size(),
          "), train-images-idx3-ubyte, or classnames.txt with ", options.split, "/nshards.txt. Name shards by their files: ", path,
              "/train-{000000..000009}.tar");
  std::vector<PairFile> files;
  for (const auto& [file, label] : found.files) { files.push_back({file, class_caption(found.classnames[size_t(label)]), path, label}); }
  return pairs_of_files(std::move(files), std::move(found.classnames), path);
}

std::unique_ptr<PairSource> open_idx_pairs(const std::string& path, const PairOptions& options) {
  return std::make_unique<IdxPairs>(path, options.split);
}

}  // namespace pumice
