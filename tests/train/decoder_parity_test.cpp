// Language models against Transformers and PyTorch (tests/oracle/make_decoder_fixtures.py): tiny directories as Hugging Face writes them are
// opened, and give its logits, loss, gradients of every tensor, losses of three AdamW steps, and greedy text through the cache.
//
// Tolerances: the fixtures' weights are exact in bf16 and their values were computed in f64 with islands of f32 (rotary angles, softmax, RMS norm);
// ours in f32. A relative error of 1e-5 of the largest value is both together, of gradients (sums through
// three layers, and quotients of gates) 5e-5; 1e-4 after three steps of an optimizer that divides by small numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "largest_difference.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/weights.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/train/optim/adamw.h"

namespace pumice {
namespace {

using testing::expect_parity;
using testing::relative_difference;

// The real places of a right-padded batch, packed.
struct PackedBatch {
  Tensor ids, labels, sequences;
  std::vector<int64_t> places;  // n T + t of each
};
PackedBatch packed_batch(const SafetensorsFile& file) {
  const Tensor ids = file.load("input_ids");
  const int64_t N = ids.dim(0), T = ids.dim(1);
  const std::vector<int32_t> id = ids.to_vector<int32_t>(), label = file.load("labels").to_vector<int32_t>();
  std::vector<int32_t> lengths(N, int32_t(T));
  for (const std::string& name : file.names()) {
    if (name == "lengths") { lengths = file.load(name).to_vector<int32_t>(); }
  }
  PackedBatch b;
  std::vector<int32_t> kept, kept_labels, begin = {0};
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t t = 0; t < lengths[n]; ++t) {
      b.places.push_back(n * T + t);
      kept.push_back(id[n * T + t]);
      kept_labels.push_back(label[n * T + t]);
    }
    begin.push_back(int32_t(kept.size()));
  }
  b.ids = from_values<int32_t>({int64_t(kept.size())}, kept);
  b.labels = from_values<int32_t>({int64_t(kept.size())}, kept_labels);
  b.sequences = from_values<int32_t>({N + 1}, begin);
  return b;
}

Tensor rows_at(const Tensor& x, const std::vector<int64_t>& places) {  // x (N, T, V)
  Tensor flat = x.reshape({-1, x.dim(2)}), y = empty({int64_t(places.size()), x.dim(2)});
  for (size_t i = 0; i < places.size(); ++i) {
    copy_into(y.slice(0, int64_t(i), int64_t(i) + 1), flat.slice(0, places[i], places[i] + 1));
  }
  return y;
}

std::string directory_of(const std::string& name) { return std::string(PUMICE_FIXTURES "/models/fixtures/") + name; }

class DecoderParity : public ::testing::TestWithParam<const char*> {
 protected:
  const std::string directory = directory_of(GetParam());
  const SafetensorsFile want = SafetensorsFile::open(directory + "/expected.safetensors");
  const PackedBatch batch = packed_batch(want);

  bool is_moe() const { return std::string(GetParam()).rfind("moe-", 0) == 0; }
  Tensor loss_of(const Decoder& model) const {
    DecoderOutput out = model.forward({.ids = batch.ids, .sequences = batch.sequences}, {.training = true});
    Tensor loss = model.loss(out.hidden, batch.labels, batch.sequences);
    return out.aux.defined() ? add(loss, out.aux) : loss;
  }
};

TEST_P(DecoderParity, Logits) {
  const Decoder model = open_decoder(directory);
  NoGrad no_grad;
  Tensor logits = model.logits(model.forward({.ids = batch.ids, .sequences = batch.sequences}, {.training = true}).hidden);  // capacity of training
  expect_parity("logits", relative_difference(logits, rows_at(want.load("logits"), batch.places)), 1e-5);
}

