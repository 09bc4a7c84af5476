// Directories that commands write models into.
#pragma once
#include <string>
#include <vector>

#include "pumice/models/hf/llava_layout.h"
#include "pumice/tensor/weight_writer.h"

namespace pumice {

// A directory for a model, which appears in it whole: files are written into directory(), a part of `out` with a name of its own, and put in place by
// commit(). Until then a model that is replaced stays as it was; then its config.json, weights, tokenizer and settings go, those of its tower inside as
// well, while what else is there stays.
class ModelOutput {
 public:
  // `read`: every file and directory that the model is made of. Throws UsageError when there is something in `out`, unless that may go, and when `out` is,
  // lies in or holds one that is read; IoError when it cannot be written.
  ModelOutput(std::string command, const std::string& out, bool overwrite, const std::vector<std::string>& read = {});
  ~ModelOutput();  // without commit(): leaves nothing
  ModelOutput(const ModelOutput&) = delete;
  ModelOutput& operator=(const ModelOutput&) = delete;
  const std::string& directory() const { return staging_; }
  // Throws IoError where a file cannot be put in place; what was there is there again then.
  void commit();

 private:
  std::string command_, out_, whole_, staging_;  // whole_: `out` from the root
  std::string made_;  // the first directory on the way to `out` that was not there before; "" when it was
};

// The files that belong to a model beside config.json and its weights: tokenizers, generation and preprocessor settings, chat templates, licence, and
// its Python files where config.json says that it is run by some ("auto_map"). Checkpoints, optimizers and strangers stay behind. Throws IoError.
void copy_companions(const std::string& from, const std::string& to);
// Of a tower: how it wants pictures (preprocessor_config.json), where it says so.
void copy_preprocessor(const std::string& from, const std::string& to);

// config.json, weights, and the tower where it has a directory of its own, with the companions of `tower`, the directory that it came from.
void write_llava(const std::string& to, const LlavaFiles& model, const std::string& tower, const WeightWriterOptions& options);
// Which id stands for a picture in Transformers' layout: <image> of the decoder's tokenizer, or the first id that no token has.
int32_t image_token_of(const std::string& decoder);

}  // namespace pumice
