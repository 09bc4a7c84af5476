// The directory of a zip archive (PKWARE APPNOTE 6.3.10, zip64 included), checked against the archive's bytes. For archives whose
// entries are stored, not compressed, as torch.save writes them: the data of an entry is then a part of the file.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

struct ZipEntry {
  std::string_view name;       // a part of the archive's bytes
  uint64_t begin = 0, end = 0; // where its data stands in the archive
};

// Entries sorted by name. Throws FormatError naming `source` when the directory is missing (a download that was cut), points outside
// the archive, names an entry twice, or has a compressed or encrypted entry.
std::vector<ZipEntry> parse_zip(std::string_view bytes, const std::string& source);

// The entry of that name, or nullptr.
const ZipEntry* find_zip_entry(const std::vector<ZipEntry>& entries, std::string_view name);

}  // namespace pumice
