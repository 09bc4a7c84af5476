// Questions and texts for a language model: one conversation, or many prompts side by side.
//
//   Answerer answerer(model);
//   answerer.ask("What is this?", {picture}, sampling, [](const std::string& text) { print(text); return true; });
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "pumice/data/conversation.h"
#include "pumice/data/image.h"
#include "pumice/train/generator.h"

namespace pumice {

// One text continued. What has been read stays in a cache: of the next prompt only what differs from there on is read. The model must outlive it.
class Answerer {
 public:
  explicit Answerer(const LanguageModel& model);

  // Asks in the conversation so far; the answer joins it. `images` in the order of <image> in the question, which gets one in front for each that it
  // does not mention. `on_text` is Generation's: false stops the answer, which then ends there. Throws UsageError for pictures to a model that
  // reads text alone, and when no template is known for the model.
  AnswerReport ask(const std::string& question, const std::vector<Image>& images, const SamplingOptions& sampling,
                   const std::function<bool(const std::string&)>& on_text);
  // The same of a text without a template.
  AnswerReport complete(const std::string& text, const SamplingOptions& sampling, const std::function<bool(const std::string&)>& on_text);
  void clear();
  void stop_at(std::vector<std::string> strings) { stops_ = std::move(strings); }  // answers end before any of them
  const std::vector<Message>& messages() const { return conversation_.messages; }

 private:
  void generate(Generation& text, const std::function<bool(const std::string&)>& on_text);

  const LanguageModel& model_;
  Generator generator_;
  Conversation conversation_;
  std::vector<Tensor> pixels_;  // of every picture of the conversation
  std::vector<std::string> stops_;
  int64_t answers_ = 0;
};

struct Prompt {
  std::string name;                // "questions.jsonl:3", in errors
  std::string text;
  std::vector<Image> images = {};  // as in Answerer::ask
};

struct BatchOptions {
  SamplingOptions sampling;
  std::vector<std::string> stops = {};
  bool raw = false;    // continue texts as they are, without a template
  int64_t places = 16;  // prompts side by side
  std::function<bool()> go_on = [] { return true; };  // asked at every step
};

struct BatchReport {
  int64_t answers = 0, prompt_tokens = 0, new_tokens = 0;  // of what was given to on_answer
  double seconds = 0;
  bool stopped = false;  // go_on said so
};

// Answers prompts as `next` gives them, until it gives none: when one is answered, the next takes its place. on_answer receives the text and what it
// cost, in the order of the prompts. However many places there are, prompt i, counted from 0, is answered as an Answerer that has cleared its
// conversation answers its question i. Throws what Answerer does, the prompt's name in front, and what the functions throw.
BatchReport answer_prompts(const LanguageModel& model, const BatchOptions& options, const std::function<std::optional<Prompt>()>& next,
                           const std::function<void(const std::string& answer, const AnswerReport& report)>& on_answer);

}  // namespace pumice
