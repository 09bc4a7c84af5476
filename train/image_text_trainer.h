// Training of the image-text models (LIMoE, two towers, classifiers), from data on disk to checkpoints. Everything that decides
// a number is in ImageTextTraining; the observer sees what happens and may ask to stop.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "pumice/data/augment.h"
#include "pumice/data/pairs.h"
#include "pumice/models/image_text_model.h"
#include "pumice/train/optim/adafactor.h"
#include "pumice/train/optim/adamw.h"
#include "pumice/train/schedule.h"

namespace pumice {

struct ImageTextTraining {
  ImageTextConfig model;
  std::string train_data;       // see open_pairs()
  PairOptions data;
  DecodeOptions decoding;
  Augmentation augmentation;
  bool dedupe_batch = false;    // no two examples of a batch have the same caption or picture
  std::string tokenizer;        // a path for Tokenizer::load; empty: that of init_from, or one is trained on the captions
  std::string init_from;        // a run or checkpoint whose weights to start from, see transfer_parameters(); empty: random weights
  std::string out;              // run directory
  int64_t batch_size = 128;     // examples per optimizer step: the contrastive batch
  int64_t accum_freq = 1;       // microbatches per step; the contrastive batch stays whole
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
  Device device;                // of the model and its optimizer; the loader stays on the CPU
  uint64_t seed = 0;
  int64_t save_every = 500, keep = 3, log_every = 10;
  int64_t keep_every = 0;       // checkpoints of its multiples stay whatever keep says, and are saved whatever save_every says; 0 = off
  double save_minutes = 0;      // between checkpoints, beside save_every; 0 = off
  int64_t overfit = 0;          // use only the first N pairs, unshuffled
  int64_t prefetch = 3;
  enum class Resume { never, always, automatic } resume = Resume::never;  // automatic: if there is a run, else start one
  bool overwrite = false;

  void validate() const;        // throws UsageError naming the flag
  void validate_recipe() const; // the same without train_data and out
};
// Bytes for one optimizer step: those of the model, with this optimizer and average, in microbatches.
ImageTextMemory memory_of(const ImageTextTraining& training);
struct StepMetrics {
  int64_t step = 0, steps = 0;  // done, in total
  double epoch = 0;
  double loss = 0, task = 0, aux = 0, chance = 0;  // task: contrastive or classification loss; chance: that of guessing
  double image_to_text = 0, text_to_image = 0;     // in-batch top-1; of a classifier the first is its accuracy on the batch
  bool classifier = false;
  double learning_rate = 0, gradient_norm = 0, temperature = 0;
  double pairs_per_second = 0, seconds_left = 0, seconds_waited = 0;
  std::vector<LayerReport> layers;  // on steps that are logged
  int64_t corrupt_samples = 0;
};

struct TrainObserver {
  std::function<void(const std::string&)> message = [](const std::string&) {};  // one line about something that happened
  std::function<void(const StepMetrics&)> step = [](const StepMetrics&) {};     // after every step
  std::function<bool()> should_stop = [] { return false; };                     // true: save and return
};

struct TrainOutcome {
  int64_t step = 0, steps_done = 0;  // reached in all, and by this call
  bool finished = false;  // false when should_stop() ended it
  double loss = 0, seconds = 0;
};
TrainOutcome train_image_text(const ImageTextTraining& training, const TrainObserver& observer);

// What --tokenizer names. Throws UsageError when it has more tokens than the model's text embedding has rows.
class Tokenizer;
Tokenizer load_tokenizer(const ImageTextTraining& training);

// One step's losses and gradients for a batch, split into `accum_freq` microbatches: pass one embeds them all without a graph,
// the loss over the whole batch gives the gradient of every embedding, pass two runs each microbatch again with its graph
// (GradCache: Gao, Zhang, Han, Callan 2021, arXiv:2101.06983). A classifier needs one pass: its loss is a mean over examples. Gradients
// are added to the arena.
struct Batch;
struct LossReport {
  double loss = 0, task = 0, aux = 0, image_to_text = 0, text_to_image = 0;
  std::vector<LayerReport> layers;
};
LossReport accumulate_gradients(const ImageTextModel& model, const Batch& batch, int64_t accum_freq, const ImageTextRun& run);

}  // namespace pumice
