#include "pumice/train/recipe.h"

namespace pumice {

void explain_foreign_options(OptionTable& o) {
  struct Explanation { const char *name, *instead; };
  constexpr const char* kEval =
      "Training evaluates nothing: keep checkpoints with --keep-every N and score them with pumice eval zeroshot or retrieval.";
  constexpr const char* kOneProcess = "One process trains, and its loss sees the whole batch: leave this flag out.";
  constexpr const char* kMetrics = "Every run writes metrics.jsonl and log.txt into --out: leave this flag out.";
  constexpr const char* kMoeLayers = "Name the sparse blocks instead: --moe-layers 1,3,5; without one the model is dense.";
  const Explanation all[] = {
      // how long, and how fast
      {"warmup-ratio", "Give steps instead: --warmup N."},
      {"train-num-samples", "Sources know their size; say how long to train with --steps or --epochs."},
      {"skip-scheduler", "Use --lr-scheduler constant."},
      {"lr-cooldown-end", "The rate falls to 0: --lr-scheduler rsqrt --lr-cooldown STEPS, or --lr-scheduler linear --lr-end FRACTION."},
      {"epochs-cooldown", "Give steps instead: --lr-scheduler rsqrt --lr-cooldown STEPS."},
      // data
      {"dataset-type", "The kind of a source is seen from what it is: leave this flag out. pumice data check SOURCE says what is found."},
      {"csv-separator", "The separator is found by looking at the file: leave this flag out."},
      {"dataset-resampled", "Every epoch visits each sample once, in a new order; for a mix use --train-data-upsampling-factors."},
      {"workers", "One thread decodes ahead of training: --prefetch N batches."},
      {"dataloader-num-workers", "One thread decodes ahead of training: --prefetch N batches."},
      {"aug-cfg", "Use --aug-scale, --aug-flip, --aug-color-jitter and --aug-gray."},
      // the model
      {"model", "Sizes come from --preset (see pumice presets) and flags such as --width and --depth; to start from weights use --init-from."},
      {"lock-image", "Use --freeze 'image.*'; see docs/recipe.md for locked-image tuning."},
      {"lock-text", "Use --freeze 'text.*'."},
      {"moe-enable", kMoeLayers},
      {"moe-mode", kMoeLayers},
      {"min-capacity", "Use --capacity-multiple: places per expert are rounded up to a multiple of it."},
      {"ep-size", kOneProcess},
      // hardware
      {"fp16", "There is no fp16; use --precision bf16."},
      {"tf32", "Matrices are multiplied in the type of --precision, fp32 or bf16."},
      {"local-loss", kOneProcess},
      {"gather-with-grad", kOneProcess},
      {"local-rank", kOneProcess},
      {"deepspeed", kOneProcess},
      {"fsdp", kOneProcess},
      // the run
      {"logs", "Name the run's directory with --out."},
      {"name", "Name the run's directory with --out."},
      {"run-name", "Name the run's directory with --out."},
      {"resume-from-checkpoint", "Name the run with --out and add --resume; to start a new run from a checkpoint use --init-from."},
      {"save-frequency", "Give steps instead: --save-every N, or minutes: --save-minutes N."},
      {"save-strategy", "Use --save-every STEPS or --save-minutes N."},
      {"save-most-recent", "Checkpoints replace each other with --keep 1."},
      {"report-to", kMetrics},
      {"wandb-project-name", kMetrics},
      {"logging-dir", kMetrics},
      {"val-data", kEval},
      {"val-frequency", kEval},
      {"imagenet-val", kEval},
      {"zeroshot-frequency", kEval},
      {"evaluation-strategy", kEval},
      {"eval-strategy", kEval},
      {"eval-steps", kEval},
      {"load-best-model-at-end", kEval},
  };
  for (const Explanation& e : all) { o.explain(e.name, e.instead); }
}

}  // namespace pumice
