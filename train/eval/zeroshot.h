// Zero-shot classification: a class is the mean of its prompts' embeddings; a picture belongs to the class nearest to it. A trained
// classifier is scored the same way, by its logits.
#pragma once
#include <string>
#include <vector>

#include "pumice/data/eval_sets.h"
#include "pumice/train/pipeline.h"

namespace pumice {

// One unit vector per class, (classes, D): each prompt is embedded, the prompts of a class are averaged, the mean is normalised
// (the protocol of CLIP and big_vision). Templates hold "{}" or "{c}" where the class name goes.
Tensor class_embeddings(const ImageTextPipeline& pipeline, const std::vector<std::string>& classnames, const std::vector<std::string>& templates,
                        bool canonical = false);
// A prompt as big_vision canonicalises it: '_' to a space, ASCII punctuation dropped, lower case, single spaces between words.
std::string canonicalize(const std::string& prompt);

// Pictures of one class that were taken for another.
struct Confusion {
  int truth = 0, taken_for = 0;             // class indices
  int64_t count = 0, of = 0;                // of as many pictures of the true class
};
struct ZeroshotOptions {
  const ImageTextPipeline* text = nullptr;  // embeds the prompts (one that keeps the experts of text, say); null: the model itself
  bool canonical = false;                   // canonicalize() every prompt
};
struct ZeroshotResult {
  int64_t images = 0, classes = 0, templates = 0;
  double top1 = 0, top5 = 0, mean_per_class_recall = 0;
  double chance = 0;                        // 1 / classes
  double colour_baseline = -1, pixel_baseline = -1;  // top-1 of nearest neighbours on the set's training side; -1: it has none
  std::vector<double> per_class;            // recall of each class; NaN: no pictures
  std::vector<int64_t> images_per_class;
  std::vector<Confusion> confusions;        // all of them, the most frequent first; of equals the earlier classes
  std::vector<std::string> problems;        // pictures left out
};
// `train_side` may be null: no baselines are measured.
ZeroshotResult evaluate_zeroshot(const ImageTextPipeline& pipeline, const LabelledSet& set, const LabelledSet* train_side,
                                 const ZeroshotOptions& options = {});

}  // namespace pumice
