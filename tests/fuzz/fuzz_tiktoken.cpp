// Any text makes a tokenizer that encodes, or a FormatError. What begins with + follows the lines of the 256 bytes, without which every
// vocabulary is refused: so a short input comes as far as a whole file.
#include "pumice/data/tokenizer.h"
#include "pumice/data/tokenizer/vocabularies.h"
#include "pumice/tensor/error.h"
#include "one_in.h"

namespace {

std::string lines_of_bytes() {
  constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string lines;
  for (int b = 0; b < 256; ++b) { lines += std::string{kDigits[b >> 2], kDigits[(b & 3) << 4]} + "== " + std::to_string(b) + "\n"; }
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string bytes = lines_of_bytes();
  try {
    std::string ranks(reinterpret_cast<const char*>(data), size);
    if (size > 0 && ranks[0] == '+') { ranks.replace(0, 1, bytes); }
    const pumice::Tokenizer t(pumice::parse_tiktoken(ranks, "qwen"));
    t.decode(t.encode("It's a d\xc3\xa9j\xc3\xa0-vu \xf0\x9f\x8d\x8e  42\n\xff<|im_end|>"));
    if (one_in(512, data, size)) { pumice::Tokenizer::parse(t.file(), "round trip"); }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
