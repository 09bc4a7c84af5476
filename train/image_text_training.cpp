// What a training's options say before anything is read or run: whether they fit together, and what they need.
#include <cmath>

#include "pumice/tensor/error.h"
#include "pumice/train/image_text_trainer.h"

namespace pumice {

void ImageTextTraining::validate() const {
  validate_recipe();
  REQUIRE(UsageError, !train_data.empty(),
          "[train] --train-data is required, for example --train-data 'datasets/scenes/train/train-{000000..000019}.tar'");
  REQUIRE(UsageError, !out.empty(), "[train] --out is required: the directory of this run, for example --out runs/a");
}

void ImageTextTraining::validate_recipe() const {
  model.validate();
  REQUIRE(UsageError, batch_size >= 2, "[train] --batch-size must be at least 2 (a contrastive loss needs something to tell apart), got ",
          batch_size);
  REQUIRE(UsageError, accum_freq >= 1, "[train] --accum-freq must be at least 1, got ", accum_freq);
  REQUIRE(UsageError, batch_size % accum_freq == 0, "[train] --batch-size must be a multiple of --accum-freq, got ",
          batch_size, " and ", accum_freq);
  REQUIRE(UsageError, accum_freq == 1 || batch_size / accum_freq % model.group_examples == 0, "[train] each of the ", accum_freq,
          " microbatches must hold whole routing groups of ", model.group_examples, " examples, got ", batch_size / accum_freq,
          " examples. Change --accum-freq, --batch-size or --group-examples");
  REQUIRE(UsageError, accum_freq == 1 || model.aux.scope == LossScope::group, "[train] --aux-scope global needs the whole batch at once; use "
          "--accum-freq 1 or --aux-scope group");
  REQUIRE(UsageError, schedule.steps > 0 && schedule.peak > 0, "[train] --steps and --lr must be positive, got ", schedule.steps, " and ",
          schedule.peak);
  REQUIRE(UsageError, schedule.warmup >= 0 && schedule.warmup <= schedule.steps, "[train] --warmup must be in [0, --steps], got ",
          schedule.warmup, " of ", schedule.steps);
  REQUIRE(UsageError, precision == DType::f32 || precision == DType::bf16, "[train] --precision must be fp32 or bf16");
  augmentation.validate();
  REQUIRE(UsageError, epochs >= 0 && std::isfinite(epochs), "[train] --epochs must not be negative, got ", epochs);
  REQUIRE(UsageError, ema_decay >= 0 && ema_decay < 1, "[train] --ema-decay must be in [0, 1), got ", ema_decay);
  REQUIRE(UsageError, save_minutes >= 0, "[train] --save-minutes must not be negative, got ", save_minutes);
  REQUIRE(UsageError, overfit == 0 || overfit >= batch_size, "[train] --overfit must be at least the batch size ", batch_size, ", got ", overfit);
  REQUIRE(UsageError, resume == Resume::never || !overwrite, "[train] --resume and --overwrite exclude each other");
  REQUIRE(UsageError, log_every > 0, "[train] --log-every must be positive, got ", log_every);
  REQUIRE(UsageError, save_every >= 0 && keep >= 0 && keep_every >= 0, "[train] --save-every, --keep and --keep-every must not be negative, got ",
          save_every, ", ", keep, " and ", keep_every);
  REQUIRE(UsageError, schedule.cooldown >= 0 && schedule.cooldown <= schedule.steps && schedule.timescale > 0,
          "[train] --lr-cooldown must be in [0, --steps] and --lr-timescale positive, got ", schedule.cooldown, " of ", schedule.steps, " and ",
          schedule.timescale);
}

ImageTextMemory memory_of(const ImageTextTraining& t) {
  ImageTextMemory m = memory_of(t.model, t.batch_size / t.accum_freq, t.precision == DType::bf16, t.recompute);
  double bytes = 8;  // of the optimizer per parameter; Adafactor's row and column means are too few to count
  if (t.optimizer == ImageTextTraining::Optim::adafactor) { bytes = t.adafactor.beta1 > 0 ? double(size_of(t.adafactor.momentum)) : 0; }
  m.optimizer = double(cost_of(t.model).parameters) * (bytes + (t.ema_decay > 0 ? 4 : 0));
  return m;
}

}  // namespace pumice
