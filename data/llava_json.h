// Conversations as LLaVA and MoE-LLaVA are trained on them, a JSON list of samples or JSONL, a sample a line:
//   {"id": "0", "image": "a/b.jpg", "conversations": [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}, ...]}
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pumice/data/conversation.h"
#include "pumice/data/source_problems.h"

namespace pumice {

struct LlavaSample {
  std::string id;                     // a number as text; "" when the file gives none
  std::vector<std::string> images;    // paths relative to the picture folder, as many as <image> in the questions; none: text alone
  std::vector<Message> messages;      // questions and answers by turns, an answer last
  std::optional<std::string> system;  // of a first entry "from": "system"
  std::string place;                  // "train.json[17] (id 0)", "train.jsonl line 18 (id 0)"

  Conversation conversation(const std::string& template_name) const { return {template_name, messages, system, place}; }
};

struct LlavaFile {
  std::vector<LlavaSample> samples;  // those in order
  SourceProblems problems;           // the others, and an answer that stood first and was dropped, as LLaVA drops it
  int64_t given = 0;                 // samples in the file
  int64_t text_only = 0;             // of `samples`
};

// "image" is a path, a list of them, or absent; roles are human or user, and gpt or assistant. A sample is left out and named when its messages do
// not alternate, it ends with a question, an answer is empty or holds <image>, it has another number of <image> than of pictures, or its
// pictures are a video. Throws FormatError when the text is of another kind, or no sample is in order; the message has the first problem.
LlavaFile parse_llava(std::string_view text, const std::string& name);

// Whether a file is one of these, from its name and first byte: .jsonl, or .json with a list.
bool is_llava_file(const std::string& path);

}  // namespace pumice
