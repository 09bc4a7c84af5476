// A zip archive of stored entries, made by hand; every field that a test breaks is a parameter.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace pumice::testing {

template <class T> std::string little(T value) {
  std::string s(sizeof value, 0);
  std::memcpy(s.data(), &value, sizeof value);
  return s;
}

struct ZipBreaks {
  bool zip64 = false;          // sizes and offsets in extra fields, and the zip64 end record
  uint16_t method = 0, flags = 0;
  uint32_t offset_shift = 0;   // added to the offsets of local headers
  uint32_t grow = 0;           // added to the sizes of entries
  std::string local_name;      // in place of the entry's
  std::string comment;
};

inline std::string zip_of(const std::vector<std::pair<std::string, std::string>>& files, const ZipBreaks& b = {}) {
  std::string bytes, directory;
  for (const auto& [name, data] : files) {
    const std::string local_name = b.local_name.empty() ? name : b.local_name;
    const uint64_t at = bytes.size() + b.offset_shift, size = data.size() + b.grow;
    const uint32_t size32 = b.zip64 ? UINT32_MAX : uint32_t(size), at32 = b.zip64 ? UINT32_MAX : uint32_t(at);
    std::string extra = little<uint16_t>(7) + little<uint16_t>(2) + "xx";  // a field that no reader knows
    if (b.zip64) { extra += little<uint16_t>(1) + little<uint16_t>(24) + little(size) + little(size) + little(at); }
    const std::string middle = little(b.flags) + little(b.method) + little<uint32_t>(0) + little<uint32_t>(0) + little(size32) + little(size32);
    bytes += "PK\x03\x04" + little<uint16_t>(45) + middle + little(uint16_t(local_name.size())) + little<uint16_t>(0);
    bytes += local_name + data;
    directory += "PK\x01\x02" + little<uint16_t>(45) + little<uint16_t>(45) + middle;
    directory += little(uint16_t(name.size())) + little(uint16_t(extra.size())) + std::string(10, 0) + little(at32) + name + extra;
  }
  const uint64_t begin = bytes.size(), size = directory.size(), count = files.size();
  bytes += directory;
  if (b.zip64) {
    const uint64_t record = bytes.size();
    bytes += "PK\x06\x06" + little<uint64_t>(44) + little<uint32_t>(0) + little<uint64_t>(0);
    bytes += little(count) + little(count) + little(size) + little(begin);
    bytes += "PK\x06\x07" + little<uint32_t>(0) + little(record) + little<uint32_t>(1);
  }
  const uint16_t count16 = b.zip64 ? UINT16_MAX : uint16_t(count);
  bytes += "PK\x05\x06" + little<uint32_t>(0) + little(count16) + little(count16) + little(b.zip64 ? UINT32_MAX : uint32_t(size)) +
           little(b.zip64 ? UINT32_MAX : uint32_t(begin)) + little(uint16_t(b.comment.size())) + b.comment;
  return bytes;
}

}  // namespace pumice::testing
