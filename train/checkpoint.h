// Checkpoints: a directory per saved step that holds everything needed to continue, or to evaluate, without anything else.
//
//   runs/a/checkpoints/step-000500/   model.safetensors  optimizer.safetensors  state.json  config.json  tokenizer.json
//                                     the model's files as train/language_trainer.h says where it is a language model
//                                     ema.safetensors where a moving average of the weights is kept
//   runs/a/checkpoints/latest         -> step-000500
//
// A checkpoint is written beside its final place and renamed when every byte is on disk: whatever happens while it is written,
// the previous one still loads.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "pumice/data/tokenizer.h"
#include "pumice/models/checkpoint_files.h"
#include "pumice/models/image_text_model.h"
#include "pumice/train/optim/optimizer.h"

namespace pumice {

struct TrainState {
  int64_t step = 0;            // steps done
  int64_t loader_position = 0;
  int64_t metrics_bytes = 0;   // length of metrics.jsonl when this was saved; a resumed run cuts the file back to it
  uint64_t seed = 0;
  std::string data;            // fingerprint of the training data
  std::string options;         // the resolved training options as JSON
};

struct KeepRule {
  int64_t newest = 0;  // how many; 0 = all
  int64_t every = 0;   // and the multiples of this step for good; 0 = none
};
// A checkpoint of `state.step`: `write` puts its files into a directory that appears whole. Throws IoError (a full disk, ...) and leaves no partial
// directory behind. Deletes the checkpoints that `keep` does not name.
void save_checkpoint(const std::string& run_directory, const TrainState& state, KeepRule keep, const std::function<void(const std::string&)>& write);
// optimizer.safetensors, and ema.safetensors unless `average` is null.
void save_optimizer(const std::string& directory, const Optimizer& optimizer, const WeightAverage* average, const ParameterStore& parameters);
// model.safetensors, config.json and the tokenizer of an image-text model.
void write_image_text(const std::string& directory, const ImageTextModel& model, const Tokenizer& tokenizer);

// A checkpoint for evaluation and --init-from alone, without an optimizer: `directory` appears whole. Throws UsageError if it exists.
void save_model(const std::string& directory, const ImageTextModel& model, const Tokenizer& tokenizer, const TrainState& state);

// Throws FormatError naming the files that `checkpoint` lacks, beside those for evaluation: "optimizer.safetensors" to resume, and so on.
void require_complete(const std::string& checkpoint, const std::vector<std::string>& more = {});

TrainState load_state(const std::string& checkpoint);
// Strict: throws FormatError listing missing, unexpected and misshapen tensors.
enum class Weights { trained, average };  // average: the moving average that --ema-decay kept
void load_parameters(const std::string& checkpoint, ParameterStore& parameters, Weights weights = Weights::trained);
void load_optimizer(const std::string& checkpoint, Optimizer& optimizer, WeightAverage* average, const ParameterStore& parameters);
// The model of a checkpoint, built from its config.json and filled with its weights, beside its tokenizer.
struct LoadedImageText {
  std::string checkpoint;
  std::unique_ptr<ImageTextModel> model;
  Tokenizer tokenizer;
  TrainState state;
};
LoadedImageText load_image_text(const std::string& path, Weights weights = Weights::trained, Device device = Device::cpu());

}  // namespace pumice
