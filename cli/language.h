// What `pumice generate` and `pumice chat` share: the flags that name a model and how it answers.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "pumice/tensor/options.h"
#include "pumice/train/answerer.h"

namespace pumice {

struct LanguageFlags {
  std::string model, precision = "bf16";
  LanguageModelOptions options;
  // Unset: as the model says.
  std::optional<double> temperature, top_k, top_p, repetition_penalty;
  uint64_t seed = 0;
  int64_t max_new_tokens = 512;
  std::vector<std::string> stops;
};

void declare_language_options(OptionTable& table, LanguageFlags& flags);
// Checks the flags before it opens anything.
LanguageModel open_language_model(const char* command, const LanguageFlags& flags);
// `defaults`, which are the model's own, where no flag says otherwise.
SamplingOptions sampling_of(const LanguageFlags& flags, const SamplingOptions& defaults);
std::vector<Image> read_images(const std::vector<std::string>& paths);
std::string describe_times(const AnswerReport& report);
// On stderr, where prompt and answer together are longer than what the model was trained for: it is computed, but may say little.
void note_length(const LanguageModel& model, const AnswerReport& report);

}  // namespace pumice
