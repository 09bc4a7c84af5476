// What `pumice model info` says of a directory as Hugging Face writes it.
#pragma once
#include <string>

namespace pumice {

// Whether config.json is there and is of a language model or a vision tower, not of a run.
bool is_hf_directory(const std::string& directory);

// Sizes, parameters and memory, from config.json; then, where weights are there, what they are and that they fit. `tower`: as open_llava() takes it.
// Throws IoError and FormatError: of the weights after everything else is printed.
void print_hf_model(const std::string& directory, const std::string& tower, bool tensors);

}  // namespace pumice
