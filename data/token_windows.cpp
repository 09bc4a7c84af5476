#include "pumice/data/token_windows.h"

#include <algorithm>
#include <numeric>

#include "pumice/data/order.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/parallel.h"

namespace pumice {

TokenWindows::TokenWindows(const std::vector<std::string>& texts, const Tokenizer& tokenizer, const WindowOptions& options)
    : end_(tokenizer.eos_id()), options_(options) {
  REQUIRE(UsageError, options.length >= 2, "[data] windows must have at least 2 tokens, one to predict from the other, got ", options.length);
  std::vector<std::vector<int32_t>> encoded(texts.size());
  parallel_for(int64_t(texts.size()), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) { encoded[size_t(i)] = tokenizer.encode(texts[size_t(i)]); }
  });
  const std::vector<int32_t>& prefix = tokenizer.prefix();
  for (std::vector<int32_t>& ids : encoded) {
    stream_.insert(stream_.end(), prefix.begin(), prefix.end());
    stream_.insert(stream_.end(), ids.begin(), ids.end());
    stream_.push_back(end_);
    ids = {};
  }
  REQUIRE(FormatError, stream_.size() >= 2, "[data] the text has ", stream_.size(), " tokens; at least 2 are needed to train on");
  options_.length = std::min(options.length, tokens());
  windows_ = tokens() / options_.length;
  if (options.limit > 0) { windows_ = std::min(windows_, options.limit); }
}

TokenBatch TokenWindows::batch(int64_t position, int64_t count) {
  const int64_t L = options_.length;
  TokenBatch b{.windows = {0}, .position = position + count, .epoch = double(position + count) / double(windows_)};
  std::vector<int32_t> ids, sequences = {0};
  for (int64_t p = position; p < position + count; ++p) {
    const int64_t epoch = p / windows_;
    if (epoch != epoch_) {
      epoch_ = epoch;
      order_.resize(size_t(windows_));
      std::iota(order_.begin(), order_.end(), 0);
      if (options_.shuffle) { order_ = permutation(windows_, options_.seed, epoch); }
      offset_ = options_.shuffle ? draw_below(L, options_.seed, epoch) : 0;
    }
    // the stream is a ring, so that every window of every epoch is full
    const int64_t begin = offset_ + order_[size_t(p % windows_)] * L;
    for (int64_t i = 0; i < L; ++i) {
      ids.push_back(stream_[size_t((begin + i) % tokens())]);
      if (ids.back() == end_ || i + 1 == L) { sequences.push_back(int32_t(ids.size())); }
    }
    b.windows.push_back(int64_t(sequences.size()) - 1);
  }
  b.ids = from_values<int32_t>({int64_t(ids.size())}, ids);
  b.sequences = from_values<int32_t>({int64_t(sequences.size())}, sequences);
  return b;
}

}  // namespace pumice
