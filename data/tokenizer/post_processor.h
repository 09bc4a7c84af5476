// Special tokens around an encoded text: the "post_processor" of a tokenizer.json.
#pragma once
#include <cstdint>
#include <vector>

namespace pumice {

class JsonPart;

struct PostProcessor {
  std::vector<int32_t> prefix, suffix;  // before and after the ids of one text

  // TemplateProcessing (its "single" template), RobertaProcessing, BertProcessing, ByteLevel (which changes offsets only) and Sequence of
  // them; anything else is a FormatError.
  static PostProcessor parse(const JsonPart& part);

 private:
  void add(const JsonPart& part);
  void add_template(const JsonPart& part);
};

}  // namespace pumice
