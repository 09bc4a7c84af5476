// How a conversation is written down as one text, one row a template. Values of LLaVA-1.5 and MoE-LLaVA (conversation.py); chatml is Qwen2's.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

// With the answers a1, a2 to the questions q1, q2 the text is (what is trained on stands in brackets)
//   opening before_system SYSTEM after_system  question q1 after_question tag [gap a1 answer_end end]
//                                        next  question q2 after_question tag [gap a2 answer_end end] ...
// and a prompt stops after a tag. Without a system text neither before_system nor after_system is written.
struct ConversationTemplate {
  std::string_view name;
  std::string_view system;
  std::string_view before_system, after_system;
  std::string_view question, after_question;
  std::string_view tag, gap;
  std::string_view answer_end, end;
  std::string_view opening = "", next = "";
  std::string_view turn_token = "";  // another token that must be one in the vocabulary
  bool captions = false;             // "plain": of a question only its <image> is written, there is one turn, and `end` is text, not a token
};

std::span<const ConversationTemplate> conversation_templates();
std::vector<std::string> conversation_template_names();
// Throws UsageError listing the names, and the nearest.
const ConversationTemplate& conversation_template(const std::string& name);

}  // namespace pumice
