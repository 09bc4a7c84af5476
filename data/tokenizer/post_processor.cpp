#include "pumice/data/tokenizer/post_processor.h"

#include "pumice/data/tokenizer/bpe.h"
#include "pumice/data/tokenizer/json_part.h"

namespace pumice {
namespace {

// ["</s>", 2]
int32_t token_id_in(const JsonPart& part) {
  if (!part.value().is_array() || part.value().size() != 2) { part.fail("must be [token, id]"); }
  int32_t id = 0;
  part.each([&](const JsonPart& item) {
    if (item.value().is_number()) { id = item.integer(0, kMaxTokenId, "an id"); }
  });
  return id;
}

}  // namespace

PostProcessor PostProcessor::parse(const JsonPart& part) {
  PostProcessor p;
  p.add(part);
  return p;
}

void PostProcessor::add(const JsonPart& part) {
  if (part.value().is_null()) { return; }
  const std::string type = part.type();
  if (type == "ByteLevel") { return; }
  if (type == "TemplateProcessing") { add_template(part); }
  else if (type == "RobertaProcessing" || type == "BertProcessing") {
    prefix.insert(prefix.begin(), token_id_in(part.at("cls")));
    suffix.push_back(token_id_in(part.at("sep")));
  } else if (type == "Sequence") {
    part.at("processors").each([&](const JsonPart& step) { add(step); });
  } else { part.unknown_type("TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel, Sequence"); }
}

// {"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, ...], "special_tokens": {"<s>": {"ids": [1]}}}
void PostProcessor::add_template(const JsonPart& part) {
  std::vector<int32_t> before, after;
  int texts = 0;
  part.at("single").each([&](const JsonPart& item) {
    if (item.has("Sequence")) {
      ++texts;
      return;
    }
    if (!item.has("SpecialToken")) { item.fail("must be a Sequence or a SpecialToken"); }
    const std::string name = item.at("SpecialToken").at("id").text();
    const JsonPart tokens = part.at("special_tokens"), token = tokens.at(name);
    if (token.value().is_null()) { tokens.fail("lacks '" + name + "', which the template names"); }
    token.at("ids").each([&](const JsonPart& id) { (texts ? after : before).push_back(id.integer(0, kMaxTokenId, "an id")); });
  });
  if (texts != 1) { part.at("single").fail("must hold the text exactly once"); }
  prefix.insert(prefix.begin(), before.begin(), before.end());
  suffix.insert(suffix.end(), after.begin(), after.end());
}

}  // namespace pumice
