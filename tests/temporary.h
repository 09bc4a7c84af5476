// A directory that goes away with the test.
#pragma once
#include <unistd.h>

#include <filesystem>
#include <string>

namespace pumice::testing {

class Temporary {
 public:
  Temporary() {
    std::string pattern = (std::filesystem::temp_directory_path() / "pumice-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Temporary() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Temporary(const Temporary&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace pumice::testing
