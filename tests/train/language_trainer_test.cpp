// Training of language models: it learns, resumes to the same bits, and its checkpoints are models for every other command.
#include "pumice/train/language_trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "../message_of.h"
#include "../temporary.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/file.h"
#include "pumice/train/answerer.h"
#include "pumice/train/language_model.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;
using Resume = TrainingRecipe::Resume;

struct Losses {
  std::vector<double> loss;
  std::vector<std::string> messages;
  int64_t stop_after = 1 << 30;
  Observer<LanguageMetrics> observer;
  Losses() {
    observer.step = [this](const LanguageMetrics& m) { loss.push_back(m.loss); };
    observer.should_stop = [this] { return int64_t(loss.size()) >= stop_after; };
    observer.message = [this](const std::string& text) { messages.push_back(text); };
  }
};

class LanguageTrainer : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (const char* animal : {"cat", "dog", "hen", "fox"}) {
      for (const char* place : {"mat", "bed", "roof"}) {
        text += std::string("The ") + animal + " sat on the " + place + ". The " + animal + " was happy on the " + place + ".<|endoftext|>";
      }
    }
    write_file_atomic(d_ / "text.txt", text);
  }
  LanguageTraining toy(const std::string& out) const {
    LanguageTraining t;
    t.train_data = d_ / "text.txt";
    t.out = d_ / out;
    t.sizes = {.vocabulary = 300, .width = 32, .depth = 2, .heads = 4, .kv_heads = 2, .hidden = 48};
    t.length = 16;
    t.batch_size = 8;
    t.schedule = {.kind = Schedule::kCosine, .peak = 1e-2, .steps = 10, .warmup = 2};
    t.save_every = 4;
    t.log_every = 1;
    t.seed = 5;
    return t;
  }
  LanguageTraining sparse(const std::string& out) const {
    LanguageTraining t = toy(out);
    t.sparse = true;
    t.moe.experts = {4};
    return t;
  }
  std::string model(const std::string& run) const { return read_file(d_ / run + "/checkpoints/latest/model.safetensors"); }
  Temporary d_;
};

TEST_F(LanguageTrainer, LearnsAndItsRunIsAModel) {
  for (const bool experts : {false, true}) {
    LanguageTraining t = experts ? sparse("sparse") : toy("dense");
    t.schedule.steps = 120;
    t.save_every = 0;
    Losses run;
    const TrainOutcome outcome = train_language(t, run.observer);
    EXPECT_TRUE(outcome.finished);
    EXPECT_NEAR(run.loss[0], std::log(300), 0.2);
    EXPECT_LT(outcome.loss, 0.8);  // names and places alone are to be guessed
    const LanguageModel model = LanguageModel::open(t.out, {.dtype = DType::f32});
    EXPECT_EQ(model.decoder().config().moe_layers.size(), experts ? 1u : 0u);
    const TextScore known = score_text(model.decoder(), model.tokenizer, {"The cat sat on the mat. The cat was happy on the mat."}, 16, DType::f32);
    const TextScore odd = score_text(model.decoder(), model.tokenizer, {"mat The on cat. was The happy mat the sat"}, 16, DType::f32);
    EXPECT_LT(known.loss, 1.2);
    EXPECT_GT(odd.loss, 2 * known.loss);
    Answerer answerer(model);
    std::string text;
    answerer.complete("The dog sat on", {.temperature = 0, .max_new_tokens = 3}, [&](const std::string& more) { return text += more, true; });
    EXPECT_EQ(text.substr(0, 4), " the");
  }
}

TEST_F(LanguageTrainer, ResumesToTheSameBits) {
  for (const bool bf16 : {false, true}) {
    const std::string name = bf16 ? "bf16" : "f32";
    LanguageTraining t = sparse(name + "-whole");
    t.precision = bf16 ? DType::bf16 : DType::f32;
    t.ema_decay = 0.9;
    Losses whole, first, second;
    train_language(t, whole.observer);
    t.out = d_ / (name + "-pieces");
    first.stop_after = 6;
    EXPECT_FALSE(train_language(t, first.observer).finished);
    t.resume = Resume::always;
    EXPECT_TRUE(train_language(t, second.observer).finished);
    first.loss.insert(first.loss.end(), second.loss.begin(), second.loss.end());
    EXPECT_EQ(first.loss, whole.loss);
    EXPECT_EQ(model(name + "-pieces"), model(name + "-whole"));
    const std::vector<std::string> text = {"The cat sat on the mat."};
    const LanguageModel last = LanguageModel::open(t.out, {.dtype = DType::f32}), average = LanguageModel::open(t.out, {.dtype = DType::f32, .average = true});
    EXPECT_GT(score_text(average.decoder(), average.tokenizer, text, 16, DType::f32).loss, score_text(last.decoder(), last.tokenizer, text, 16, DType::f32).loss);
    EXPECT_EQ(read_file(t.out + "/checkpoints/latest/ema.safetensors"), read_file(d_ / (name + "-whole/checkpoints/latest/ema.safetensors")));
  }
}

