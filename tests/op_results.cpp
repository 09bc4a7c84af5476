#include "op_results.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "pumice/tensor/error.h"

namespace pumice::testing {
namespace {

constexpr char kMagic[] = "pumice op results 1\n";

class Bytes {
 public:
  Bytes(const std::string& path, std::string bytes) : path_(path), bytes_(std::move(bytes)) {}
  bool ended() const { return at_ == bytes_.size(); }
  size_t left() const { return bytes_.size() - at_; }
  std::string take(size_t n) {
    REQUIRE(FormatError, n <= left(), path_, ": ends at byte ", bytes_.size(), ", where ", n, " bytes from ", at_, " on were expected. Write it again");
    at_ += n;
    return bytes_.substr(at_ - n, n);
  }
  size_t number() {
    uint32_t n;
    std::memcpy(&n, take(sizeof n).data(), sizeof n);
    return n;
  }

 private:
  std::string path_, bytes_;
  size_t at_ = 0;
};

}  // namespace

ResultWriter::ResultWriter(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "wb")) {
  REQUIRE(IoError, file_, path, ": cannot be written: ", std::strerror(errno));
  std::fputs(kMagic, file_);
}

ResultWriter::~ResultWriter() { std::fclose(file_); }

void ResultWriter::write(const OpResult& result) {
  const auto number = [&](size_t n) {
    const uint32_t small = uint32_t(n);
    std::fwrite(&small, sizeof small, 1, file_);
  };
  number(result.name.size());
  std::fwrite(result.name.data(), 1, result.name.size(), file_);
  number(size_t(result.dtype));
  number(result.arrays.size());
  for (const std::vector<double>& array : result.arrays) {
    const std::vector<float> values(array.begin(), array.end());
    number(values.size());
    std::fwrite(values.data(), sizeof(float), values.size(), file_);
  }
  REQUIRE(IoError, std::fflush(file_) == 0 && !std::ferror(file_), path_, ": cannot be written: ", std::strerror(errno));
}

std::vector<OpResult> read_results(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(IoError, in, path, ": cannot be read: ", std::strerror(errno));
  Bytes bytes(path, std::string(std::istreambuf_iterator<char>(in), {}));
  const size_t magic = sizeof kMagic - 1;
  REQUIRE(FormatError, bytes.left() >= magic && bytes.take(magic) == kMagic, path, ": is no file of `run_ops dump`");
  std::vector<OpResult> all;
  while (!bytes.ended()) {
    OpResult r;
    r.name = bytes.take(bytes.number());
    r.dtype = DType(bytes.number());
    for (size_t arrays = bytes.number(); arrays > 0; --arrays) {
      const size_t n = bytes.number();
      const std::string raw = bytes.take(n * sizeof(float));
      std::vector<float> values(n);
      std::memcpy(values.data(), raw.data(), raw.size());
      r.arrays.emplace_back(values.begin(), values.end());
    }
    all.push_back(std::move(r));
  }
  return all;
}

}  // namespace pumice::testing
