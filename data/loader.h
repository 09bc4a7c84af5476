// Batches of image-caption pairs in an order that depends on the seed alone. A thread decodes ahead; the position that a batch
// carries is exact, so a run that resumes from it sees the same batches as one that was never stopped.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pumice/data/augment.h"
#include "pumice/data/pairs.h"
#include "pumice/data/tokenizer.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

struct Batch {
  Tensor pixels;        // u8 (B, H, W, 3)
  Tensor tokens;        // i32 (N): ids of all captions without padding, each ending in end-of-text
  Tensor text_offsets;  // i32 (B + 1)
  Tensor caption_ids;   // i64 (B): equal for identical captions
  Tensor labels;        // i32 (B): PairSource::label
  std::vector<std::string> captions;
  int64_t position = 0;  // of the stream after this batch: what to resume from
  double epoch = 0;      // position / number of samples
};

struct LoaderOptions {
  int64_t batch_size = 128;
  int64_t image_size = 64;
  int64_t text_length = 16;  // most tokens, end-of-text included; longer captions are cut and keep their end-of-text
  uint64_t seed = 0;
  bool shuffle = true;       // a new permutation every epoch
  bool distinct = false;     // leave a sample out of a batch that holds its caption or picture already; it has its turn in the next epoch
  Augmentation augmentation;  // by (seed, epoch, sample)
  DecodeOptions decoding;
  int64_t limit = 0;         // use the first `limit` samples only; 0 = all
  int64_t prefetch = 3;      // batches decoded ahead; 0 = decode in next()
  int64_t position = 0;      // where to start in the stream of samples
};

struct LoaderReport {
  int64_t corrupt = 0;                     // samples that could not be decoded; they are left out, never replaced
  std::vector<std::string> first_problems; // up to five messages
};

class Loader {
 public:
  // Throws UsageError when the batch does not fit the data. `source` and `tokenizer` must outlive the loader.
  Loader(const PairSource& source, const Tokenizer& tokenizer, const LoaderOptions& options);
  ~Loader();
  Batch next();
  LoaderReport report() const;
  double seconds_waited() const;  // time next() spent waiting for the decoder

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Ids of a caption as the model reads it: what the tokenizer puts before a text (nothing, or CLIP's <|startoftext|>), the text, end-of-text; at most
// `length` tokens, the last one end-of-text.
std::vector<int32_t> encode_caption(const Tokenizer& tokenizer, const std::string& caption, int64_t length);
// A 64-bit id of a caption's text; identical captions share it.
int64_t caption_id(const std::string& caption);

}  // namespace pumice
