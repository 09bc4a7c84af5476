// Any bytes: a gzip-packed list of merges, or the list itself, makes a tokenizer that encodes, or a FormatError.
#include "pumice/data/gzip.h"
#include "pumice/data/tokenizer.h"
#include "pumice/data/tokenizer/vocabularies.h"
#include "pumice/tensor/error.h"
#include "one_in.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    std::string bytes(reinterpret_cast<const char*>(data), size);
    if (bytes.rfind("\x1f\x8b", 0) == 0) { bytes = pumice::gunzip(bytes, "fuzz", 1 << 20); }
    const pumice::Tokenizer t(pumice::parse_clip_merges(bytes, "fuzz"));
    t.decode(t.encode("It's a d\xc3\xa9j\xc3\xa0-vu &amp; \xf0\x9f\x8d\x8e  42\n\xff<|endoftext|>"));
    if (one_in(512, data, size)) { pumice::Tokenizer::parse(t.file(), "round trip"); }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
