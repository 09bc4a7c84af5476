#include "pumice/cli/language.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "pumice/cli/terminal.h"
#include "pumice/data/conversation_templates.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {

namespace {

// A number whose default is what the model says.
void add_unset(OptionTable& o, const std::string& name, std::optional<double>& value, const std::string& help) {
  o.add(name, "Sampling", help + " (the default follows the model)", [&value] { return value ? format("%g", *value) : std::string(); },
        [&value](const std::string& text) {
          char* end = nullptr;
          const double number = std::strtod(text.c_str(), &end);
          if (text.empty() || *end || !std::isfinite(number)) { return false; }
          value = number;
          return true;
        }).type = Option::kNumber;
}

}  // namespace

void declare_language_options(OptionTable& o, LanguageFlags& f) {
  o.add("model", f.model, "Model", "directory as Hugging Face writes it: config.json, weights, tokenizer").alias("model-path");
  o.add("image-tower", f.options.tower, "Model", "directory of the vision tower, where the model does not hold it; a run of ours is one, too").alias("mm-vision-tower");
  o.add("tokenizer", f.options.tokenizer, "Model", "tokenizer file or directory, instead of the model's own");
  o.add("precision", f.precision, "Model", "of activations").one_of({"bf16", "f32"}).synonym("fp32", "f32").synonym("amp_bf16", "bf16");
  o.add("ema", f.options.average, "Model", "the moving average of the weights that pumice train lm --ema-decay kept");
  o.add("conv-mode", f.options.conversation, "Model", "template of the conversation (the default follows the model)").one_of(conversation_template_names());
  o.add("image-fit", f.options.fit, "Model", "how pictures become squares (the default follows the model)").one_of({"pad", "crop", "squash"});
  add_unset(o, "temperature", f.temperature, "0 takes the most probable token");
  add_unset(o, "top-k", f.top_k, "only the k most probable tokens; 0: all");
  add_unset(o, "top-p", f.top_p, "only the most probable tokens that together reach p");
  add_unset(o, "repetition-penalty", f.repetition_penalty, "divides the logits of tokens that are there already; 1: none");
  o.add("seed", f.seed, "Sampling", "of the draws");
  o.add("stop", f.stops, "Sampling", "strings before which an answer ends, separated by commas");
  o.add("max-new-tokens", f.max_new_tokens, "Sampling", "length of an answer").alias("n");
}

LanguageModel open_language_model(const char* command, const LanguageFlags& f) {
  REQUIRE(UsageError, !f.model.empty(), command, ": --model DIR is required: a directory with config.json, weights and a tokenizer");
  sampling_of(f, SamplingOptions{});  // a wrong flag is said before gigabytes are opened
  StopStrings{f.stops};
  LanguageModelOptions options = f.options;
  options.dtype = f.precision == "bf16" ? DType::bf16 : DType::f32;
  return LanguageModel::open(f.model, options);
}

SamplingOptions sampling_of(const LanguageFlags& f, const SamplingOptions& defaults) {
  SamplingOptions s = defaults;
  s.seed = f.seed;
  s.max_new_tokens = f.max_new_tokens;
  s.temperature = f.temperature.value_or(s.temperature);
  s.top_p = f.top_p.value_or(s.top_p);
  s.repetition_penalty = f.repetition_penalty.value_or(s.repetition_penalty);
  if (f.top_k) {
    REQUIRE(UsageError, *f.top_k >= 0 && *f.top_k <= 1e9 && *f.top_k == std::floor(*f.top_k), "--top-k must be an integer of at least 0, got ", *f.top_k);
    s.top_k = int64_t(*f.top_k);
  }
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

void note_length(const LanguageModel& model, const AnswerReport& r) {
  const int64_t length = int64_t(r.prompt_tokens) + int64_t(r.new_tokens), trained = model.decoder().config().positions;
  if (length <= trained) { return; }
  std::fprintf(stderr, "note: prompt and answer are %lld tokens, the model was trained for %lld; what it says beyond them may make no sense\n", (long long)(length),
               (long long)(trained));
}

}  // namespace pumice
