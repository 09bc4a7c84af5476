// What a compiler does not see: dependencies that point the wrong way, and two classes of one name, of which the linker keeps one's inline
// functions for both.
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>

namespace {

namespace fs = std::filesystem;

// The class whose definition starts with this line ("struct Name : Base {"), or "".
std::string defined_class(const std::string& line) {
  for (const std::string word : {"struct ", "class ", "union "}) {
    if (line.rfind(word, 0) != 0 || line.find('{') == std::string::npos || line.substr(0, line.find('{')).find(';') != std::string::npos) { continue; }
    const size_t start = line.compare(word.size(), 8, "alignas(") == 0 ? line.find(") ") + 2 : word.size();
    const size_t end = line.find_first_of(" :{", start);
    if (line.compare(end, 2, "::") == 0) { continue; }  // a part of another class
    return line.substr(start, end - start);
  }
  return "";
}

// Every include of "pumice/<folder>/" in a folder is of a folder that it may use.
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

// Classes outside unnamed namespaces. Those of tensor/simt/ are in two headers on purpose: one is for nvcc, one for the emulator.
TEST(Layers, EveryClassHasItsOwnName) {
  const fs::path root = fs::path(PUMICE_FIXTURES).parent_path();
  std::map<std::string, fs::path> home;
  for (const std::string folder : {"tensor", "autograd", "ops", "nn", "moe", "models", "data", "train", "cli"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu") { continue; }
      if (entry.path().filename() == "simt_cuda.h" || entry.path().filename().string().rfind("cuda_device_", 0) == 0) { continue; }
      std::ifstream in(entry.path());
      std::string space;
      bool unnamed = false;
      for (std::string line; std::getline(in, line);) {
        if (line == "namespace {") { unnamed = true; }
        if (line == "}  // namespace") { unnamed = false; }
        if (line.rfind("namespace pumice", 0) == 0) { space = line.substr(10, line.find(' ', 10) - 10); }
        const std::string name = unnamed ? "" : defined_class(line);
        if (name.empty()) { continue; }
        const auto [at, fresh] = home.emplace(space + "::" + name, entry.path());
        EXPECT_TRUE(fresh) << at->first << " is defined in " << at->second.string() << " and in " << entry.path().string();
      }
    }
  }
  EXPECT_GT(home.size(), 200u);
}

}  // namespace
