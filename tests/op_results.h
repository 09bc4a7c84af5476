// What OpCases gave on one device, in a file, to be held against what they give on another: a card's results beside the emulator's.
#pragma once
#include <cstdio>
#include <string>
#include <vector>

#include "pumice/tensor/dtype.h"

namespace pumice::testing {

struct OpResult {
  std::string name;  // of the case
  DType dtype = DType::f32;
  std::vector<std::vector<double>> arrays;  // its outputs, then its gradients
};

// Numbers are stored as f32: those of f32 and bf16 fit, and the integers that ops give are below 2^24.
class ResultWriter {
 public:
  explicit ResultWriter(const std::string& path);  // throws IoError
  ~ResultWriter();
  ResultWriter(const ResultWriter&) = delete;
  void write(const OpResult& result);  // throws IoError

 private:
  std::string path_;
  std::FILE* file_;
};

// All results of a file. Throws IoError, and FormatError naming the file and the place where it breaks off.
std::vector<OpResult> read_results(const std::string& path);

}  // namespace pumice::testing
