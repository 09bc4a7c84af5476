// Where a run keeps its checkpoints (train/checkpoint.h), for those who only read them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace pumice {

// The checkpoint directory meant by a run directory, a checkpoint directory, a "latest" link or the model.safetensors in one. Throws
// IoError saying what was looked for.
std::string find_checkpoint(const std::string& path);
bool has_checkpoint(const std::string& run_directory);  // whether the run has saved one

// The step-... directories in `directory`, in the order of their steps.
std::vector<std::filesystem::path> saved_steps(const std::filesystem::path& directory);
int64_t step_of(const std::filesystem::path& checkpoint);

}  // namespace pumice
