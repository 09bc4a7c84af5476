#include "pumice/train/image_text_options.h"

#include <algorithm>
#include <charconv>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

bool parse_factors(const std::string& text, std::vector<double>& factors) {
  std::vector<double> parsed;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find("::", begin), text.size());
    double factor = 0;
    auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, factor);
    if (error != std::errc() || stop != text.data() + end) { return false; }
    parsed.push_back(factor);
    begin = end + 2;
  }
  factors = parsed;
  return true;
}

// As many numbers as there are targets, separated by commas.
bool parse_numbers(const std::string& text, const std::vector<double*>& targets) {
  std::vector<double> parsed;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    double value = 0;
    auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end) { return false; }
    parsed.push_back(value);
    begin = end + 1;
  }
  if (parsed.size() != targets.size()) { return false; }
  for (size_t i = 0; i < parsed.size(); ++i) { *targets[i] = parsed[i]; }
  return true;
}

// One flag for a setting that each optimizer has.
Option& add_shared(OptionTable& o, const char* name, ImageTextTraining& t, double& adamw, double& adafactor, const char* help) {
  Option& option = o.add(name, "Optimiser", help, [&] { return concat_text(t.optimizer == ImageTextTraining::Optim::adafactor ? adafactor : adamw); },
                         [&](const std::string& text) {
                           double value = 0;
                           auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
                           if (error != std::errc() || end != text.data() + text.size()) { return false; }
                           adamw = adafactor = value;
                           return true;
                         });
  option.type = Option::kNumber;
  return option;
}

}  // namespace

