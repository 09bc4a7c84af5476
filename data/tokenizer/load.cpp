#include <filesystem>

#include "pumice/data/tokenizer/impl.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {

Tokenizer Tokenizer::load(const std::string& path) {
  const std::string file = std::filesystem::is_directory(path) ? path + "/tokenizer.json" : path;
  return parse(read_file(file), file);
}

}  // namespace pumice
