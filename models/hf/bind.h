// Reading the weights of a model from files whose tensors have other names, by a table that says where each parameter stands.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "pumice/nn/parameter.h"
#include "pumice/tensor/weight_files.h"

namespace pumice {

// Where one parameter, or one expert of a stacked one, stands in a file.
struct HfTensor {
  std::string name;
  int64_t part = 0, parts = 1;  // rows [part, part + 1) / parts of that tensor: Qwen-1 keeps queries, keys and values in one
  bool slice = false;           // it is one row of a stack of experts
};
// Of a parameter's name: one tensor, one per expert of a stack of them (E, ...), or none: it is not to be read from these files.
using Locate = std::function<std::vector<HfTensor>(const std::string& parameter)>;
// Whether a tensor that no parameter wants may be in the files.
using Ignore = std::function<bool(const std::string& tensor)>;

// Name and shape of each tensor that bind_weights() reads for a store, in the order of its parameters. Files that have another shape do not fit.
std::vector<std::pair<std::string, Shape>> wanted_tensors(const ParameterStore& parameters, const Locate& locate);

// Binds every parameter of an unfilled store to its tensor in the mapped files, without copying; or copies it into the master of a filled one.
// `place` begins errors. Throws FormatError listing every tensor that is missing, misshapen or unexpected; nothing is bound then.
void bind_weights(ParameterStore& parameters, const WeightFiles& files, const Locate& locate, const Ignore& ignore, const std::string& place);

}  // namespace pumice
