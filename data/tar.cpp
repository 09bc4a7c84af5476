#include "pumice/data/tar.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/file_kind.h"

namespace pumice {
namespace {

constexpr uint64_t kBlock = 512;

struct Header {  // ustar, POSIX.1-1988; offsets of the fields that are read or written
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, linkname[100], magic[6], version[2], uname[32], gname[32],
      devmajor[8], devminor[8], prefix[155], pad[12];
};
static_assert(sizeof(Header) == kBlock);

uint32_t checksum_of(const Header& h) {  // with the checksum field itself read as spaces
  const unsigned char* p = reinterpret_cast<const unsigned char*>(&h);
  uint32_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) { sum += i >= 148 && i < 156 ? ' ' : p[i]; }
  return sum;
}

std::string field(const char* text, size_t length) { return std::string(text, strnlen(text, length)); }

// Octal text, or base-256 with the top bit set (GNU, for sizes from 8 GiB). False when it is neither.
bool number(const char* text, size_t length, uint64_t& value) {
  value = 0;
  if (static_cast<unsigned char>(text[0]) & 0x80) {
    value = static_cast<unsigned char>(text[0]) & 0x7f;
    for (size_t i = 1; i < length; ++i) {
      if (value >> 55) { return false; }
      value = value << 8 | static_cast<unsigned char>(text[i]);
    }
    return true;
  }
  size_t i = 0;
  while (i < length && text[i] == ' ') { ++i; }
  bool any = false;
  for (; i < length && text[i] >= '0' && text[i] <= '7'; ++i, any = true) { value = value * 8 + uint64_t(text[i] - '0'); }
  return any && (i == length || text[i] == 0 || text[i] == ' ');
}

std::string what_instead(std::string_view bytes) {
  const std::string kind = kind_of_file(bytes);
  return kind.empty() ? "" : " It is " + kind + ".";
}

// "25 path=some/name\n" records of a pax header; false when they are malformed.
bool read_pax(std::string_view records, std::string& path, uint64_t& size, bool& has_size) {
  while (!records.empty()) {
    size_t space = records.find(' ');
    uint64_t length = 0;
    if (space == std::string_view::npos || std::from_chars(records.data(), records.data() + space, length).ec != std::errc()) { return false; }
    if (length <= space + 1 || length > records.size() || records[length - 1] != '\n') { return false; }
    std::string_view record = records.substr(space + 1, length - space - 2);
    size_t equals = record.find('=');
    if (equals == std::string_view::npos) { return false; }
    std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") { path = std::string(value); }
    if (key == "size") { has_size = std::from_chars(value.data(), value.data() + value.size(), size).ec == std::errc(); }
    records.remove_prefix(length);
  }
  return true;
}

}  // namespace

TarIndex read_tar_index(std::string_view bytes, const std::string& name) {
  auto wrong = [&](uint64_t at, const auto&... parts) {
    return FormatError(concat_text("[tar] ", name, " at byte ", at, ": ", parts...), __FILE__, __LINE__);
  };
  REQUIRE(FormatError, !bytes.empty(), "[tar] ", name, " is empty; a tar archive of at least one block of 512 bytes is required");
  TarIndex index;
  std::string long_name;
  uint64_t pax_size = 0;
  bool has_pax_size = false;
  for (uint64_t at = 0; at < bytes.size();) {
    if (bytes.size() - at < kBlock) {
      throw wrong(at, at == 0 ? "this is not a tar archive, or its first header was cut short."
                          : "the archive ends inside a header. It was cut short; copy it again",
                  at == 0 ? what_instead(bytes) : "");
    }
    Header h;
    std::memcpy(&h, bytes.data() + at, kBlock);
    const char* raw = reinterpret_cast<const char*>(&h);
    if (std::all_of(raw, raw + kBlock, [](char c) { return c == 0; })) {
      index.ended = true;
      break;
    }
    uint64_t sum = 0, size = 0;
    if (!number(h.checksum, sizeof h.checksum, sum) || sum != checksum_of(h)) {
      throw wrong(at, at == 0 ? "this is not a tar archive." : "a header's checksum is wrong: the archive is damaged.",
                  at == 0 ? what_instead(bytes) : "");
    }
    if (!number(h.size, sizeof h.size, size)) { throw wrong(at, "a header's size is not a number"); }
    if (has_pax_size && h.type != 'x' && h.type != 'g') { size = pax_size; }
    const uint64_t content = at + kBlock, left = bytes.size() - content;
    if (size > left) {
      throw wrong(at, "the entry '", field(h.name, sizeof h.name), "' has ", size, " bytes but only ", left,
                  " follow. The archive was cut short; copy it again");
    }
    std::string_view data = bytes.substr(content, size);
    const uint64_t padded = (size + kBlock - 1) / kBlock * kBlock;
    if (padded > left) { throw wrong(at, "the archive ends before the next multiple of 512 bytes. It was cut short; copy it again"); }
    at = content + padded;
    if (h.type == 'L') { long_name = field(data.data(), data.size()); continue; }
    if (h.type == 'x') {
      if (!read_pax(data, long_name, pax_size, has_pax_size)) { throw wrong(content, "a pax header is malformed"); }
      continue;
    }
    if (h.type == '0' || h.type == 0 || h.type == '7') {
      std::string prefix = std::memcmp(h.magic, "ustar", 5) == 0 && h.magic[5] == 0 ? field(h.prefix, sizeof h.prefix) : "";
      std::string own = (prefix.empty() ? "" : prefix + "/") + field(h.name, sizeof h.name);
      index.entries.push_back({long_name.empty() ? own : long_name, content, size});
    }
    if (h.type != 'g') {
      long_name.clear();
      has_pax_size = false;
    }
  }
  return index;
}

TarWriter::TarWriter(const std::string& path) : file_(std::make_unique<AtomicFile>(path)) {}
TarWriter::~TarWriter() = default;

void TarWriter::add(const std::string& name, std::string_view content) {
  REQUIRE(UsageError, !name.empty() && name.size() <= 100 && content.size() < (uint64_t(1) << 33),
          "[tar] an entry needs a name of 1 to 100 bytes and less than 8 GiB, got '", name, "' of ", content.size(), " bytes");
  Header h = {};
  std::memcpy(h.name, name.data(), name.size());
  std::snprintf(h.mode, sizeof h.mode, "%07o", 0444);
  std::snprintf(h.uid, sizeof h.uid, "%07o", 0);
  std::snprintf(h.gid, sizeof h.gid, "%07o", 0);
  std::snprintf(h.size, sizeof h.size, "%011llo", static_cast<unsigned long long>(content.size()));
  std::snprintf(h.mtime, sizeof h.mtime, "%011o", 0);
  h.type = '0';
  std::memcpy(h.magic, "ustar\0" "00", 8);
  std::memcpy(h.uname, "bigdata", 7);
  std::memcpy(h.gname, "bigdata", 7);
  std::snprintf(h.checksum, sizeof h.checksum, "%06o", checksum_of(h));
  h.checksum[7] = ' ';
  file_->write(&h, kBlock);
  file_->write(content);
  static const char zeros[kBlock] = {};
  file_->write(zeros, (kBlock - content.size() % kBlock) % kBlock);
}

void TarWriter::close() {
  static const char zeros[2 * kBlock] = {};
  file_->write(zeros, sizeof zeros);
  file_->commit();
}

}  // namespace pumice