// config.json as Transformers 5 writes it describes the same model.
TEST_P(DecoderParity, LogitsByTheConfigOfTransformers5) {
  const std::string path = directory + "/config.v5.json";
  if (!std::filesystem::exists(path)) { GTEST_SKIP() << "Transformers has no such model"; }
  Decoder model = Decoder::unfilled(decoder_config_from_hf(read_file(path), path));
  bind_weights(model.parameters(), WeightFiles::open(directory), [&](const std::string& p) { return hf_tensors_of(model.config(), p); },
               [](const std::string&) { return false; }, directory);
  NoGrad no_grad;
  const DecoderOutput out = model.forward({.ids = batch.ids, .sequences = batch.sequences}, {});
  expect_parity("logits", relative_difference(model.logits(out.hidden), rows_at(want.load("logits"), batch.places)), 1e-5);
}

TEST_P(DecoderParity, LogitsAtEvaluation) {
  if (!is_moe()) { GTEST_SKIP() << "a dense model computes the same in training"; }
  const Decoder model = open_decoder(directory);
  NoGrad no_grad;
  Tensor logits = model.logits(model.forward({.ids = batch.ids, .sequences = batch.sequences}, {}).hidden);
  expect_parity("logits", relative_difference(logits, rows_at(want.load("logits_eval"), batch.places)), 1e-5);
}

TEST_P(DecoderParity, LossAndGradients) {
  const Decoder model = load_decoder(directory);
  Tensor loss = loss_of(model);
  expect_parity("loss", std::abs(loss.item() / want.load("loss").item() - 1), 1e-5);
  backward(loss);
  for (const auto& p : model.parameters().all()) {
    const std::vector<HfTensor> sources = hf_tensors_of(model.config(), p->name());
    for (size_t e = 0; e < sources.size(); ++e) {
      SCOPED_TRACE(sources[e].name);
      Tensor got = p->leaf().grad, expected = want.load("grad/" + sources[e].name);
      if (sources[e].slice) { got = got.slice(0, int64_t(e), int64_t(e) + 1); }
      const int64_t rows = expected.dim(0) / sources[e].parts, first = sources[e].part * rows;
      expect_parity("gradients", relative_difference(got, expected.slice(0, first, first + rows)), 5e-5);
    }
  }
}

TEST_P(DecoderParity, ThreeSteps) {
  Decoder model = load_decoder(directory);
  AdamW optimizer(model.parameters(), {.weight_decay = 0});
  const std::vector<double> losses = want.load("losses").to_vector<double>();
  for (size_t step = 0; step < losses.size(); ++step) {
    model.parameters().zero_gradients();
    Tensor loss = loss_of(model);
    SCOPED_TRACE(concat_text("before step ", step));
    expect_parity("loss_of_steps", std::abs(loss.item() / losses[step] - 1), 1e-4);
    backward(loss);
    optimizer.step({.learning_rate = 1e-2});
  }
}

TEST_P(DecoderParity, GreedyTextThroughTheCache) {
  const Decoder model = open_decoder(directory);
  const std::vector<int32_t> text = want.load("generated").to_vector<int32_t>();
  constexpr int64_t kPrompt = 5;
  NoGrad no_grad;
  KvCache cache(model.config(), 1, DType::f32);
  int64_t given = kPrompt;
  std::vector<int32_t> next(text.begin(), text.begin() + kPrompt);
  for (size_t t = kPrompt; t < text.size(); ++t) {
    DecoderOutput out = model.forward({.ids = from_values<int32_t>({given}, next), .sequences = from_values<int32_t>({2}, std::vector<int32_t>{0, int32_t(given)})},
                                      {.cache = &cache});
    const std::vector<float> logits = model.logits(out.hidden.slice(0, given - 1, given)).to_vector<float>();
    const int32_t best = int32_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
    ASSERT_EQ(best, text[t]) << "token " << t;
    next = {best};
    given = 1;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, DecoderParity, ::testing::Values("llama", "llama-dynamic", "llama3", "mistral", "qwen2", "qwen2-tied", "qwen2-yarn",
                                                                           "stablelm", "stablelm-linear", "phi", "qwen",
                                                                           "moe-phi", "moe-stablelm", "moe-qwen"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace pumice
