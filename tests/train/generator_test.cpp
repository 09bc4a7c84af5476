// Texts side by side are what they are alone: whatever stands beside them, in however many pieces their prompts are read.
#include "pumice/train/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "../message_of.h"
#include "pumice/autograd/autograd.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/train/answerer.h"
#include "tiny_language_model.h"

namespace pumice {
namespace {

using testing::flat_picture;
using testing::message_of;
using testing::TinyLanguageModel;

const std::vector<Prompt> kMixed = {{"1", "what is this", {flat_picture(0)}}, {"2", "where is the cat"},
                                    {"3", "a <image> or a <image>", {flat_picture(255), flat_picture(90)}},
                                    {"4", "no"}, {"5", "what is this", {flat_picture(255)}}, {"6", "where is the cat, and where is the blue dog on a mat"},
                                    {"7", "what is this", {flat_picture(0)}}};

struct Told { std::vector<std::string> answers; std::vector<AnswerReport> reports; BatchReport batch; };

Told tell(const LanguageModel& model, const std::vector<Prompt>& prompts, const BatchOptions& options) {
  Told told;
  size_t next = 0;
  told.batch = answer_prompts(model, options, [&] { return next < prompts.size() ? std::optional(prompts[next++]) : std::nullopt; },
                              [&](const std::string& answer, const AnswerReport& report) {
                                told.answers.push_back(answer);
                                told.reports.push_back(report);
                              });
  return told;
}

// Every text by itself, each by an Answerer that knows of no other.
Told alone(const LanguageModel& model, const std::vector<Prompt>& prompts, const BatchOptions& options) {
  Told told;
  Answerer answerer(model);
  answerer.stop_at(options.stops);
  for (const Prompt& p : prompts) {
    std::string text;
    const auto add = [&](const std::string& t) { return text += t, true; };
    answerer.clear();
    told.reports.push_back(options.raw ? answerer.complete(p.text, options.sampling, add) : answerer.ask(p.text, p.images, options.sampling, add));
    told.answers.push_back(text);
  }
  return told;
}

void expect_equal(const Told& a, const Told& b) {
  EXPECT_EQ(a.answers, b.answers);
  ASSERT_EQ(a.reports.size(), b.reports.size());
  for (size_t i = 0; i < a.reports.size(); ++i) {
    const AnswerReport &x = a.reports[i], &y = b.reports[i];
    EXPECT_EQ(x.new_tokens, y.new_tokens) << i;
    EXPECT_EQ(x.prompt_tokens, y.prompt_tokens) << i;
    EXPECT_EQ(x.cut, y.cut) << i;
  }
}

template <class Key> size_t different(const Told& told, const Key& key) {
  std::set<std::decay_t<decltype(key(told.reports[0]))>> all;
  for (const AnswerReport& r : told.reports) { all.insert(key(r)); }
  return all.size();
}

std::vector<int32_t> long_prompt(size_t length, uint32_t seed, bool pictures) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < length; ++i) {
    seed = seed * 1664525 + 1013904223;
    ids.push_back(pictures && i % 97 == 5 ? kImageToken : int32_t(seed >> 16) % 280);
  }
  return ids;
}

void expect_batches_are_their_texts(const LanguageModel& model) {
  BatchOptions greedy{.sampling = {.temperature = 0, .repetition_penalty = 1.3, .max_new_tokens = 12}};
  BatchOptions sampled{.sampling = {.temperature = 5, .top_k = 0, .top_p = 0.9, .seed = 3, .max_new_tokens = 40}};
  for (int32_t id = 0; id < 280; id += 23) { sampled.sampling.end_tokens.push_back(id); }  // texts end at different steps
  BatchOptions stopped = sampled;
  for (const std::string& answer : alone(model, kMixed, sampled).answers) {  // what some of them say: its letters
    for (const char c : answer) {
      if (std::isalpha(static_cast<unsigned char>(c)) && stopped.stops.size() < 2) { stopped.stops.push_back(std::string(1, c)); }
    }
  }
  EXPECT_NE(alone(model, kMixed, stopped).answers, alone(model, kMixed, sampled).answers) << "no stop string was met";
  EXPECT_GT(different(alone(model, kMixed, sampled), [](const AnswerReport& r) { return r.new_tokens; }), 3u) << "texts end together";
  for (const BatchOptions& options : {greedy, sampled, stopped}) {
    const Told wanted = alone(model, kMixed, options);
    EXPECT_GT(std::set<std::string>(wanted.answers.begin(), wanted.answers.end()).size(), 4u) << "answers are alike: nothing is tested";
    for (const int64_t places : {1, 2, 3, 8}) {
      SCOPED_TRACE(places);
      BatchOptions batch = options;
      batch.places = places;
      const Told told = tell(model, kMixed, batch);
      expect_equal(told, wanted);
      EXPECT_EQ(told.batch.answers, int64_t(kMixed.size()));
    }
  }
}

