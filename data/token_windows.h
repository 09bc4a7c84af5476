// Documents as the batches that a language model is trained on: their ids in one stream, end-of-text after each, cut into windows of one length.
// A window that crosses from one document to the next is two sequences: attention sees one document.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "pumice/data/tokenizer.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

struct TokenBatch {
  Tensor ids;        // i32 (T): windows one after the other
  Tensor sequences;  // i32 (N + 1): where each document, or part of one, begins
  std::vector<int64_t> windows;  // where each window begins in `sequences`, and its end: a microbatch is some of them
  int64_t position = 0;          // of the stream of windows after this batch: what to resume from
  double epoch = 0;              // position / number of windows
};

struct WindowOptions {
  int64_t length = 256;  // tokens
  uint64_t seed = 0;
  bool shuffle = true;   // a new order of windows each epoch, which begin at another place of the stream
  int64_t limit = 0;     // the first windows only; 0: all
};

class TokenWindows {
 public:
  // Each text stands between the tokenizer's prefix() and end-of-text. Encoded in parallel; ids stay in memory, 4 bytes each.
  TokenWindows(const std::vector<std::string>& texts, const Tokenizer& tokenizer, const WindowOptions& options);

  int64_t tokens() const { return int64_t(stream_.size()); }
  int64_t windows() const { return windows_; }  // in a pass over the text
  int64_t length() const { return options_.length; }  // at most the tokens there are
  // The next `count` windows from `position` on; the same whenever it is asked.
  TokenBatch batch(int64_t position, int64_t count);

 private:
  std::vector<int32_t> stream_;
  int32_t end_;      // end-of-text
  WindowOptions options_;
  int64_t windows_ = 0, epoch_ = -1, offset_ = 0;
  std::vector<int64_t> order_;  // of epoch_
};

}  // namespace pumice
