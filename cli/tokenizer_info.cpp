#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/tokenizer.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

class TokenizerInfo : public Command {
 public:
  std::string name() const override { return "tokenizer info"; }
  std::string summary() const override { return "say what a tokenizer is: kind, size, special tokens"; }
  std::string positional() const override { return "PATH"; }
  std::string examples() const override {
    return "  pumice tokenizer info runs/a\n  pumice tokenizer info bpe_simple_vocab_16e6.txt.gz\n\n"
           "PATH is a tokenizer.json, a vocab.json beside its merges.txt, OpenAI's bpe_simple_vocab_16e6.txt.gz, a .tiktoken file, a SentencePiece\n"
           ".model, a directory with one of these, or a training run.\n";
  }
  void declare(OptionTable& o) override { o.add("out", out_, "Output", "directory to store the tokenizer in, as a checkpoint does"); }

  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, arguments.size() == 1, "pumice tokenizer info: one PATH is required, got ", arguments.size());
    const Tokenizer t = Tokenizer::load(arguments[0]);
    print_line("kind         " + t.kind());
    print_line(format("tokens       %d", int(t.vocab_size())));
    print_line("end of text  " + end_of_text(t));
    if (!t.prefix().empty()) { print_line("before text  " + pieces(t, t.prefix())); }
    if (!t.suffix().empty()) { print_line("after text   " + pieces(t, t.suffix())); }
    std::vector<int32_t> special;
    for (int32_t id = 0; id < t.vocab_size(); ++id) {
      if (t.is_special(id)) { special.push_back(id); }
    }
    const size_t all = special.size();
    if (all > kShown) { special.resize(kShown); }
    print_line(format("special      %zu", all) + (all ? ": " + pieces(t, special) + (all > kShown ? " ..." : "") : ""));
    print_line(format("fingerprint  %016llx", static_cast<unsigned long long>(t.fingerprint())));
    if (!out_.empty()) {
      t.save(out_);
      print_line("wrote        " + out_ + "/" + t.file_name());
    }
    return 0;
  }

 private:
  static constexpr size_t kShown = 12;
  static std::string pieces(const Tokenizer& t, const std::vector<int32_t>& ids) {
    std::string text;
    for (int32_t id : ids) { text += (text.empty() ? "" : ", ") + t.piece(id) + " (" + std::to_string(id) + ")"; }
    return text;
  }
  static std::string end_of_text(const Tokenizer& t) {
    try {
      return pieces(t, {t.eos_id()});
    } catch (const FormatError&) {
      return "none; to train with it, name one as \"eos_token\" in a tokenizer_config.json beside it";
    }
  }
  std::string out_;
};

}  // namespace

std::unique_ptr<Command> make_tokenizer_info() { return std::make_unique<TokenizerInfo>(); }

}  // namespace pumice