TEST(Generator, ABatchIsItsTexts) { expect_batches_are_their_texts(*TinyLanguageModel()); }
TEST(Generator, ABatchInBf16IsItsTexts) { expect_batches_are_their_texts(*TinyLanguageModel(DType::bf16)); }

// Note [Texts side by side]: not nearly, but to the last bit. In bf16 a last bit moves a draw within a few hundred tokens.
TEST(Generator, PassesOfManyTextsHaveTheBitsOfOne) {
  NoGrad no_grad;
  for (const char* fields : {"", R"(, "moe": {"num_experts": 4, "top_k_experts": 2, "eval_capacity_factor": 2, "moe_mode": "dense"})"}) {
    const TinyLanguageModel model(fields);
    const Decoder& decoder = model->decoder();
    const auto bits = [&](const std::vector<std::vector<int32_t>>& prompts) {  // of the logits behind a second token
      KvCache cache(decoder.config(), int64_t(prompts.size()), DType::f32);
      const auto pass = [&](size_t from, size_t first, size_t last) {
        std::vector<int32_t> ids, begin = {0};
        for (size_t n = 0; n < prompts.size(); ++n) {
          if (n >= first && n < last) { ids.insert(ids.end(), prompts[n].begin() + long(from), from ? prompts[n].end() : prompts[n].end() - 1); }
          begin.push_back(int32_t(ids.size()));
        }
        const DecoderInput input{.ids = from_values<int32_t>({int64_t(ids.size())}, ids), .sequences = from_values<int32_t>({int64_t(begin.size())}, begin)};
        return decoder.logits(decoder.forward(input, {.cache = &cache}).hidden);
      };
      for (size_t n = 0; n < prompts.size(); ++n) { pass(0, n, n + 1); }
      return pass(prompts[0].size() - 1, 0, prompts.size()).to_vector<float>();
    };
    std::vector<std::vector<int32_t>> prompts;
    for (uint32_t n = 0; n < uint32_t(kFewRows); ++n) { prompts.push_back(long_prompt(30, n, false)); }
    const std::vector<float> together = bits(prompts);
    for (size_t n = 0; n < prompts.size(); ++n) {
      const std::vector<float> one = bits({prompts[n]});
      EXPECT_TRUE(std::equal(one.begin(), one.end(), together.begin() + long(n * one.size()))) << "text " << n << fields;
    }
  }
}

TEST(Generator, PlacesAreRefilledAndAnswersKeepTheOrderOfThePrompts) {
  const TinyLanguageModel model("");
  std::vector<Prompt> prompts;
  for (int i = 0; i < 20; ++i) { prompts.push_back({std::to_string(i), i % 3 ? "a red cat" : "a blue dog on a mat, and where is the cat"}); }
  BatchOptions options{.sampling = {.temperature = 5, .top_k = 0, .seed = 9, .max_new_tokens = 30}, .raw = true};
  for (int32_t id = 0; id < 280; id += 11) { options.sampling.end_tokens.push_back(id); }
  const Told wanted = alone(*model, prompts, options);
  for (const int64_t places : {4, 19}) {  // 19: more than one pass draws for
    options.places = places;
    expect_equal(tell(*model, prompts, options), wanted);
  }
}

// Tokens of one text must not take the places of another's, and how many are dropped depends on how many are read at once.
TEST(Generator, SparseLayersThatDrop) {
  const TinyLanguageModel model(R"(, "moe": {"num_experts": 4, "top_k_experts": 2, "eval_capacity_factor": 0.5, "min_capacity": 1, "moe_mode": "dense"})");
  ASSERT_FALSE(model->decoder().config().reads_in_pieces(64));
  const std::vector<Prompt> prompts = {{"1", "a red cat on a mat, and a blue dog"}, {"2", "where is the cat"}, {"3", "a red cat on a mat, where is the dog"}};
  BatchOptions options{.sampling = {.temperature = 3, .top_k = 0, .seed = 1, .max_new_tokens = 20}, .raw = true, .places = 3};
  const Told told = tell(*model, prompts, options), wanted = alone(*model, prompts, options);
  expect_equal(told, wanted);
  bool dropped = false;
  for (size_t i = 0; i < prompts.size(); ++i) {
    ASSERT_EQ(told.reports[i].routing.size(), 2u);
    for (size_t l = 0; l < 2; ++l) {
      EXPECT_EQ(told.reports[i].routing[l].text, wanted.reports[i].routing[l].text);
      int64_t kept = 0;
      for (int64_t n : told.reports[i].routing[l].text) { kept += n; }
      dropped = dropped || kept < 2 * (told.reports[i].prompt_tokens + told.reports[i].new_tokens - 1);
    }
  }
  EXPECT_TRUE(dropped) << "every choice was kept: nothing is tested";
}