TEST_F(LanguageTrainer, MicrobatchesGiveTheGradientOfTheWhole) {
  const std::vector<std::string> texts = {"The cat sat on the mat.", "A", "The dog was happy on the roof, and so was the fox. The hen was not."};
  const Tokenizer tokenizer = Tokenizer::train(texts, {.vocab_size = 280, .lowercase = false});
  TokenWindows windows(texts, tokenizer, {.length = 9, .shuffle = false});
  Decoder model({.vocabulary = 280, .width = 16, .layers = 2, .hidden = 24, .heads = 2, .kv_heads = 1, .head_width = 8, .rotary = 8, .tied = true}, 3);
  const TokenBatch batch = windows.batch(0, 4);
  const LanguageLoss whole = accumulate_gradients(model, batch, 1, {.training = true}, false);
  const std::vector<float> expected = model.parameters().gradients().to_vector<float>();
  model.parameters().zero_gradients();
  const LanguageLoss parts = accumulate_gradients(model, batch, 4, {.training = true}, false);
  const std::vector<float> got = model.parameters().gradients().to_vector<float>();
  EXPECT_NEAR(parts.task, whole.task, 1e-6);
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    largest = std::max(largest, std::abs(double(expected[i])));
    EXPECT_NEAR(got[i], expected[i], 1e-6);
  }
  EXPECT_GT(largest, 1e-2);
  EXPECT_NE(message_of<UsageError>([&] { accumulate_gradients(model, batch, 3, {}, false); }).find("multiple of --accum-freq"), std::string::npos);
}

// Whole documents beside the loss of all of their logits, summed here; in pieces every token but the first still counts once.
TEST_F(LanguageTrainer, ScoresEveryTokenButTheFirst) {
  const std::vector<std::string> texts = {"The cat sat on the mat.", "A dog was happy."};
  const Tokenizer tokenizer = Tokenizer::train(texts, {.vocab_size = 280, .lowercase = false});
  const Decoder model({.vocabulary = 280, .width = 16, .layers = 2, .hidden = 24, .heads = 2, .kv_heads = 1, .head_width = 8, .rotary = 8, .tied = true}, 3);
  NoGrad no_grad;
  double sum = 0, bytes = 0;
  int64_t tokens = 0;
  for (const std::string& text : texts) {
    std::vector<int32_t> ids = tokenizer.encode(text);
    ids.push_back(tokenizer.eos_id());
    const int64_t T = int64_t(ids.size());
    const Tensor hidden = model.forward({.ids = from_values<int32_t>({T}, ids), .sequences = from_values<int32_t>({2}, {0, int32_t(T)})}, {}).hidden;
    const std::vector<double> logits = model.logits(hidden).to_vector<double>();
    for (int64_t t = 0; t + 1 < T; ++t) {
      double total = 0;
      for (int64_t v = 0; v < 280; ++v) { total += std::exp(logits[size_t(t * 280 + v)]); }
      sum += std::log(total) - logits[size_t(t * 280 + ids[size_t(t) + 1])];
    }
    tokens += T - 1;
    bytes += double(text.size());
  }
  const TextScore whole = score_text(model, tokenizer, texts, 1000, DType::f32), pieces = score_text(model, tokenizer, texts, 4, DType::f32);
  EXPECT_NEAR(whole.loss, sum / double(tokens), 1e-5);
  EXPECT_NEAR(whole.bits_per_byte, sum / bytes / std::log(2.0), 1e-5);
  EXPECT_EQ(whole.tokens, tokens);
  EXPECT_EQ(pieces.tokens, tokens);
  EXPECT_NE(pieces.loss, whole.loss);
  EXPECT_NE(message_of<UsageError>([&] { score_text(model, tokenizer, texts, 1, DType::f32); }).find("--length must be at least 2"), std::string::npos);
}

TEST_F(LanguageTrainer, MetricsHaveTheLayersOfExperts) {
  LanguageTraining t = sparse("run");
  t.schedule.steps = 2;
  t.schedule.warmup = 0;
  std::vector<LanguageMetrics> seen;
  Observer<LanguageMetrics> observer;
  observer.step = [&](const LanguageMetrics& m) { seen.push_back(m); };
  train_language(t, observer);
  ASSERT_EQ(seen.size(), 2u);
  ASSERT_EQ(seen[0].layers.size(), 1u);
  EXPECT_EQ(seen[0].layers[0].stats.text().tokens, 8 * 16);
  EXPECT_EQ(seen[0].layers[0].stats.image().tokens, 0);
  EXPECT_NEAR(seen[0].aux, t.moe.aux_weight * seen[0].layers[0].losses[0].second, 1e-6);
  EXPECT_GT(seen[0].aux, 0);
  EXPECT_NEAR(seen[0].loss, seen[0].task + seen[0].aux, 1e-9);
  EXPECT_NE(read_file(t.out + "/metrics.jsonl").find("\"block0/loss/balance\":"), std::string::npos);
}

