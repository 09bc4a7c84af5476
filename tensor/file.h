// Files: read whole, mapped, or written so that a reader sees the old content or the new one, never a half.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pumice {

// The whole file. Throws IoError naming the file and the system's reason.
std::string read_file(const std::string& path);

// A mapping of a whole file. Pages are read when they are touched. What is written to them stays in this process, in copies of the
// pages: the file never changes. Throws IoError.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  std::string_view bytes() const { return {data_, size_}; }

 private:
  const char* data_ = nullptr;
  size_t size_ = 0;
};

// Writes to a temporary file in the same folder; commit() flushes it to disk and renames it over `path`. Without commit()
// the temporary file is removed and `path` is untouched. A full disk throws IoError and leaves `path` as it was.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  std::string path_, temporary_;
  int fd_ = -1;
};
void write_file_atomic(const std::string& path, std::string_view content);

}  // namespace pumice