// Beyond its trained length each text has angles of its own.
TEST(Generator, DynamicAngles) {
  const TinyLanguageModel model(R"(, "rope_scaling": {"type": "dynamic", "factor": 4})");
  std::string longer;
  for (int i = 0; i < 20; ++i) { longer += "a red cat on a blue mat, "; }
  const std::vector<Prompt> prompts = {{"1", "a blue dog"}, {"2", longer}, {"3", longer.substr(3)}, {"4", "where"}};
  const BatchOptions options{.sampling = {.temperature = 5, .top_k = 0, .max_new_tokens = 20}, .raw = true, .places = 2};
  const Told told = tell(*model, prompts, options);
  EXPECT_GT(told.reports[1].prompt_tokens, 128);
  Told fresh;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Generator generator(*model, 1);
    Generation text{.ids = model->tokenizer.encode(prompts[i].text), .sampling = options.sampling, .number = int64_t(i)};
    generator.begin(0, text);
    while (generator.step()) {}
    fresh.answers.push_back(text.answer);
    fresh.reports.push_back(text.report);
  }
  expect_equal(told, fresh);
}

// The first token behind `ids` when they are read at once.
int32_t first_token(const LanguageModel& model, const std::vector<int32_t>& ids, const std::vector<Tensor>& pictures) {
  NoGrad no_grad;
  const Tensor id = from_values<int32_t>({int64_t(ids.size())}, ids), sequences = from_values<int32_t>({2}, std::vector<int32_t>{0, int32_t(ids.size())});
  DecoderInput input{.ids = id, .sequences = sequences};
  if (!pictures.empty()) {
    const Tensor pixels = empty({int64_t(pictures.size()), 3, 16, 16});
    for (int64_t i = 0; i < pixels.dim(0); ++i) { copy_into(pixels.slice(0, i, i + 1).reshape({3, 16, 16}), pictures[size_t(i)]); }
    input = model.llava->splice({.ids = id, .sequences = sequences, .pixels = pixels}, DType::f32).input;
  }
  const Tensor hidden = model.decoder().forward(input, {}).hidden;
  const Tensor logits = model.decoder().logits(hidden.slice(0, hidden.dim(0) - 1, hidden.dim(0)));
  return sample_token({logits.data<float>(), size_t(model.tokenizer.vocab_size())}, ids, {.temperature = 0}, 0, 0);
}

TEST(Generator, PromptsInPiecesAreRead) {
  const TinyLanguageModel sees, windowed(R"(, "sliding_window": 20, "use_sliding_window": true)"),
      sparse(R"(, "moe": {"num_experts": 4, "top_k_experts": 2, "eval_capacity_factor": 2, "moe_mode": "dense"})"),
      dropping(R"(, "moe": {"num_experts": 4, "top_k_experts": 2, "eval_capacity_factor": 1, "moe_mode": "dense"})");
  std::set<int32_t> firsts;
  for (const auto* model : {&sees, &windowed, &sparse, &dropping}) {
    const bool pieces = model != &dropping;
    for (const size_t length : {500u, 513u, 1100u, 1537u}) {
      SCOPED_TRACE(length);
      Generation text{.ids = long_prompt(length, uint32_t(length), (*model)->sees()), .sampling = {.temperature = 0, .max_new_tokens = 1}};
      std::vector<int32_t> prompt = text.ids;
      for (int64_t i = std::count(prompt.begin(), prompt.end(), kImageToken); i > 0; --i) {
        text.pixels.push_back(picture_tensor(flat_picture(uint8_t(10 * i)), (*model)->pictures));
      }
      int64_t asked = 0;
      text.on_text = [&](const std::string&) { return ++asked, true; };
      Generator generator(**model, 2);
      generator.begin(1, text);
      while (generator.step()) {}
      const int64_t tokens = int64_t(length) + 3 * int64_t(text.pixels.size());
      EXPECT_EQ(text.report.prompt_tokens, tokens);
      EXPECT_GE(asked, (pieces ? (tokens + 511) / 512 : 1) + 1);  // after each piece but the last, the token, and the end
      if (!pieces) { EXPECT_EQ(asked, 2); }
      const int32_t first = first_token(**model, prompt, text.pixels);
      firsts.insert(first);
      ASSERT_EQ(text.ids.size(), prompt.size() + 1);
      EXPECT_EQ(text.ids.back(), first);
    }
  }
  EXPECT_GT(firsts.size(), 4u) << "all prompts give one token: nothing is tested";
}

