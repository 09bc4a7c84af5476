// A vocab.json and, after a zero byte, a merges.txt: a tokenizer that encodes, or a FormatError.
#include "pumice/data/tokenizer.h"
#include "pumice/data/tokenizer/vocabularies.h"
#include "pumice/tensor/error.h"
#include "one_in.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string both(reinterpret_cast<const char*>(data), size);
  const size_t end = both.find('\0');
  const std::string vocab = both.substr(0, end), merges = end == std::string::npos ? "" : both.substr(end + 1);
  const std::string text = "It's a d\xc3\xa9j\xc3\xa0-vu \xf0\x9f\x8d\x8e  42\n\xff<|endoftext|>";
  try {
    for (const char* of : {"", "Qwen2Tokenizer", "RobertaTokenizer"}) {  // the class has no say in which files are refused here
      const pumice::Tokenizer t(pumice::parse_vocab_and_merges(vocab, "vocab", merges, "merges", {.tokenizer_class = of}));
      t.decode(t.encode(text));
      if (one_in(64, data, size)) { pumice::Tokenizer::parse(t.file(), "round trip"); }
    }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
