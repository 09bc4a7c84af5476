// Few-shot linear evaluation: a ridge regression in closed form on frozen features of a few labelled pictures per class, as in big_vision.
#pragma once
#include <string>
#include <vector>

#include "pumice/data/eval_sets.h"
#include "pumice/train/pipeline.h"

namespace pumice {

// The classifier that `shots` examples give. x (n, d) features, labels in [0, classes):
//   z = ((x - mean) / (std + 1e-5), 100)     W = (z^T z + l2 I)^-1 z^T y     y_ic = 1 for c = label_i, else -1
// mean and std are those of x. Solved by Cholesky in f64, with n or d + 1 unknowns, whichever is less.
class RidgeClassifier {
 public:
  RidgeClassifier(const Tensor& x, const std::vector<int>& labels, int classes, double l2);
  std::vector<int> predict(const Tensor& x) const;  // (m, d): the class with the largest score, the first of equal ones

 private:
  int classes_;
  std::vector<double> mean_, scale_, weights_;  // (d), (d), (d + 1, classes)
};

struct FewshotOptions {
  std::vector<int64_t> shots = {1, 5, 10};  // labelled pictures per class
  int64_t seeds = 3;                        // draws of them
  double l2 = 1024;
};
struct FewshotScore {
  int64_t shots = 0;
  std::vector<double> top1;  // one per seed
};
struct FewshotResult {
  int64_t images = 0, classes = 0;
  std::vector<FewshotScore> scores;
  std::vector<std::string> problems;  // pictures left out
};
// Features are ImageTextPipeline::image_features. Throws UsageError when a class of `train` has fewer pictures than the largest shot, and when the
// classes of both sets differ.
FewshotResult evaluate_fewshot(const ImageTextPipeline& pipeline, const LabelledSet& train, const LabelledSet& test, const FewshotOptions& options);

}  // namespace pumice
