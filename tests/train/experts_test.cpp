#include "pumice/train/eval/experts.h"

#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>

#include "pumice/data/template.h"
#include "pumice/tensor/file.h"
#include "pumice/train/surgery.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;

// A model whose routers are written by hand: what stands in dimension 0 of the normalised token decides between experts 0 and 1.
class Experts : public ::testing::Test {
 protected:
  ImageTextConfig config() const {
    ImageTextConfig c;
    c.image_size = 16;
    c.patch = 8;
    c.text_length = 16;
    c.vocabulary = 300;
    c.depth = 1;
    c.width = 16;
    c.heads = 2;
    c.hidden = 16;
    c.embedding = 8;
    c.moe_layers = {0};
    c.router.experts = 3;
    c.router.eval = Capacity::dropless();
    return c;
  }
  // Image positions point one way and text positions the other, so that the first expert gets all pictures and the second all words.
  void save(const std::string& out, bool separate) {
    auto model = make_model(config(), 1);
    auto fill_column = [&](const char* name, float value) {
      const Tensor x = model->parameters().find(name)->change();
      for (int64_t i = 0; i < x.dim(0); ++i) { x.data<float>()[i * x.dim(1)] = value; }
    };
    fill_column("image.positions", 100);
    fill_column("text.positions", separate ? -100 : 100);
    const Tensor router = model->parameters().find("blocks.0.moe.router.weight")->change();
    fill(router, 0);
    router.data<float>()[0] = 1;
    router.data<float>()[16] = -1;
    fill(model->parameters().find("blocks.0.attention.out.weight")->change(), 0);
    TrainState state;
    state.options = "{}";
    save_model(out, *model, Tokenizer::train({}, {.vocab_size = 257}), state);
  }
  std::unique_ptr<PairSource> pairs() {
    return open_pairs(std::filesystem::exists(d / "set") ? d / "set/train.csv" : write_template("csv", d / "set"));
  }
  Temporary d;
};

TEST_F(Experts, ThatReadOneModalityEachShareOneBit) {
  save(d / "model", true);
  ExpertReport r = profile_experts(ImageTextPipeline(d / "model"), *pairs(), {.max_examples = 20, .maps = 2});
  EXPECT_EQ(r.examples, 20);
  ASSERT_EQ(r.layers.size(), 1u);
  const auto& x = r.layers[0].experts;
  EXPECT_EQ(x[0].kind, "image");
  EXPECT_EQ(x[1].kind, "text");
  EXPECT_EQ(x[2].kind, "idle");
  EXPECT_EQ(x[0].image_tokens, 20 * 4);
  EXPECT_EQ(x[0].image_load, 1);
  EXPECT_EQ(x[1].text_load, 1);
  EXPECT_NEAR(r.layers[0].mutual_information, 1, 1e-12);
  EXPECT_EQ(x[1].kept, 1);
  ASSERT_FALSE(x[1].top_tokens.empty());
  EXPECT_NEAR(x[1].top_tokens[0].lift, 1, 1e-12) << "an expert that gets all words gets each as often as all do";
  EXPECT_EQ(r.layers[0].maps, (std::vector<std::vector<int>>(2, {0, 0, 0, 0})));
  EXPECT_EQ(x[0].top_patches.size(), 8u);
  EXPECT_NE(to_json(r).find("\"kind\": \"image\""), std::string::npos);
  Image image = draw_maps(r, 2);
  EXPECT_EQ(image.width, 2 * 32 + 3 * 6);
  EXPECT_EQ(image.height, 2 * 32 + 3 * 6);
}

TEST_F(Experts, ThatReadBothAlikeShareNothing) {
  save(d / "model", false);
  ExpertReport r = profile_experts(ImageTextPipeline(d / "model"), *pairs(), {.max_examples = 20});
  EXPECT_EQ(r.layers[0].experts[0].kind, "mixed");
  EXPECT_NEAR(r.layers[0].experts[0].image_share, 0.5, 1e-12);
  EXPECT_NEAR(r.layers[0].mutual_information, 0, 1e-12);
}

TEST_F(Experts, ADenseModelHasNone) {
  ImageTextConfig c = config();
  c.moe_layers = {};
  TrainState state;
  state.options = "{}";
  save_model(d / "dense", *make_model(c, 1), Tokenizer::train({}, {.vocab_size = 257}), state);
  EXPECT_NE(message_of<UsageError>([&] { profile_experts(ImageTextPipeline(d / "dense"), *pairs(), {}); }).find("has no sparse blocks"),
            std::string::npos);
}

}  // namespace
}  // namespace pumice
