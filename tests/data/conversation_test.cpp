#include "pumice/data/conversation.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "pumice/data/conversation_templates.h"
#include "pumice/data/tokenizer/sentencepiece.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;
using Ids = std::vector<int32_t>;

const std::string kS = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
                       "answers to the user's questions.";

Tokenizer fixture(const std::string& name) { return Tokenizer::load(std::string(PUMICE_FIXTURES) + "/data/fixtures/tokenizer/" + name + ".json"); }

// A fixture with one more special token.
Tokenizer fixture_with(const std::string& name, const std::string& token) {
  auto json = parse_json(fixture(name).file());
  auto added = json["added_tokens"].back();
  added["content"] = token;
  added["id"] = 1000;
  json["added_tokens"].push_back(added);
  return Tokenizer::parse(json.dump(), name);
}

Conversation talk(const std::string& template_name, const std::vector<std::string>& texts) {
  Conversation c{.template_name = template_name, .messages = {}};
  for (size_t i = 0; i < texts.size(); ++i) { c.messages.push_back({i % 2 ? Role::assistant : Role::user, texts[i]}); }
  return c;
}

std::string with_system(const std::string& name, std::optional<std::string> system, const std::vector<std::string>& texts) {
  Conversation c = talk(name, texts);
  c.system = std::move(system);
  return prompt_of(c);
}

