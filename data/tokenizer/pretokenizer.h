// Cuts normalized text into words: the "pre_tokenizer" of a tokenizer.json.
#pragma once
#include <functional>
#include <list>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

class JsonPart;
class Regex;

// GPT-2's words: contractions, letters, digits and other signs, each with the space before it.
inline constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class Pretokenizer {
 public:
  // ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, Metaspace and Sequence of them; null gives the
  // whole text as one word. Anything else is a FormatError.
  static Pretokenizer parse(const JsonPart& part);

  // `text` must be valid UTF-8; `first` says that it stands at the beginning of what is encoded (Metaspace asks). Throws FormatError when the
  // steps make more than growth_limit() bytes of it: spelling what is spelled already doubles it.
  void split(std::string_view text, bool first, const std::function<void(std::string_view)>& word) const;

  // Pieces are spelled in the byte alphabet. When that is the last step, split() leaves it to the model, which does it once per
  // distinct word.
  bool byte_level() const { return byte_level_; }
  bool spells_last() const { return spells_last_; }

 private:
  struct Word { std::string_view text; bool first; };
  struct Words {
    std::vector<Word> list;
    std::list<std::string> made;  // texts that a step changed; `list` points into them
    size_t bytes = 0;             // of made
    size_t most;                  // that bytes may become
    std::string_view make(std::string text);
  };
  enum class Behaviour { removed, isolated, merged_with_previous, merged_with_next, contiguous };
  using Step = std::function<void(Words&)>;

  void add(const JsonPart& part);
  void add_split(Regex pattern, Behaviour behaviour, bool invert);
  void add_prefix(const std::string& prefix, bool only_first);  // before words that do not begin with it
  void add_metaspace(const JsonPart& part);
  void spell();
  static Behaviour behaviour_in(const JsonPart& part);
  std::vector<Step> steps_;
  bool byte_level_ = false, spells_last_ = false;
};

}  // namespace pumice
