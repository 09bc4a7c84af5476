#include "pumice/data/conversation.h"

#include <algorithm>

#include "pumice/data/conversation_templates.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

std::string place_of(const Conversation& c) { return "[conversation] " + (c.name.empty() ? "the conversation" : c.name); }

std::string fault_in_turns(const std::vector<Message>& messages) {
  if (messages.empty()) { return "there are no messages"; }
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool user = messages[i].role == Role::user;
    if (user == (i % 2 == 0)) { continue; }
    return concat_text("message ", i + 1, " is ", user ? "the user's" : "the assistant's", "; questions and answers must alternate, beginning with the user");
  }
  return "";
}

void check_messages(const Conversation& c, const ConversationTemplate& t) {
  const bool open = c.messages.size() % 2 == 1;  // its answers are what a model said, whatever that was; otherwise one is to learn from them
  const std::string fault = open ? fault_in_turns(c.messages) : fault_of(c.messages);
  REQUIRE(FormatError, fault.empty(), place_of(c), ": ", fault);
  REQUIRE(FormatError, !t.captions || (c.messages.size() <= 2 && count_images(c.messages[0].text) > 0), place_of(c), " has ", c.messages.size(),
          " messages and ", count_images(c.messages[0].text), " ", kImageText, " in the first; the template '", t.name,
          "' is for pictures with one caption: ", kImageText, " and its caption");
  for (size_t i = 1; i < c.messages.size() && !t.captions && !open; i += 2) {
    REQUIRE(FormatError, c.messages[i].text.find(t.end) == std::string::npos, place_of(c), ": message ", i + 1, " is an answer that holds ", t.end,
            ", the token that ends answers of the template '", t.name, "': the model would learn to stop there; spell it differently");
  }
}

// What the template writes for the question `index`, up to where its answer begins.
std::string question_of(const Conversation& c, const ConversationTemplate& t, size_t index) {
  std::string text;
  if (index == 0) {
    const std::string system = c.system.value_or(std::string(t.system));
    text = t.opening;
    if (!system.empty()) { text.append(t.before_system).append(system).append(t.after_system); }
  } else {
    text = t.next;
  }
  text += t.question;
  if (t.captions) {
    for (int64_t i = 0; i < count_images(c.messages[index].text); ++i) { text += kImageText; }
  } else {
    text += c.messages[index].text;
  }
  return text.append(t.after_question).append(t.tag);
}

std::vector<std::string_view> split_at_images(std::string_view text) {
  std::vector<std::string_view> chunks;
  for (size_t at; (at = text.find(kImageText)) != std::string_view::npos; text.remove_prefix(at + kImageText.size())) {
    chunks.push_back(text.substr(0, at));
  }
  chunks.push_back(text);
  return chunks;
}

// The ids of `text` where it stands right after `before`. Tokenizers that put a space before a text, or look at whether it is the first, take
// both together differently than `text` alone. Where a token would reach across the border the two are encoded on their own, as a prompt is.
std::vector<int32_t> encode_after(const Tokenizer& tokenizer, const std::string& before, const std::string& text) {
  if (before.empty()) { return tokenizer.encode(text); }
  const std::vector<int32_t> head = tokenizer.encode(before), both = tokenizer.encode(before + text);
  if (both.size() < head.size() || !std::equal(head.begin(), head.end(), both.begin())) { return tokenizer.encode(text); }
  return {both.begin() + std::ptrdiff_t(head.size()), both.end()};
}

// Which token begins a text. tokenizer.json says so; a SentencePiece model does not, and every model of the Llama family that comes as one begins
// with <s>.
std::vector<int32_t> beginning_of(const Tokenizer& tokenizer) {
  if (!tokenizer.prefix().empty() || tokenizer.kind() != "SentencePiece") { return tokenizer.prefix(); }
  const auto bos = tokenizer.id_of("<s>");
  return bos ? std::vector<int32_t>{*bos} : std::vector<int32_t>{};
}

// Whether the spelling of a token is read as that token.
bool is_token(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text).size() == 1 && tokenizer.id_of(std::string(text));
}

std::string templates_for(const Tokenizer& tokenizer) {
  std::vector<std::string> names;
  for (const ConversationTemplate& t : conversation_templates()) {
    const bool turns = t.turn_token.empty() || is_token(tokenizer, t.turn_token);
    if (t.captions || (turns && tokenizer.id_of(std::string(t.end)))) { names.emplace_back(t.name); }
  }
  return join(names);
}

int32_t end_token(const Tokenizer& tokenizer, const ConversationTemplate& t) {
  const auto id = tokenizer.id_of(std::string(t.end));
  REQUIRE(UsageError, id, "[conversation] the template '", t.name, "' ends answers with ", t.end, ", which this tokenizer has no token for. ",
          "Templates that go with it: ", templates_for(tokenizer));
  return *id;
}

class Encoder {
 public:
  Encoder(const Tokenizer& tokenizer, const ConversationTemplate& t) : tokenizer_(tokenizer), template_(t) {
    if (t.captions) { return; }
    end_ = end_token(tokenizer, t);
    end_in_text_ = is_token(tokenizer, t.end);
    REQUIRE(UsageError, t.turn_token.empty() || is_token(tokenizer, t.turn_token), "[conversation] the template '", t.name,
            "' begins turns with ", t.turn_token, ", which this tokenizer does not read as one token. ",
            "Templates that go with it: ", templates_for(tokenizer));
  }

