// Conversations about pictures: as text, and as the ids and labels that a language model is trained on.
//
//   Conversation c{.template_name = "phi", .messages = {{Role::user, "<image>\nWhat is this?"}, {Role::assistant, "A kite."}}};
//   auto [ids, labels, images, cut] = encode_conversation(tokenizer, c);
//   ids    "... USER: " -200 "\nWhat is this? ASSISTANT:" " A kite." <|endoftext|>
//   labels  -100 ...                                -100  " A kite." <|endoftext|>
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pumice/data/tokenizer.h"

namespace pumice {

constexpr std::string_view kImageText = "<image>";  // stands for a picture in a message
constexpr int32_t kImageToken = -200;               // and in ids; it is no row of the embedding
constexpr int32_t kIgnoredLabel = -100;

enum class Role { user, assistant };
struct Message { Role role; std::string text; };

struct Conversation {
  std::string template_name;             // of conversation_templates.h
  std::vector<Message> messages;         // a question of the user, its answer, the next question ...
  std::optional<std::string> system = {};  // instead of the template's own; "" for none
  std::string name = {};                 // "train.json sample 17", in errors
};

struct ConversationPiece { std::string text; bool supervised; };

// The text in pieces, prompts and answers by turns; an answer includes the space before it and its end token. After a last message of the user
// the text is open: it stops where the answer begins ("... ASSISTANT:"). Throws UsageError for an unknown template and FormatError when messages
// do not alternate or the first is not the user's, and, unless the text is open, for an answer that is empty, holds <image> or holds the template's
// end token: a model may have said that, but none should learn it.
std::vector<ConversationPiece> pieces_of(const Conversation& conversation);
std::string prompt_of(const Conversation& conversation);  // the pieces in a row

struct ConversationOptions {
  int64_t max_length = 2048;  // ids, of which a picture is one; what is longer is cut at its end
  int64_t images = -1;        // how many <image> there must be; -1: any number
};

struct EncodedConversation {
  std::vector<int32_t> ids;     // [T], kImageToken where a picture belongs
  std::vector<int32_t> labels;  // [T], not shifted: ids[t] where it is trained on, elsewhere kIgnoredLabel
  int64_t images = 0;           // kImageToken in ids: pictures after these were cut off and must not be spliced in
  bool cut = false;
};

// For training. Every piece is encoded as it stands in the whole text (at the beginning, after a token, after a tag), so labels are known and
// not found by counting, and a prompt that is encoded alone has the same ids. Text after a picture is encoded like a text of its own, as
// LLaVA's tokenizer_image_token does. The beginning-of-text token of the tokenizer stands in front, once. Throws
// what pieces_of() does; FormatError for another number of <image> than there are pictures, for a last message of the user, and when the length
// leaves nothing to train on; UsageError when the vocabulary lacks a token of the template.
EncodedConversation encode_conversation(const Tokenizer& tokenizer, const Conversation& conversation, const ConversationOptions& options = {});

// For generation: the ids of an open conversation, not cut. Throws FormatError when the last message is not the user's.
std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, const Conversation& conversation, int64_t images = -1);

// The token that ends an answer. Throws UsageError when the vocabulary lacks it, and for "plain", which has none.
int32_t end_of_answer(const Tokenizer& tokenizer, const std::string& template_name);

// What no template could write: messages that do not alternate, an answer without text or with <image>. "message 2 is ..."; "" when all is well.
std::string fault_of(const std::vector<Message>& messages);

// How often <image> stands in `text`.
int64_t count_images(std::string_view text);

}  // namespace pumice