TEST(Conversation, TextsOfTheTemplates) {
  const std::vector<std::string> two_turns = {"<image>\nq1", "a1", "q2", "a2"};
  auto two = [&](const std::string& end) { return kS + " USER: <image>\nq1 ASSISTANT: a1" + end + "USER: q2 ASSISTANT: a2" + end; };
  for (const char* name : {"phi", "qwen", "stablelm"}) { EXPECT_EQ(prompt_of(talk(name, two_turns)), two("<|endoftext|>")) << name; }
  for (const char* name : {"v1", "vicuna_v1", "mistral", "minicpm"}) { EXPECT_EQ(prompt_of(talk(name, two_turns)), two("</s>")) << name; }
  EXPECT_EQ(prompt_of(talk("openchat", two_turns)), two("<|end_of_turn|>"));
  EXPECT_EQ(prompt_of(talk("llava_v1", {"q"})), "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
                                                "helpful, detailed, and polite answers to the human's questions. USER: q ASSISTANT:");
  EXPECT_EQ(prompt_of(talk("phi", {"<image>\nWhat is unusual about this image?"})),
            kS + " USER: <image>\nWhat is unusual about this image? ASSISTANT:");
  EXPECT_EQ(prompt_of(talk("plain", {"<image>\nProvide a caption.", "a kite"})), "<image>a kite\n");
  EXPECT_EQ(with_system("llama_2", "S", two_turns),
            "[INST] <<SYS>>\nS\n<</SYS>>\n\n<image>\nq1 [/INST] a1 </s><s>[INST] q2 [/INST] a2 </s>");
  EXPECT_EQ(with_system("llama_2", "", {"q"}), "[INST] q [/INST]");
  EXPECT_EQ(with_system("mpt", std::nullopt, two_turns),
            "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers."
            "<|im_end|><|im_start|>user\n<image>\nq1<|im_end|><|im_start|>assistant\na1<|im_end|><|im_start|>user\nq2<|im_end|>"
            "<|im_start|>assistant\na2<|im_end|>");
  EXPECT_EQ(with_system("chatml", std::nullopt, {"q1", "a1", "q2"}),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n"
            "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(with_system("phi", "", {"q"}), "USER: q ASSISTANT:");
  EXPECT_NE(prompt_of(talk("llama_2", {"q"})).find("<<SYS>>\nYou are a helpful, respectful and honest assistant."), std::string::npos);
  EXPECT_NE(prompt_of(talk("llava_llama_2", {"q"})).find("<<SYS>>\nYou are a helpful language and vision assistant."), std::string::npos);
}

TEST(Conversation, PiecesSayWhatIsTrainedOn) {
  const auto pieces = pieces_of(talk("llama_2", {"q1", "a1", "q2"}));
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_FALSE(pieces[0].supervised);
  EXPECT_TRUE(pieces[1].supervised);
  EXPECT_EQ(pieces[1].text, " a1 </s>");
  EXPECT_FALSE(pieces[2].supervised);
  EXPECT_EQ(pieces[2].text, "<s>[INST] q2 [/INST]");
}

// ---- The rule of LLaVA's preprocess functions: lengths of rounds that are tokenized again, counted along the whole.

Ids upstream_ids(const Tokenizer& t, std::string text) {
  Ids ids = t.prefix();
  for (bool first = true;; first = false) {
    const size_t at = text.find("<image>");
    if (!first) { ids.push_back(kImageToken); }
    const Ids chunk = t.encode(text.substr(0, at));
    ids.insert(ids.end(), chunk.begin(), chunk.end());
    if (at == std::string::npos) { return ids; }
    text = text.substr(at + 7);
  }
}

std::vector<std::string> split(const std::string& text, const std::string& by) {
  std::vector<std::string> parts;
  for (size_t at = 0;;) {
    const size_t end = text.find(by, at);
    parts.push_back(text.substr(at, end - at));
    if (end == std::string::npos) { return parts; }
    at = end + by.size();
  }
}

struct Upstream {
  std::string tag;  // between a question and its answer
  std::string end;
  int start, round_extra, instruction_less;
  bool mpt = false;
};
const Upstream kPhi{" ASSISTANT: ", "<|endoftext|>", 0, 1, 1};
const Upstream kV1{" ASSISTANT: ", "</s>", 1, 0, 2};
const Upstream kOpenchat{" ASSISTANT: ", "<|end_of_turn|>", 1, 0, 2};
const Upstream kLlama2{"[/INST] ", "</s>", 1, 0, 2};
const Upstream kMpt{"<|im_end|><|im_start|>assistant\n", "<|im_end|>", 0, 1, 0, true};

std::vector<std::string> rounds_of(const Upstream& rule, const std::string& text) {
  std::vector<std::string> all = split(text, rule.end);
  if (!rule.mpt) { return all; }
  std::vector<std::string> rounds = {all[0] + rule.end + all[1] + rule.end + all[2]};
  for (size_t i = 3; i < all.size(); i += 2) { rounds.push_back(i + 1 < all.size() ? all[i] + rule.end + all[i + 1] : all[i]); }
  return rounds;
}

// `mismatch` says that the whole sample was masked because the lengths did not add up.
Ids upstream_labels(const Tokenizer& t, const Upstream& rule, const std::string& text, bool& mismatch) {
  Ids labels = upstream_ids(t, text);
  size_t at = size_t(rule.start);
  std::fill(labels.begin(), labels.begin() + std::ptrdiff_t(at), kIgnoredLabel);
  for (const std::string& round : rounds_of(rule, text)) {
    const std::vector<std::string> parts = split(round, rule.tag);
    if (round.empty() || parts.size() != 2) { break; }
    const size_t length = upstream_ids(t, round).size() + size_t(rule.round_extra);
    const size_t instruction = upstream_ids(t, parts[0] + rule.tag).size() - size_t(rule.instruction_less);
    for (size_t i = at; i < std::min(at + instruction, labels.size()); ++i) { labels[i] = kIgnoredLabel; }
    at += length;
  }
  for (size_t i = at; i < labels.size(); ++i) { labels[i] = kIgnoredLabel; }
  mismatch = at != labels.size();
  if (mismatch) { labels.assign(labels.size(), kIgnoredLabel); }
  return labels;
}

const std::vector<std::vector<std::string>> kTalks = {
    {"<image>\nWhat is unusual about this image?", "A man irons on a taxi."},
    {"<image>\nWhat is it?", "A kite.", "Which colour?", "Red, it's 1 of 12.", "Where?", "Über \"den\" Bäumen \xf0\x9f\xaa\x81\nand far"},
    {"Look.\n<image>", "12 apples"},
    {"<image><image>\nWhich is older?", "The second", "Why?\n", "It's worn."},
    {"No picture at all?", "None"},
};

void expect_upstream(const Tokenizer& t, const std::string& template_name, const Upstream& rule) {
  for (const auto& texts : kTalks) {
    const Conversation c = talk(template_name, texts);
    const std::string text = prompt_of(c);
    bool mismatch = false;
    const Ids labels = upstream_labels(t, rule, text, mismatch);
    ASSERT_FALSE(mismatch) << template_name << ": " << text;
    const EncodedConversation e = encode_conversation(t, c);
    EXPECT_EQ(e.ids, upstream_ids(t, text)) << template_name << ": " << text;
    EXPECT_EQ(e.labels, labels) << template_name << ": " << text;
    EXPECT_FALSE(e.cut);
  }
}

TEST(Conversation, LabelsAreLlavasWhereItsCountsAddUp) {
  for (const char* name : {"phi", "qwen", "stablelm", "gpt2"}) { expect_upstream(fixture(name), "phi", kPhi); }
  for (const char* name : {"v1", "mistral", "minicpm", "llava_v1"}) { expect_upstream(fixture("llama"), name, kV1); }
  expect_upstream(fixture_with("llama", "<|end_of_turn|>"), "openchat", kOpenchat);
  expect_upstream(fixture("llama"), "llama_2", kLlama2);
  for (const char* name : {"qwen", "stablelm"}) { expect_upstream(fixture(name), "mpt", kMpt); }
}

TEST(Conversation, LabelsWithATokenizerTrainedHere) {
  const Tokenizer t = Tokenizer::train({kS, "USER: What is it? ASSISTANT: A kite. A man irons on a taxi."}, {.vocab_size = 320});
  expect_upstream(t, "phi", kPhi);
}

// preprocess_plain: everything after the beginning and the picture.
TEST(Conversation, PlainTrainsOnTheWholeCaption) {
  for (const char* name : {"llama", "phi"}) {
    const Tokenizer t = fixture(name);
    const EncodedConversation e = encode_conversation(t, talk("plain", {"<image>\nDescribe.", "two red apples"}));
    EXPECT_EQ(e.ids, upstream_ids(t, "<image>two red apples\n")) << name;
    Ids labels = e.ids;
    std::fill(labels.begin(), labels.begin() + std::ptrdiff_t(upstream_ids(t, "<image>").size()), kIgnoredLabel);
    EXPECT_EQ(e.labels, labels) << name;
    EXPECT_EQ(e.images, 1);
  }
}

// The text of each run of labels.
std::vector<std::string> answers_of(const Tokenizer& t, const EncodedConversation& e) {
  std::vector<std::string> answers;
  for (size_t begin = 0, end; begin < e.ids.size(); begin = end + 1) {
    for (end = begin; end < e.ids.size() && e.labels[end] != kIgnoredLabel; ++end) { EXPECT_EQ(e.labels[end], e.ids[end]); }
    if (end > begin) { answers.push_back(t.decode(std::span(e.ids).subspan(begin, end - begin))); }
  }
  return answers;
}

// ---- What upstream gets wrong.

TEST(Conversation, TokenizersWithoutLegacySpacesKeepTheirLabels) {
  const Tokenizer t = fixture("mistral");  // a space before the first word of a text only
  const Conversation c = talk("v1", {"<image>\nWhat?", "A kite.", "and?", "it's red", "More?", "None"});
  bool mismatch = false;
  upstream_labels(t, kV1, prompt_of(c), mismatch);
  const EncodedConversation e = encode_conversation(t, c);
  EXPECT_EQ(e.ids, upstream_ids(t, prompt_of(c)));
  EXPECT_EQ(answers_of(t, e), (std::vector<std::string>{"A kite.</s>", "it's red</s>", "None</s>"}));
  EXPECT_TRUE(mismatch) << "the fault that this is about: counts of rounds tokenized alone do not add up";
}

TEST(Conversation, AQuestionMayHoldWhatSeparatesTurns) {
  const Tokenizer t = fixture("phi");
  for (const char* question : {"Who says \"USER: x ASSISTANT: y\" here?", "What does <|endoftext|> mean?"}) {
    const Conversation c = talk("phi", {question, "I do."});
    bool mismatch = false;
    upstream_labels(t, kPhi, prompt_of(c), mismatch);
    EXPECT_TRUE(mismatch) << question;
    EXPECT_EQ(answers_of(t, encode_conversation(t, c)), (std::vector<std::string>{" I do.<|endoftext|>"})) << question;
  }
  EXPECT_EQ(answers_of(t, encode_conversation(t, talk("phi", {"q", "Say \"x ASSISTANT: y\"."}))),
            (std::vector<std::string>{" Say \"x ASSISTANT: y\".<|endoftext|>"}));
}

TEST(Conversation, AnswersThatBeginWithWhiteSpace) {
  for (const char* name : {"phi", "qwen", "stablelm", "llama", "mistral"}) {
    const Tokenizer t = fixture(name);
    const std::string kind = t.id_of("</s>") ? "v1" : "phi", end = t.id_of("</s>") ? "</s>" : "<|endoftext|>";
    for (const char* answer : {"\nnew line", "  indented", "\n\n- item\n- item "}) {
      const Conversation c = talk(kind, {"q", answer, "and?", answer});
      const EncodedConversation e = encode_conversation(t, c);
      EXPECT_EQ(e.ids, upstream_ids(t, prompt_of(c))) << name;
      const std::vector<std::string> answers = answers_of(t, e);
      ASSERT_EQ(answers.size(), 2u) << name;
      EXPECT_NE(answers[0].find(std::string(answer) + end), std::string::npos) << name << ": " << answers[0];
      EXPECT_EQ(answers[0], answers[1]) << name;
    }
  }
}

TEST(Conversation, APromptHasTheIdsItHadInTraining) {
  for (const char* name : {"phi", "qwen", "stablelm", "neox", "llama", "mistral"}) {
    const Tokenizer t = fixture(name);
    for (const ConversationTemplate& form : conversation_templates()) {
      if (form.captions || !t.id_of(std::string(form.end)) || (!form.turn_token.empty() && !t.id_of(std::string(form.turn_token)))) { continue; }
      const std::string kind(form.name);
      const EncodedConversation e = encode_conversation(t, talk(kind, {"<image>\nWhat?", "\n\n1 kite", "and?", "red"}));
      for (const auto& texts : {std::vector<std::string>{"<image>\nWhat?"}, {"<image>\nWhat?", "\n\n1 kite", "and?"}}) {
        const Ids prompt = encode_prompt(t, talk(kind, texts));
        ASSERT_LT(prompt.size(), e.ids.size());
        EXPECT_EQ(prompt, Ids(e.ids.begin(), e.ids.begin() + std::ptrdiff_t(prompt.size()))) << name << " " << kind;
        EXPECT_EQ(e.labels[prompt.size() - 1], kIgnoredLabel);
        EXPECT_NE(e.labels[prompt.size()], kIgnoredLabel) << name << " " << kind << ": the answer begins right after its prompt";
      }
      EXPECT_EQ(e.ids[e.ids.size() - 1], end_of_answer(t, kind));
    }
  }
}

// "assistant\n" and "\n\nlist" meet in one token, in which no prompt ends: labels by counts would mask a part of the answer with it.
TEST(Conversation, ATokenAcrossTheBorderOfAnAnswerIsNotTaken) {
  auto json = parse_json(Tokenizer::train({"a\n\n", "b\n\n", "c\n\n"}, {.vocab_size = 258}).file());
  for (const char* token : {"<|im_start|>", "<|im_end|>"}) {
    auto added = json["added_tokens"][0];
    added["content"] = token;
    added["id"] = 300 + int(json["added_tokens"].size());
    json["added_tokens"].push_back(added);
  }
  const Tokenizer t = Tokenizer::parse(json.dump(), "t.json");
  ASSERT_EQ(t.encode("t\n\n").size(), 2u);
  const Conversation c = talk("mpt", {"q", "\n\nlist", "q", "\nx"});
  const EncodedConversation e = encode_conversation(t, c);
  EXPECT_EQ(answers_of(t, e), (std::vector<std::string>{"\n\nlist<|im_end|>", "\nx<|im_end|>"}));
  Conversation open = talk("mpt", {"q"});
  const Ids prompt = encode_prompt(t, open);
  EXPECT_EQ(prompt, Ids(e.ids.begin(), e.ids.begin() + std::ptrdiff_t(prompt.size())));
  EXPECT_NE(e.ids, upstream_ids(t, prompt_of(c))) << "the whole text does have a token across the border";
}

TEST(Conversation, TheBeginningOfTextStandsThereOnce) {
  const Tokenizer t = fixture("llama");
  const EncodedConversation e = encode_conversation(t, talk("v1", {"<image>\nq <image>", "a", "q", "a"}));
  EXPECT_EQ(std::count(e.ids.begin(), e.ids.end(), 1), 1);
  EXPECT_EQ(e.images, 2);
  Conversation own = talk("v1", {"q", "a"});
  own.system = "<s>Be brief.";
  EXPECT_EQ(encode_conversation(t, own).ids[0], 1);
  EXPECT_NE(encode_conversation(t, own).ids[1], 1);
}

TEST(Conversation, CutAnswersAndPictures) {
  const Tokenizer t = fixture("llama");
  const Conversation c = talk("v1", {"q", "a b c d e f g", "<image>\nmore", "x"});
  const EncodedConversation whole = encode_conversation(t, c);
  const int64_t first = std::find_if(whole.labels.begin(), whole.labels.end(), [](int32_t x) { return x != kIgnoredLabel; }) - whole.labels.begin();
  const EncodedConversation e = encode_conversation(t, c, {.max_length = first + 3, .images = 1});
  EXPECT_TRUE(e.cut);
  EXPECT_EQ(e.ids, Ids(whole.ids.begin(), whole.ids.begin() + first + 3));
  EXPECT_EQ(e.labels, Ids(whole.labels.begin(), whole.labels.begin() + first + 3));
  EXPECT_EQ(whole.images, 1);
  EXPECT_EQ(e.images, 0) << "the picture was cut off: splicing it would shift those of the next samples";
  EXPECT_FALSE(encode_conversation(t, c, {.max_length = int64_t(whole.ids.size())}).cut);
  Conversation named = c;
  named.name = "train.json sample 17";
  EXPECT_EQ(message_of<FormatError>([&] { encode_conversation(t, named, {.max_length = first}); }),
            concat_text("[conversation] train.json sample 17: the first answer begins at id ", first, " of ", whole.ids.size(),
                        ", and the length limit ", first, " leaves nothing to train on; raise the limit or leave the sample out"));
}

TEST(Conversation, SentencePieceModels) {
#ifndef PUMICE_PLUGIN
  GTEST_SKIP() << "built without the SentencePiece plug-in";
#else
  setenv("PUMICE_SENTENCEPIECE", PUMICE_PLUGIN, 1);
  const Tokenizer t = Tokenizer::load(std::string(PUMICE_FIXTURES) + "/data/fixtures/tokenizer/bpe.model");
  const EncodedConversation e = encode_conversation(t, talk("v1", {"<image>\nWhat?", "two red apples", "and?", "it's"}));
  EXPECT_EQ(e.ids[0], *t.id_of("<s>"));
  EXPECT_EQ(std::count(e.ids.begin(), e.ids.end(), *t.id_of("</s>")), 2) << "the token, though the model itself reads its spelling as text";
  EXPECT_EQ(std::count(e.labels.begin(), e.labels.end(), *t.id_of("</s>")), 2);
  Ids answer = t.encode("two red apples");
  answer.push_back(*t.id_of("</s>"));
  const auto begin = std::find_if(e.labels.begin(), e.labels.end(), [](int32_t x) { return x != kIgnoredLabel; });
  EXPECT_EQ(Ids(begin, begin + std::ptrdiff_t(answer.size())), answer);
  EXPECT_EQ(message_of<UsageError>([&] { encode_conversation(t, talk("llama_2", {"q", "a"})); }),
            "[conversation] the template 'llama_2' begins turns with <s>, which this tokenizer does not read as one token. "
            "Templates that go with it: plain, mistral, minicpm, v1, vicuna_v1, llava_v1");
#endif
}

// ---- Wrong input.

TEST(Conversation, WrongMessagesAreNamed) {
  auto message = [](Conversation c) {
    c.name = "x.json sample 3";
    return message_of<FormatError>([&] { encode_conversation(fixture("phi"), c); });
  };
  EXPECT_EQ(message(talk("phi", {})), "[conversation] x.json sample 3: there are no messages");
  const std::string alternate = "; questions and answers must alternate, beginning with the user";
  Conversation twice = talk("phi", {"q", "a"});
  twice.messages.push_back({Role::assistant, "b"});
  EXPECT_EQ(message(twice), "[conversation] x.json sample 3: message 3 is the assistant's" + alternate);
  twice.messages.erase(twice.messages.begin());
  EXPECT_EQ(message(twice), "[conversation] x.json sample 3: message 1 is the assistant's" + alternate);
  EXPECT_EQ(message(talk("phi", {"q", " \n"})), "[conversation] x.json sample 3: message 2 is an answer without text; leave the turn out");
  EXPECT_EQ(message(talk("phi", {"q", "see <image>"})),
            "[conversation] x.json sample 3: message 2 is an answer that holds <image>: pictures belong to questions, and the model cannot "
            "write one");
  EXPECT_EQ(message(talk("phi", {"q", "a", "q", "x<|endoftext|>y"})),
            "[conversation] x.json sample 3: message 4 is an answer that holds <|endoftext|>, the token that ends answers of the template 'phi': the "
            "model would learn to stop there; spell it differently");
  EXPECT_EQ(message(talk("phi", {"q"})), "[conversation] x.json sample 3 ends with a question; training needs its answer");
  EXPECT_EQ(message(talk("plain", {"q", "a"})),
            "[conversation] x.json sample 3 has 2 messages and 0 <image> in the first; the template 'plain' is for pictures with one caption: "
            "<image> and its caption");
  EXPECT_NE(message(talk("plain", {"<image>", "a", "q", "a"})).find("has 4 messages and 1 <image>"), std::string::npos);
  EXPECT_EQ(message_of<FormatError>([&] { encode_prompt(fixture("phi"), talk("phi", {"q", "a"})); }),
            "[conversation] the conversation ends with an answer; a prompt ends with a question");
}

// A model says what it says; the conversation goes on.
TEST(Conversation, AnOpenConversationHoldsAnyAnswer) {
  const Tokenizer t = fixture("phi");
  const std::vector<int32_t> empty = encode_prompt(t, talk("phi", {"<image>q", "", "q"}), 1);
  EXPECT_EQ(std::count(empty.begin(), empty.end(), kImageToken), 1);
  const std::vector<int32_t> spelled = encode_prompt(t, talk("phi", {"<image>q", "see <image>", "q"}), 1);
  EXPECT_EQ(std::count(spelled.begin(), spelled.end(), kImageToken), 1) << "the spelling in an answer is no picture";
  EXPECT_NO_THROW(encode_prompt(t, talk("phi", {"q", "x<|endoftext|>y", "q"}), 0));
}

TEST(Conversation, PicturesAreCounted) {
  const Tokenizer t = fixture("phi");
  EXPECT_EQ(count_images("<image> and <image>"), 2);
  EXPECT_EQ(message_of<FormatError>([&] { encode_conversation(t, talk("phi", {"<image><image>q", "a"}), {.images = 1}); }),
            "[conversation] the conversation has 1 picture and 2 <image> in its questions; one is required for each");
  EXPECT_EQ(message_of<FormatError>([&] { encode_prompt(t, talk("phi", {"q"}), 2); }),
            "[conversation] the conversation has 2 pictures and 0 <image> in its questions; one is required for each");
  EXPECT_EQ(encode_conversation(t, talk("phi", {"q", "a"}), {.images = 0}).images, 0);
}

TEST(Conversation, WrongTemplatesAreNamed) {
  EXPECT_EQ(message_of<UsageError>([] { prompt_of(talk("stabelm", {"q"})); }),
            "[conversation] there is no template 'stabelm'. Templates: plain, phi, qwen, stablelm, openchat, mistral, minicpm, v1, vicuna_v1, "
            "llava_v1, llama_2, llava_llama_2, mpt, chatml. Did you mean 'stablelm'?");
  EXPECT_EQ(message_of<UsageError>([] { encode_conversation(fixture("phi"), talk("v1", {"q", "a"})); }),
            "[conversation] the template 'v1' ends answers with </s>, which this tokenizer has no token for. Templates that go with it: plain, phi, "
            "qwen, stablelm");
  EXPECT_EQ(message_of<UsageError>([] { end_of_answer(fixture("phi"), "plain"); }),
            "[conversation] the template 'plain' has no token that ends an answer");
  EXPECT_EQ(message_of<UsageError>([] { encode_conversation(fixture("phi"), talk("phi", {"q", "a"}), {.max_length = 0}); }),
            "[conversation] the length limit must be positive, got 0");
}

}  // namespace
}  // namespace pumice
