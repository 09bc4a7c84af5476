#include <charconv>
#include <iostream>
#include <sstream>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/tokenizer.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

class TokenizerDecode : public Command {
 public:
  std::string name() const override { return "tokenizer decode"; }
  std::string summary() const override { return "print the text of token ids"; }
  std::string positional() const override { return "[ID ...]"; }
  std::string examples() const override {
    return "  pumice tokenizer decode --tokenizer runs/a 17 204 9\n"
           "  pumice tokenizer encode --tokenizer qwen/ < a.txt | pumice tokenizer decode --tokenizer qwen/\n\n"
           "Without an ID, each line of standard input holds the ids of one text. Commas and brackets between ids are ignored.\n";
  }
  void declare(OptionTable& o) override {
    o.add("tokenizer", tokenizer_, "Input", "a tokenizer file, a directory with one, or a run");
    o.add("skip-special", skip_special_, "Output", "leave out special tokens such as <|endoftext|>");
  }

  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, !tokenizer_.empty(), "pumice tokenizer decode: --tokenizer is required");
    const Tokenizer tokenizer = Tokenizer::load(tokenizer_);
    std::string line;
    for (const std::string& word : arguments) { line += word + " "; }
    if (!arguments.empty()) { print_line(tokenizer.decode(ids_in(tokenizer, line, ""), skip_special_)); }
    for (int64_t number = 1; arguments.empty() && std::getline(std::cin, line); ++number) {
      print_line(tokenizer.decode(ids_in(tokenizer, line, concat_text("line ", number, " of standard input: ")), skip_special_));
    }
    return 0;
  }

 private:
  static std::vector<int32_t> ids_in(const Tokenizer& tokenizer, std::string line, const std::string& place) {
    for (char& c : line) {
      if (c == ',' || c == '[' || c == ']') { c = ' '; }
    }
    std::istringstream words(line);
    std::vector<int32_t> ids;
    for (std::string word; words >> word;) {
      int32_t id = -1;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
      REQUIRE(UsageError, error == std::errc() && end == word.data() + word.size() && id >= 0 && id < tokenizer.vocab_size(),
              "pumice tokenizer decode: ", place, "'", word, "' is no id of this tokenizer; ids go from 0 to ", tokenizer.vocab_size() - 1);
      ids.push_back(id);
    }
    return ids;
  }

  std::string tokenizer_;
  bool skip_special_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenizer_decode() { return std::make_unique<TokenizerDecode>(); }

}  // namespace pumice
