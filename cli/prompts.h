// Files of prompts for `pumice generate --prompts`.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

struct PromptLine {
  std::string text;
  std::vector<std::string> images;  // paths; relative ones start beside the file
  std::string fields;               // the object of a .jsonl line as it was; of a line of text {"prompt": text}
  std::string place;                // "prompts.jsonl:3"
};

// A file of text, a prompt a line, or, when its name ends in .jsonl, of objects {"prompt": TEXT, "image": PATH or list of paths} whose other fields
// are kept. Throws IoError for a file or picture that is not there, and FormatError with file:line for what is no prompt.
std::vector<PromptLine> read_prompts(const std::string& path);

}  // namespace pumice
