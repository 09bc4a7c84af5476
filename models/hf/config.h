// config.json of Hugging Face's language models, and of MoE-LLaVA's, as descriptions of our decoder.
#pragma once
#include <string>
#include <vector>

#include "pumice/models/decoder_config.h"

namespace pumice {

// model_type decides, never the name of a directory: llama, mistral, qwen2, qwen, stablelm (stablelm_epoch), phi, and the same behind llava_ and
// moe_llava_, whose "moe" makes layers sparse. Throws FormatError naming `source`, the field, and for an unknown model_type those that are known.
DecoderConfig decoder_config_from_hf(const std::string& json, const std::string& source);
std::vector<std::string> known_model_types();

}  // namespace pumice
