#include "pumice/data/pairs.h"

#include <vector>

#include "pumice/data/webdataset.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

std::string trimmed(std::string_view text) {
  const char* blank = " \t\r\n";
  size_t begin = text.find_first_not_of(blank), end = text.find_last_not_of(blank);
  return begin == std::string_view::npos ? "" : std::string(text.substr(begin, end - begin + 1));
}

class WebPairs : public PairSource {
 public:
  explicit WebPairs(const std::string& spec) : data_(spec) {
    for (int64_t i = 0; i < data_.size(); ++i) {
      const char* lack = !data_.image(i) ? "an image (.png, .jpg)" : !data_.find(i, "txt") || trimmed(*data_.find(i, "txt")).empty() ? "a caption (.txt)" : nullptr;
      if (!lack) { complete_.push_back(i); }
      else if (incomplete_++ == 0) { first_ = data_.name(i) + " lacks " + lack; }
    }
    REQUIRE(UsageError, !complete_.empty(), "[data] '", spec, "' holds no complete pair among ", data_.size(), " samples; a pair is an image (.png, .jpg) and a caption "
            "(.txt) of one key", first_.empty() ? "" : ". The first problem: ", first_);
  }
  int64_t size() const override { return int64_t(complete_.size()); }
  Pair pair(int64_t index) const override {
    int64_t i = complete_[size_t(index)];
    return {*data_.image(i), trimmed(*data_.find(i, "txt")), data_.name(i)};
  }
  std::string fingerprint() const override { return data_.fingerprint(); }
  std::string report() const override {
    return incomplete_ ? concat_text("left out ", incomplete_, " of ", data_.size(), " samples as incomplete; the first: ", first_) : "";
  }

 private:
  WebDataset data_;
  std::vector<int64_t> complete_;
  int64_t incomplete_ = 0;
  std::string first_;
};

}  // namespace

std::unique_ptr<PairSource> open_pairs(const std::string& spec) { return std::make_unique<WebPairs>(spec); }

}  // namespace pumice
