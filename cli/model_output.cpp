#include "pumice/cli/model_output.h"

#include <algorithm>
#include <filesystem>

#include "pumice/tensor/error.h"

namespace pumice {

namespace fs = std::filesystem;

void make_output(const char* command, const std::string& out, bool overwrite, const std::vector<std::string>& from) {
  REQUIRE(UsageError, !out.empty(), command, ": --out DIR is required");
  for (const std::string& read : from) {
    const fs::path inner = fs::weakly_canonical(out), outer = fs::weakly_canonical(read);
    const bool within = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
    REQUIRE(UsageError, !within, command, ": --out must not be the model's own directory ", read, " or lie in it, got ", out);
  }
  REQUIRE(UsageError, overwrite || !fs::exists(out) || fs::is_empty(out), command, ": ", out,
          " is not empty; name another directory, or give --overwrite");
  fs::create_directories(out);
}

void copy_companions(const std::string& from, const std::string& to) {
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string(), extension = entry.path().extension().string();
    const bool weights = extension == ".safetensors" || extension == ".bin" || name.find(".index.json") != std::string::npos;
    if (name == "config.json" || weights || name[0] == '.') { continue; }
    fs::copy(entry.path(), fs::path(to) / name, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  }
}

}  // namespace pumice
