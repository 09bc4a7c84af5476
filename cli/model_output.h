// Directories that commands write models into.
#pragma once
#include <string>
#include <vector>

#include "pumice/models/hf/llava_layout.h"
#include "pumice/tensor/weight_writer.h"

namespace pumice {

// A directory for a model, which appears in it whole: files are written into directory() and put in place by commit(). Until then a model that is
// replaced stays as it was; then its config.json, weights and companions go, those of its tower inside as well.
class ModelOutput {
 public:
  // Throws UsageError when there is something in `out`, unless that may go, and when it is, lies in or holds one that is read; IoError when it cannot
  // be written.
  ModelOutput(std::string command, const std::string& out, bool overwrite, const std::vector<std::string>& from = {});
  ~ModelOutput();  // without commit(): leaves nothing
  ModelOutput(const ModelOutput&) = delete;
  ModelOutput& operator=(const ModelOutput&) = delete;
  const std::string& directory() const { return staging_; }
  void commit();

 private:
  std::string command_, out_, staging_;
  bool made_;  // `out` was not there before
};

// The files that belong to a model beside config.json and its weights (tokenizers, generation and preprocessor settings, chat templates, licence).
// Checkpoints, optimizers and strangers stay behind. Throws IoError.
void copy_companions(const std::string& from, const std::string& to);
// The vision tower in a directory inside of the model, where config.json names one. Throws IoError.
void copy_tower(const std::string& from, const std::string& to);

// config.json, weights, and the tower where it has a directory of its own.
void write_llava(const std::string& to, const LlavaFiles& model, const WeightWriterOptions& options);
// Which id stands for a picture in Transformers' layout: <image> of the decoder's tokenizer, or the first id that no token has.
int32_t image_token_of(const std::string& decoder);

}  // namespace pumice
