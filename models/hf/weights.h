// Which tensors of Hugging Face's files hold which of our parameters, and reading and writing by that table.
#pragma once
#include <string>
#include <vector>

#include "pumice/models/decoder.h"
#include "pumice/models/hf/bind.h"

namespace pumice {

// One for an ordinary parameter, one per expert for a stack of experts. Throws UsageError for a name that the model does not have.
std::vector<HfTensor> hf_tensors_of(const DecoderConfig& config, const std::string& parameter);

// A model for use, whose weights lie in the mapped files of `directory` (config.json, model.safetensors or an index and its shards, or PyTorch's .bin
// files) and are not copied. Throws IoError, or FormatError listing tensors that are missing, unexpected or misshapen.
Decoder open_decoder(const std::string& directory);
// The same as f32 masters in an arena on `device`, to be trained further.
Decoder load_decoder(const std::string& directory, Device device = Device::cpu());

}  // namespace pumice
