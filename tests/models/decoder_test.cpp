// A decoder against itself: with a cache and without, in one batch and alone, with sparse layers, windows and dtypes mixed; and wrong input.
// Against other programs: tests/train/decoder_parity_test.cpp.
#include "pumice/models/decoder.h"

#include <gtest/gtest.h>

#include "../message_of.h"
#include "pumice/autograd/autograd.h"
#include "pumice/models/llava.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

using testing::message_of;

DecoderConfig toy(int64_t window = 0, bool sparse = false) {
  DecoderConfig c{.family = "qwen2", .vocabulary = 50, .width = 16, .layers = 3, .hidden = 24, .heads = 4, .kv_heads = 2, .head_width = 4, .rotary = 4,
                  .window = window, .window_from = 1, .qkv_bias = true, .tied = true};
  if (sparse) {
    c.moe_layers = {0, 2};
    c.experts = {3, 1};  // one expert alone is a layer like any other
    c.router.experts_per_token = 1;
    c.router.train.factor = c.router.eval.factor = 0;
    c.residual_moe = true;
  }
  return c;
}

Tensor ids_of(const std::vector<int32_t>& ids) { return from_values<int32_t>({int64_t(ids.size())}, ids); }

// Three sequences, the middle one empty, then fed on: each step's hidden states are those of the whole sequences at once.
TEST(Decoder, CachedSequencesOfABatchEqualWholeOnes) {
  NoGrad no_grad;
  for (const int64_t window : {0, 3}) {
    for (const bool sparse : {false, true}) {
      const Decoder model(toy(window, sparse), 5);
      KvCache cache(model.config(), 3, DType::f32);
      const DecoderRun run{.cache = &cache};
      model.forward({.ids = ids_of({1, 2, 3, 4, 5, 9, 8}), .sequences = ids_of({0, 5, 5, 7})}, run);
      const Tensor next = model.forward({.ids = ids_of({6, 7, 20, 30, 31}), .sequences = ids_of({0, 2, 5, 5})}, run).hidden;
      const Tensor whole = model.forward({.ids = ids_of({1, 2, 3, 4, 5, 6, 7, 20, 30, 31}), .sequences = ids_of({0, 7, 10})}, {}).hidden;
      const std::vector<float> a = next.to_vector<float>(), b = whole.slice(0, 5, 10).to_vector<float>();
      for (size_t i = 0; i < a.size(); ++i) { ASSERT_NEAR(a[i], b[i], 1e-5) << "window " << window << ", sparse " << sparse << ", element " << i; }
      EXPECT_EQ(cache.length(0), 7);
      EXPECT_EQ(cache.length(1), 3);
      EXPECT_EQ(cache.length(2), 2);
      // an edited prompt: the third token on is another
      cache.truncate(0, 2);
      const Tensor edited = model.forward({.ids = ids_of({40}), .sequences = ids_of({0, 1, 1, 1})}, run).hidden;
      const Tensor alone = model.forward({.ids = ids_of({1, 2, 40}), .sequences = ids_of({0, 3})}, {}).hidden;
      const std::vector<float> c = edited.to_vector<float>(), d = alone.slice(0, 2, 3).to_vector<float>();
      for (size_t i = 0; i < c.size(); ++i) { ASSERT_NEAR(c[i], d[i], 1e-5); }
    }
  }
}

// With a cache every sequence is a group of its own: one never takes the places of another.
TEST(Decoder, CachedSequencesDoNotCompeteForExperts) {
  NoGrad no_grad;
  DecoderConfig config = toy(0, true);
  config.experts = {4, 4};
  config.router.experts_per_token = 2;
  config.router.eval = {.factor = 0.6, .multiple_of = 1};
  const Decoder model(config, 5);
  KvCache both(config, 3, DType::f32), first(config, 1, DType::f32), second(config, 1, DType::f32);
  std::vector<Routing> routings;
  const DecoderInput input{.ids = ids_of({1, 2, 3, 4, 5, 9, 8, 7}), .sequences = ids_of({0, 5, 5, 8})};
  const Tensor together = model.forward(input, {.cache = &both, .routings = &routings}).hidden;
  const Tensor a = model.forward({.ids = ids_of({1, 2, 3, 4, 5}), .sequences = ids_of({0, 5})}, {.cache = &first}).hidden;
  const Tensor b = model.forward({.ids = ids_of({9, 8, 7}), .sequences = ids_of({0, 3})}, {.cache = &second}).hidden;
  EXPECT_EQ(routings[0].groups.offsets, (std::vector<int64_t>{0, 5, 8}));
  const std::vector<int32_t> row = routings[0].row.to_vector<int32_t>();
  EXPECT_GT(std::count(row.begin(), row.end(), -1), 0) << "nothing is dropped: nothing is tested";
  const std::vector<float> x = together.to_vector<float>(), y = a.to_vector<float>(), z = b.to_vector<float>();
  for (size_t i = 0; i < x.size(); ++i) { ASSERT_NEAR(x[i], i < y.size() ? y[i] : z[i - y.size()], 1e-5) << i; }
}

