// Weights written as other programs read them: `model.safetensors`, or shards and an index where they would be larger than a limit
// (Hugging Face's save_pretrained; `from_pretrained` reads both).
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

struct WeightWriterOptions {
  uint64_t max_shard_bytes = 5'000'000'000;  // of tensors; one that is larger has a shard of its own
  std::map<std::string, std::string> metadata;  // of every file; "format": "pt" is added
  std::optional<DType> dtype;                   // of all tensors of floats; unset: each as it is. They are converted in pieces as they are written
};

// Writes to an existing directory: model.safetensors, or model-0000i-of-0000n.safetensors, filled in the order given, and
// model.safetensors.index.json. Returns the names of the files written.
//
// All files are complete under temporary names before the first is put in place: a full disk leaves the directory as it was. An index that
// is there goes before shards are replaced and the new one comes last, so that whoever reads in between, or after a crash, gets an
// error and never a mixture. Files of an earlier save that the new one does not have are removed in the end.
// Throws UsageError for a name given twice, no tensors, a limit of 0 or a number that `dtype` cannot hold, IoError when the directory cannot be written.
std::vector<std::string> write_weights(const std::string& directory, const std::vector<std::pair<std::string, Tensor>>& tensors,
                                       const WeightWriterOptions& options = {});

}  // namespace pumice