TEST(Generator, StopsWhileAPromptIsRead) {
  const TinyLanguageModel model("");
  Generation text{.ids = long_prompt(2000, 1, false), .sampling = {.temperature = 0}};
  int64_t asked = 0;
  text.on_text = [&](const std::string&) { return ++asked < 2; };
  Generator generator(*model, 1);
  generator.begin(0, text);
  while (generator.step()) {}
  EXPECT_EQ(asked, 2);
  EXPECT_TRUE(text.report.stopped);
  EXPECT_EQ(text.report.new_tokens, 0);
  // the place goes on with what it has read
  Generation again{.ids = long_prompt(2000, 1, false), .sampling = {.temperature = 0, .max_new_tokens = 1}};
  int64_t steps = 0;
  generator.begin(0, again);
  for (; generator.step(); ++steps) {}
  EXPECT_EQ(steps, 2) << "two of four pieces were there already";
  EXPECT_EQ(again.ids.back(), first_token(*model, long_prompt(2000, 1, false), {}));
}

// A short text is not held up by the reading of a long prompt.
TEST(Generator, TextsGoOnWhilePromptsAreRead) {
  const TinyLanguageModel model("");
  Generation small{.ids = {1, 2, 3}, .sampling = {.temperature = 0, .max_new_tokens = 50}};
  Generation large{.ids = long_prompt(1500, 2, false), .sampling = {.temperature = 0, .max_new_tokens = 1}};
  Generator generator(*model, 2);
  generator.begin(1, small);
  generator.step();
  generator.begin(0, large);
  for (int i = 0; i < 3; ++i) { generator.step(); }
  EXPECT_EQ(small.report.new_tokens, 4);
  EXPECT_FALSE(generator.busy(0));
}

TEST(Generator, APassThatFailsLeavesPlacesFree) {
  const TinyLanguageModel model("");
  Generator generator(*model, 2);
  Generation wrong{.ids = {1, 299999}}, fine{.ids = {1, 2}, .sampling = {.temperature = 0, .max_new_tokens = 2}};
  generator.begin(0, wrong);
  generator.begin(1, fine);
  EXPECT_THROW(generator.step(), ShapeError);
  EXPECT_FALSE(generator.busy(0) || generator.busy(1));
  Generation again{.ids = {1, 2}, .sampling = {.temperature = 0, .max_new_tokens = 2}};
  generator.begin(1, again);
  while (generator.step()) {}
  EXPECT_EQ(again.ids[2], first_token(*model, {1, 2}, {}));
}

TEST(Generator, WrongInputIsNamed) {
  const TinyLanguageModel model("");
  EXPECT_EQ(message_of<UsageError>([&] { Generator(*model, 0); }), "[generate] at least one text is generated at a time, got 0");
  Generator generator(*model, 1);
  Generation none{.ids = {}}, picture{.ids = {1, kImageToken}};
  EXPECT_EQ(message_of<UsageError>([&] { generator.begin(0, none); }), "[generate] the prompt is empty: there is nothing to continue");
  EXPECT_EQ(message_of<UsageError>([&] { generator.begin(0, picture); }), "[generate] the prompt mentions 1 pictures, and 0 came with it");
  const TinyLanguageModel sees;
  const std::vector<Prompt> prompts = {{"q.jsonl:1", "fine"}, {"q.jsonl:2", "<image> and <image>", {flat_picture(1)}}};
  EXPECT_EQ(message_of<FormatError>([&] { tell(*sees, prompts, {.sampling = {.max_new_tokens = 1}}); }),
            "q.jsonl:2: [conversation] the prompt has 1 picture and 2 <image> in its questions; one is required for each");
}

TEST(Generator, StoppedBatchesGiveWhatIsComplete) {
  const TinyLanguageModel model("");
  int64_t asked = 0;
  const std::vector<Prompt> prompts(6, Prompt{"p", "a red cat"});
  const BatchOptions options{.sampling = {.temperature = 0, .max_new_tokens = 4}, .raw = true, .places = 2, .go_on = [&] { return ++asked < 12; }};
  const Told told = tell(*model, prompts, options);
  EXPECT_TRUE(told.batch.stopped);
  EXPECT_EQ(told.batch.answers, 2);
  EXPECT_EQ(told.answers.size(), 2u);
}

TEST(Generator, ATextEndsWhereTheModelComputesNoMore) {
  const TinyLanguageModel model(R"(, "seq_length": 40, "use_logn_attn": true)", "qwen");
  Generation text{.ids = long_prompt(36, 1, false), .sampling = {.temperature = 0}}, whole{.ids = long_prompt(41, 1, false)};
  Generator generator(*model, 1);
  generator.begin(0, text);
  while (generator.step()) {}
  EXPECT_EQ(text.report.new_tokens, 5) << "four are read again, and a fifth comes from the last";
  EXPECT_TRUE(text.report.cut);
  EXPECT_EQ(message_of<UsageError>([&] { generator.begin(0, whole); }), "[generate] this model computes at most 40 tokens here, the prompt has 41: shorten it");
}

}  // namespace
}  // namespace pumice
