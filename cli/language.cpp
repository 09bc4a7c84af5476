#include "pumice/cli/language.h"

#include "pumice/cli/terminal.h"
#include "pumice/data/conversation_templates.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {

void declare_language_options(OptionTable& o, LanguageFlags& f) {
  o.add("model", f.model, "Model", "directory as Hugging Face writes it: config.json, weights, tokenizer").alias("model-path");
  o.add("image-tower", f.options.tower, "Model", "directory of the vision tower, where the model does not hold it").alias("mm-vision-tower");
  o.add("tokenizer", f.options.tokenizer, "Model", "tokenizer file or directory, instead of the model's own");
  o.add("precision", f.precision, "Model", "of activations").one_of({"bf16", "f32"}).synonym("fp32", "f32").synonym("amp_bf16", "bf16");
  o.add("conv-mode", f.options.conversation, "Model", "template of the conversation (the default follows the model)").one_of(conversation_template_names());
  o.add("image-fit", f.options.fit, "Model", "how pictures become squares (the default follows the model)").one_of({"pad", "crop", "squash"});
  SamplingOptions& s = f.sampling;
  o.add("temperature", s.temperature, "Sampling", "0 takes the most probable token (the default follows the model)");
  o.add("top-k", s.top_k, "Sampling", "only the k most probable tokens; 0: all");
  o.add("top-p", s.top_p, "Sampling", "only the most probable tokens that together reach p");
  o.add("repetition-penalty", s.repetition_penalty, "Sampling", "divides the logits of tokens that are there already; 1: none");
  o.add("seed", s.seed, "Sampling", "of the draws");
  o.add("stop", f.stops, "Sampling", "strings before which an answer ends, separated by commas");
  o.add("max-new-tokens", s.max_new_tokens, "Sampling", "length of an answer").alias("n");
}

LanguageModel open_language_model(const char* command, const LanguageFlags& f) {
  REQUIRE(UsageError, !f.model.empty(), command, ": --model DIR is required: a directory with config.json, weights and a tokenizer");
  LanguageModelOptions options = f.options;
  options.dtype = f.precision == "bf16" ? DType::bf16 : DType::f32;
  return LanguageModel::open(f.model, options);
}

SamplingOptions sampling_of(OptionTable& table, const LanguageFlags& f, const LanguageModel& model) {
  SamplingOptions s = model.defaults;
  s.seed = f.sampling.seed;
  s.max_new_tokens = f.sampling.max_new_tokens;
  const auto given = [&](const char* name) { return !table.find(name)->source.empty(); };
  if (given("temperature")) { s.temperature = f.sampling.temperature; }
  if (given("top-k")) { s.top_k = f.sampling.top_k; }
  if (given("top-p")) { s.top_p = f.sampling.top_p; }
  if (given("repetition-penalty")) { s.repetition_penalty = f.sampling.repetition_penalty; }
  check_sampling(s);
  return s;
}

std::vector<Image> read_images(const std::vector<std::string>& paths) {
  std::vector<Image> images;
  for (const std::string& path : paths) { images.push_back(decode_image(read_file(path), path)); }
  return images;
}

std::string describe_times(const AnswerReport& r) {
  const double rest = double(r.new_tokens - 1);
  return format("%lld tokens read, first token after %.2f s; %lld new tokens%s", (long long)(r.prompt_tokens), r.first_seconds, (long long)(r.new_tokens),
                rest > 0 && r.rest_seconds > 0 ? format(", %.1f per second", rest / r.rest_seconds).c_str() : "");
}

}  // namespace pumice
