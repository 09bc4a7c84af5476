// Texts to train a language model on.
//
//   book.txt                  one document; <|endoftext|> in it ends one and begins the next (as TinyStories has it)
//   stories.jsonl             {"text": "..."}, a document per line
//   both also .gz, a folder of them, and several sources joined by "::"
//   anything else             the captions of pairs, see open_pairs()
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "pumice/data/source_problems.h"

namespace pumice {

struct Documents {
  std::vector<std::string> texts;  // none is blank
  SourceProblems problems;         // what was left out: blank documents, lines without the key, text that is not UTF-8
  int64_t given = 0;
  std::string fingerprint;         // changes when a text does; a checkpoint refuses to resume on other data
};

// `key` names the text in JSON lines. Throws IoError, UsageError for a source that is none of these, and FormatError when no document is left.
Documents read_documents(const std::string& spec, const std::string& key = "text");

// The same of one file's content, added to `documents`; `name` names it in messages. For JSON lines its name must end in .jsonl.
void parse_documents(std::string_view content, const std::string& name, const std::string& key, Documents& documents);

}  // namespace pumice
