// Any text is conversations that every template could write, or a FormatError.
#include <cstdlib>

#include "pumice/data/llava_json.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pumice;
  try {
    const LlavaFile file = parse_llava({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (file.samples.empty() || int64_t(file.samples.size()) > file.given) { std::abort(); }
    for (const LlavaSample& sample : file.samples) {
      int64_t images = 0;
      for (const ConversationPiece& piece : pieces_of(sample.conversation("chatml"))) { images += count_images(piece.text); }
      if (images != int64_t(sample.images.size())) { std::abort(); }
    }
  } catch (const FormatError&) {
  }
  return 0;
}
