#include "pumice/train/generator.h"

#include <algorithm>

#include "pumice/autograd/autograd.h"
#include "pumice/data/conversation.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/parallel.h"

namespace pumice {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kPiece = 512;  // tokens of a pass: enough for products to run at full rate, few enough to be asked between two whether to go on

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Tensor ids_tensor(const std::vector<int32_t>& ids) { return from_values<int32_t>({int64_t(ids.size())}, ids); }

// Adds the kept choices of tokens [begin, end) of a pass.
void count_choices(const Routing& r, int64_t layer, int64_t begin, int64_t end, AnswerReport::LayerLoad& load) {
  const std::span expert(r.expert.data<int32_t>(), size_t(r.expert.size())), row(r.row.data<int32_t>(), size_t(r.row.size()));
  const std::span modality(r.groups.modality.data<uint8_t>(), size_t(r.tokens()));
  load.layer = layer;
  load.image.resize(size_t(r.experts()));
  load.text.resize(size_t(r.experts()));
  const int64_t K = r.experts_per_token();
  for (int64_t i = begin * K; i < end * K; ++i) {
    std::vector<int64_t>& counts = modality[size_t(i / K)] == uint8_t(Modality::image) ? load.image : load.text;
    if (row[size_t(i)] >= 0) { counts[size_t(expert[size_t(i)])] += 1; }
  }
}

}  // namespace

// What goes through the model at once: of place n the ids [begin[n], begin[n + 1]), with pictures spliced in the tokens [tokens[n], tokens[n + 1]).
struct Generator::Pass {
  std::vector<int32_t> ids, begin = {0}, tokens;
};

Generator::Generator(const LanguageModel& model, int64_t places)
    : model_(model), cache_(model.decoder().config(), std::max<int64_t>(places, 0), model.dtype), places_(size_t(std::max<int64_t>(places, 0))) {
  REQUIRE(UsageError, places >= 1, "[generate] at least one text is generated at a time, got ", places);
}

int64_t Generator::tokens_of(int32_t id) const { return id == kImageToken ? model_.llava->config().image_tokens() : 1; }

void Generator::begin(int64_t place, Generation& text) {
  check_sampling(text.sampling);
  const DecoderConfig& config = model_.decoder().config();
  REQUIRE(UsageError, !text.ids.empty(), "[generate] the prompt is empty: there is nothing to continue");
  const int64_t pictures = std::count(text.ids.begin(), text.ids.end(), kImageToken);
  REQUIRE(UsageError, pictures == int64_t(text.pixels.size()), "[generate] the prompt mentions ", pictures, " pictures, and ", text.pixels.size(),
          " came with it");
  int64_t length = 0;
  for (int32_t id : text.ids) { length += tokens_of(id); }
  REQUIRE(UsageError, !config.fixed_positions || length <= config.positions, "[generate] this model computes at most ", config.positions,
          " tokens here, the prompt has ", length, ": shorten it");
  Place& p = places_[size_t(place)];
  size_t same = 0, seen = 0;  // ids, and pictures among them
  const bool again = config.reads_in_pieces(std::max(length, p.cached.empty() ? 0 : p.cached.back()));
  while (again && same < p.read.size() && same + 1 < text.ids.size() && p.read[same] == text.ids[same]) {
    if (text.ids[same] == kImageToken && p.pixels[seen].data<float>() != text.pixels[seen].data<float>()) { break; }
    seen += text.ids[same++] == kImageToken;
  }
  cache_.truncate(place, same ? p.cached[same - 1] : 0);
  p.read.resize(same);
  p.cached.resize(same);
  p.pixels = {text.pixels.begin(), text.pixels.begin() + long(seen)};
  p.stream.emplace(model_.tokenizer, text.stops);
  text.answer.clear();
  text.report = {.prompt_tokens = length};
  p.text = &text;
  p.start = Clock::now();
}

void Generator::forget(int64_t place) {
  cache_.truncate(place, 0);
  places_[size_t(place)] = {};
}

// How many ids of a prompt are read at once: as many as kPiece tokens hold, or all.
int64_t Generator::piece_of(const Place& p) const {
  if (!model_.decoder().config().reads_in_pieces(p.text->report.prompt_tokens)) { return missing(p); }
  int64_t count = 0;
  for (int64_t room = kPiece; count < missing(p); ++count) {
    room -= tokens_of(p.text->ids[p.read.size() + size_t(count)]);
    if (room < 0 && count > 0) { break; }
  }
  return count;
}

void Generator::step_all() {
  std::vector<size_t> drawing, reading;
  for (size_t n = 0; n < places_.size(); ++n) {
    if (places_[n].text) { (missing(places_[n]) == 1 ? drawing : reading).push_back(n); }
  }
  for (size_t first = 0; first < drawing.size(); first += size_t(kFewRows)) {
    std::vector<int64_t> counts(places_.size());
    for (size_t i = first; i < std::min(first + size_t(kFewRows), drawing.size()); ++i) { counts[drawing[i]] = 1; }
    run(counts);
  }
  std::stable_sort(reading.begin(), reading.end(), [&](size_t a, size_t b) { return places_[a].start < places_[b].start; });
  int64_t room = kPiece;
  for (size_t i = 0; i < reading.size() && room > 0; ++i) {
    std::vector<int64_t> counts(places_.size());
    counts[reading[i]] = piece_of(places_[reading[i]]);
    const int64_t before = cache_.length(int64_t(reading[i]));
    run(counts);
    room -= cache_.length(int64_t(reading[i])) - before;
  }
}

