// Answerer over a tiny model that sees: what a conversation keeps of an answer, of a picture, and of a question that failed.
#include "pumice/train/answerer.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "pumice/tensor/error.h"
#include "tiny_language_model.h"

namespace pumice {
namespace {

class Answers : public ::testing::Test {
 protected:
  static Image picture(uint8_t level) { return testing::flat_picture(level); }
  std::string ask(Answerer& answerer, const std::string& question, const std::vector<Image>& images) const {
    std::string text;
    answerer.ask(question, images, kGreedy, [&](const std::string& t) { return text += t, true; });
    return text;
  }

  inline static const SamplingOptions kGreedy{.temperature = 0, .max_new_tokens = 12};
  testing::TinyLanguageModel model_;
};

// The next question is asked after whatever the model said: nothing, or the spelling of a picture.
TEST_F(Answers, AnyAnswerCanBeFollowedByAQuestion) {
  Answerer answerer(*model_);
  SamplingOptions silent = kGreedy;
  for (int32_t id = 0; id < model_->tokenizer.vocab_size(); ++id) { silent.end_tokens.push_back(id); }
  const AnswerReport report = answerer.ask("where", {picture(9)}, silent, [](const std::string&) { return true; });
  EXPECT_EQ(report.new_tokens, 1);
  ASSERT_EQ(answerer.messages().size(), 2u);
  EXPECT_EQ(answerer.messages()[1].text, "");
  ask(answerer, "and now", {picture(200)});
  EXPECT_EQ(answerer.messages().size(), 4u);
}

TEST_F(Answers, KeepWhatWasSaidWithoutTheSpaceThatTheTemplateBrings) {
  Answerer answerer(*model_);
  bool outside = false;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SamplingOptions sampling{.temperature = 200, .top_k = 0, .seed = seed, .max_new_tokens = 3};
    std::string text;
    answerer.clear();
    answerer.ask("where", {}, sampling, [&](const std::string& t) { return text += t, true; });
    outside = outside || (!text.empty() && (text[0] == ' ' || text.back() == ' '));
    const std::string kept = answerer.messages()[1].text;
    EXPECT_TRUE(kept.empty() || (kept[0] != ' ' && kept.back() != ' ')) << '"' << kept << '"';
    EXPECT_NE(text.find(kept), std::string::npos);
  }
  EXPECT_TRUE(outside) << "no answer began or ended with a space: the seeds test nothing";
}

// Ids do not tell two pictures apart: what the cache holds of a question that failed must not answer the next.
TEST_F(Answers, AFailedQuestionLeavesNothing) {
  Answerer fresh(*model_), answerer(*model_);
  const auto fail = [](const std::string&) -> bool { throw std::runtime_error("the terminal is gone"); };
  SamplingOptions sampling = kGreedy;
  EXPECT_THROW(answerer.ask("what is this", {picture(0)}, sampling, fail), std::runtime_error);
  EXPECT_TRUE(answerer.messages().empty());
  const std::string wanted = ask(fresh, "what is this", {picture(255)});
  EXPECT_NE(wanted, ask(*std::make_unique<Answerer>(*model_), "what is this", {picture(0)})) << "both pictures give one answer: nothing is tested";
  EXPECT_EQ(ask(answerer, "what is this", {picture(255)}), wanted);
}

// A conversation with pictures in several turns answers as one that is read at once does.
TEST_F(Answers, CachedTurnsEqualOneThatIsReadAtOnce) {
  Answerer answerer(*model_);
  ask(answerer, "what is this", {picture(0), picture(90)});
  ask(answerer, "and where", {picture(255)});
  const std::string last = ask(answerer, "which", {});
  Answerer again(*model_);
  const std::vector<Message>& said = answerer.messages();
  Conversation c{.template_name = model_->conversation, .messages = {said.begin(), said.end() - 1}};
  const std::vector<int32_t> ids = encode_prompt(model_->tokenizer, c, 3);
  Tensor pixels = empty({3, 3, 16, 16});
  for (int64_t i = 0; i < 3; ++i) {
    copy_into(pixels.slice(0, i, i + 1).reshape({3, 16, 16}), picture_tensor(picture(i == 0 ? 0 : i == 1 ? 90 : 255), model_->pictures));
  }
  NoGrad no_grad;
  const Tensor sequences = from_values<int32_t>({2}, std::vector<int32_t>{0, int32_t(ids.size())});
  const Tensor id = from_values<int32_t>({int64_t(ids.size())}, ids);
  const auto spliced = model_->llava->splice({.ids = id, .sequences = sequences, .pixels = pixels}, DType::f32);
  const Tensor hidden = model_->decoder().forward(spliced.input, {}).hidden;
  const Tensor logits = model_->decoder().logits(hidden.slice(0, hidden.dim(0) - 1, hidden.dim(0)));
  const int32_t first = sample_token({logits.data<float>(), size_t(model_->tokenizer.vocab_size())}, ids, kGreedy, 0, 0);
  EXPECT_EQ(last.substr(0, model_->tokenizer.decode(std::vector{first}).size()), model_->tokenizer.decode(std::vector{first}));
}

}  // namespace
}  // namespace pumice
