// gzip decompression (RFC 1952), of files that are read whole.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace pumice {

// All members, one after the other. Throws FormatError naming `name` when the data is damaged or cut short, or would grow beyond
// `max_bytes`.
std::string gunzip(std::string_view bytes, const std::string& name, uint64_t max_bytes = uint64_t(8) << 30);

}  // namespace pumice
