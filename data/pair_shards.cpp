#include <charconv>
#include <filesystem>

#include "pumice/data/class_folders.h"
#include "pumice/data/pair_files.h"
#include "pumice/data/source_problems.h"
#include "pumice/data/text.h"
#include "pumice/data/webdataset.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

// classnames.txt beside the shards, if there is one.
std::vector<std::string> names_beside(const std::string& spec) {
  fs::path file = fs::path(spec.substr(0, spec.find("::"))).parent_path() / "classnames.txt";
  if (!fs::exists(file)) { file = file.parent_path().parent_path() / "classnames.txt"; }  // CLIP_benchmark: above the split
  return fs::exists(file) ? read_lines(file.string()) : std::vector<std::string>();
}

class ShardPairs : public PairSource {
 public:
  explicit ShardPairs(const std::string& spec) : data_(spec), classnames_(names_beside(spec)) {
    for (int64_t i = 0; i < data_.size(); ++i) {
      const std::string text = text_of(i), lack = !data_.image(i) ? "an image (.png, .jpg, .webp)" : text.empty() ? lacking_text(i) : "";
      const std::string fault = lack.empty() ? caption_fault(text) : "";
      if (!lack.empty() || !fault.empty()) {
        problems_.left_out(data_.name(i) + (fault.empty() ? " lacks " + lack : ": " + fault));
        continue;
      }
      problems_.check_caption(data_.name(i), text);
      complete_.push_back(i);
    }
    for (const std::string& warning : data_.warnings()) { problems_.warn(warning); }
    REQUIRE(FormatError, !complete_.empty(), "[data] '", spec, "' holds no complete pair among ", data_.size(),
            " samples; a pair is an image (.png, .jpg, .webp) and a "
            "caption (.txt) of one key", problems_.none() ? "" : ". The first problem: " + problems_.first()[0]);
  }
  int64_t size() const override { return int64_t(complete_.size()); }
  std::string image(int64_t i) const override { return std::string(*data_.image(complete_[size_t(i)])); }
  std::string caption(int64_t i) const override { return text_of(complete_[size_t(i)]); }
  std::string name(int64_t i) const override { return data_.name(complete_[size_t(i)]); }
  int label(int64_t i) const override { return label_of(complete_[size_t(i)]); }
  std::vector<std::string> classnames() const override { return classnames_; }
  std::string fingerprint() const override { return data_.fingerprint(); }
  std::string report() const override { return problems_.report(data_.size(), "samples as incomplete"); }
  std::vector<std::string> problems() const override { return problems_.first(); }

 private:
  std::string text_of(int64_t sample) const {
    if (auto text = data_.find(sample, "txt")) { return trimmed(*text); }
    const int label = label_of(sample);
    return label < 0 ? "" : "a photo of a " + classnames_[size_t(label)] + ".";
  }
  std::string lacking_text(int64_t sample) const {
    auto label = data_.find(sample, "cls");
    if (!label || data_.find(sample, "txt")) { return "a caption (.txt)"; }
    return classnames_.empty() ? "a caption (.txt), or a classnames.txt beside the shards for its .cls"
                               : concat_text("a caption (.txt) or a class: its .cls is '", trimmed(*label), "', and classnames.txt has lines 0 to ",
                                             classnames_.size() - 1);
  }
  int label_of(int64_t sample) const {
    auto text = classnames_.empty() ? std::nullopt : data_.find(sample, "cls");
    int label = -1;
    if (text) { std::from_chars(text->data(), text->data() + text->size(), label); }
    return label < int(classnames_.size()) ? label : -1;
  }

  WebDataset data_;
  std::vector<std::string> classnames_;
  std::vector<int64_t> complete_;
  SourceProblems problems_;
};

}  // namespace

std::unique_ptr<PairSource> open_shard_pairs(const std::string& spec) { return std::make_unique<ShardPairs>(spec); }

}  // namespace pumice
