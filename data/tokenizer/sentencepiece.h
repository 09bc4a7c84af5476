// SentencePiece models (Kudo, Richardson 2018, arXiv:1808.06226) through the plug-in libpumice_sentencepiece.so, which is looked for as the
// environment variable PUMICE_SENTENCEPIECE says, beside the program, in the library folder of its installation, and where the system's loader looks.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pumice/data/tokenizer/impl.h"

namespace pumice {

// Of the bytes of a .model; `source` names it in errors. Bytes of a text that are not UTF-8 become U+FFFD, as SentencePiece does it.
// `added` is what the files beside it add, by id, as in VocabularySettings. These tokens are cut out of the text first; with `legacy` what follows
// one is encoded like a text of its own, with the space that SentencePiece puts before it, without as it stands: "legacy" of Transformers'
// LlamaTokenizer, which is true where tokenizer_config.json does not say. Throws UsageError when there is no plug-in, saying where
// it was looked for; FormatError for a file that is no model, and for an added token whose id the model gives to another piece.
std::shared_ptr<Tokenizer::Impl> load_sentencepiece(const std::string& model, const std::string& source,
                                                    const std::map<int64_t, std::string>& added = {}, bool legacy = true);

enum class SentencePieceKind { unigram, bpe };

// The bytes of a .model learned from `texts` with byte fallback: <unk> 0, <s> 1, </s> 2, then 256 bytes, as Llama's. Throws UsageError when there is
// no plug-in, or what SentencePiece says about the options (a vocabulary that is too large for the texts).
std::string train_sentencepiece(const std::vector<std::string>& texts, SentencePieceKind kind, int vocab_size);

}  // namespace pumice