TEST_F(LanguageTrainer, GoesOnWithAnotherModel) {
  LanguageTraining first = toy("first");
  Losses unused;
  const double reached = train_language(first, unused.observer).loss;
  EXPECT_NE(message_of<IoError>([&] { LanguageModel::open(first.out, {.average = true}); }).find("trained without --ema-decay"), std::string::npos);
  LanguageTraining second = toy("second");
  second.init_from = first.out;
  second.sizes.width = 999;  // not asked: the model's own
  second.schedule.peak = 1e-4;
  Losses run;
  train_language(second, run.observer);
  EXPECT_LT(run.loss[0], reached + 0.5);
  EXPECT_LT(run.loss[0], std::log(300) - 1);
  EXPECT_EQ(load_decoder(second.out + "/checkpoints/latest").config().width, 32);
  second.resume = Resume::always;  // without the model that it began with
  std::filesystem::remove_all(first.out);
  EXPECT_EQ(train_language(second, run.observer).steps_done, 0);
}

TEST_F(LanguageTrainer, EveryFamilyTrains) {
  for (const char* family : {"llama", "mistral", "qwen2", "qwen", "stablelm", "phi"}) {
    LanguageTraining t = toy(family);
    t.sizes.family = family;
    t.sizes.kv_heads = std::string(family) == "qwen" ? 4 : 2;
    t.schedule.steps = 3;
    Losses run;
    EXPECT_TRUE(train_language(t, run.observer).finished) << family;
    EXPECT_EQ(LanguageModel::open(t.out, {}).decoder().config().family, family);
  }
}

TEST_F(LanguageTrainer, EpochsSetTheSteps) {
  LanguageTraining t = toy("run");
  t.epochs = 2;
  Losses run;
  const TrainOutcome outcome = train_language(t, run.observer);
  const std::string& text = run.messages[1];  // "text: 326 tokens in 12 documents, 20 windows of 16 tokens in a pass"
  const size_t at = text.find(" documents, ");
  ASSERT_NE(at, std::string::npos) << text;
  EXPECT_EQ(outcome.step, std::lround(2 * std::stod(text.substr(at + 12)) / 8)) << text;
  EXPECT_NE(read_file(t.out + "/config.json").find("\"epochs\": 2"), std::string::npos);
}

TEST_F(LanguageTrainer, WrongInputIsNamed) {
  Losses run;
  const auto fails = [&](auto&& change) {
    LanguageTraining t = toy("wrong");
    change(t);
    return message_of<UsageError>([&] { train_language(t, run.observer); });
  };
  const auto holds = [](const std::string& text, const std::string& part) { EXPECT_NE(text.find(part), std::string::npos) << text; };
  holds(fails([](auto& t) { t.train_data = ""; }), "--train-data is required");
  holds(fails([](auto& t) { t.out = ""; }), "--out is required");
  holds(fails([](auto& t) { t.length = 1; }), "--length must be at least 2");
  holds(fails([](auto& t) { t.batch_size = 6, t.accum_freq = 4; }), "multiple of --accum-freq");
  holds(fails([](auto& t) { t.overfit = 3; }), "--overfit must be at least the batch size 8");
  holds(fails([](auto& t) { t.init_from = "x", t.sparse = true; }), "pumice model convert");
  holds(fails([](auto& t) { t.init_from = "x", t.model_config = "y"; }), "leave one out");
  holds(fails([](auto& t) { t.resume = Resume::always; }), "holds no run to resume");
  LanguageTraining uneven = toy("wrong");
  uneven.sizes.heads = 5;
  holds(message_of<FormatError>([&] { train_language(uneven, run.observer); }), "the model of these flags: \"hidden_size\" 32 must be a multiple of");
  EXPECT_FALSE(std::filesystem::exists(d_ / "wrong"));
  holds(message_of<UsageError>([] {
          LanguageTraining t;
          apply_language_preset(t, "tiyn");
        }), "Did you mean");

  train_language(toy("run"), run.observer);
  holds(message_of<UsageError>([&] { train_language(toy("run"), run.observer); }), "holds a run already");
  LanguageTraining other = toy("run");
  other.resume = Resume::always;
  other.schedule.peak = 1;
  holds(message_of<UsageError>([&] { train_language(other, run.observer); }), "lr: 0.01 then, 1");
  other = toy("run");
  other.resume = Resume::always;
  write_file_atomic(d_ / "text.txt", "Something else, which is long enough to be cut into a few windows of sixteen tokens each, as before.");
  holds(message_of<UsageError>([&] { train_language(other, run.observer); }), "the training data changed");
}

}  // namespace
}  // namespace pumice
