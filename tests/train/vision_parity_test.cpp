// Vision towers against Transformers (tests/oracle/make_vision_fixtures.py): every hidden state, and gradients of the weights behind one of them.
// Tolerances as in decoder_parity_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>

#include "largest_difference.h"
#include "pumice/autograd/autograd.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/vision_tower.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"

namespace pumice {
namespace {

using testing::expect_parity;
using testing::relative_difference;

class VisionParity : public ::testing::TestWithParam<const char*> {
 protected:
  const std::string directory = std::string(PUMICE_FIXTURES "/models/fixtures/") + GetParam();
  const SafetensorsFile want = SafetensorsFile::open(directory + "/expected.safetensors");
};

TEST_P(VisionParity, HiddenStates) {
  const OpenVisionTower open = open_vision_tower(directory);
  NoGrad no_grad;
  for (int64_t layer = 0; layer <= open.tower->config().layers; ++layer) {
    Tensor got = (*open.tower)(want.load("pixel_values"), DType::f32, layer);
    SCOPED_TRACE(layer);
    expect_parity("hidden", relative_difference(got, want.load("hidden/" + std::to_string(layer))), 1e-5);
  }
}

// config.json as Transformers 5 writes it describes the same tower.
TEST_P(VisionParity, TheConfigOfTransformers5) {
  const VisionConfig c = vision_config_from_hf(read_file(directory + "/config.json"), "config.json");
  const VisionConfig v5 = vision_config_from_hf(read_file(directory + "/config.v5.json"), "config.v5.json");
  EXPECT_TRUE(c.family == v5.family && c.image_size == v5.image_size && c.patch == v5.patch && c.width == v5.width && c.layers == v5.layers &&
              c.heads == v5.heads && c.hidden == v5.hidden && c.norm_eps == v5.norm_eps && c.activation == v5.activation);
}

TEST_P(VisionParity, Gradients) {
  const std::string config = read_file(directory + "/config.json");
  ParameterStore store(0);
  VisionTower tower(Scope(store), vision_config_from_hf(config, "config.json"));
  store.pack();
  const SafetensorsFile weights = SafetensorsFile::open(directory + "/model.safetensors");
  for (const auto& p : store.all()) { copy_into(p->change(), weights.load(tower_tensor(tower.config(), p->name(), "").name)); }
  backward(sum(mul(tower(want.load("pixel_values"), DType::f32, -2), want.load("cotangent"))));
  int64_t compared = 0;
  for (const auto& p : store.all()) {
    const std::string name = "grad/" + tower_tensor(tower.config(), p->name(), "").name;
    const std::vector<std::string> names = want.names();
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      EXPECT_FALSE(p->leaf().reached) << name;  // of the layer that is not computed
      continue;
    }
    if (name.find("k_proj.bias") != std::string::npos) {  // zero: softmax does not see what is added to every score of a row
      double scale = 0;
      EXPECT_LT(testing::largest_difference(p->leaf().grad, want.load(name), scale), 1e-4) << name;  // gradients of the others are around 1
    } else {
      SCOPED_TRACE(name);
      expect_parity("gradients", relative_difference(p->leaf().grad, want.load(name)), 2e-5);
    }
    ++compared;
  }
  EXPECT_GT(compared, 30);
}

INSTANTIATE_TEST_SUITE_P(Towers, VisionParity, ::testing::Values("clip-vision", "siglip-vision", "siglip-vision-headless"), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace pumice
