#include <filesystem>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/pairs.h"
#include "pumice/data/source_problems.h"
#include "pumice/data/text.h"
#include "pumice/data/tokenizer.h"
#include "pumice/data/tokenizer/sentencepiece.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

class TokenizerTrain : public Command {
 public:
  std::string name() const override { return "tokenizer train"; }
  std::string summary() const override { return "learn a vocabulary from text files or captions"; }
  std::string positional() const override { return "SOURCE ..."; }
  std::string examples() const override {
    return "  pumice tokenizer train captions.txt more.txt --vocab-size 8192 --out my-tokenizer\n"
           "  pumice tokenizer train 'train-{000000..000019}.tar' --type sentencepiece --out my-tokenizer\n"
           "  pumice train limoe --tokenizer my-tokenizer ...\n\n"
           "A SOURCE that ends in .txt is read as one text per line, anything else as pictures with captions, as --train-data is.\n";
  }
  void declare(OptionTable& o) override {
    o.add("out", out_, "Output", "directory to write tokenizer.json (or a SentencePiece tokenizer.model) into");
    o.add("overwrite", overwrite_, "Output", "replace the tokenizer that is in --out");
    o.add("type", type_, "Vocabulary", "byte-level BPE, or a unigram or BPE model of SentencePiece (needs its plug-in)")
        .one_of({"bpe", "sentencepiece", "sentencepiece-bpe"}).synonym("unigram", "sentencepiece").synonym("byte-level-bpe", "bpe");
    o.add("vocab-size", bpe_.vocab_size, "Vocabulary", "tokens, end-of-text included; byte-level BPE makes fewer when the text has no more pairs");
    o.add("lowercase", bpe_.lowercase, "Vocabulary", "of byte-level BPE: lower all letters, now and whenever the tokenizer is used");
  }

  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, !arguments.empty() && !out_.empty(), "pumice tokenizer train: name at least one SOURCE and --out DIR");
    REQUIRE(UsageError, overwrite_ || !(std::filesystem::exists(out_ + "/tokenizer.json") || std::filesystem::exists(out_ + "/tokenizer.model")),
            "pumice tokenizer train: ", out_, " holds a tokenizer already; --overwrite replaces it");
    std::vector<std::string> texts;
    for (const std::string& source : arguments) { read(source, texts); }
    REQUIRE(FormatError, !texts.empty(), "pumice tokenizer train: the sources hold no text");
    learn(texts).save(out_);
    std::error_code ignored;
    std::filesystem::remove(out_ + (type_ == "bpe" ? "/tokenizer.model" : "/tokenizer.json"), ignored);  // of another type, replaced
    const Tokenizer tokenizer = Tokenizer::load(out_);
    const std::string file = out_ + "/" + tokenizer.file_name();
    print_line(format("%s: %s of %d tokens learned from %zu texts", file.c_str(), tokenizer.kind().c_str(), int(tokenizer.vocab_size()),
                      texts.size()));
    return 0;
  }

 private:
  Tokenizer learn(const std::vector<std::string>& texts) const {
    if (type_ == "bpe") { return Tokenizer::train(texts, bpe_); }
    const SentencePieceKind kind = type_ == "sentencepiece" ? SentencePieceKind::unigram : SentencePieceKind::bpe;
    return Tokenizer(load_sentencepiece(train_sentencepiece(texts, kind, bpe_.vocab_size), "the model that was learned"));
  }

  static void read(const std::string& source, std::vector<std::string>& texts) {
    if (std::filesystem::path(source).extension() == ".txt") {
      each_line(read_file(source), [&](std::string_view line, size_t number) {
        if (line.empty()) { return; }
        const std::string fault = text_fault(texts.emplace_back(line));
        REQUIRE(FormatError, fault.empty(), "pumice tokenizer train: ", source, " line ", number, " ", fault, ". Save the text as UTF-8");
      });
      return;
    }
    try {
      std::unique_ptr<PairSource> pairs = open_pairs(source);
      for (int64_t i = 0; i < pairs->size(); ++i) { texts.push_back(pairs->caption(i)); }
    } catch (const UsageError& e) {
      throw UsageError(concat_text(e.what(), ". Text, one per line, is read from files that end in .txt"), e.file, e.line);
    }
  }

  TokenizerTraining bpe_;
  std::string out_, type_ = "bpe";
  bool overwrite_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenizer_train() { return std::make_unique<TokenizerTrain>(); }

}  // namespace pumice
