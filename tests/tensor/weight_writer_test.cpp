#include "pumice/tensor/weight_writer.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/tensor/weight_files.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;
using Names = std::vector<std::string>;

// Four tensors of 40, 8, 100 and 4 bytes; the first is strided.
std::vector<std::pair<std::string, Tensor>> tensors(double value) {
  return {{"d", full({2, 5}, value).transpose(0, 1)}, {"c", full({4}, value, DType::bf16)}, {"b", full({5, 5}, value)}, {"a", full({1}, value)}};
}
std::set<std::string> names_in(const std::string& directory) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) { names.insert(entry.path().filename().string()); }
  return names;
}

TEST(WeightWriter, OneFileOrShardsInTheOrderGiven) {
  Temporary d;
  EXPECT_EQ(write_weights(d.path(), tensors(1), {.metadata = {{"by", "test"}}}), (Names{"model.safetensors"}));
  EXPECT_EQ(SafetensorsFile::open(d / "model.safetensors").metadata().at("by"), "test");
  EXPECT_EQ(SafetensorsFile::open(d / "model.safetensors").metadata().at("format"), "pt");

  const Names shards = write_weights(d.path(), tensors(2), {.max_shard_bytes = 48});
  EXPECT_EQ(shards, (Names{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors",
                           "model.safetensors.index.json"}));
  EXPECT_EQ(names_in(d.path()), std::set<std::string>(shards.begin(), shards.end()));  // model.safetensors is gone
  const nlohmann::json index = nlohmann::json::parse(read_file(d / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 152);
  EXPECT_EQ(index["weight_map"]["d"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["b"], "model-00002-of-00003.safetensors");  // larger than the limit: alone
  EXPECT_EQ(index["weight_map"]["a"], "model-00003-of-00003.safetensors");
  for (const auto& [name, t] : tensors(2)) { EXPECT_EQ(WeightFiles::open(d.path()).load(name).to_vector<float>(), t.to_vector<float>()); }

  write_file_atomic(d / "model-notes.safetensors", "mine");
  EXPECT_EQ(write_weights(d.path(), tensors(3)), (Names{"model.safetensors"}));
  EXPECT_EQ(names_in(d.path()), (std::set<std::string>{"model.safetensors", "model-notes.safetensors"}));
  EXPECT_EQ(WeightFiles::open(d.path()).load("a").item(), 3);
}

TEST(WeightWriter, AModelMayBeSavedOverTheFilesItIsMappedFrom) {
  Temporary d;
  write_weights(d.path(), tensors(4), {.max_shard_bytes = 48});
  const WeightFiles weights = WeightFiles::open(d.path());
  std::vector<std::pair<std::string, Tensor>> mapped;
  for (const std::string& name : weights.names()) { mapped.emplace_back(name, weights.load(name)); }
  write_weights(d.path(), mapped, {.max_shard_bytes = 1000});
  EXPECT_EQ(WeightFiles::open(d.path()).load("b").to_vector<float>(), std::vector<float>(25, 4));
  EXPECT_EQ(mapped[0].second.to_vector<float>()[0], 4);
}

TEST(WeightWriter, AFullDiskLeavesTheOldModel) {
  Temporary d;
  write_weights(d.path(), tensors(5), {.max_shard_bytes = 48});
  const std::set<std::string> before = names_in(d.path());
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old, small;
  getrlimit(RLIMIT_FSIZE, &old);
  small = {1000, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::vector<std::pair<std::string, Tensor>> large = {{"a", full({1}, 6)}, {"large", zeros({1000})}};
  const std::string text = message_of<IoError>([&] { write_weights(d.path(), large, {.max_shard_bytes = 48}); });
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_NE(text.find("cannot be written: File too large"), std::string::npos) << text;
  EXPECT_EQ(names_in(d.path()), before);
  EXPECT_EQ(WeightFiles::open(d.path()).load("a").item(), 5);
}

TEST(WeightWriter, WrongArguments) {
  Temporary d;
  const std::string where = "[weights] " + d.path();
  EXPECT_EQ(message_of<UsageError>([&] { write_weights(d.path(), {}); }), where + ": at least one tensor is required");
  EXPECT_EQ(message_of<UsageError>([&] { write_weights(d.path(), tensors(1), {.max_shard_bytes = 0}); }),
            where + ": a shard must hold at least one byte, the limit is 0");
  EXPECT_EQ(message_of<UsageError>([&] { write_weights(d.path(), {{"a", zeros({9})}, {"a", zeros({9})}}, {.max_shard_bytes = 40}); }),
            where + ": the name 'a' is given twice");
  EXPECT_EQ(message_of<IoError>([&] { write_weights(d / "none", tensors(1)); }), where + "/none is no directory: make it first");
  EXPECT_TRUE(names_in(d.path()).empty());
}

}  // namespace
}  // namespace pumice
