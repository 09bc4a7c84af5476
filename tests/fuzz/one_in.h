#pragma once
// What is too dear to do for every input of a fuzzer.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

// True for one in n inputs, the same ones in every run. It depends on all of the bytes: by anything that a fuzzer can learn, such as the
// length, it would soon make nothing but these.
inline bool one_in(size_t n, const uint8_t* data, size_t size) {
  return std::hash<std::string_view>{}(std::string_view(reinterpret_cast<const char*>(data), size)) % n == 0;
}
