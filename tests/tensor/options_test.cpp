#include "pumice/tensor/options.h"

#include <gtest/gtest.h>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "(nothing was thrown)";
}

struct Settings {
  int64_t steps = 100;
  double lr = 1e-3;
  bool resume = false;
  std::string out = "runs/a", mode = "fast";
  std::vector<int64_t> layers = {1, 3};
};

OptionTable table_of(Settings& s) {
  OptionTable t;
  t.add("steps", s.steps, "Schedule", "optimizer steps").alias("max-steps");
  t.add("lr", s.lr, "Optimiser", "learning rate");
  t.add("resume", s.resume, "Run", "continue");
  t.add("out", s.out, "Run", "directory");
  t.add("mode", s.mode, "Run", "how").one_of({"fast", "slow"});
  t.add("layers", s.layers, "Model", "sparse blocks");
  return t;
}

TEST(Options, ParsesEveryType) {
  Settings s;
  OptionTable t = table_of(s);
  t.set(*t.find("max_steps"), "7", "--max_steps");
  t.set(*t.find("lr"), "2.5e-4", "--lr");
  t.set(*t.find("resume"), "True", "--resume");
  t.set(*t.find("layers"), "2,5,7", "--layers");
  EXPECT_EQ(s.steps, 7);
  EXPECT_EQ(s.lr, 2.5e-4);
  EXPECT_TRUE(s.resume);
  EXPECT_EQ(s.layers, (std::vector<int64_t>{2, 5, 7}));
  EXPECT_EQ(t.find("steps")->source, "--max_steps");
  EXPECT_EQ(t.find("steps")->fallback, "100");
}

TEST(Options, BadValuesNameTheFlagAndWhatItNeeds) {
  Settings s;
  OptionTable t = table_of(s);
  EXPECT_EQ(message_of([&] { t.set(*t.find("steps"), "many", "--steps"); }), "--steps must be an integer (optimizer steps), got 'many'");
  EXPECT_EQ(message_of([&] { t.set(*t.find("lr"), "nan", "--lr"); }), "--lr must be a number (learning rate), got 'nan'");
  EXPECT_EQ(message_of([&] { t.set(*t.find("mode"), "fats", "--mode"); }), "--mode must be one of fast, slow, got 'fats'. Did you mean 'fast'?");
  EXPECT_EQ(s.steps, 100);
}

TEST(Options, JsonRoundTrip) {
  Settings a, b;
  a.steps = 12;
  a.lr = 0.1;
  a.layers = {};
  a.mode = "slow";
  OptionTable ta = table_of(a), tb = table_of(b);
  std::string json = ta.to_json({"out"});
  EXPECT_EQ(json.find("\"out\""), std::string::npos);
  tb.set_from_json(json, "config.json");
  EXPECT_EQ(b.steps, 12);
  EXPECT_EQ(b.lr, 0.1);
  EXPECT_TRUE(b.layers.empty());
  EXPECT_EQ(b.mode, "slow");
  EXPECT_EQ(tb.to_json(), table_of(b).to_json());
}

TEST(Options, JsonErrorsNameTheFileAndTheKey) {
  Settings s;
  OptionTable t = table_of(s);
  EXPECT_EQ(message_of([&] { t.set_from_json("{\"step\": 3}", "c.json"); }), "c.json: there is no option 'step'. Did you mean 'steps'?");
  EXPECT_EQ(message_of([&] { t.set_from_json("[1]", "c.json"); }), "c.json must hold a JSON object of option names and values, got array");
  EXPECT_NE(message_of([&] { t.set_from_json("{", "c.json"); }).find("c.json is not valid JSON"), std::string::npos);
  t.set_from_json("{// a comment\n\"steps\": 5}", "c.json");
  EXPECT_EQ(s.steps, 5);
}

TEST(Suggest, NearestName) {
  EXPECT_EQ(edit_distance("train", "trian"), 1);  // swapped neighbours count once
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(did_you_mean("batchsize", {"batch-size", "steps"}), " Did you mean 'batch-size'?");
  EXPECT_EQ(did_you_mean("quux", {"batch-size", "steps"}), "");
}

}  // namespace
}  // namespace pumice
