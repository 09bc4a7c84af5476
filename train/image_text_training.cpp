// What a training's options say before anything is read or run: whether they fit together, and what they need.
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
  validate_common();
  REQUIRE(UsageError, batch_size >= 2, "[train] --batch-size must be at least 2 (a contrastive loss needs something to tell apart), got ",
          batch_size);
  REQUIRE(UsageError, prefetch >= 0, "[train] --prefetch must not be negative, got ", prefetch, "; 0 reads each batch when it is needed");
  REQUIRE(UsageError, accum_freq == 1 || batch_size / accum_freq % model.group_examples == 0, "[train] each of the ", accum_freq,
          " microbatches must hold whole routing groups of ", model.group_examples, " examples, got ", batch_size / accum_freq,
          " examples. Change --accum-freq, --batch-size or --group-examples");
  REQUIRE(UsageError, accum_freq == 1 || model.aux.scope == LossScope::group, "[train] --aux-scope global needs the whole batch at once; use "
          "--accum-freq 1 or --aux-scope group");
  augmentation.validate();
  REQUIRE(UsageError, overfit == 0 || overfit >= batch_size, "[train] --overfit must be at least the batch size ", batch_size, ", got ", overfit);
}

ImageTextMemory memory_of(const ImageTextTraining& t) {
  ImageTextMemory m = memory_of(t.model, t.batch_size / t.accum_freq, t.precision == DType::bf16, t.recompute);
  m.optimizer = double(cost_of(t.model).parameters) * optimizer_bytes(t);
  const double batch = double(t.batch_size);
  if (t.model.architecture != Architecture::classifier) { m.activations += 3 * batch * batch * 4; }  // the whole batch's scores and their gradients
  return m;
}

int64_t largest_batch(const ImageTextTraining& training, double bytes) {
  ImageTextTraining t = training;
  t.model.validate();
  REQUIRE(UsageError, t.accum_freq >= 1, "[train] --accum-freq must be at least 1, got ", t.accum_freq);
  for (t.batch_size = 32768; t.batch_size >= 2; t.batch_size /= 2) {
    const int64_t part = t.batch_size / t.accum_freq;
    const bool whole = part * t.accum_freq == t.batch_size && (t.accum_freq == 1 || (part > 0 && part % t.model.group_examples == 0));
    if (whole && (t.overfit == 0 || t.batch_size <= t.overfit) && memory_of(t).total() <= bytes) { return t.batch_size; }
  }
  t.batch_size = 2 * t.accum_freq;
  throw UsageError(concat_text("[train] --batch-size auto: no power of two fits. A step of ", t.batch_size, " would take about ",
                               int64_t(memory_of(t).total()) >> 20, " MiB of the ", int64_t(bytes) >> 20,
                               " MiB there are. Choose a smaller --preset, or --grad-checkpointing"), __FILE__, __LINE__);
}

}  // namespace pumice
