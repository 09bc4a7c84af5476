// Texts that are continued side by side: the next tokens of many go through the model in one pass, so its weights are read once for all.
//
//   Generator generator(model, 2);
//   Generation a{.ids = ids_of_a, .sampling = sampling}, b{.ids = ids_of_b, .sampling = sampling, .number = 1};
//   generator.begin(0, a);
//   generator.begin(1, b);
//   while (generator.step()) {}   // a.answer, b.answer; begin() may put another text into a place as soon as it is not busy
//
// Note [Texts side by side]: a text is the same whatever stands beside it, to the last bit of its logits. Its draws depend on seed, step and number.
// Its tokens compete for places of experts only among themselves. And its sums run in one order: a product of up to kFewRows rows adds each in an
// order that does not depend on how many there are, so passes of drawn tokens have no more; larger products depend on the number of rows, so a
// prompt is read alone, in pieces that depend on it alone.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "pumice/data/text_stream.h"
#include "pumice/models/kv_cache.h"
#include "pumice/moe/routing.h"
#include "pumice/train/language_model.h"

namespace pumice {

// What one generated text cost, and where its tokens went.
struct AnswerReport {
  int64_t prompt_tokens = 0, new_tokens = 0;  // a picture counts as its patches
  double first_seconds = 0, rest_seconds = 0; // until the first token; for the others
  bool stopped = false;                       // by the caller
  bool cut = false;                           // by the limit on new tokens, or where the model computes no more
  struct LayerLoad { int64_t layer; std::vector<int64_t> image, text; };  // choices per expert, by the kind of token
  std::vector<LayerLoad> routing;             // one per sparse layer
};

struct Generation {
  std::vector<int32_t> ids;            // the prompt, kImageToken where a picture belongs; what is drawn joins it
  std::vector<Tensor> pixels = {};     // f32 (3, S, S), in the order of kImageToken
  SamplingOptions sampling = {};
  int64_t number = 0;                  // among the texts of one seed
  std::vector<std::string> stops = {}; // strings before which the answer ends
  // Receives text as it comes, "" for a token that completes none and between the pieces in which a long prompt is read. False ends the answer.
  std::function<bool(const std::string&)> on_text = {};

  std::string answer = {};
  AnswerReport report = {};
};

class Generator {
 public:
  // The model must outlive it. Throws UsageError for fewer than one place.
  Generator(const LanguageModel& model, int64_t places);

  // Puts a text, which the caller keeps until it has ended, into a place. Of what the place has read before, the common beginning is not read again
  // where that makes no difference but in rounding (DecoderConfig::reads_in_pieces). Throws UsageError for settings out of range, an empty prompt,
  // and one that is longer than what the model computes.
  void begin(int64_t place, Generation& text);
  void forget(int64_t place);  // what it has read
  bool busy(int64_t place) const { return places_[size_t(place)].text != nullptr; }

  // The next token of every text whose prompt has been read, and about 512 tokens of prompts. False when there was nothing to do. An exception leaves
  // every place free.
  bool step();

 private:
  struct Place {
    Generation* text = nullptr;
    std::optional<TextStream> stream;
    std::chrono::steady_clock::time_point start;  // of the text, then of its second token
    std::vector<int32_t> read;                    // ids in the cache, a picture being one
    std::vector<int64_t> cached;                  // tokens in the cache behind each of them
    std::vector<Tensor> pixels;                   // of the pictures among them
  };
  struct Pass;
  int64_t missing(const Place& place) const { return int64_t(place.text->ids.size() - place.read.size()); }
  int64_t tokens_of(int32_t id) const;
  int64_t piece_of(const Place& place) const;
  void step_all();
  DecoderInput input_of(Pass& pass) const;
  void run(const std::vector<int64_t>& counts);
  void note_read(const Pass& pass, const std::vector<Routing>& routings);
  void take(Place& place, int32_t next);
  void pass_on(Place& place, const std::string& text);
  void end(Place& place);

  const LanguageModel& model_;
  KvCache cache_;
  std::vector<Place> places_;
};

}  // namespace pumice