DecoderInput Generator::input_of(Pass& pass) const {
  const Tensor ids = ids_tensor(pass.ids), sequences = ids_tensor(pass.begin);
  pass.tokens = pass.begin;
  const int64_t count = std::count(pass.ids.begin(), pass.ids.end(), kImageToken), S = model_.pictures.size;
  if (count == 0) { return {.ids = ids, .sequences = sequences}; }
  const Tensor pixels = empty({count, 3, S, S});
  int64_t i = 0;
  for (size_t n = 0; n < places_.size(); ++n) {
    size_t next = places_[n].pixels.size();
    for (int32_t t = pass.begin[n]; t < pass.begin[n + 1]; ++t) {
      if (pass.ids[size_t(t)] != kImageToken) { continue; }
      copy_into(pixels.slice(0, i, i + 1).reshape({3, S, S}), places_[n].text->pixels[next++]);
      ++i;
    }
  }
  const DecoderInput input = model_.llava->splice({.ids = ids, .sequences = sequences, .pixels = pixels}, model_.dtype).input;
  pass.tokens = input.sequences.to_vector<int32_t>();
  return input;
}

bool Generator::step() {
  if (std::none_of(places_.begin(), places_.end(), [](const Place& p) { return p.text; })) { return false; }
  try {
    step_all();
  } catch (...) {
    for (Place& p : places_) { p.text = nullptr; }  // the caller's texts may be gone before the next call
    throw;
  }
  return true;
}

// A pass over counts[n] ids of each place n.
void Generator::run(const std::vector<int64_t>& counts) {
  NoGrad no_grad;
  Pass pass;
  std::vector<int32_t> last;     // rows behind which a token is drawn
  std::vector<Place*> drawing;
  for (size_t n = 0; n < places_.size(); ++n) {
    if (counts[n]) {
      const auto from = places_[n].text->ids.begin() + long(places_[n].read.size());
      pass.ids.insert(pass.ids.end(), from, from + long(counts[n]));
    }
    pass.begin.push_back(int32_t(pass.ids.size()));
  }
  const DecoderInput input = input_of(pass);
  std::vector<Routing> routings;
  const Decoder& decoder = model_.decoder();
  const Tensor hidden = decoder.forward(input, {.dtype = model_.dtype, .cache = &cache_, .routings = &routings}).hidden;
  note_read(pass, routings);
  for (size_t n = 0; n < places_.size(); ++n) {
    Place& p = places_[n];
    if (counts[n] == 0) { continue; }
    if (missing(p) > 0) {
      pass_on(p, "");
      if (p.text->report.stopped) { end(p); }
      continue;
    }
    last.push_back(pass.tokens[n + 1] - 1);
    drawing.push_back(&p);
  }
  if (drawing.empty()) { return; }
  const Tensor logits = to_dtype(decoder.logits(gather_rows(hidden, ids_tensor(last))), DType::f32);
  const size_t words = size_t(model_.tokenizer.vocab_size());  // logits beyond them were never trained
  std::vector<int32_t> next(drawing.size());
  parallel_for(int64_t(drawing.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Generation& text = *drawing[size_t(i)]->text;
      next[size_t(i)] = sample_token({logits.data<float>() + i * logits.dim(1), words}, text.ids, text.sampling, text.report.new_tokens, text.number);
    }
  });
  for (size_t i = 0; i < drawing.size(); ++i) { take(*drawing[i], next[i]); }
}

void Generator::note_read(const Pass& pass, const std::vector<Routing>& routings) {
  for (size_t n = 0; n < places_.size(); ++n) {
    Place& p = places_[n];
    if (pass.begin[n] == pass.begin[n + 1]) { continue; }
    int64_t length = p.cached.empty() ? 0 : p.cached.back();
    for (int32_t t = pass.begin[n]; t < pass.begin[n + 1]; ++t) {
      const int32_t id = pass.ids[size_t(t)];
      if (id == kImageToken) { p.pixels.push_back(p.text->pixels[p.pixels.size()]); }
      p.read.push_back(id);
      p.cached.push_back(length += tokens_of(id));
    }
    std::vector<AnswerReport::LayerLoad>& loads = p.text->report.routing;
    loads.resize(routings.size());
    for (size_t l = 0; l < routings.size(); ++l) {
      count_choices(routings[l], model_.decoder().config().moe_layers[l], pass.tokens[n], pass.tokens[n + 1], loads[l]);
    }
  }
}

void Generator::take(Place& p, int32_t next) {
  Generation& text = *p.text;
  AnswerReport& report = text.report;
  if (report.new_tokens++ == 0) {
    report.first_seconds = seconds_since(p.start);
    p.start = Clock::now();
  }
  const bool ended = ends_text(text.sampling, next);
  if (!ended) {
    text.ids.push_back(next);
    pass_on(p, p.stream->push(next));
  }
  if (ended || report.stopped || p.stream->stopped()) { return end(p); }
  const DecoderConfig& config = model_.decoder().config();
  report.cut = report.new_tokens == text.sampling.max_new_tokens || (config.fixed_positions && p.cached.back() == config.positions);
  if (report.cut) { end(p); }
}

void Generator::pass_on(Place& p, const std::string& text) {
  p.text->answer += text;
  if (p.text->on_text && !p.text->on_text(text)) { p.text->report.stopped = true; }
}

void Generator::end(Place& p) {
  if (!p.text->report.stopped) { pass_on(p, p.stream->finish()); }
  if (p.text->report.new_tokens > 0) { p.text->report.rest_seconds = seconds_since(p.start); }
  p.text = nullptr;
}

}  // namespace pumice
