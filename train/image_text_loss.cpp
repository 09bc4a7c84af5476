#include <algorithm>

#include "pumice/data/loader.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/loss/contrastive.h"
#include "pumice/ops/loss/cross_entropy.h"
#include "pumice/ops/loss/sigmoid_cross_entropy.h"
#include "pumice/ops/reduce/argmax.h"
#include "pumice/tensor/error.h"
#include "pumice/train/image_text_trainer.h"

namespace pumice {
namespace {

// Examples [begin, end) of a batch as the model's input, with captions padded to `words` tokens; 0: as they are.
ImageTextInput part_of(const ImageTextModel& model, const Batch& batch, int64_t begin, int64_t end, bool training, int64_t words) {
  const int32_t* o = batch.text_offsets.data<int32_t>();
  std::vector<int32_t> offsets(o + begin, o + end + 1);
  for (int32_t& x : offsets) { x -= o[begin]; }
  ImageTextInput input;
  input.pixels = batch.pixels.slice(0, begin, end);
  input.tokens = batch.tokens.slice(0, o[begin], o[end]);
  input.text_offsets = from_values<int32_t>({int64_t(offsets.size())}, offsets);
  if (words) {
    Tensor padded = zeros({words}, DType::i32);
    copy_into(padded.slice(0, 0, input.tokens.size()), input.tokens);
    input.padding = words - input.tokens.size();
    input.tokens = padded;
  }
  input.first_example = begin;
  input.layout = std::make_shared<const ImageTextLayout>(model.layout(input, training));
  return input;
}

// Captions of a batch have another number of tokens every time, around a mean. To a multiple of a sixteenth of the most that there can be, batches
// come in a few sizes; 512 are enough for any, and cost attention little. There is always some padding: it is a sequence, and a group.
int64_t padded_words(const Batch& batch, int64_t accum_freq, int64_t text_length) {
  const int32_t* o = batch.text_offsets.data<int32_t>();
  const int64_t each = batch.pixels.dim(0) / accum_freq;
  int64_t step = 8, most = 0;
  while (step < 512 && step * 32 <= each * text_length) { step *= 2; }
  for (int64_t i = 0; i < accum_freq; ++i) { most = std::max<int64_t>(most, o[(i + 1) * each] - o[i * each]); }
  return (most / step + 1) * step;
}

void merge_layers(std::vector<LayerReport>& into, const std::vector<LayerReport>& part, double share) {
  if (into.empty()) {
    into = part;
    for (LayerReport& layer : into) {
      for (auto& [name, value] : layer.losses) { value *= share; }
    }
    return;
  }
  for (size_t i = 0; i < part.size(); ++i) {
    into[i].stats.merge(part[i].stats);
    for (size_t k = 0; k < part[i].losses.size(); ++k) { into[i].losses[k].second += share * part[i].losses[k].second; }
  }
}

ContrastiveResult similarity_loss(const ImageTextModel& model, const Tensor& image, const Tensor& text, const Tensor& caption_ids) {
  return model.config().loss == Loss::sigmoid ? sigmoid_contrastive_loss(image, text, model.log_temperature(), model.logit_bias(), caption_ids)
                                              : contrastive_loss(image, text, model.log_temperature(), caption_ids);
}

// total += share * x, without a graph.
void add_share(Tensor& total, const Tensor& x, double share) {
  if (!x.defined()) { return; }
  if (!total.defined()) { total = zeros({}, x.dtype(), x.device()); }
  NoGrad no_grad;
  add_into(total, scale(x, share));
}

LossReport classification_gradients(const ImageTextModel& model, const Batch& batch, int64_t accum_freq, const ImageTextRun& run) {
  const int64_t B = batch.pixels.dim(0), part = B / accum_freq;
  const double share = 1.0 / double(accum_freq);
  LossReport report;
  Tensor task, aux;
  for (int64_t i = 0; i < accum_freq; ++i) {
    ImageTextInput input;
    input.pixels = batch.pixels.slice(0, i * part, (i + 1) * part);
    input.first_example = i * part;
    Tensor labels = batch.labels.slice(0, i * part, (i + 1) * part);
    ImageTextOutput out = model.forward(input, run);
    Tensor loss = model.config().loss == Loss::sigmoid ? sigmoid_cross_entropy(out.logits, labels) : cross_entropy(out.logits, labels);
    Tensor best = argmax(out.logits.detach());
    add_share(task, loss, share);
    add_share(aux, out.aux, share);
    merge_layers(report.layers, out.layers, share);
    Tensor total = out.aux.defined() ? add(loss, out.aux) : loss;
    out = ImageTextOutput();
    loss = Tensor();
    const std::vector<Tensor> outputs = {total}, gradients = {full({}, share, total.dtype(), total.device())};
    backward(outputs, gradients);
    const std::vector<int32_t> answers = best.to_vector<int32_t>(), want = labels.to_vector<int32_t>();
    for (size_t k = 0; k < want.size(); ++k) { report.image_to_text += answers[k] == want[k] ? 1.0 / double(B) : 0; }
  }
  report.task = task.item();
  report.aux = aux.defined() ? aux.item() : 0;
  report.loss = report.task + report.aux;
  return report;
}

}  // namespace

std::vector<Tensor> StepInput::tensors() const {
  std::vector<Tensor> all = {captions};
  for (const ImageTextInput& part : parts) {
    all.push_back(part.pixels);
    all.push_back(part.tokens);
    for (const Tensor& t : part.layout->tensors()) { all.push_back(t); }
  }
  return all;
}

std::vector<int64_t> StepInput::shape() const {
  std::vector<int64_t> numbers;
  for (const Tensor& t : tensors()) {
    numbers.push_back(t.rank());
    numbers.insert(numbers.end(), t.shape().begin(), t.shape().end());
  }
  return numbers;
}

StepInput step_input(const ImageTextModel& model, const Batch& batch, int64_t accum_freq, bool training, bool pad) {
  const int64_t B = batch.pixels.dim(0), each = B / accum_freq;
  REQUIRE(UsageError, each * accum_freq == B, "[train] the batch size must be a multiple of --accum-freq, got ", B, " and ", accum_freq);
  StepInput input;
  const int64_t words = pad ? padded_words(batch, accum_freq, model.config().text_length) : 0;
  for (int64_t i = 0; i < accum_freq; ++i) { input.parts.push_back(part_of(model, batch, i * each, (i + 1) * each, training, words)); }
  input.captions = caption_groups(batch.caption_ids);
  return input;
}

LossTensors launch_gradients(const ImageTextModel& model, const StepInput& input, const ImageTextRun& run) {
  const int64_t accum_freq = int64_t(input.parts.size()), part = input.parts[0].pixels.dim(0);
  LossTensors losses;
  if (accum_freq == 1) {
    ImageTextOutput out = model.forward(input.parts[0], run);
    ContrastiveResult c = similarity_loss(model, out.image, out.text, input.captions);
    losses.layers = std::move(out.layers);
    Tensor loss = out.aux.defined() ? add(c.loss, out.aux) : c.loss;
    losses.task = c.loss.detach();
    losses.aux = out.aux.defined() ? out.aux.detach() : Tensor();
    losses.hits = c.hits;
    out = ImageTextOutput();
    c.loss = Tensor();
    backward(loss);
    return losses;
  }

  std::vector<Tensor> images, texts;
  {
    NoGrad no_grad;
    ImageTextRun first = run;
    first.recompute = first.reports = false;
    for (const ImageTextInput& in : input.parts) {
      ImageTextOutput out = model.forward(in, first);
      images.push_back(out.image);
      texts.push_back(out.text);
    }
  }
  Tensor image = requires_grad(concat(images, 0)), text = requires_grad(concat(texts, 0));
  ContrastiveResult c = similarity_loss(model, image, text, input.captions);
  backward(c.loss);
  for (int64_t i = 0; i < accum_freq; ++i) {
    ImageTextOutput out = model.forward(input.parts[size_t(i)], run);
    std::vector<Tensor> outputs, gradients;
    auto send = [&](const Tensor& output, const Tensor& gradient) {
      if (!needs_grad(output)) { return; }  // of a frozen tower
      outputs.push_back(output);
      gradients.push_back(gradient);
    };
    send(out.image, grad(image).slice(0, i * part, (i + 1) * part));
    send(out.text, grad(text).slice(0, i * part, (i + 1) * part));
    const double share = 1.0 / double(accum_freq);  // the auxiliary loss is a mean over groups, and parts have equally many
    if (out.aux.defined()) {
      add_share(losses.aux, out.aux, share);
      send(out.aux, full({}, share, out.aux.dtype(), out.aux.device()));
    }
    merge_layers(losses.layers, out.layers, share);
    out = ImageTextOutput();
    if (!outputs.empty()) { backward(outputs, gradients); }
  }
  losses.task = c.loss.detach();
  losses.hits = c.hits;
  return losses;
}

LossReport accumulate_gradients(const ImageTextModel& model, const Batch& batch, int64_t accum_freq, const ImageTextRun& run) {
  if (model.config().architecture == Architecture::classifier) {
    REQUIRE(UsageError, batch.pixels.dim(0) % accum_freq == 0, "[train] the batch size must be a multiple of --accum-freq, got ", batch.pixels.dim(0),
            " and ", accum_freq);
    return classification_gradients(model, batch, accum_freq, run);
  }
  LossTensors losses = launch_gradients(model, step_input(model, batch, accum_freq, run.training), run);
  // Read after the backward pass is under way, so that a CUDA device is never left without work.
  const double pairs = double(batch.pixels.dim(0));
  const std::vector<int64_t> hits = losses.hits.to_vector<int64_t>();
  LossReport report;
  report.task = losses.task.item();
  report.aux = losses.aux.defined() ? losses.aux.item() : 0;
  report.loss = report.task + report.aux;
  report.image_to_text = double(hits[0]) / pairs;
  report.text_to_image = double(hits[1]) / pairs;
  report.layers = std::move(losses.layers);
  return report;
}

}  // namespace pumice
