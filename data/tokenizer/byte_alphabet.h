// GPT-2's printable alphabet for bytes (Radford et al. 2019, encoder.py), in which byte-level pieces are spelled: bytes 33-126, 161-172
// and 174-255 stand for themselves, the other 68 for U+0100 onwards in order.
#pragma once
#include <string>
#include <string_view>

namespace pumice {

std::string to_byte_alphabet(std::string_view bytes);
bool from_byte_alphabet(std::string_view text, std::string& bytes);  // false for a character outside the alphabet

}  // namespace pumice
