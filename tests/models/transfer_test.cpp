#include "pumice/models/transfer.h"

#include <gtest/gtest.h>

#include "../message_of.h"
#include "toy_model.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::toy_config;
using testing::toy_input;

ImageTextConfig dense_config() {
  ImageTextConfig c = toy_config();
  c.moe_layers = {};
  return c;
}

std::vector<double> image_of(const ImageTextModel& model) { return model.forward(toy_input(4), {}).image.to_vector<double>(); }

void expect_close(const std::vector<double>& a, const std::vector<double>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) { EXPECT_NEAR(a[i], b[i], 1e-5) << i; }
}

// An expert that is the dense MLP, times a gate of one, is the dense MLP.
TEST(Transfer, AnUpcycledModelComputesWhatTheDenseOneDid) {
  auto dense = make_model(dense_config(), 1);
  ImageTextConfig c = toy_config();
  c.router.gates = Gates::renormalised;
  c.router.experts_per_token = 2;
  c.router.eval = Capacity::dropless();
  auto sparse = make_model(c, 2);
  Transfer t = transfer_parameters(*dense, *sparse);
  EXPECT_EQ(t.upcycled.size(), 8u);  // two blocks, two matrices and two biases each
  EXPECT_EQ(t.fresh, (std::vector<std::string>{"blocks.1.moe.router.weight", "blocks.2.moe.router.weight"}));
  EXPECT_TRUE(t.unused.empty());
  expect_close(image_of(*dense), image_of(*sparse));
  c.router.gates = Gates::raw;
  auto raw = make_model(c, 2);
  transfer_parameters(*dense, *raw);
  EXPECT_NE(image_of(*dense), image_of(*raw)) << "raw gates multiply by a probability";
}

TEST(Transfer, TheTowerOfALimoeBecomesAnImageTowerAndBack) {
  ImageTextConfig c = toy_config();
  c.router.eval = Capacity::dropless();
  auto limoe = make_model(c, 1);
  c.architecture = Architecture::two_tower;
  auto towers = make_model(c, 2);
  Transfer t = transfer_parameters(*limoe, *towers);
  expect_close(image_of(*limoe), image_of(*towers));
  EXPECT_TRUE(t.unused.empty());
  for (const std::string& name : t.fresh) { EXPECT_EQ(name.rfind("text.", 0), 0u) << name; }
  EXPECT_FALSE(t.fresh.empty());
  c.architecture = Architecture::limoe;
  auto back = make_model(c, 3);
  transfer_parameters(*towers, *back);
  expect_close(image_of(*limoe), image_of(*back));
}

TEST(Transfer, PositionsAreInterpolatedWithTheirCornersKept) {
  auto small = make_model(toy_config(), 1);
  ImageTextConfig c = toy_config();
  c.image_size = 24;  // 3 x 3 instead of 2 x 2
  auto large = make_model(c, 2);
  EXPECT_EQ(transfer_parameters(*small, *large).resized, (std::vector<std::string>{"image.positions"}));
  std::vector<double> a = small->parameters().find("image.positions")->master().to_vector<double>();
  std::vector<double> b = large->parameters().find("image.positions")->master().to_vector<double>();
  const int64_t C = c.width;
  for (int64_t k = 0; k < C; ++k) {
    EXPECT_FLOAT_EQ(b[k], a[k]);
    EXPECT_FLOAT_EQ(b[8 * C + k], a[3 * C + k]);
    EXPECT_NEAR(b[1 * C + k], (a[k] + a[C + k]) / 2, 1e-6);
    EXPECT_NEAR(b[4 * C + k], (a[k] + a[C + k] + a[2 * C + k] + a[3 * C + k]) / 4, 1e-6);
  }
}

TEST(Transfer, OtherSizesAreNamed) {
  auto from = make_model(toy_config(), 1);
  ImageTextConfig c = toy_config();
  c.vocabulary = 40;
  auto to = make_model(c, 2);
  EXPECT_EQ(message_of<UsageError>([&] { transfer_parameters(*from, *to); }),
            "[transfer] 1 parameters have other sizes than in the model to start from:\n  text.words.weight: (32, 16) there, (40, 16) here\n"
            "Use that model's sizes (width, MLP, vocabulary, ...)");
}

TEST(Transfer, AModelKeepsTheExpertsThatAreAskedFor) {
  ImageTextConfig c = toy_config();
  c.independent_experts = true;
  c.router.eval = Capacity::dropless();
  auto model = make_model(c, 1);
  expect_close(image_of(*model), image_of(*with_experts(*model, {{0, 1, 2, 3}, {3, 1, 0, 2}})));  // order does not matter
  auto two = with_experts(*model, {{2, 0}, {1, 3}});
  EXPECT_EQ(two->config().router.experts, 2);
  EXPECT_EQ(two->parameters().size(), cost_of(two->config()).parameters);
  auto part = [](const ImageTextModel& m, const char* name, int64_t e) {
    return m.parameters().find(name)->master().slice(0, e, e + 1).to_vector<double>();
  };
  EXPECT_EQ(part(*two, "blocks.1.moe.experts.up.weight", 0), part(*model, "blocks.1.moe.experts.up.weight", 2));
  EXPECT_EQ(part(*two, "blocks.2.moe.router.weight", 1), part(*model, "blocks.2.moe.router.weight", 3));
  EXPECT_EQ(message_of<UsageError>([&] { with_experts(*model, {{0, 0}, {1, 2}}); }).substr(0, 14), "[with_experts]");
  EXPECT_EQ(message_of<UsageError>([&] { with_experts(*model, {{0, 1}}); }), "[with_experts] the model has 2 sparse blocks, got experts for 1");
}

}  // namespace
}  // namespace pumice
