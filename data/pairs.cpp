#include "pumice/data/pairs.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <unordered_map>
#include <unordered_set>

#include "pumice/data/eval_sets.h"
#include "pumice/data/idx.h"
#include "pumice/data/pair_files.h"
#include "pumice/data/text.h"
#include "pumice/data/webdataset.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/philox.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> parts_of(const std::string& spec) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = spec.find("::", begin);
    parts.push_back(spec.substr(begin, end - begin));
    if (end == std::string::npos) { return parts; }
    begin = end + 2;
  }
}

std::unique_ptr<PairSource> open_one(const std::string& part, const PairOptions& options) {
  REQUIRE(UsageError, !part.empty(), "[data] a source is an empty path: give shards, a CSV, a JSON or a folder, several joined by '::'");
  if (names_shards(part)) { return open_shard_pairs(part); }
  std::error_code error;
  const bool there = fs::exists(part, error);
  REQUIRE(IoError, there, "[data] ", part, error ? " cannot be read: " + error.message() : " does not exist",
          part.find('*') == std::string::npos ? "" : ". A '*' stands for itself here: name shards by a range, such as train-{000000..000019}.tar");
  if (fs::is_directory(part)) {
    if (is_benchmark_directory(part, options.split)) { return open_shard_pairs(benchmark_shards(part, options.split)); }
    return is_idx_folder(part) ? open_idx_pairs(part, options) : open_folder_pairs(part, options);
  }
  const std::string extension = ascii_lower(fs::path(part).extension());
  if (extension == ".json") { return open_json_pairs(part, options); }
  if (extension == ".csv" || extension == ".tsv") { return open_csv_pairs(part, options); }
  throw UsageError(concat_text("[data] ", part,
                               " is of no kind that pairs are read from: .tar, .tar.gz, .csv, .tsv, .json (COCO captions), or a folder per class"),
                   __FILE__, __LINE__);
}

constexpr double kMostSamples = 1e9;  // of a pass: their order is kept in memory

std::string join_numbers(const std::vector<double>& numbers) {
  std::string text;
  for (double x : numbers) { text += concat_text(text.empty() ? "" : "::", x); }
  return text;
}

// Sources one after the other, each repeated as often as its factor says.
class Mix : public PairSource {
 public:
  Mix(std::vector<std::unique_ptr<PairSource>> sources, std::vector<double> factors) : sources_(std::move(sources)) {
    if (factors.empty()) { factors.assign(sources_.size(), 1); }
    const double least = *std::min_element(factors.begin(), factors.end());
    for (size_t k = 0; k < sources_.size(); ++k) {
      const double samples = std::round(double(sources_[k]->size()) * factors[k] / least);
      REQUIRE(UsageError, double(starts_.back()) + samples <= kMostSamples, "[data] --train-data-upsampling-factors ", join_numbers(factors),
              " make a pass of more than ", int64_t(kMostSamples), " samples. The smallest counts as one pass over its source; bring them closer");
      starts_.push_back(starts_.back() + int64_t(samples));
      fingerprint_ += concat_text(k ? "+" : "", sources_[k]->fingerprint(), "*", factors[k]);
      for (const std::string& name : sources_[k]->classnames()) {
        if (std::find(classnames_.begin(), classnames_.end(), name) == classnames_.end()) { classnames_.push_back(name); }
      }
    }
    for (const auto& source : sources_) {
      std::vector<int> map;
      for (const std::string& name : source->classnames()) { map.push_back(int(std::find(classnames_.begin(), classnames_.end(),
                                                                                         name) - classnames_.begin())); }
      labels_.push_back(std::move(map));
    }
  }
  int64_t size() const override { return starts_.back(); }
  std::string image(int64_t i) const override { return at(i, [](const PairSource& s, int64_t j) { return s.image(j); }); }
  std::string caption(int64_t i) const override { return at(i, [](const PairSource& s, int64_t j) { return s.caption(j); }); }
  std::string name(int64_t i) const override { return at(i, [](const PairSource& s, int64_t j) { return s.name(j); }); }
  int label(int64_t i) const override {
    const size_t k = source_of(i);
    const int own = sources_[k]->label(index_in(k, i));
    return own < 0 ? -1 : labels_[k][size_t(own)];
  }
  std::vector<std::string> classnames() const override { return classnames_; }
  std::string fingerprint() const override { return fingerprint_; }
  std::string report() const override {
    std::vector<std::string> reports;
    for (const auto& s : sources_) {
      if (!s->report().empty()) { reports.push_back(s->report()); }
    }
    return join(reports, "; ");
  }
  std::vector<std::string> problems() const override {
    std::vector<std::string> all;
    for (const auto& s : sources_) {
      for (const std::string& problem : s->problems()) { all.push_back(problem); }
    }
    return all;
  }