  EncodedConversation encode(const std::vector<ConversationPiece>& pieces) {
    out_ = {};
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].supervised) { add_answer(pieces[i].text); } else { add_prompt(pieces[i].text, i == 0); }
    }
    return std::move(out_);
  }

 private:
  void add_prompt(const std::string& text, bool first) {
    const std::vector<std::string_view> chunks = split_at_images(text);
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (i > 0) {
        add({kImageToken}, false);
        ++out_.images;
      }
      const std::string before = !first && i == 0 && end_in_text_ ? std::string(template_.end) : "";
      std::vector<int32_t> ids = encode_after(tokenizer_, before, std::string(chunks[i]));
      if (first && i == 0) { add_beginning(ids); }
      add(ids, false);
    }
  }

  void add_beginning(const std::vector<int32_t>& ids) {  // not when the text brings it along
    const std::vector<int32_t> beginning = beginning_of(tokenizer_);
    if (beginning.size() > ids.size() || !std::equal(beginning.begin(), beginning.end(), ids.begin())) { add(beginning, false); }
  }

  void add_answer(std::string text) {
    const bool append_end = !template_.captions && !end_in_text_;  // the vocabulary has the token, but its spelling would be read as text
    if (append_end) { text.resize(text.size() - template_.end.size()); }
    add(encode_after(tokenizer_, std::string(template_.tag), text), true);
    if (append_end) { add({end_}, true); }
  }

  void add(const std::vector<int32_t>& ids, bool supervised) {
    out_.ids.insert(out_.ids.end(), ids.begin(), ids.end());
    for (int32_t id : ids) { out_.labels.push_back(supervised ? id : kIgnoredLabel); }
  }

  const Tokenizer& tokenizer_;
  const ConversationTemplate& template_;
  int32_t end_ = -1;
  bool end_in_text_ = false;
  EncodedConversation out_;
};

void check_images(const Conversation& c, const std::vector<ConversationPiece>& pieces, int64_t images) {
  int64_t found = 0;
  for (const ConversationPiece& piece : pieces) { found += piece.supervised ? 0 : count_images(piece.text); }
  REQUIRE(FormatError, images < 0 || found == images, place_of(c), " has ", images, images == 1 ? " picture" : " pictures", " and ", found, " ",
          kImageText, " in its questions; one is required for each");
}

// Drops what is beyond `length`, the pictures too.
void cut(EncodedConversation& e, int64_t length) {
  if (int64_t(e.ids.size()) <= length) { return; }
  e.ids.resize(size_t(length));
  e.labels.resize(size_t(length));
  e.images = std::count(e.ids.begin(), e.ids.end(), kImageToken);
  e.cut = true;
}

}  // namespace

std::vector<ConversationPiece> pieces_of(const Conversation& conversation) {
  const ConversationTemplate& t = conversation_template(conversation.template_name);
  check_messages(conversation, t);
  std::vector<ConversationPiece> pieces;
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    if (i % 2 == 0) {
      pieces.push_back({question_of(conversation, t, i), false});
    } else {
      pieces.push_back({std::string(t.gap).append(conversation.messages[i].text).append(t.answer_end).append(t.end), true});
    }
  }
  return pieces;
}

std::string prompt_of(const Conversation& conversation) {
  std::string text;
  for (const ConversationPiece& piece : pieces_of(conversation)) { text += piece.text; }
  return text;
}

EncodedConversation encode_conversation(const Tokenizer& tokenizer, const Conversation& conversation, const ConversationOptions& options) {
  REQUIRE(UsageError, options.max_length > 0, "[conversation] the length limit must be positive, got ", options.max_length);
  const std::vector<ConversationPiece> pieces = pieces_of(conversation);
  REQUIRE(FormatError, pieces.back().supervised, place_of(conversation), " ends with a question; training needs its answer");
  check_images(conversation, pieces, options.images);
  EncodedConversation e = Encoder(tokenizer, conversation_template(conversation.template_name)).encode(pieces);
  const auto first = std::find_if(e.labels.begin(), e.labels.end(), [](int32_t label) { return label != kIgnoredLabel; }) - e.labels.begin();
  REQUIRE(FormatError, first < options.max_length, place_of(conversation), ": the first answer begins at id ", first, " of ", e.ids.size(),
          ", and the length limit ", options.max_length, " leaves nothing to train on; raise the limit or leave the sample out");
  cut(e, options.max_length);
  return e;
}

std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, const Conversation& conversation, int64_t images) {
  const std::vector<ConversationPiece> pieces = pieces_of(conversation);
  REQUIRE(FormatError, !pieces.back().supervised, place_of(conversation), " ends with an answer; a prompt ends with a question");
  check_images(conversation, pieces, images);
  return Encoder(tokenizer, conversation_template(conversation.template_name)).encode(pieces).ids;
}

int32_t end_of_answer(const Tokenizer& tokenizer, const std::string& template_name) {
  const ConversationTemplate& t = conversation_template(template_name);
  REQUIRE(UsageError, !t.captions, "[conversation] the template '", t.name, "' has no token that ends an answer");
  return end_token(tokenizer, t);
}

std::string fault_of(const std::vector<Message>& messages) {
  if (const std::string fault = fault_in_turns(messages); !fault.empty()) { return fault; }
  for (size_t i = 1; i < messages.size(); i += 2) {
    const std::string which = concat_text("message ", i + 1, " is ");
    if (trimmed(messages[i].text).empty()) { return which + "an answer without text; leave the turn out"; }
    if (count_images(messages[i].text) > 0) {
      return which + "an answer that holds <image>: pictures belong to questions, and the model cannot write one";
    }
  }
  return "";
}

int64_t count_images(std::string_view text) { return int64_t(split_at_images(text).size()) - 1; }

}  // namespace pumice
