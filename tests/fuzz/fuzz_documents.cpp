// Any text is documents that are not blank, and problems: as many as there were.
#include <cstdlib>

#include "pumice/data/documents.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const char* name : {"fuzz.jsonl", "fuzz.txt"}) {
    pumice::Documents d;
    pumice::parse_documents({reinterpret_cast<const char*>(data), size}, name, "text", d);
    if (int64_t(d.texts.size()) > d.given || (d.problems.none() && int64_t(d.texts.size()) != d.given)) { std::abort(); }
    for (const std::string& text : d.texts) {
      if (text.find_first_not_of(" \t\r\n") == std::string::npos) { std::abort(); }
    }
  }
  return 0;
}
