// `pumice model inspect` as a user types it.
#include <filesystem>
#include <gtest/gtest.h>

#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"
#include "../temporary.h"
#include "run_program.h"

namespace pumice {
namespace {

using testing::holds;
using testing::Outcome;
using testing::run;

// Three layers and a norm in two shards and their index.
void write_model(const testing::Temporary& d) {
  auto layer = [](int i) { return "model.layers." + std::to_string(i) + ".mlp.fc1.weight"; };
  write_safetensors(d / "model-00001-of-00002.safetensors", {{layer(0), zeros({4, 2}, DType::bf16)}, {layer(1), zeros({4, 2}, DType::bf16)}});
  write_safetensors(d / "model-00002-of-00002.safetensors", {{layer(2), zeros({4, 2}, DType::bf16)}, {"norm", zeros({512, 512})}});
  std::string map;
  for (int i = 0; i < 3; ++i) { map += "\"" + layer(i) + "\": \"model-0000" + (i < 2 ? "1" : "2") + "-of-00002.safetensors\", "; }
  write_file_atomic(d / "model.safetensors.index.json", "{\"weight_map\": {" + map + "\"norm\": \"model-00002-of-00002.safetensors\"}}");
}

TEST(ModelInspect, ListsWhatShardsHold) {
  testing::Temporary d;
  write_model(d);
  Outcome o = run("model inspect " + d.path());
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "model.layers.{0-2}.mlp.fc1.weight  BF16   (4, 2)      3 x 16 B  2 files\n")) << o.text;
  EXPECT_TRUE(holds(o, "norm                               F32    (512, 512)  1 MiB     model-00002-of-00002.safetensors\n")) << o.text;
  EXPECT_TRUE(holds(o, "BF16  3 tensors, 24 elements, 48 B\n")) << o.text;
  o = run("model inspect --all " + d.path());
  EXPECT_TRUE(holds(o, "model.layers.1.mlp.fc1.weight  BF16   (4, 2)      16 B   model-00001-of-00002.safetensors\n")) << o.text;
  o = run("model inspect --json " + d.path());
  EXPECT_TRUE(holds(o, "\"name\": \"model.layers.2.mlp.fc1.weight\",\n      \"dtype\": \"BF16\",")) << o.text;
  EXPECT_TRUE(holds(o, "\"F32\": {\n      \"tensors\": 1,\n      \"elements\": 262144,\n      \"bytes\": 1048576\n")) << o.text;
  std::filesystem::remove(d / "model-00002-of-00002.safetensors");
  o = run("model inspect " + d.path());
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "shard 'model-00002-of-00002.safetensors', which holds 2 of its tensors, is not beside the index")) << o.text;
}

TEST(ModelInspect, GroupsWhatDiffersInNumbersAlone) {
  testing::Temporary d;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (int layer : {0, 2, 4, 6}) {
    for (int expert : {0, 1}) {
      tensors.emplace_back("h." + std::to_string(layer) + ".experts." + std::to_string(expert) + ".w", zeros({2}));
    }
  }
  tensors.emplace_back("h.1.w", zeros({2}));
  tensors.emplace_back("h.7.w", zeros({3}));  // another shape
  write_safetensors(d / "a.safetensors", tensors);
  const Outcome o = run("model inspect " + (d / "a.safetensors"));
  EXPECT_TRUE(holds(o, "h.{0,2,..,6}.experts.{0,1}.w  F32    (2)    8 x 8 B  a.safetensors\n")) << o.text;
  EXPECT_TRUE(holds(o, "h.1.w                         F32    (2)    8 B      a.safetensors\n")) << o.text;
  EXPECT_TRUE(holds(o, "h.7.w                         F32    (3)    12 B     a.safetensors\n")) << o.text;
}

TEST(ModelInspect, ReadsTorchFilesAndSaysWhatItDoesNot) {
  const std::string torch = PUMICE_FIXTURES "/tensor/fixtures/torch/";
  Outcome o = run("model inspect " + torch + "nested.pt");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "nested.pt  torch, 2 KiB, its state dict is under the key model.state_dict\n")) << o.text;
  o = run("model inspect " + torch + "module.pt");
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "it uses 'torch.nn.modules.linear.Linear', which is none of what a file of tensors needs")) << o.text;
  o = run("model inspect");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "one directory or file of weights is required, got 0")) << o.text;
}

}  // namespace
}  // namespace pumice