TEST(Decoder, WhatMayBeReadInPieces) {
  DecoderConfig dense = toy(3, false), sparse = toy(0, true);
  EXPECT_TRUE(dense.reads_in_pieces(1 << 20) && sparse.reads_in_pieces(1 << 20));
  sparse.router.experts_per_token = 2;
  sparse.experts = {4, 4};
  sparse.router.eval = {.factor = 2, .multiple_of = 1};
  EXPECT_TRUE(sparse.reads_in_pieces(1 << 20)) << "ceil(2 * S * 2 / 4) places hold all S tokens";
  sparse.router.eval = {.factor = 1.9, .multiple_of = 1, .least = 4};
  EXPECT_TRUE(sparse.reads_in_pieces(4));
  EXPECT_FALSE(sparse.reads_in_pieces(5));
  sparse.router.eval.factor = 2;
  sparse.router.second = SecondChoice::gumbel_always;
  EXPECT_FALSE(sparse.reads_in_pieces(2));
  dense.scaling = {.kind = RotaryScaling::Kind::dynamic, .factor = 2, .trained = dense.positions};
  EXPECT_TRUE(dense.reads_in_pieces(dense.positions));
  EXPECT_FALSE(dense.reads_in_pieces(dense.positions + 1));
}

TEST(Decoder, NoTokensGiveNoHiddenStates) {
  NoGrad no_grad;
  for (const bool sparse : {false, true}) {
    const Decoder model(toy(0, sparse), 5);
    EXPECT_EQ(model.forward({.ids = ids_of({}), .sequences = ids_of({0, 0})}, {}).hidden.shape(), (Shape{0, 16}));
  }
}

// With recomputation layers run twice, and the second time nobody listens any more.
TEST(Decoder, RoutingsAreReportedOnceUnderRecomputation) {
  Decoder model(toy(0, true), 5);
  const Tensor ids = ids_of({1, 2, 3, 4}), sequences = ids_of({0, 4});
  auto routings = std::make_unique<std::vector<Routing>>();
  const DecoderOutput out = model.forward({.ids = ids, .sequences = sequences}, {.training = true, .recompute = true, .routings = routings.get()});
  EXPECT_EQ(routings->size(), 2u);
  std::vector<Routing> kept = *routings;
  backward(add(model.loss(out.hidden, ids, sequences), out.aux));
  EXPECT_EQ(routings->size(), 2u) << "the backward pass reported again";
  EXPECT_TRUE(model.parameters().unreached().empty());
}

TEST(Decoder, WrongSequencesAndCachesAreNamed) {
  NoGrad no_grad;
  const Decoder model(toy(), 5);
  const Tensor ids = ids_of({1, 2, 3});
  const Tensor hidden = model.forward({.ids = ids, .sequences = ids_of({0, 3})}, {}).hidden;
  const auto loss = [&](const std::vector<int32_t>& begin) { return message_of<ShapeError>([&] { model.loss(hidden, ids, ids_of(begin)); }); };
  EXPECT_EQ(loss({0, 4}), "[decoder] sequences must run from 0 to the 3 tokens");
  EXPECT_EQ(loss({-1, 3}), "[decoder] sequences must run from 0 to the 3 tokens");
  EXPECT_EQ(loss({0, 5, 3}), "[decoder] sequences must not fall, sequence 1 is [5, 3)");
  DecoderConfig deeper = toy();
  deeper.layers = 4;
  KvCache other(deeper, 1, DType::f32), cache(toy(), 1, DType::f32);
  EXPECT_EQ(message_of<ShapeError>([&] { model.forward({.ids = ids, .sequences = ids_of({0, 3})}, {.cache = &other}); }),
            "[decoder] the cache was made for a model of other sizes");
  EXPECT_EQ(message_of<UsageError>([&] { cache.truncate(1, 0); }), "[cache] there is no sequence 1 among 1");
}

TEST(Llava, SplicesPicturesAloneAndNamesWrongSequences) {
  NoGrad no_grad;
  LlavaConfig config;
  config.vision.image_size = 8;
  config.vision.patch = 4;
  config.vision.width = 16;
  config.vision.layers = 1;
  config.vision.heads = 2;
  config.vision.hidden = 24;
  config.text = toy();
  config.vision_layer = -1;
  const Llava llava(config, 3);
  const Tensor pixels = zeros({1, 3, 8, 8}), picture = ids_of({kImageId});
  const Llava::Spliced alone = llava.splice({.ids = picture, .sequences = ids_of({0, 1}), .pixels = pixels}, DType::f32);
  EXPECT_EQ(alone.input.embeddings.shape(), (Shape{4, 16}));
  EXPECT_EQ(message_of<ShapeError>([&] { llava.splice({.ids = picture, .sequences = ids_of({0, 2}), .pixels = pixels}, DType::f32); }),
            "[llava] sequences must run from 0 to the 1 tokens");
}

// Qwen-1 beyond its trained length would need what is not computed: an error, not another answer.
TEST(Decoder, ALengthThatCannotBeComputedIsAnError) {
  NoGrad no_grad;
  DecoderConfig c = toy();
  c.positions = 4;
  c.fixed_positions = true;
  const Decoder model(c, 5);
  const auto run = [&](const std::vector<int32_t>& ids) {
    return model.forward({.ids = ids_of(ids), .sequences = ids_of({0, int32_t(ids.size())})}, {}).hidden;
  };
  EXPECT_EQ(run({1, 2, 3, 4}).dim(0), 4);
  EXPECT_EQ(message_of<UsageError>([&] { run({1, 2, 3, 4, 5}); }),
            "[decoder] this model computes at most 4 tokens here, sequence 0 has 5: beyond them its config.json asks for log-n attention or Qwen-1's dynamic "
            "NTK, which this decoder does not have. Shorten the text");
}

}  // namespace
}  // namespace pumice
