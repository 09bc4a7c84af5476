#include "pumice/train/eval/zeroshot.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <utility>

#include "pumice/data/baselines.h"
#include "pumice/data/image.h"
#include "pumice/data/tokenizer/unicode.h"
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

void measure_baselines(const ImageTextPipeline& pipeline, const LabelledSet& set, const LabelledSet& train_side, ZeroshotResult& result) {
  auto read = [&pipeline](const LabelledSet& from, std::vector<Image>& images, std::vector<int>& labels) {
    PixelBatch reader(pipeline);
    for (int64_t i = 0; i < from.size(); ++i) {
      const auto sample = reader.sample([&] { return from.sample(i); });
      if (!sample) { continue; }
      try {
        images.push_back(decode_image(sample->image, sample->name, pipeline.decoding()));
        labels.push_back(sample->label);
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

void require_same_classes(const ImageTextPipeline& pipeline, const LabelledSet& set) {
  const std::vector<std::string>& own = pipeline.config().classnames;
  REQUIRE(UsageError, set.classnames == own, "[zeroshot] ", pipeline.checkpoint(), " is a classifier of ", own.size(), " classes beginning with '",
          own[0], "'; the set has ", set.classnames.size(), " beginning with '", set.classnames[0], "'. Classes must be the same");
}

// Right and wrong answers, class by class.
class Tally {
 public:
  explicit Tally(int64_t classes) : seen_(classes), right_(classes) {}

  // scores (classes) of a picture of class `label`. Of equal scores the earlier class stands first.
  void add(const float* scores, int label) {
    const int64_t classes = int64_t(seen_.size());
    int64_t ahead = 0;
    for (int64_t c = 0; c < classes; ++c) { ahead += scores[c] > scores[label] || (scores[c] == scores[label] && c < label); }
    ++seen_[label];
    in_top5_ += ahead < 5;
    if (ahead == 0) { ++right_[label]; }
    else { ++taken_for_[{label, int(std::max_element(scores, scores + classes) - scores)}]; }
  }

  void fill(ZeroshotResult& r) const {
    int64_t total = 0, present = 0;
    for (size_t c = 0; c < seen_.size(); ++c) {
      r.images += seen_[c];
      total += right_[c];
      present += seen_[c] > 0;
      r.per_class.push_back(seen_[c] ? double(right_[c]) / double(seen_[c]) : NAN);
      if (seen_[c]) { r.mean_per_class_recall += r.per_class.back(); }
    }
    r.images_per_class = seen_;
    r.mean_per_class_recall /= double(std::max<int64_t>(1, present));
    r.top1 = double(total) / double(std::max<int64_t>(1, r.images));
    r.top5 = double(in_top5_) / double(std::max<int64_t>(1, r.images));
    for (const auto& [pair, count] : taken_for_) { r.confusions.push_back({pair.first, pair.second, count, seen_[pair.first]}); }
    std::stable_sort(r.confusions.begin(), r.confusions.end(), [](const Confusion& a, const Confusion& b) { return a.count > b.count; });
  }

 private:
  std::vector<int64_t> seen_, right_;
  std::map<std::pair<int, int>, int64_t> taken_for_;  // (truth, answer), wrong ones only
  int64_t in_top5_ = 0;
};

}  // namespace

std::string canonicalize(const std::string& prompt) {
  std::string text;
  bool space = false;  // between what is there and what comes
  for (char c : valid_prefix(prompt) == prompt.size() ? lower(prompt) : prompt) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '_' || std::isspace(byte)) { space = !text.empty(); }
    else if (!std::ispunct(byte)) {
      if (std::exchange(space, false)) { text += ' '; }
      text += c;
    }
  }
  return text;
}

Tensor class_embeddings(const ImageTextPipeline& pipeline, const std::vector<std::string>& classnames, const std::vector<std::string>& templates,
                        bool canonical) {
  const int64_t classes = int64_t(classnames.size()), per_class = int64_t(templates.size()), D = pipeline.config().embedding;
  std::vector<std::string> prompts;
  for (const std::string& classname : classnames) {
    for (const std::string& pattern : templates) {
      const std::string text = prompt(pattern, classname);
      prompts.push_back(canonical ? canonicalize(text) : text);
    }
  }
  Tensor embedded = pipeline.encode_texts(prompts), means = zeros({classes, D});
  for (int64_t c = 0; c < classes; ++c) {
    for (int64_t k = 0; k < per_class; ++k) { add_into(means.slice(0, c, c + 1), embedded.slice(0, c * per_class + k, c * per_class + k + 1)); }
  }
  return l2_normalize(means);
}

ZeroshotResult evaluate_zeroshot(const ImageTextPipeline& pipeline, const LabelledSet& set, const LabelledSet* train_side,
                                 const ZeroshotOptions& options) {
  NoGrad no_grad;
  const int64_t classes = int64_t(set.classnames.size());
  REQUIRE(FormatError, classes != 1, "[zeroshot] the set has one class, '", set.classnames[0], "': every answer would be right. Give two at least");
  REQUIRE(FormatError, classes > 0 && !set.templates.empty() && set.size() > 0, "[zeroshot] the set has ", classes, " classes, ",
          set.templates.size(), " templates and ", set.size(), " pictures; each must be at least 1");
  ZeroshotResult result;
  result.classes = classes;
  result.templates = pipeline.is_classifier() ? 0 : int64_t(set.templates.size());
  result.chance = 1 / double(classes);
  Tensor weights;
  if (pipeline.is_classifier()) { require_same_classes(pipeline, set); }
  else { weights = class_embeddings(options.text ? *options.text : pipeline, set.classnames, set.templates, options.canonical); }

  Tally tally(classes);
  const int64_t chunk = 256;
  for (int64_t begin = 0; begin < set.size(); begin += chunk) {
    PixelBatch batch(pipeline);
    std::vector<int> labels;
    for (int64_t i = begin; i < std::min(begin + chunk, set.size()); ++i) {
      const auto sample = batch.sample([&] { return set.sample(i); });
      if (sample && batch.add(sample->image, sample->name)) { labels.push_back(sample->label); }
    }
    result.problems.insert(result.problems.end(), batch.problems().begin(), batch.problems().end());
    if (!batch.count()) { continue; }
    Tensor scores = weights.defined() ? matmul(pipeline.encode_pixels(batch.pixels()), weights, false, true)
                                      : pipeline.classify_pixels(batch.pixels());  // (chunk, classes)
    for (size_t i = 0; i < labels.size(); ++i) { tally.add(scores.data<float>() + int64_t(i) * classes, labels[i]); }
  }
  tally.fill(result);
  REQUIRE(FormatError, result.images > 0, "[zeroshot] none of the ", set.size(), " pictures could be read; the first problem: ",
          result.problems.empty() ? "none" : result.problems[0]);
  if (train_side) { measure_baselines(pipeline, set, *train_side, result); }
  return result;
}

}  // namespace pumice
