#include "pumice/train/answerer.h"

#include <chrono>
#include <map>
#include <memory>

#include "pumice/data/conversation_templates.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

// The question with an <image> for each picture.
std::string question_of(const LanguageModel& model, const std::string& question, const std::vector<Image>& images) {
  REQUIRE(UsageError, !model.conversation.empty(), model.directory, ": no conversation template is known for this model: name one with --conv-mode (",
          join(conversation_template_names()), "), or continue a text as it is");
  REQUIRE(UsageError, images.empty() || model.sees(), model.directory, ": this model reads text alone, not pictures");
  std::string text = question;
  for (int64_t missing = int64_t(images.size()) - count_images(question); missing > 0; --missing) { text = std::string(kImageText) + "\n" + text; }
  return text;
}

// Of a conversation that ends with a question.
Generation answer_to(const LanguageModel& model, const Conversation& conversation, const std::vector<Tensor>& pixels,
                     const SamplingOptions& sampling) {
  Generation text{.ids = encode_prompt(model.tokenizer, conversation, int64_t(pixels.size())), .pixels = pixels, .sampling = sampling};
  text.sampling.end_tokens.push_back(end_of_answer(model.tokenizer, model.conversation));
  return text;
}

Generation continued(const LanguageModel& model, const std::string& text, const SamplingOptions& sampling) {
  std::vector<int32_t> ids = model.tokenizer.prefix();
  for (int32_t id : model.tokenizer.encode(text)) { ids.push_back(id); }
  REQUIRE(UsageError, !ids.empty(), "a text to continue is required: the prompt is empty");
  return {.ids = ids, .sampling = sampling};
}

Generation of_prompt(const LanguageModel& model, const BatchOptions& options, const Prompt& prompt) {
  if (options.raw) { return continued(model, prompt.text, options.sampling); }
  const std::string question = question_of(model, prompt.text, prompt.images);
  const Conversation c{.template_name = model.conversation, .messages = {{Role::user, question}}, .name = "the prompt"};
  std::vector<Tensor> pixels;
  for (const Image& image : prompt.images) { pixels.push_back(picture_tensor(image, model.pictures)); }
  return answer_to(model, c, pixels, options.sampling);
}

}  // namespace

Answerer::Answerer(const LanguageModel& model) : model_(model), generator_(model, 1) { clear(); }

void Answerer::clear() {
  conversation_ = {.template_name = model_.conversation, .name = "the conversation"};
  pixels_.clear();
  generator_.forget(0);
}

AnswerReport Answerer::ask(const std::string& question, const std::vector<Image>& images, const SamplingOptions& sampling,
                           const std::function<bool(const std::string&)>& on_text) {
  const std::string text = question_of(model_, question, images);
  const size_t messages = conversation_.messages.size(), pictures = pixels_.size();
  conversation_.messages.push_back({Role::user, text});
  try {
    for (const Image& image : images) { pixels_.push_back(picture_tensor(image, model_.pictures)); }
    Generation answer = answer_to(model_, conversation_, pixels_, sampling);
    generate(answer, on_text);
    conversation_.messages.push_back({Role::assistant, trimmed(answer.answer)});  // templates bring the space before it
    return answer.report;
  } catch (...) {  // the conversation goes on as if the question had not been asked
    conversation_.messages.resize(messages);
    pixels_.resize(pictures);
    throw;
  }
}

AnswerReport Answerer::complete(const std::string& text, const SamplingOptions& sampling, const std::function<bool(const std::string&)>& on_text) {
  clear();
  Generation continuation = continued(model_, text, sampling);
  generate(continuation, on_text);
  return continuation.report;
}

void Answerer::generate(Generation& text, const std::function<bool(const std::string&)>& on_text) {
  text.number = answers_;
  text.stops = stops_;
  text.on_text = on_text;
  generator_.begin(0, text);
  while (generator_.step()) {}
  ++answers_;
}

BatchReport answer_prompts(const LanguageModel& model, const BatchOptions& options, const std::function<std::optional<Prompt>()>& next,
                           const std::function<void(const std::string& answer, const AnswerReport& report)>& on_answer) {
  const auto start = std::chrono::steady_clock::now();
  Generator generator(model, options.places);
  std::vector<std::unique_ptr<Generation>> texts(size_t(options.places));  // by place
  std::map<int64_t, std::unique_ptr<Generation>> ended;                    // by number; they wait for those before them
  BatchReport report;
  const auto fill = [&](int64_t place, int64_t number, const Prompt& prompt) {
    try {
      Generation text = of_prompt(model, options, prompt);
      text.number = number;
      text.stops = options.stops;
      text.on_text = [&](const std::string&) { return options.go_on(); };
      texts[size_t(place)] = std::make_unique<Generation>(std::move(text));
      generator.forget(place);  // what is left of another text would change how this one is cut, and so its last bits
      generator.begin(place, *texts[size_t(place)]);
    } catch (const UsageError& e) { throw UsageError(prompt.name + ": " + e.what()); }
    catch (const FormatError& e) { throw FormatError(prompt.name + ": " + e.what()); }
  };
  bool more = true;
  int64_t begun = 0;
  do {
    for (int64_t place = 0; place < options.places; ++place) {
      std::unique_ptr<Generation>& text = texts[size_t(place)];
      if (text && !generator.busy(place)) {
        report.stopped = report.stopped || text->report.stopped;
        const int64_t number = text->number;
        ended.emplace(number, std::move(text));
      }
    }
    for (int64_t place = 0; place < options.places && more && !report.stopped; ++place) {
      if (generator.busy(place)) { continue; }
      const std::optional<Prompt> prompt = next();
      more = prompt.has_value();
      if (more) { fill(place, begun++, *prompt); }
    }
    while (!ended.empty() && ended.begin()->first == report.answers && !ended.begin()->second->report.stopped) {
      const auto first = ended.extract(ended.begin());
      const Generation& text = *first.mapped();
      report.answers += 1;
      report.prompt_tokens += text.report.prompt_tokens;
      report.new_tokens += text.report.new_tokens;
      on_answer(text.answer, text.report);
    }
  } while (!report.stopped && generator.step());
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace pumice
