#include "pumice/train/recipe.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

using Optim = TrainingRecipe::Optim;
using Resume = TrainingRecipe::Resume;

// One flag for a setting that each optimizer has.
Option& add_shared(OptionTable& o, const char* name, TrainingRecipe& r, double& adamw, double& adafactor, const char* help) {
  Option& option = o.add(name, "Optimiser", help, [&] { return concat_text(r.optimizer == Optim::adafactor ? adafactor : adamw); },
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

void declare_optimizer(OptionTable& o, TrainingRecipe& r) {
  o.add("lr", r.schedule.peak, "Optimiser", "peak learning rate").alias("learning-rate");
  o.add("optimizer", "Optimiser", "adafactor is big_vision's variant: half the memory, the decay is not multiplied by the peak rate",
        [&r] { return std::string(r.optimizer == Optim::adamw ? "adamw" : "adafactor"); },
        [&r](const std::string& text) {
          r.optimizer = text == "adamw" ? Optim::adamw : Optim::adafactor;
          return true;
        }).one_of({"adamw", "adafactor"}).alias("opt").alias("optim")
      .synonym("adamw_torch", "adamw").synonym("adamw_torch_fused", "adamw").synonym("adamw_hf", "adamw");
  add_shared(o, "wd", r, r.adamw.weight_decay, r.adafactor.weight_decay, "weight decay of matrices (adafactor: 1e-4)").alias("weight-decay");
  add_shared(o, "beta1", r, r.adamw.beta1, r.adafactor.beta1, "momentum").alias("adam-beta1");
  o.add("lr-mult", r.groups.lr_mult, "Optimiser", "GLOB=FACTOR on the learning rate of parameters, the last match counts: 'text.*=0.1,*.router.*=2'");
  o.add("freeze", r.groups.freeze, "Optimiser", "globs of parameters that do not train: 'image.*' locks an image tower (LiT)");
  o.add("wd-mask", r.groups.decay, "Optimiser", "globs of parameters that weight decay applies to; default: matrices");
  o.add("layer-decay", r.groups.layer_decay, "Optimiser", "the learning rate of each block over that of the next one");
  o.add("ema-decay", r.ema_decay, "Optimiser", "keep a moving average of the weights: 0.999, for example; 0 = off");
  o.add("adafactor-min-dim", r.adafactor.min_dim_to_factor, "Optimiser", "adafactor: axes of at least this length are factored");
  o.add("adafactor-momentum-dtype", "Optimiser", "adafactor: how momentum is kept; bf16 as in big_vision, 2 bytes a parameter instead of 4",
        [&r] { return std::string(r.adafactor.momentum == DType::bf16 ? "bf16" : "fp32"); },
        [&r](const std::string& text) {
          r.adafactor.momentum = text == "bf16" ? DType::bf16 : DType::f32;
          return true;
        }).one_of({"fp32", "bf16"});
  o.add("beta2", r.adamw.beta2, "Optimiser", "AdamW").alias("adam-beta2");
  o.add("eps", r.adamw.eps, "Optimiser", "AdamW").alias("adam-epsilon");
  o.add("grad-clip-norm", r.clip, "Optimiser", "largest gradient norm; 0 = off").alias("max-grad-norm");
}

void declare_schedule(OptionTable& o, TrainingRecipe& r) {
  Schedule& s = r.schedule;
  o.add("steps", s.steps, "Schedule", "optimizer steps in total").alias("max-steps");
  o.add("epochs", r.epochs, "Schedule", "passes over the training data instead of --steps; the warm-up is at most a quarter of them")
      .alias("num-train-epochs");
  o.add("warmup", s.warmup, "Schedule", "steps of linear warm-up; by default at most a quarter of --steps").alias("warmup-steps");
  o.add("lr-scheduler", "Schedule", "shape of the learning rate", [&s] { return std::string(name(s.kind)); },
        [&s](const std::string& text) {
          s.kind = schedule_kind(text);
          return true;
        }).one_of({"constant", "linear", "cosine", "rsqrt"}).alias("lr-scheduler-type").synonym("const", "constant")
      .synonym("constant_with_warmup", "constant").synonym("inverse_sqrt", "rsqrt");
  o.add("lr-end", s.end_fraction, "Schedule", "cosine and linear: the last learning rate as a fraction of the peak");
  o.add("lr-cooldown", s.cooldown, "Schedule", "rsqrt: steps of linear decay to 0 at the end");
  o.add("lr-cooldown-hold", s.hold, "Schedule",
        "rsqrt: the root stays as the cool-down finds it (V-MoE) instead of falling on (big_vision)");
  o.add("lr-timescale", s.timescale, "Schedule", "rsqrt: steps after which the rate has fallen to 1/sqrt(2)");
}

void declare_hardware(OptionTable& o, TrainingRecipe& r) {
  o.add("precision", "Hardware", "of activations and weights in the forward and backward pass; masters stay fp32",
        [&r] { return std::string(r.precision == DType::bf16 ? "bf16" : "fp32"); },
        [&r](const std::string& text) {
          r.precision = text == "bf16" ? DType::bf16 : DType::f32;
          return true;
        }).one_of({"fp32", "bf16"}).synonym("amp_bf16", "bf16").synonym("amp_bfloat16", "bf16").synonym("bfloat16", "bf16").synonym("float32", "fp32")
      .switched_by("bf16", "bf16", "fp32");
  add_device_option(o, r.device);
  o.add("grad-checkpointing", r.recompute, "Hardware", "recompute each block in the backward pass instead of keeping its activations")
      .alias("gradient-checkpointing");
}

void declare_run(OptionTable& o, TrainingRecipe& r) {
  o.add("out", r.out, "Run", "directory of the run").alias("output-dir");
  o.add("seed", r.seed, "Run", "of weights, order and routing noise");
  o.add("save-every", r.save_every, "Run", "steps between checkpoints; 0 = only at the end").alias("save-steps");
  o.add("keep", r.keep, "Run", "newest checkpoints kept; 0 = all").alias("save-total-limit");
  o.add("keep-every", r.keep_every, "Run", "checkpoints of steps that are multiples of this are kept for good, beside --keep; 0 = off");
  o.add("log-every", r.log_every, "Run", "steps between lines of metrics.jsonl").alias("logging-steps").alias("log-every-n-steps");
  o.add("save-minutes", r.save_minutes, "Run", "minutes between checkpoints, beside --save-every; 0 = off");
  Option& resume = o.add("resume", "Run", "continue the run in --out from its last checkpoint, bit for bit; auto: if there is one",
        [&r] { return std::string(r.resume == Resume::never ? "never" : r.resume == Resume::always ? "always" : "auto"); },
        [&r](const std::string& text) {
          r.resume = text == "never" ? Resume::never : text == "always" ? Resume::always : Resume::automatic;
          return true;
        }).one_of({"never", "always", "auto"}).synonym("true", "always").synonym("True", "always").synonym("false", "never").synonym("False", "never")
      .synonym("latest", "auto");
  resume.bare = "always";
  o.add("overwrite", r.overwrite, "Run", "replace a run that is in --out").alias("overwrite-output-dir");
}

}  // namespace

void TrainingRecipe::validate_common() const {
  REQUIRE(UsageError, accum_freq >= 1, "[train] --accum-freq must be at least 1, got ", accum_freq);
  REQUIRE(UsageError, batch_size >= 1, "[train] --batch-size must be at least 1, got ", batch_size);
  REQUIRE(UsageError, batch_size % accum_freq == 0, "[train] --batch-size must be a multiple of --accum-freq, got ",
          batch_size, " and ", accum_freq);
  REQUIRE(UsageError, schedule.steps > 0 && schedule.peak > 0, "[train] --steps and --lr must be positive, got ", schedule.steps, " and ",
          schedule.peak);
  REQUIRE(UsageError, schedule.warmup >= 0 && schedule.warmup <= schedule.steps, "[train] --warmup must be in [0, --steps], got ",
          schedule.warmup, " of ", schedule.steps);
  REQUIRE(UsageError, precision == DType::f32 || precision == DType::bf16, "[train] --precision must be fp32 or bf16");
  REQUIRE(UsageError, epochs >= 0 && std::isfinite(epochs), "[train] --epochs must not be negative, got ", epochs);
  for (const double beta : {adamw.beta1, adamw.beta2, adafactor.beta1}) {
    REQUIRE(UsageError, beta >= 0 && beta < 1, "[train] --beta1 and --beta2 must be in [0, 1), got ", beta);
  }
  REQUIRE(UsageError, adamw.eps > 0, "[train] --eps must be positive, got ", adamw.eps);
  REQUIRE(UsageError, clip >= 0, "[train] --grad-clip-norm must not be negative, got ", clip, "; 0 turns it off");
  REQUIRE(UsageError, adamw.weight_decay >= 0 && adafactor.weight_decay >= 0, "[train] --wd must not be negative, got ", adamw.weight_decay);
  REQUIRE(UsageError, ema_decay >= 0 && ema_decay < 1, "[train] --ema-decay must be in [0, 1), got ", ema_decay);
  REQUIRE(UsageError, save_minutes >= 0, "[train] --save-minutes must not be negative, got ", save_minutes);
  REQUIRE(UsageError, resume == Resume::never || !overwrite, "[train] --resume and --overwrite exclude each other");
  REQUIRE(UsageError, log_every > 0, "[train] --log-every must be positive, got ", log_every);
  REQUIRE(UsageError, save_every >= 0 && keep >= 0 && keep_every >= 0, "[train] --save-every, --keep and --keep-every must not be negative, got ",
          save_every, ", ", keep, " and ", keep_every);
  REQUIRE(UsageError, schedule.cooldown >= 0 && schedule.cooldown <= schedule.steps && schedule.timescale > 0,
          "[train] --lr-cooldown must be in [0, --steps] and --lr-timescale positive, got ", schedule.cooldown, " of ", schedule.steps, " and ",
          schedule.timescale);
}

void TrainingRecipe::set_steps(int64_t examples) {
  if (epochs <= 0) { return; }
  schedule.steps = std::max<int64_t>(1, std::llround(epochs * double(examples) / double(batch_size)));
  schedule.warmup = std::min(schedule.warmup, schedule.steps / 4);
}

std::unique_ptr<Optimizer> make_optimizer(const TrainingRecipe& r, ParameterStore& parameters) {
  std::vector<ParameterPlan> plan = plan_parameters(parameters, r.groups);
  if (r.optimizer == Optim::adafactor) { return std::make_unique<Adafactor>(parameters, r.adafactor, std::move(plan)); }
  return std::make_unique<AdamW>(parameters, r.adamw, std::move(plan));
}

double optimizer_bytes(const TrainingRecipe& r) {
  double bytes = 8;  // Adafactor's row and column means are too few to count
  if (r.optimizer == Optim::adafactor) { bytes = r.adafactor.beta1 > 0 ? double(size_of(r.adafactor.momentum)) : 0; }
  return bytes + (r.ema_decay > 0 ? 4 : 0);
}

void declare_recipe_options(OptionTable& o, TrainingRecipe& r) {
  declare_optimizer(o, r);
  declare_schedule(o, r);
  declare_hardware(o, r);
  declare_run(o, r);
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

std::vector<std::string> options_of_place() { return {"out", "resume", "overwrite", "prefetch", "save-every", "save-minutes", "keep", "keep-every"}; }

}  // namespace pumice
