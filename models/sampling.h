// From logits to the next token. Hugging Face's processors in Hugging Face's order: repetition penalty, temperature, top-k, top-p. Computed in f64.
//
//   SamplingOptions options{.temperature = 0.7, .top_k = 0, .top_p = 0.9};
//   int32_t next = sample_token(logits, ids_so_far, options, step, sequence);
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace pumice {

// Defaults as in MoE-LLaVA's cli, where Hugging Face's top-k of 50 holds.
struct SamplingOptions {
  double temperature = 0.2;         // logits / temperature; 0 takes the most probable token, whatever top_k and top_p are
  int64_t top_k = 50;               // the k largest, and what equals the k-th; 0: all
  double top_p = 1.0;               // the fewest most probable whose sum reaches it, at least one; 1: all
  double repetition_penalty = 1.0;  // positive logits of tokens that are there already are divided by it, negative ones multiplied; 1: none
  uint64_t seed = 0;
  int64_t max_new_tokens = 512;
  std::vector<int32_t> end_tokens = {};  // any of them ends the text
};

// Throws UsageError naming the value that is out of its range.
void check_sampling(const SamplingOptions& options);

struct KeptToken { int32_t id; double probability; };

// logits: [V]. context: the ids so far, for the penalty; ids outside the vocabulary (an image's -200) do not count.
// The tokens that may follow, the most probable first, of equal ones the smaller id; probabilities sum to one. At temperature 0 it is one token,
// of equal ones the smallest id. Logits of -infinity are never kept. Where equal tokens stand at the border of top-p, the larger ids stay, as
// with Hugging Face's ascending sort. Throws what check_sampling() does, and NumericError for NaN, +infinity and logits without a finite one.
std::vector<KeptToken> kept_tokens(std::span<const float> logits, std::span<const int32_t> context, const SamplingOptions& options);

// One of them, by a random number of (seed, step, sequence) and of nothing else: a text does not depend on which others it is generated with.
int32_t draw_token(std::span<const KeptToken> kept, uint64_t seed, int64_t step, int64_t sequence);

int32_t sample_token(std::span<const float> logits, std::span<const int32_t> context, const SamplingOptions& options, int64_t step, int64_t sequence);

bool ends_text(const SamplingOptions& options, int32_t id);

}  // namespace pumice
