// Which tensors of Hugging Face's files hold which of our parameters, and reading and writing by that table.
#pragma once
#include <string>
#include <vector>

#include "pumice/models/decoder.h"

namespace pumice {

// Where one parameter, or one expert of a stacked one, stands in a file.
struct HfTensor {
  std::string name;
  int64_t part = 0, parts = 1;  // rows [part, part + 1) / parts of that tensor: Qwen-1 keeps queries, keys and values in one
};
// One for an ordinary parameter, one per expert for a stack of experts. Throws UsageError for a name that the model does not have.
std::vector<HfTensor> hf_tensors_of(const DecoderConfig& config, const std::string& parameter);

// A model for use, whose weights lie in the mapped files of `directory` (config.json, model.safetensors or an index and its shards, or PyTorch's .bin
// files) and are not copied. Throws IoError, or FormatError listing tensors that are missing, unexpected or misshapen.
Decoder open_decoder(const std::string& directory);
// The same weights copied into `model`, to be trained further.
void read_decoder_weights(Decoder& model, const std::string& directory);

}  // namespace pumice
