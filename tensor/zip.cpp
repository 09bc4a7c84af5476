#include "pumice/tensor/zip.h"

#include <algorithm>
#include <cstring>

#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr std::string_view kLocal = "PK\x03\x04", kCentral = "PK\x01\x02", kEnd = "PK\x05\x06", kEnd64 = "PK\x06\x06", kLocator64 = "PK\x06\x07";
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20, kLongestComment = 65535;

// Reads little-endian numbers out of the archive; every read is checked.
class Archive {
 public:
  Archive(std::string_view bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  template <class... Parts> FormatError wrong(const Parts&... parts) const {
    return FormatError(concat_text("[zip] ", source_, ": ", parts...), __FILE__, __LINE__);
  }
  bool inside(uint64_t at, uint64_t size) const { return at <= bytes_.size() && size <= bytes_.size() - at; }
  bool marked(uint64_t at, std::string_view mark) const { return inside(at, 4) && bytes_.substr(at, 4) == mark; }
  template <class T> T number(uint64_t at) const {
    if (!inside(at, sizeof(T))) { throw wrong("the archive ends at byte ", bytes_.size(), ", within a record. Is the download complete?"); }
    T value;
    std::memcpy(&value, bytes_.data() + at, sizeof value);
    return value;
  }
  std::string_view text(uint64_t at, uint64_t size) const {
    if (!inside(at, size)) { throw wrong("a name of ", size, " bytes at byte ", at, " does not fit an archive of ", bytes_.size(), " bytes"); }
    return bytes_.substr(at, size);
  }
  uint64_t size() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
  const std::string& source_;
};

struct Directory { uint64_t begin, size, entries; };

Directory find_directory(const Archive& zip) {
  if (zip.size() < kEndSize) { throw zip.wrong("an archive of at least ", kEndSize, " bytes is required, got ", zip.size()); }
  const uint64_t last = zip.size() - kEndSize, first = last > kLongestComment ? last - kLongestComment : 0;
  uint64_t end = last;
  while (!(zip.marked(end, kEnd) && end + kEndSize + zip.number<uint16_t>(end + 20) == zip.size())) {
    if (end-- == first) { throw zip.wrong("the archive's directory, which stands at its end, is missing. Is the download complete?"); }
  }
  Directory d{zip.number<uint32_t>(end + 16), zip.number<uint32_t>(end + 12), zip.number<uint16_t>(end + 10)};
  if (end >= kLocatorSize && zip.marked(end - kLocatorSize, kLocator64)) {
    const uint64_t at = zip.number<uint64_t>(end - kLocatorSize + 8);
    if (!zip.inside(at, kEnd64Size) || !zip.marked(at, kEnd64)) { throw zip.wrong("no zip64 record at byte ", at, ", where one is announced"); }
    d = {zip.number<uint64_t>(at + 48), zip.number<uint64_t>(at + 40), zip.number<uint64_t>(at + 32)};
  }
  if (!zip.inside(d.begin, d.size)) {
    throw zip.wrong("a directory of ", d.size, " bytes at byte ", d.begin, " does not fit an archive of ", zip.size(), " bytes");
  }
  if (d.entries > d.size / kCentralSize) { throw zip.wrong("a directory of ", d.size, " bytes cannot hold ", d.entries, " entries"); }
  return d;
}

// Fields that do not fit 32 bits stand in an extra field of id 1, in this order.
void read_zip64(const Archive& zip, uint64_t at, uint64_t size, std::initializer_list<uint64_t*> fields) {
  for (const uint64_t end = at + size; at + 4 <= end;) {
    const uint16_t id = zip.number<uint16_t>(at), length = zip.number<uint16_t>(at + 2);
    uint64_t from = at + 4;
    at = from + length;
    if (id != 1 || at > end) { continue; }
    for (uint64_t* field : fields) {
      if (*field == UINT32_MAX && from + 8 <= at) {
        *field = zip.number<uint64_t>(from);
        from += 8;
      }
    }
  }
}

// The entry whose central record stands at `at`, which moves on to the next.
ZipEntry read_entry(const Archive& zip, uint64_t& at, uint64_t directory_end) {
  if (!zip.marked(at, kCentral) || at + kCentralSize > directory_end) { throw zip.wrong("no directory record at byte ", at, ", where one must be"); }
  const uint16_t flags = zip.number<uint16_t>(at + 8), method = zip.number<uint16_t>(at + 10);
  uint64_t stored = zip.number<uint32_t>(at + 20), size = zip.number<uint32_t>(at + 24), local = zip.number<uint32_t>(at + 42);
  const uint64_t name_size = zip.number<uint16_t>(at + 28), extra = zip.number<uint16_t>(at + 30), comment = zip.number<uint16_t>(at + 32);
  ZipEntry e;
  e.name = zip.text(at + kCentralSize, name_size);
  read_zip64(zip, at + kCentralSize + name_size, extra, {&size, &stored, &local});
  at += kCentralSize + name_size + extra + comment;
  if (flags & 1) { throw zip.wrong("entry '", e.name, "' is encrypted"); }
  if (method != 0) {
    throw zip.wrong("entry '", e.name, "' is compressed (method ", method, "), where torch.save stores entries as they are: unpack the archive and "
                    "pack it with zip -0, or save it again with torch.save");
  }
  if (stored != size) { throw zip.wrong("entry '", e.name, "' is stored, yet its sizes ", stored, " and ", size, " differ"); }
  if (!zip.marked(local, kLocal)) { throw zip.wrong("entry '", e.name, "' has no header at byte ", local, ", where the directory says"); }
  const uint64_t local_name = zip.number<uint16_t>(local + 26), local_extra = zip.number<uint16_t>(local + 28);
  if (zip.text(local + kLocalSize, local_name) != e.name) { throw zip.wrong("the header at byte ", local, " is not of entry '", e.name, "'"); }
  e.begin = local + kLocalSize + local_name + local_extra;
  if (!zip.inside(e.begin, size)) {
    throw zip.wrong("entry '", e.name, "' of ", size, " bytes at byte ", e.begin, " does not fit an archive of ", zip.size(), " bytes");
  }
  e.end = e.begin + size;
  return e;
}

}  // namespace

std::vector<ZipEntry> parse_zip(std::string_view bytes, const std::string& source) {
  const Archive zip(bytes, source);
  const Directory directory = find_directory(zip);
  std::vector<ZipEntry> entries;
  entries.reserve(directory.entries);
  uint64_t at = directory.begin;
  for (uint64_t i = 0; i < directory.entries; ++i) { entries.push_back(read_entry(zip, at, directory.begin + directory.size)); }
  std::sort(entries.begin(), entries.end(), [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].name == entries[i - 1].name) { throw zip.wrong("entry '", entries[i].name, "' stands twice in the directory"); }
  }
  return entries;
}

const ZipEntry* find_zip_entry(const std::vector<ZipEntry>& entries, std::string_view name) {
  auto found = std::lower_bound(entries.begin(), entries.end(), name, [](const ZipEntry& e, std::string_view n) { return e.name < n; });
  return found != entries.end() && found->name == name ? &*found : nullptr;
}

}  // namespace pumice
