#include "pumice/data/conversation_templates.h"

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

constexpr std::string_view kUser = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
                                   "and polite answers to the user's questions.";
constexpr std::string_view kHuman = "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, "
                                    "and polite answers to the human's questions.";
constexpr std::string_view kLlama2 =
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  Your answers should not "
    "include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. Please ensure that your responses are socially "
    "unbiased and positive in nature.\n\nIf a question does not make any sense, or is not factually coherent, explain why instead of answering "
    "something not correct. If you don't know the answer to a question, please don't share false information.";
constexpr std::string_view kLlavaLlama2 =
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, and assist the user "
    "with a variety of tasks using natural language.";
constexpr std::string_view kMpt =
    "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers.";

// Separator style TWO.
constexpr ConversationTemplate two(std::string_view name, std::string_view system, std::string_view end) {
  return {.name = name, .system = system, .before_system = "", .after_system = " ", .question = "USER: ", .after_question = " ",
          .tag = "ASSISTANT:", .gap = " ", .answer_end = "", .end = end};
}

// Separator style LLAMA_2: the system text is part of the first question.
constexpr ConversationTemplate llama_2(std::string_view name, std::string_view system) {
  return {.name = name, .system = system, .before_system = "<<SYS>>\n", .after_system = "\n<</SYS>>\n\n", .question = "", .after_question = " ",
          .tag = "[/INST]", .gap = " ", .answer_end = " ", .end = "</s>", .opening = "[INST] ", .next = "<s>[INST] ", .turn_token = "<s>"};
}

// Separator style MPT, and ChatML, where a line ends after each message.
constexpr ConversationTemplate im_end(std::string_view name, std::string_view system, std::string_view after, std::string_view next) {
  return {.name = name, .system = system, .before_system = "<|im_start|>system\n", .after_system = after, .question = "<|im_start|>user\n",
          .after_question = after, .tag = "<|im_start|>assistant\n", .gap = "", .answer_end = "", .end = "<|im_end|>", .next = next,
          .turn_token = "<|im_start|>"};
}

constexpr ConversationTemplate kTemplates[] = {
    {.name = "plain", .system = "", .before_system = "", .after_system = "", .question = "", .after_question = "", .tag = "", .gap = "",
     .answer_end = "", .end = "\n", .captions = true},
    two("phi", kUser, "<|endoftext|>"),
    two("qwen", kUser, "<|endoftext|>"),
    two("stablelm", kUser, "<|endoftext|>"),
    two("openchat", kUser, "<|end_of_turn|>"),
    two("mistral", kUser, "</s>"),
    two("minicpm", kUser, "</s>"),
    two("v1", kUser, "</s>"),
    two("vicuna_v1", kUser, "</s>"),
    two("llava_v1", kHuman, "</s>"),
    llama_2("llama_2", kLlama2),
    llama_2("llava_llama_2", kLlavaLlama2),
    im_end("mpt", kMpt, "<|im_end|>", ""),
    im_end("chatml", "You are a helpful assistant.", "<|im_end|>\n", "\n"),
};

}  // namespace

std::span<const ConversationTemplate> conversation_templates() { return kTemplates; }

std::vector<std::string> conversation_template_names() {
  std::vector<std::string> names;
  for (const ConversationTemplate& t : kTemplates) { names.emplace_back(t.name); }
  return names;
}

const ConversationTemplate& conversation_template(const std::string& name) {
  for (const ConversationTemplate& t : kTemplates) {
    if (t.name == name) { return t; }
  }
  const std::vector<std::string> names = conversation_template_names();
  throw UsageError(concat_text("[conversation] there is no template '", name, "'. Templates: ", join(names), ".", did_you_mean(name, names)),
                   __FILE__, __LINE__);
}

}  // namespace pumice
