#include "pumice/train/eval/zeroshot.h"

#include <algorithm>
#include <cmath>

#include "pumice/data/baselines.h"
#include "pumice/data/image.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

std::string prompt(const std::string& pattern, const std::string& classname) {
  for (const char* slot : {"{c}", "{}"}) {
    size_t at = pattern.find(slot);
    if (at != std::string::npos) { return pattern.substr(0, at) + classname + pattern.substr(at + std::string(slot).size()); }
  }
  throw FormatError(concat_text("[zeroshot] a template needs {} or {c} where the class name goes, got '", pattern, "'"), __FILE__, __LINE__);
}

void measure_baselines(const LabelledSet& set, const LabelledSet& train_side, ZeroshotResult& result) {
  auto read = [](const LabelledSet& from, std::vector<Image>& images, std::vector<int>& labels) {
    for (int64_t i = 0; i < from.size(); ++i) {
      LabelledSample sample = from.sample(i);
      try {
        images.push_back(decode_image(sample.image, sample.name));
        labels.push_back(sample.label);
      } catch (const Error&) {
        continue;  // named by the model's own pass over the same pictures
      }
    }
  };
  std::vector<Image> known, asked;
  std::vector<int> known_labels, asked_labels;
  read(train_side, known, known_labels);
  read(set, asked, asked_labels);
  result.colour_baseline = colour_histogram_1nn(known, known_labels, asked, asked_labels);
  result.pixel_baseline = pixel_1nn(known, known_labels, asked, asked_labels);
}

}  // namespace

Tensor class_embeddings(const ImageTextPipeline& pipeline, const std::vector<std::string>& classnames, const std::vector<std::string>& templates) {
  const int64_t classes = int64_t(classnames.size()), per_class = int64_t(templates.size()), D = pipeline.config().embedding;
  std::vector<std::string> prompts;
  for (const std::string& classname : classnames) {
    for (const std::string& pattern : templates) { prompts.push_back(prompt(pattern, classname)); }
  }
  Tensor embedded = pipeline.encode_texts(prompts), means = zeros({classes, D});
  for (int64_t c = 0; c < classes; ++c) {
    for (int64_t k = 0; k < per_class; ++k) { add_into(means.slice(0, c, c + 1), embedded.slice(0, c * per_class + k, c * per_class + k + 1)); }
  }
  return l2_normalize(means);
}

ZeroshotResult evaluate_zeroshot(const ImageTextPipeline& pipeline, const LabelledSet& set, const LabelledSet* train_side, const ImageTextPipeline* text) {
  NoGrad no_grad;
  const int64_t classes = int64_t(set.classnames.size());
  REQUIRE(FormatError, classes > 0 && !set.templates.empty() && set.size() > 0, "[zeroshot] the set has ", classes, " classes, ",
          set.templates.size(), " templates and ", set.size(), " pictures; each must be at least 1");
  ZeroshotResult result;
  result.classes = classes;
  result.templates = int64_t(set.templates.size());
  result.chance = 1 / double(classes);
  Tensor weights;
  if (pipeline.is_classifier()) {
    REQUIRE(UsageError, set.classnames == pipeline.config().classnames, "[zeroshot] ", pipeline.checkpoint(), " is a classifier of ",
            pipeline.config().classnames.size(),
            " classes beginning with '", pipeline.config().classnames[0], "'; the set has ", classes, " beginning with '", set.classnames[0],
                "'. Classes must be the same");
    result.templates = 0;
  } else {
    weights = class_embeddings(text ? *text : pipeline, set.classnames, set.templates);
  }

  std::vector<int64_t> seen(classes), right(classes);
  int64_t in_top5 = 0;
  const int64_t chunk = 256;
  for (int64_t begin = 0; begin < set.size(); begin += chunk) {
    PixelBatch batch(pipeline.image_size());
    std::vector<int> labels;
    for (int64_t i = begin; i < std::min(begin + chunk, set.size()); ++i) {
      LabelledSample sample = set.sample(i);
      if (batch.add(sample.image, sample.name)) { labels.push_back(sample.label); }
    }
    result.problems.insert(result.problems.end(), batch.problems().begin(), batch.problems().end());
    if (!batch.count()) { continue; }
    Tensor scores = weights.defined() ? matmul(pipeline.encode_pixels(batch.pixels()), weights, false,
                                               true) : pipeline.classify_pixels(batch.pixels());  // (chunk, classes)
    const float* s = scores.data<float>();
    for (size_t i = 0; i < labels.size(); ++i, s += classes) {
      // The rank of the true class; an earlier class wins a tie.
      int64_t ahead = 0;
      for (int64_t c = 0; c < classes; ++c) { ahead += s[c] > s[labels[i]] || (s[c] == s[labels[i]] && c < labels[i]); }
      ++seen[labels[i]];
      right[labels[i]] += ahead == 0;
      in_top5 += ahead < 5;
      ++result.images;
    }
  }
  REQUIRE(FormatError, result.images > 0, "[zeroshot] none of the ", set.size(), " pictures could be read; the first problem: ",
          result.problems.empty() ? "none" : result.problems[0]);
  int64_t total = 0, present = 0;
  for (int64_t c = 0; c < classes; ++c) {
    total += right[c];
    present += seen[c] > 0;
    result.per_class.push_back(seen[c] ? double(right[c]) / double(seen[c]) : NAN);
    if (seen[c]) { result.mean_per_class_recall += result.per_class.back(); }
  }
  result.mean_per_class_recall /= double(present);
  result.top1 = double(total) / double(result.images);
  result.top5 = double(in_top5) / double(result.images);
  if (train_side) { measure_baselines(set, *train_side, result); }
  return result;
}

}  // namespace pumice
