#include "pumice/models/checkpoint_files.h"

#include <algorithm>

#include "pumice/tensor/error.h"

namespace pumice {

namespace fs = std::filesystem;

int64_t step_of(const fs::path& checkpoint) { return std::stoll(checkpoint.filename().string().substr(5)); }

std::vector<fs::path> saved_steps(const fs::path& directory) {
  std::vector<fs::path> steps;
  for (const auto& entry : fs::directory_iterator(directory)) {
    std::string name = entry.path().filename().string();
    const bool numbered =
        name.size() > 5 && name.size() < 20 && name.rfind("step-", 0) == 0 && name.find_first_not_of("0123456789", 5) == std::string::npos;
    if (numbered && entry.is_directory() && !entry.is_symlink()) {
      steps.push_back(entry.path());
    }
  }
  std::sort(steps.begin(), steps.end(), [](const fs::path& a, const fs::path& b) { return step_of(a) < step_of(b); });
  return steps;
}

namespace {

// The checkpoint that `path` means; empty if there is none.
fs::path locate(const std::string& path) {
  const fs::path given = fs::path(path).filename() == "model.safetensors" ? fs::path(path).parent_path() : fs::path(path);
  std::vector<fs::path> candidates = {given, given / "checkpoints" / "latest", given / "latest"};
  // without the link, which a copy may lose, the newest
  for (const fs::path& directory : {given / "checkpoints", given}) {
    if (!fs::is_directory(directory)) { continue; }
    std::vector<fs::path> steps = saved_steps(directory);
    if (!steps.empty()) { candidates.push_back(steps.back()); }
  }
  for (const fs::path& candidate : candidates) {
    if (fs::exists(candidate / "model.safetensors")) { return candidate; }
  }
  return {};
}

}  // namespace

bool has_checkpoint(const std::string& run_directory) { return !locate(run_directory).empty(); }

std::string find_checkpoint(const std::string& path) {
  fs::path found = locate(path);
  REQUIRE(IoError, !found.empty(), "[checkpoint] ", path,
          fs::exists(path) ? " holds no checkpoint: neither model.safetensors nor checkpoints/ with one is there" : " does not exist",
          ". Give a run directory (runs/a) or one of its checkpoints (runs/a/checkpoints/step-000500)");
  return found.string();
}

}  // namespace pumice
