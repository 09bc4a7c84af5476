#include <iostream>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/tokenizer.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

// Control characters do not reach the terminal.
std::string shown(const std::string& piece) {
  std::string text;
  for (unsigned char c : piece) {
    const bool control = c < 32 || c == 127;
    text += c == '\n' ? "\\n" : c == '\t' ? "\\t" : control ? format("\\x%02x", c) : std::string(1, char(c));
  }
  return text;
}

class TokenizerEncode : public Command {
 public:
  std::string name() const override { return "tokenizer encode"; }
  std::string summary() const override { return "print the token ids of texts, one line for each"; }
  std::string positional() const override { return "[TEXT ...]"; }
  std::string examples() const override {
    return "  pumice tokenizer encode --tokenizer runs/a 'two red apples'\n  pumice tokenizer encode --tokenizer qwen/ --pieces < captions.txt\n\n"
           "Without a TEXT, each line of standard input is one.\n";
  }
  void declare(OptionTable& o) override {
    o.add("tokenizer", tokenizer_, "Input", "a tokenizer file, a directory with one, or a run");
    o.add("pieces", pieces_, "Output", "print the pieces, too, each in brackets");
    o.add("special-tokens", special_, "Output", "with what the tokenizer puts before and after a text");
  }

  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, !tokenizer_.empty(), "pumice tokenizer encode: --tokenizer is required");
    const Tokenizer tokenizer = Tokenizer::load(tokenizer_);
    for (const std::string& text : arguments) { print(tokenizer, text); }
    std::string line;
    while (arguments.empty() && std::getline(std::cin, line)) { print(tokenizer, line); }
    return 0;
  }

 private:
  void print(const Tokenizer& tokenizer, const std::string& text) const {
    std::vector<int32_t> ids = tokenizer.encode(text);
    if (special_) {
      ids.insert(ids.begin(), tokenizer.prefix().begin(), tokenizer.prefix().end());
      ids.insert(ids.end(), tokenizer.suffix().begin(), tokenizer.suffix().end());
    }
    std::string numbers, pieces;
    for (int32_t id : ids) {
      numbers += (numbers.empty() ? "" : " ") + std::to_string(id);
      pieces += "[" + shown(tokenizer.piece(id)) + "]";
    }
    print_line(numbers + (pieces.empty() || !pieces_ ? "" : "  " + pieces));
  }

  std::string tokenizer_;
  bool pieces_ = false, special_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenizer_encode() { return std::make_unique<TokenizerEncode>(); }

}  // namespace pumice
