// Lines, shard specifications and faults of text: any bytes give an answer, or a UsageError of a specification.
#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "pumice/data/braces.h"
#include "pumice/data/class_folders.h"
#include "pumice/data/source_problems.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file_kind.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const std::string& line : pumice::lines_of(text)) {
    if (line.empty() || line.find('\n') != std::string::npos) { std::abort(); }
  }
  pumice::text_fault(text);
  pumice::kind_of_file(text);
  const auto digits = std::count_if(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
  try {  // of specifications that cannot name tens of thousands of files
    if (size < 40 && digits <= 4 && pumice::expand_braces(text).empty() && !text.empty()) { std::abort(); }
  } catch (const pumice::UsageError&) {
  }
  return 0;
}
