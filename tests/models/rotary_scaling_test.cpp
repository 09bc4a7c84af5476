// Rotary embeddings beyond the trained length: every setting gives Transformers' frequencies (tests/oracle/make_rotary_fixtures.py), and what is wrong
// is named.
#include "pumice/models/rotary_scaling.h"

#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "../message_of.h"
#include "pumice/models/hf/config.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

using testing::message_of;

DecoderConfig config_with(nlohmann::json fields) {
  fields.update({{"model_type", "llama"}, {"num_attention_heads", 1}, {"num_key_value_heads", 1}, {"num_hidden_layers", 1}});
  if (!fields.contains("hidden_size")) { fields["hidden_size"] = 16; }
  return decoder_config_from_hf(fields.dump(), "config.json");
}
DecoderConfig scaled(const std::string& scaling) { return config_with({{"rope_scaling", parse_json(scaling)}}); }

TEST(RotaryScaling, FrequenciesOfTransformers) {
  const auto all = parse_json(read_file(PUMICE_FIXTURES "/models/fixtures/rotary_scaling.json"));
  ASSERT_EQ(all.size(), 13u);
  for (const auto& want : all) {
    nlohmann::json fields = want["config"];
    fields["hidden_size"] = fields["head_dim"];
    const DecoderConfig c = config_with(fields);
    const std::vector<float> got = scaled_frequencies(c.rotary, c.rotary_theta, c.scaling, want["length"]);
    ASSERT_EQ(got.size(), want["frequencies"].size());
    for (size_t i = 0; i < got.size(); ++i) {
      const float f = want["frequencies"][i];
      EXPECT_NEAR(got[i], f, 2e-6 * f) << fields << " pair " << i;  // theirs are computed in f32
    }
    EXPECT_NEAR(c.scaling.scale(), want["scale"].get<double>(), 1e-12) << fields;
  }
}

// Transformers 5 says all of it in one object.
TEST(RotaryScaling, BothSpellings) {
  const nlohmann::json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 512}};
  nlohmann::json v5 = yarn;
  v5["rope_theta"] = 5e5;
  const DecoderConfig a = config_with({{"rope_theta", 5e5}, {"rope_scaling", yarn}}), b = config_with({{"rope_parameters", v5}});
  EXPECT_EQ(b.scaling.kind, RotaryScaling::Kind::yarn);
  EXPECT_EQ(scaled_frequencies(16, a.rotary_theta, a.scaling, 9), scaled_frequencies(16, b.rotary_theta, b.scaling, 9));
  EXPECT_EQ(scaled(R"({"type": "linear", "factor": 2})").scaling.kind, RotaryScaling::Kind::linear) << "before Transformers 4.43";
  EXPECT_EQ(scaled("null").scaling.kind, RotaryScaling::Kind::none);
}

TEST(RotaryScaling, OnlyDynamicDependsOnTheLength) {
  const DecoderConfig dynamic = scaled(R"({"type": "dynamic", "factor": 2})");
  EXPECT_TRUE(dynamic.scaling.depends_on(2049));
  EXPECT_FALSE(dynamic.scaling.depends_on(2048));
  EXPECT_FALSE(scaled(R"({"type": "linear", "factor": 2})").scaling.depends_on(1 << 20));
  EXPECT_EQ(scaled_frequencies(2, 1e4, dynamic.scaling, 9000), std::vector<float>{1}) << "theta has no part in a single pair";
}

TEST(RotaryScaling, WhatIsWrongIsNamed) {
  const auto fails = [](const char* scaling) { return message_of<FormatError>([&] { scaled(scaling); }); };
  const auto expect = [](const std::string& message, const char* says) { EXPECT_NE(message.find(says), std::string::npos) << message; };
  expect(fails(R"({"type": "longrope", "factor": 4})"), "config.json: in \"rope_scaling\": scaling of type \"longrope\" is not supported, only default, linear");
  expect(fails(R"({"type": "linear"})"), "\"factor\" is required and missing");
  expect(fails(R"({"type": "linear", "factor": 0.5})"), "the factor of a scaling must be from 1 to 1e6, got 0.5");
  expect(fails(R"({"type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4})"), "\"original_max_position_embeddings\" is required and missing");
  expect(fails(R"({"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4, "original_max_position_embeddings": 8192})"),
         "high_freq_factor above that, got 4 and 4");
  expect(fails(R"({"type": "yarn", "factor": 8, "beta_fast": 1, "beta_slow": 2})"), "beta_fast at least that, got 2 and 1");
  expect(fails(R"({"type": "yarn", "factor": 8, "attention_factor": -1})"), "\"attention_factor\" must be above 0, got -1");
  expect(fails(R"({"type": "yarn", "factor": 8, "original_max_position_embeddings": 0})"), "from 1 to 2^31, got 0");
}

}  // namespace
}  // namespace pumice
