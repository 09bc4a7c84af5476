// tar archives: an index over the bytes of one, and a writer whose output depends on its input alone.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

struct TarEntry {
  std::string name;
  uint64_t offset = 0, size = 0;  // of the content within the archive
};

struct TarIndex {
  std::vector<TarEntry> entries;  // regular files in order
  bool ended = false;             // by the zero block that every archive ends with: without it, files may be missing
};
// Of a ustar, pax or GNU archive. Throws FormatError naming `name`, the byte offset and what is wrong.
TarIndex read_tar_index(std::string_view bytes, const std::string& name);

// Writes ustar entries of mode 0444, owner "bigdata", fixed time. The file appears under its name at close(), whole.
class TarWriter {
 public:
  explicit TarWriter(const std::string& path);
  ~TarWriter();
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;
  void add(const std::string& name, std::string_view content);
  void close();

 private:
  std::unique_ptr<class AtomicFile> file_;
};

}  // namespace pumice