void declare_training_options(OptionTable& o, ImageTextTraining& t) {
  o.add("train-data", t.train_data, "Data",
        "shards (a path with braces), CSV, COCO JSON, a folder per class, an IDX or CLIP_benchmark folder; several joined by '::'")
      .alias("data").alias("data-path");
  o.add("train-data-upsampling-factors", "Data", "how often each source of a mix is drawn from, such as 2::1",
        [&t] {
          std::vector<std::string> parts;
          for (double f : t.data.upsampling) { parts.push_back(concat_text(f)); }
          return join(parts, "::");
        },
        [&t](const std::string& text) { return parse_factors(text, t.data.upsampling); });
  o.add("csv-img-key", t.data.image_column, "Data", "CSV: the column of picture paths; default: filepath, image, path or file_name");
  o.add("csv-caption-key", t.data.caption_column, "Data", "CSV: the column of captions; default: title, caption or text");
  o.add("csv-label-key", t.data.label_column, "Data", "CSV: the column of classes; default: label or class, if there is one");
  o.add("image-folder", t.data.image_folder, "Data", "where relative picture paths of a CSV or JSON start; default: beside the file");
  o.add("split", t.data.split, "Data", "of sources that have several");
  o.add("exif-orientation", t.decoding.exif_orientation, "Data", "turn pictures as their EXIF data says; evaluation then does so too")
      .alias("exif-rotate");
  o.add("dedupe-batch", t.dedupe_batch, "Data", "no two examples of a batch have the same caption or picture");
  o.add("aug-scale", "Data", "random crops of a share of the picture's area, such as 0.9,1, resized; 1,1: the centre crop",
        [&t] { return concat_text(t.augmentation.min_scale, ",", t.augmentation.max_scale); },
        [&t](const std::string& text) { return parse_numbers(text, {&t.augmentation.min_scale, &t.augmentation.max_scale}); });
  o.add("aug-flip", t.augmentation.flip, "Data", "probability of a mirror image; leave it at 0 when captions say left and right");
  o.add("aug-color-jitter", "Data",
        "strength of random brightness, contrast, saturation and, if four numbers are given, hue, such as 0.4,0.4,0.4,0.1",
        [&t] {
          const Augmentation& a = t.augmentation;
          return concat_text(a.brightness, ",", a.contrast, ",", a.saturation, a.hue > 0 ? concat_text(",", a.hue) : "");
        },
        [&t](const std::string& text) {
          Augmentation& a = t.augmentation;
          a.hue = 0;
          return parse_numbers(text, {&a.brightness, &a.contrast, &a.saturation}) ||
                 parse_numbers(text, {&a.brightness, &a.contrast, &a.saturation, &a.hue});
        });
  o.add("aug-gray", t.augmentation.grey, "Data", "probability of losing the colour").alias("aug-grey").alias("aug-gray-scale-prob");
  o.add("tokenizer", t.tokenizer, "Data", "a tokenizer file or a directory with one (pumice tokenizer info --help lists the kinds); "
        "without it that of --init-from, or one is learned from the captions");
  o.add("init-from", t.init_from, "Model", "start from the weights of this run or checkpoint: fine-tuning, LiT, sparse upcycling")
      .alias("pretrained").alias("model-name-or-path");
  o.add("overfit", t.overfit, "Data", "train on the first N pairs only, in order: a check that a model can learn at all; 0 = off");
  o.add("prefetch", t.prefetch, "Data", "batches decoded ahead by the loader's thread");

  declare_model_options(o, t.model);

  o.add("batch-size", t.batch_size, "Optimiser", "pairs per step: the contrastive batch").alias("per-device-train-batch-size");
  o.add("accum-freq", t.accum_freq, "Optimiser", "microbatches per step; the contrastive batch stays whole").alias("gradient-accumulation-steps");
  o.add("lr", t.schedule.peak, "Optimiser", "peak learning rate").alias("learning-rate");
  o.add("optimizer", "Optimiser", "adafactor is big_vision's variant: half the memory, the decay is not multiplied by the peak rate",
        [&t] { return std::string(t.optimizer == ImageTextTraining::Optim::adamw ? "adamw" : "adafactor"); },
        [&t](const std::string& text) {
          t.optimizer = text == "adamw" ? ImageTextTraining::Optim::adamw : ImageTextTraining::Optim::adafactor;
          return true;
        }).one_of({"adamw", "adafactor"}).alias("opt").alias("optim")
      .synonym("adamw_torch", "adamw").synonym("adamw_torch_fused", "adamw").synonym("adamw_hf", "adamw");
  add_shared(o, "wd", t, t.adamw.weight_decay, t.adafactor.weight_decay, "weight decay of matrices (adafactor: 1e-4)").alias("weight-decay");
  add_shared(o, "beta1", t, t.adamw.beta1, t.adafactor.beta1, "momentum").alias("adam-beta1");
  o.add("lr-mult", t.groups.lr_mult, "Optimiser", "GLOB=FACTOR on the learning rate of parameters, the last match counts: 'text.*=0.1,*.router.*=2'");
  o.add("freeze", t.groups.freeze, "Optimiser", "globs of parameters that do not train: 'image.*' locks an image tower (LiT)");
  o.add("wd-mask", t.groups.decay, "Optimiser", "globs of parameters that weight decay applies to; default: matrices");
  o.add("layer-decay", t.groups.layer_decay, "Optimiser", "the learning rate of each block over that of the next one");
  o.add("ema-decay", t.ema_decay, "Optimiser", "keep a moving average of the weights: 0.999, for example; 0 = off");
  o.add("adafactor-min-dim", t.adafactor.min_dim_to_factor, "Optimiser", "adafactor: axes of at least this length are factored");
  o.add("adafactor-momentum-dtype", "Optimiser", "adafactor: how momentum is kept; bf16 as in big_vision, 2 bytes a parameter instead of 4",
        [&t] { return std::string(t.adafactor.momentum == DType::bf16 ? "bf16" : "fp32"); },
        [&t](const std::string& text) {
          t.adafactor.momentum = text == "bf16" ? DType::bf16 : DType::f32;
          return true;
        }).one_of({"fp32", "bf16"});
  o.add("beta2", t.adamw.beta2, "Optimiser", "AdamW").alias("adam-beta2");
  o.add("eps", t.adamw.eps, "Optimiser", "AdamW").alias("adam-epsilon");
  o.add("grad-clip-norm", t.clip, "Optimiser", "largest gradient norm; 0 = off").alias("max-grad-norm");

  o.add("steps", t.schedule.steps, "Schedule", "optimizer steps in total").alias("max-steps");
  o.add("epochs", t.epochs, "Schedule", "passes over the training data instead of --steps; the warm-up is at most a quarter of them")
      .alias("num-train-epochs");
  o.add("warmup", t.schedule.warmup, "Schedule", "steps of linear warm-up; by default at most a quarter of --steps").alias("warmup-steps");
  o.add("lr-scheduler", "Schedule", "shape of the learning rate", [&t] { return std::string(name(t.schedule.kind)); },
        [&t](const std::string& text) {
          t.schedule.kind = schedule_kind(text);
          return true;
        }).one_of({"constant", "linear", "cosine", "rsqrt"}).alias("lr-scheduler-type").synonym("const", "constant")
      .synonym("constant_with_warmup", "constant").synonym("inverse_sqrt", "rsqrt");
  o.add("lr-end", t.schedule.end_fraction, "Schedule", "cosine and linear: the last learning rate as a fraction of the peak");
  o.add("lr-cooldown", t.schedule.cooldown, "Schedule", "rsqrt: steps of linear decay to 0 at the end");
  o.add("lr-cooldown-hold", t.schedule.hold, "Schedule",
        "rsqrt: the root stays as the cool-down finds it (V-MoE) instead of falling on (big_vision)");
  o.add("lr-timescale", t.schedule.timescale, "Schedule", "rsqrt: steps after which the rate has fallen to 1/sqrt(2)");

  o.add("precision", "Hardware", "of activations and weights in the forward and backward pass; masters stay fp32",
        [&t] { return std::string(t.precision == DType::bf16 ? "bf16" : "fp32"); },
        [&t](const std::string& text) {
          t.precision = text == "bf16" ? DType::bf16 : DType::f32;
          return true;
        }).one_of({"fp32", "bf16"}).synonym("amp_bf16", "bf16").synonym("amp_bfloat16", "bf16").synonym("bfloat16", "bf16").synonym("float32", "fp32")
      .switched_by("bf16", "bf16", "fp32");
  add_device_option(o, t.device);
  o.add("grad-checkpointing", t.recompute, "Hardware", "recompute each block in the backward pass instead of keeping its activations")
      .alias("gradient-checkpointing");

  o.add("out", t.out, "Run", "directory of the run").alias("output-dir");
  o.add("seed", t.seed, "Run", "of weights, order and routing noise");
  o.add("save-every", t.save_every, "Run", "steps between checkpoints; 0 = only at the end").alias("save-steps");
  o.add("keep", t.keep, "Run", "newest checkpoints kept; 0 = all").alias("save-total-limit");
  o.add("keep-every", t.keep_every, "Run", "checkpoints of steps that are multiples of this are kept for good, beside --keep; 0 = off");
  o.add("log-every", t.log_every, "Run", "steps between lines of metrics.jsonl").alias("logging-steps").alias("log-every-n-steps");
  o.add("save-minutes", t.save_minutes, "Run", "minutes between checkpoints, beside --save-every; 0 = off");
  using Resume = ImageTextTraining::Resume;
  Option& resume = o.add("resume", "Run", "continue the run in --out from its last checkpoint, bit for bit; auto: if there is one",
        [&t] { return std::string(t.resume == Resume::never ? "never" : t.resume == Resume::always ? "always" : "auto"); },
        [&t](const std::string& text) {
          t.resume = text == "never" ? Resume::never : text == "always" ? Resume::always : Resume::automatic;
          return true;
        }).one_of({"never", "always", "auto"}).synonym("true", "always").synonym("True", "always").synonym("false", "never").synonym("False", "never")
      .synonym("latest", "auto");
  resume.bare = "always";
  o.add("overwrite", t.overwrite, "Run", "replace a run that is in --out").alias("overwrite-output-dir");
  explain_foreign_options(o);
}

void add_device_option(OptionTable& options, Device& device) {
  options.add("device", "Hardware", "where the model lives: cuda needs a build with PUMICE_CUDA=on and a card",
              [&device] { return std::string(device.kind == Device::kCuda ? "cuda" : "cpu"); },
              [&device](const std::string& text) {
                device = text == "cuda" ? Device::cuda() : Device::cpu();
                return true;
              }).one_of({"cpu", "cuda"}).synonym("cuda:0", "cuda");
}

std::string to_json(const ImageTextTraining& training) {
  ImageTextTraining copy = training;
  OptionTable table;
  if (!copy.model.preset.empty()) { table.add("preset", copy.model.preset, "Model", "where the values came from"); }
  declare_training_options(table, copy);
  return table.to_json({"out", "resume", "overwrite", "prefetch", "save-every", "save-minutes", "keep", "keep-every"});
}

}  // namespace pumice
