#include "pumice/data/tokenizer/byte_alphabet.h"

#include <array>

namespace pumice {
namespace {

struct Alphabet {
  std::array<int, 256> code;       // of each byte
  std::array<int, 512> byte;       // of each code; -1 for none
  Alphabet() {
    byte.fill(-1);
    int next = 256;
    for (int b = 0; b < 256; ++b) {
      code[size_t(b)] = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : next++;
      byte[size_t(code[size_t(b)])] = b;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet a;
  return a;
}

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  for (unsigned char b : bytes) {
    int c = alphabet().code[b];
    if (c < 128) { text += char(c); }
    else {
      text += char(0xc0 | c >> 6);
      text += char(0x80 | (c & 0x3f));
    }
  }
  return text;
}

bool from_byte_alphabet(std::string_view text, std::string& bytes) {
  bytes.clear();
  for (size_t i = 0; i < text.size();) {
    unsigned char first = static_cast<unsigned char>(text[i++]);
    int c = first;
    if (first >= 0x80) {
      if ((first & 0xe0) != 0xc0 || i >= text.size()) { return false; }
      c = (first & 0x1f) << 6 | (text[i++] & 0x3f);
    }
    if (c >= 512 || alphabet().byte[size_t(c)] < 0) { return false; }
    bytes += char(alphabet().byte[size_t(c)]);
  }
  return true;
}

}  // namespace pumice
