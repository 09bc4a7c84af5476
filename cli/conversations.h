// What `data check` does with a file of conversations.
#pragma once
#include <cstdint>
#include <string>

namespace pumice {

struct ConversationCheck {
  std::string tokenizer;            // none: ids are not looked at
  std::string template_name = "v1";
  int64_t max_length = 2048;
};

// Reads every sample and picture, prints the first `shown` problems of each kind and the counts. Pictures are relative to `folder`, or to the
// file. Returns the exit code: 1 when something is wrong.
int check_conversations(const std::string& path, const std::string& folder, int64_t shown, const ConversationCheck& options);

}  // namespace pumice
