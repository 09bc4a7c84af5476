// Models that see, in their three layouts, against Transformers and MoE-LLaVA's formulas (tests/oracle/make_llava_fixtures.py): one picture, two
// pictures, and both in one batch. Tolerances as in decoder_parity_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>

#include "../message_of.h"
#include "largest_difference.h"
#include "pumice/autograd/autograd.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/vision.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/tensor/weight_files.h"

namespace pumice {
namespace {

using testing::expect_parity;
using testing::relative_difference;

class LlavaParity : public ::testing::TestWithParam<const char*> {
 protected:
  const std::string directory = std::string(PUMICE_FIXTURES "/models/fixtures/") + GetParam();
  const SafetensorsFile want = SafetensorsFile::open(directory + "/expected.safetensors");

  bool has(const std::string& name) const {
    const std::vector<std::string> names = want.names();
    return std::find(names.begin(), names.end(), name) != names.end();
  }
  // Packed, with one kImageId where Transformers' processor writes the picture's id once per patch.
  LlavaInput input() const {
    const Tensor ids = want.load("input_ids");
    const int64_t N = ids.dim(0), T = ids.dim(1);
    const std::vector<int32_t> id = ids.to_vector<int32_t>(), label = want.load("labels").to_vector<int32_t>(), length = want.load("lengths").to_vector<int32_t>();
    constexpr int32_t kHfImage = 45, kPatches = 4;
    std::vector<int32_t> kept, labels, sequences = {0};
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t t = 0; t < length[n]; ++t) {
        const bool repeated = id[n * T + t] == kHfImage;
        kept.push_back(repeated ? kImageId : id[n * T + t]);
        labels.push_back(label[n * T + t]);
        if (repeated) { t += kPatches - 1; }
      }
      sequences.push_back(int32_t(kept.size()));
    }
    return {.ids = from_values<int32_t>({int64_t(kept.size())}, kept), .sequences = from_values<int32_t>({N + 1}, sequences),
            .labels = from_values<int32_t>({int64_t(kept.size())}, labels), .pixels = want.load("pixel_values")};
  }
  Tensor wanted_logits() const {  // (T', V), without the padding
    const Tensor logits = want.load("logits");
    const std::vector<int32_t> length = want.load("spliced_lengths").to_vector<int32_t>();
    int64_t rows = 0;
    for (int32_t n : length) { rows += n; }
    Tensor all = empty({rows, logits.dim(2)});
    int64_t at = 0;
    for (size_t n = 0; n < length.size(); at += length[n++]) {
      copy_into(all.slice(0, at, at + length[n]), logits.slice(0, int64_t(n), int64_t(n) + 1).reshape({logits.dim(1), logits.dim(2)}).slice(0, 0, length[n]));
    }
    return all;
  }
};

TEST_P(LlavaParity, FeaturesAndLogits) {
  const Llava model = open_llava(directory);
  NoGrad no_grad;
  if (has("image_features")) {
    expect_parity("hidden", relative_difference(model.image_features(want.load("pixel_values"), DType::f32), want.load("image_features")), 1e-5);
  }
  const Llava::Spliced spliced = model.splice(input(), DType::f32);
  const Tensor logits = model.decoder().logits(model.decoder().forward(spliced.input, {.training = true}).hidden);
  expect_parity("logits", relative_difference(logits, wanted_logits()), 1e-5);
}

TEST_P(LlavaParity, LossAndGradients) {
  const Llava from = open_llava(directory);
  Llava model(from.config());
  for (const auto& p : model.parameters().all()) {
    const Parameter* source = from.parameters().find(p->name());
    copy_into(p->change(), source->value(DType::f32));
    if (p->name().rfind("vision.", 0) == 0) { p->freeze(); }
  }
  const Llava::Spliced spliced = model.splice(input(), DType::f32);
  DecoderOutput out = model.decoder().forward(spliced.input, {.training = true});
  Tensor loss = model.decoder().loss(out.hidden, spliced.labels, spliced.input.sequences);
  if (out.aux.defined()) { loss = add(loss, out.aux); }
  expect_parity("loss", std::abs(loss.item() / want.load("loss").item() - 1), 1e-5);
  backward(loss);
  int64_t compared = 0;
  for (const auto& p : model.parameters().all()) {
    const std::vector<HfTensor> sources = hf_llava_tensors(model.config(), p->name());
    if (!has("grad/" + sources[0].name) || sources[0].slice) { continue; }
    SCOPED_TRACE(sources[0].name);
    expect_parity("gradients", relative_difference(p->leaf().grad, want.load("grad/" + sources[0].name)), 2e-5);
    ++compared;
  }
  EXPECT_EQ(compared > 0, std::string(GetParam()) != "llava-original");  // which has none
}

INSTANTIATE_TEST_SUITE_P(Layouts, LlavaParity, ::testing::Values("llava", "llava-original", "moe-llava-phi"), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// config.json as Transformers 5 writes it describes the same model.
TEST(Llava, TheConfigOfTransformers5) {
  const std::string directory = PUMICE_FIXTURES "/models/fixtures/llava/";
  const LlavaConfig c = llava_config_from_hf(read_file(directory + "config.json"), "config.json", {});
  const LlavaConfig v5 = llava_config_from_hf(read_file(directory + "config.v5.json"), "config.v5.json", {});
  EXPECT_TRUE(c.layout == v5.layout && c.projector_layers == v5.projector_layers && c.vision_layer == v5.vision_layer && c.drop_first == v5.drop_first &&
              c.image_tokens() == v5.image_tokens() && c.text.family == v5.text.family && c.text.width == v5.text.width && c.text.hidden == v5.text.hidden &&
              c.text.heads == v5.text.heads && c.text.kv_heads == v5.text.kv_heads && c.text.rotary_theta == v5.text.rotary_theta &&
              c.text.tied == v5.text.tied && c.text.vocabulary == v5.text.vocabulary);
}

TEST(Llava, AsManyPicturesAsPlaces) {
  const Llava model = open_llava(PUMICE_FIXTURES "/models/fixtures/llava");
  const Tensor ids = from_values<int32_t>({3}, std::vector<int32_t>{1, kImageId, 5}), sequences = from_values<int32_t>({2}, std::vector<int32_t>{0, 3});
  EXPECT_EQ(testing::message_of<ShapeError>([&] { model.splice({.ids = ids, .sequences = sequences}, DType::f32); }),
            "[llava] the text has 1 <image>, but 0 pictures came with it");
}

TEST(Llava, TextAloneNeedsNoPicture) {
  const Llava model = open_llava(PUMICE_FIXTURES "/models/fixtures/llava");
  NoGrad no_grad;
  const Tensor ids = from_values<int32_t>({3}, std::vector<int32_t>{1, 7, 5}), sequences = from_values<int32_t>({2}, std::vector<int32_t>{0, 3});
  const Tensor got = model.decoder().forward(model.splice({.ids = ids, .sequences = sequences}, DType::f32).input, {}).hidden;
  const Tensor want = model.decoder().forward({.ids = ids, .sequences = sequences}, {}).hidden;
  EXPECT_EQ(got.to_vector<float>(), want.to_vector<float>());
}

}  // namespace
}  // namespace pumice
