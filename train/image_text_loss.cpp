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

// Examples [begin, end) of a batch as the model's input.
ImageTextInput part_of(const Batch& batch, int64_t begin, int64_t end) {
  const int32_t* o = batch.text_offsets.data<int32_t>();
  std::vector<int32_t> offsets(o + begin, o + end + 1);
  for (int32_t& x : offsets) { x -= o[begin]; }
  ImageTextInput input;
  input.pixels = batch.pixels.slice(0, begin, end);
  input.tokens = batch.tokens.slice(0, o[begin], o[end]);
  input.text_offsets = from_values<int32_t>({int64_t(offsets.size())}, offsets);
  input.first_example = begin;
  return input;
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

// Reads results after the backward pass is under way, so that a CUDA device is never left without work. No aux means 0.
void fill_report(LossReport& report, const ContrastiveResult& c, const Tensor& aux) {
  report.task = c.loss.item();
  report.aux = aux.defined() ? aux.item() : 0;
  report.loss = report.task + report.aux;
  report.image_to_text = c.accuracy_i2t();
  report.text_to_image = c.accuracy_t2i();
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

LossReport accumulate_gradients(const ImageTextModel& model, const Batch& batch, int64_t accum_freq, const ImageTextRun& run) {
  const int64_t B = batch.pixels.dim(0), part = B / accum_freq;
  REQUIRE(UsageError, part * accum_freq == B, "[train] the batch size must be a multiple of --accum-freq, got ", B, " and ", accum_freq);
  if (model.config().architecture == Architecture::classifier) { return classification_gradients(model, batch, accum_freq, run); }
  LossReport report;
  if (accum_freq == 1) {
    ImageTextOutput out = model.forward(part_of(batch, 0, B), run);
    ContrastiveResult c = similarity_loss(model, out.image, out.text, batch.caption_ids);
    report.layers = std::move(out.layers);
    Tensor loss = out.aux.defined() ? add(c.loss, out.aux) : c.loss, aux = out.aux.defined() ? out.aux.detach() : Tensor();
    out = ImageTextOutput();
    c.loss = c.loss.detach();
    backward(loss);
    fill_report(report, c, aux);
    return report;
  }

  std::vector<Tensor> images, texts;
  {
    NoGrad no_grad;
    ImageTextRun first = run;
    first.recompute = first.reports = false;
    for (int64_t i = 0; i < accum_freq; ++i) {
      ImageTextOutput out = model.forward(part_of(batch, i * part, (i + 1) * part), first);
      images.push_back(out.image);
      texts.push_back(out.text);
    }
  }
  Tensor image = requires_grad(concat(images, 0)), text = requires_grad(concat(texts, 0));
  ContrastiveResult c = similarity_loss(model, image, text, batch.caption_ids);
  backward(c.loss);
  Tensor aux;
  for (int64_t i = 0; i < accum_freq; ++i) {
    ImageTextOutput out = model.forward(part_of(batch, i * part, (i + 1) * part), run);
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
      add_share(aux, out.aux, share);
      send(out.aux, full({}, share, out.aux.dtype(), out.aux.device()));
    }
    merge_layers(report.layers, out.layers, share);
    out = ImageTextOutput();
    if (!outputs.empty()) { backward(outputs, gradients); }
  }
  fill_report(report, c, aux);
  return report;
}

}  // namespace pumice
