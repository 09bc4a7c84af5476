// Dependencies point one way: every include of "pumice/<folder>/" in a folder is of a folder that it may use.
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>

namespace {

namespace fs = std::filesystem;

TEST(Layers, IncludesPointUpwards) {
  const std::map<std::string, std::set<std::string>> allowed = {
      {"tensor", {"tensor"}},
      {"autograd", {"tensor", "autograd"}},
      {"ops", {"tensor", "autograd", "ops"}},
      {"nn", {"tensor", "autograd", "ops", "nn"}},
      {"moe", {"tensor", "autograd", "ops", "nn", "moe"}},
      {"models", {"tensor", "autograd", "ops", "nn", "moe", "models"}},
      {"data", {"tensor", "data"}},
      {"train", {"tensor", "autograd", "ops", "nn", "moe", "models", "data", "train"}},
  };
  const fs::path root = fs::path(PUMICE_FIXTURES).parent_path();
  int includes = 0;
  for (const auto& [folder, may] : allowed) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file()) { continue; }
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        const std::string start = "#include \"pumice/";
        if (line.rfind(start, 0) != 0) { continue; }
        ++includes;
        std::string target = line.substr(start.size(), line.find('/', start.size()) - start.size());
        EXPECT_TRUE(may.count(target)) << entry.path().string() << " includes " << line;
      }
    }
  }
  EXPECT_GT(includes, 200);
}

}  // namespace
