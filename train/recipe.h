// What every training has, whatever it trains: the optimizer, the schedule, and the directory of the run.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pumice/tensor/options.h"
#include "pumice/train/optim/adafactor.h"
#include "pumice/train/optim/adamw.h"
#include "pumice/train/schedule.h"

namespace pumice {

struct TrainingRecipe {
  std::string out;              // run directory
  int64_t batch_size = 128;     // examples per optimizer step
  int64_t accum_freq = 1;       // microbatches per step
  double epochs = 0;            // passes over the data; sets schedule.steps. 0: schedule.steps says how long
  Schedule schedule;
  enum class Optim { adamw, adafactor } optimizer = Optim::adamw;
  AdamWOptions adamw;
  AdafactorOptions adafactor;
  GroupOptions groups;          // learning rates by name, freezing, layer decay
  double ema_decay = 0;         // moving average of the weights; 0 = none
  double clip = 1.0;            // gradient norm; 0 = off
  DType precision = DType::f32; // f32 or bf16
  bool recompute = false;       // activation checkpointing
  Device device;                // of the model and its optimizer; data stays on the CPU
  uint64_t seed = 0;
  int64_t save_every = 500, keep = 3, log_every = 10;
  int64_t keep_every = 0;       // checkpoints of its multiples stay whatever keep says, and are saved whatever save_every says; 0 = off
  double save_minutes = 0;      // between checkpoints, beside save_every; 0 = off
  enum class Resume { never, always, automatic } resume = Resume::never;  // automatic: if there is a run, else start one
  bool overwrite = false;

  // Throws UsageError naming the flag that is out of its range.
  void validate_common() const;
  // Sets schedule.steps where `epochs` says how long: passes over `examples`. The warm-up is then at most a quarter of them.
  void set_steps(int64_t examples);
};

std::unique_ptr<Optimizer> make_optimizer(const TrainingRecipe& recipe, ParameterStore& parameters);
// Bytes that the optimizer and the average keep per parameter.
double optimizer_bytes(const TrainingRecipe& recipe);

// Optimiser, Schedule, Hardware and Run: all but --batch-size and --accum-freq, which each training describes itself.
void declare_recipe_options(OptionTable& table, TrainingRecipe& recipe);
// --device cpu|cuda, for every command that runs a model.
void add_device_option(OptionTable& options, Device& device);
// Names of the options that say where a run lies and how it was started, which a run's config.json leaves out.
std::vector<std::string> options_of_place();

// Names that open_clip, Hugging Face's Trainer, LLaVA and MoE-LLaVA use and that have no counterpart here, with what to do instead.
void explain_foreign_options(OptionTable& table);

}  // namespace pumice
