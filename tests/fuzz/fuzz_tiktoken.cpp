// Any text makes a tokenizer that encodes, or a FormatError.
#include "pumice/data/tokenizer.h"
#include "pumice/data/tokenizer/vocabularies.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string ranks(reinterpret_cast<const char*>(data), size);
    pumice::Tokenizer t = pumice::Tokenizer::parse(pumice::json_of_tiktoken(ranks, "qwen"), "fuzz");
    t.decode(t.encode("It's a d\xc3\xa9j\xc3\xa0-vu \xf0\x9f\x8d\x8e  42\n\xff<|im_end|>"));
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
