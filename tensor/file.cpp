#include "pumice/tensor/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "pumice/tensor/error.h"

namespace pumice {
namespace {

std::string reason() { return std::strerror(errno); }

// Opens for reading and returns the size; directories and unreadable files throw.
int open_to_read(const std::string& path, size_t& size) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(IoError, fd >= 0, "[file] ", path, " cannot be opened: ", reason());
  struct stat info;
  if (fstat(fd, &info) != 0 || S_ISDIR(info.st_mode)) {
    std::string why = S_ISDIR(info.st_mode) ? "it is a directory" : reason();
    close(fd);
    throw IoError(concat_text("[file] ", path, " cannot be read: ", why), __FILE__, __LINE__);
  }
  size = size_t(info.st_size);
  return fd;
}

std::string directory_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

std::string read_file(const std::string& path) {
  size_t size = 0;
  int fd = open_to_read(path, size);
  std::string content;
  char buffer[65536];
  ssize_t n;
  content.reserve(size);
  while ((n = read(fd, buffer, sizeof buffer)) != 0) {
    if (n < 0 && errno == EINTR) { continue; }
    if (n < 0) {
      std::string why = reason();
      close(fd);
      throw IoError(concat_text("[file] ", path, " cannot be read: ", why), __FILE__, __LINE__);
    }
    content.append(buffer, size_t(n));
  }
  close(fd);
  return content;
}

MappedFile::MappedFile(const std::string& path) {
  int fd = open_to_read(path, size_);
  if (size_ > 0) {
    void* p = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);  // a file may be larger than the memory
    std::string why = reason();
    close(fd);
    REQUIRE(IoError, p != MAP_FAILED, "[file] ", path, " cannot be mapped: ", why);
    data_ = static_cast<const char*>(p);
  } else {
    close(fd);
  }
}

MappedFile::~MappedFile() {
  if (data_) { munmap(const_cast<char*>(data_), size_); }
}
MappedFile::MappedFile(MappedFile&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), temporary_(path + ".partial-" + std::to_string(getpid())) {
  fd_ = open(temporary_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  REQUIRE(IoError, fd_ >= 0, "[file] ", path_, " cannot be written: ", reason());
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    close(fd_);
    unlink(temporary_.c_str());
  }
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    ssize_t n = ::write(fd_, p, bytes);
    if (n < 0 && errno == EINTR) { continue; }
    REQUIRE(IoError, n > 0, "[file] ", path_, " cannot be written: ", reason());
    p += n;
    bytes -= size_t(n);
  }
}

void AtomicFile::commit() {
  REQUIRE(IoError, fsync(fd_) == 0 || errno == EINVAL, "[file] ", path_, " cannot be flushed to disk: ", reason());
  int fd = std::exchange(fd_, -1);
  bool closed = close(fd) == 0;
  if (!closed || rename(temporary_.c_str(), path_.c_str()) != 0) {
    std::string why = reason();
    unlink(temporary_.c_str());
    throw IoError(concat_text("[file] ", path_, " cannot be put in place: ", why), __FILE__, __LINE__);
  }
  int directory = open(directory_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // the rename itself must survive a crash
  if (directory >= 0) {
    fsync(directory);
    close(directory);
  }
}

void write_file_atomic(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

}  // namespace pumice