 private:
  size_t source_of(int64_t i) const { return size_t(std::upper_bound(starts_.begin(), starts_.end(), i) - starts_.begin()) - 1; }
  // Whole passes over the source, then evenly spaced samples for the fraction of one.
  int64_t index_in(size_t k, int64_t i) const {
    const int64_t n = sources_[k]->size(), j = i - starts_[k], rest = (starts_[k + 1] - starts_[k]) % n, whole = starts_[k + 1] - starts_[k] - rest;
    return j < whole ? j % n : (j - whole) * n / rest;
  }
  template <class F> std::string at(int64_t i, const F& read) const {
    const size_t k = source_of(i);
    return read(*sources_[k], index_in(k, i));
  }

  std::vector<std::unique_ptr<PairSource>> sources_;
  std::vector<int64_t> starts_ = {0};
  std::vector<std::vector<int>> labels_;  // each source's classes among classnames_
  std::vector<std::string> classnames_;
  std::string fingerprint_;
};

}  // namespace

std::unique_ptr<PairSource> open_pairs(const std::string& spec, const PairOptions& options) {
  const std::vector<std::string> parts = parts_of(spec);
  REQUIRE(UsageError, options.upsampling.empty() || options.upsampling.size() == parts.size(),
          "[data] --train-data-upsampling-factors must name one factor for each of the ",
          parts.size(), " sources of '", spec, "', got ", options.upsampling.size());
  for (double factor : options.upsampling) {
    REQUIRE(UsageError, factor > 0 && factor <= 1e6, "[data] upsampling factors must be positive and at most 1e6, got ", factor);
  }
  if (parts.size() == 1) { return open_one(spec, options); }
  const bool shards = std::all_of(parts.begin(), parts.end(), names_shards);
  if (shards && options.upsampling.empty()) { return open_shard_pairs(spec); }
  std::vector<std::unique_ptr<PairSource>> sources;
  for (const std::string& part : parts) { sources.push_back(open_one(part, options)); }
  return std::make_unique<Mix>(std::move(sources), options.upsampling);
}

namespace {

// Of `n` things in groups of equal ones: the expected share of a random batch that has an equal one in the batch.
template <class Key> double share_of_equals(const std::unordered_map<Key, int64_t>& counts, double n, double others) {
  double expected = 0;
  for (const auto& [key, count] : counts) {
    // the chance that none of the others in the batch is one of the count - 1 equal ones, as if drawn with replacement
    if (count > 1) { expected += double(count) / n * (1 - std::pow(1 - double(count - 1) / (n - 1), others)); }
  }
  return expected;
}

}  // namespace

double duplicate_share(const PairSource& source, int64_t batch_size) {
  std::unordered_map<std::string, int64_t> counts;
  for (int64_t i = 0; i < source.size(); ++i) { ++counts[source.caption(i)]; }
  return share_of_equals(counts, double(source.size()), double(std::min(batch_size, source.size()) - 1));
}

double duplicate_picture_share(const PairSource& source, int64_t batch_size, int64_t sample) {
  const int64_t n = source.size(), drawn = std::min(n, sample);
  std::unordered_map<uint64_t, int64_t> counts;
  std::unordered_set<int64_t> seen;
  for (uint64_t draw = 0; int64_t(seen.size()) < drawn; ++draw) {
    const Random4 r = random4({.seed = 0, .step = 0, .site = 0xd0b1u}, draw);
    const int64_t i = drawn == n ? int64_t(draw) : int64_t((uint64_t(r.v[0]) << 32 | r.v[1]) % uint64_t(n));
    if (!seen.insert(i).second) { continue; }
    try {
      ++counts[hash_of(source.image(i))];
    } catch (const Error&) {
      continue;  // the loader will name it
    }
  }
  // As often as two of the sample are equal, so are two of a batch.
  const double others = double(std::min(batch_size, n) - 1);
  return share_of_equals(counts, double(drawn), others);
}

}  // namespace pumice
