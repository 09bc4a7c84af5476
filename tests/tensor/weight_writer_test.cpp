#include "pumice/tensor/weight_writer.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <limits>
#include <set>

#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
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
  const nlohmann::json index = parse_json(read_file(d / "model.safetensors.index.json"));
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

TEST(WeightWriter, FloatsInAnotherType) {
  Temporary d;
  std::vector<std::pair<std::string, Tensor>> all = tensors(1.0 + 1.0 / 512);  // between two numbers of bf16
  std::vector<float> many(5'000'003);  // more than are converted at once
  for (size_t i = 0; i < many.size(); ++i) { many[i] = float(i % 251) - 125; }
  all.emplace_back("many", from_values<float>({int64_t(many.size())}, many));
  all.emplace_back("ids", from_values<int32_t>({3}, std::vector<int32_t>{1, 70000, -3}));
  all.emplace_back("none", zeros({0, 3}));
  const Names shards = write_weights(d.path(), all, {.max_shard_bytes = 200, .dtype = DType::f16});
  EXPECT_EQ(shards.size(), 4u) << "d to a in one, for their bytes are those that are written; many; the rest; the index";
  EXPECT_EQ(parse_json(read_file(d / shards.back()))["metadata"]["total_size"], 20 + 8 + 50 + 2 + 2 * 5'000'003 + 12);
  const WeightFiles files = WeightFiles::open(d.path());
  for (const WeightInfo& info : files.all()) { EXPECT_EQ(info.dtype, info.name == "ids" ? "I32" : "F16") << info.name; }
  EXPECT_EQ(to_dtype(files.load("many"), DType::f32).to_vector<float>(), many);
  EXPECT_EQ(files.load("ids").to_vector<int32_t>(), (std::vector<int32_t>{1, 70000, -3}));
  EXPECT_EQ(to_dtype(files.load("d"), DType::f32).to_vector<float>(), std::vector<float>(10, float(1.0 + 1.0 / 512)));  // f16 has it
  write_weights(d.path(), all, {.dtype = DType::bf16});
  EXPECT_EQ(to_dtype(WeightFiles::open(d.path()).load("b"), DType::f32).to_vector<float>(), std::vector<float>(25, 1.0f));  // to even

  const float infinite = std::numeric_limits<float>::infinity();
  write_weights(d.path(), {{"x", from_values<float>({2}, std::vector<float>{65504, -infinite})}}, {.dtype = DType::f16});  // what is infinite stays so
  const std::string before = read_file(d / "model.safetensors");
  const std::string message = message_of<UsageError>([&] {
    write_weights(d.path(), {{"x", from_values<float>({2}, std::vector<float>{1, 65520})}}, {.dtype = DType::f16});
  });
  EXPECT_NE(message.find("'x' holds 65520, which is beyond the range of f16"), std::string::npos) << message;
  EXPECT_EQ(read_file(d / "model.safetensors"), before);
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
