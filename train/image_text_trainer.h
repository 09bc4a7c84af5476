// Training of the image-text models (LIMoE, two towers, classifiers), from data on disk to checkpoints. Everything that decides
// a number is in ImageTextTraining; the observer sees what happens and may ask to stop.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "pumice/data/augment.h"
#include "pumice/data/pairs.h"
#include "pumice/models/image_text_model.h"
#include "pumice/train/run.h"

namespace pumice {

struct ImageTextTraining : TrainingRecipe {  // batch_size is the contrastive batch, which stays whole in microbatches
  ImageTextConfig model;
  std::string train_data;       // see open_pairs()
  PairOptions data;
  DecodeOptions decoding;
  Augmentation augmentation;
  bool dedupe_batch = false;    // no two examples of a batch have the same caption or picture
  std::string tokenizer;        // a path for Tokenizer::load; empty: that of init_from, or one is trained on the captions
  std::string init_from;        // a run or checkpoint whose weights to start from, see transfer_parameters(); empty: random weights
  int64_t overfit = 0;          // use only the first N pairs, unshuffled
  int64_t prefetch = 3;
  bool fit_batch = false;       // batch_size is what largest_batch() says (--batch-size auto), and no more than the data holds

  void validate() const;        // throws UsageError naming the flag
  void validate_recipe() const; // the same without train_data and out
};
// Bytes for one optimizer step: those of the model, with this optimizer and average, in microbatches.
ImageTextMemory memory_of(const ImageTextTraining& training);
// The largest power of two, to 32768, that is a batch size these options allow and whose step takes no more than `bytes` by memory_of(). Throws
// UsageError when there is none.
int64_t largest_batch(const ImageTextTraining& training, double bytes);
struct ImageTextMetrics : StepMetrics {            // task: contrastive or classification loss
  double image_to_text = 0, text_to_image = 0;     // in-batch top-1; of a classifier the first is its accuracy on the batch
  bool classifier = false;
  double temperature = 0;
  double pairs_per_second = 0, seconds_waited = 0;
  int64_t corrupt_samples = 0;
};
// A line of metrics.jsonl.
std::string metrics_line(const ImageTextMetrics& metrics);

using ImageTextObserver = Observer<ImageTextMetrics>;
TrainOutcome train_image_text(const ImageTextTraining& training, const ImageTextObserver& observer);

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

// The same of a contrastive model in two halves, so that a CUDA device need not be waited for: what is made of a batch on the CPU, and what is launched.
struct StepInput {
  std::vector<ImageTextInput> parts;   // microbatches, each with its layout
  Tensor captions;                     // caption_groups()
  std::vector<Tensor> tensors() const; // that the model's device reads
  std::vector<int64_t> shape() const;  // of them all: launches depend on nothing else
};
// pad: captions as a whole to one of a few lengths, so that shapes come back from step to step.
StepInput step_input(const ImageTextModel& model, const Batch& batch, int64_t accum_freq, bool training, bool pad = false);
struct LossTensors {  // on the model's device
  Tensor task, aux, hits;  // (); (), undefined: 0; i64 (2), see ContrastiveResult
  std::vector<LayerReport> layers;
};
LossTensors launch_gradients(const ImageTextModel& model, const StepInput& input, const ImageTextRun& run);

}  // namespace pumice
