// What `data check` and `data inspect` do with a file of conversations.
#pragma once
#include <cstdint>
#include <string>

namespace pumice {

struct ConversationSettings {
  std::string tokenizer;            // none: ids are not looked at
  std::string template_name = "v1";
  int64_t max_length = 2048;
};

// Reads every sample and picture, prints the first `shown` problems of each kind and the counts. Pictures are relative to `folder`, or to the
// file. Returns the exit code: 1 when something is wrong.
int check_conversations(const std::string& path, const std::string& folder, int64_t shown, const ConversationSettings& options);

// Prints samples `start` to `start + count - 1` line by line: "|" before what the model is given, ">" before what it is trained on. With a tokenizer
// the latter are tokens in brackets. Throws UsageError when there is no such sample.
void inspect_conversations(const std::string& path, int64_t start, int64_t count, const ConversationSettings& options);

}  // namespace pumice
