#include "pumice/models/image_text_config.h"

#include <gtest/gtest.h>

#include "pumice/models/limoe.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

// Totals of LIMoE's published scales with E = 32, a 32,000-word embedding and 16 text tokens, in millions.
TEST(ImageTextConfig, ParameterCountsOfPaperScales) {
  struct Row { const char* name; double active, total; };
  for (Row row :
       {Row{"s32", 43.8, 304.2}, {"s16", 42.7, 303.1}, {"b32", 113.4, 991.7}, {"b16", 111.7, 990.1}, {"l16", 338.6, 3461}, {"h14", 675.5, 5553.8}}) {
    ImageTextCost cost = cost_of(limoe_preset(row.name));
    EXPECT_NEAR(double(cost.active_parameters) / 1e6, row.active, 0.05 + row.active * 2e-4) << row.name;
    EXPECT_NEAR(double(cost.parameters) / 1e6, row.total, 0.05 + row.total * 2e-4) << row.name;
  }
}

TEST(ImageTextConfig, CountsAgreeWithTheModelThatIsBuilt) {
  for (const char* name : {"micro", "tiny", "small"}) {
    ImageTextConfig c = limoe_preset(name);
    EXPECT_EQ(Limoe(c, 1).parameters().size(), cost_of(c).parameters) << name;
    c.dense_twin = true;
    c.router.experts_per_token = 2;
    EXPECT_EQ(Limoe(c, 1).parameters().size(), cost_of(c).parameters) << name << " dense twin";
  }
}

TEST(ImageTextConfig, DenseTwinHasTheFlopsOfTheActiveExperts) {
  ImageTextConfig sparse = limoe_preset("small"), twin = sparse;
  twin.dense_twin = true;
  double router = double(sparse.moe_layers.size() * sparse.width * sparse.router.experts * sparse.image_tokens());
  EXPECT_EQ(cost_of(sparse).image_macs - cost_of(twin).image_macs, router);
}

TEST(ImageTextConfig, JsonRoundTrip) {
  ImageTextConfig c = limoe_preset("tiny");
  c.moe_layers = {0, 2};
  c.router.order = Order::random;
  c.router.train.factor = 1.5;
  c.router.train.multiple_of = c.router.eval.multiple_of = 1;
  c.aux.scope = LossScope::global;
  c.aux.soft_min_text = 3;
  ImageTextConfig back = image_text_config_from_json(to_json(c), "config.json");
  EXPECT_EQ(to_json(back), to_json(c));
  EXPECT_EQ(back.moe_layers, c.moe_layers);
  EXPECT_EQ(back.router.order, Order::random);
  EXPECT_EQ(back.router.train.factor, 1.5);
  EXPECT_EQ(back.router.eval.multiple_of, 1);
  EXPECT_EQ(back.aux.scope, LossScope::global);
  EXPECT_EQ(back.aux.soft_min_text, 3);
}

TEST(ImageTextConfig, Errors) {
  auto message = [](auto f) -> std::string {
    try {
      f();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message([] { limoe_preset("tinny"); }),
            "[preset] there is no preset 'tinny'. Presets: micro, tiny, small, medium, s32, s16, b32, b16, l16, h14. Did you mean 'tiny'?");
  EXPECT_EQ(message([] {
              ImageTextConfig c;
              c.patch = 7;
              c.validate();
            }),
            "[model] image_size must be a multiple of patch, got 64 and 7");
  EXPECT_EQ(message([] {
              ImageTextConfig c;
              c.moe_layers = {1, 9};
              c.validate();
            }),
            "[model] moe_layers are block indices in [0, 4), got 9");
  EXPECT_EQ(message([] {
              ImageTextConfig c = limoe_preset("tiny");
              c.aux.soft_min_text = 9;
              c.validate();
            }).substr(0, 62),
            "[auxiliary_losses] soft_min_text must be in [1, 8], the number");
  EXPECT_EQ(message([] {
              ImageTextConfig c = limoe_preset("tiny");
              c.router.experts_per_token = 9;
              c.validate();
            }).substr(0, 42),
            "[router] experts_per_token must be in 1..8");
}

}  // namespace
}  // namespace pumice
