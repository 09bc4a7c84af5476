#include "pumice/train/eval/fewshot.h"

#include <algorithm>
#include <cmath>

#include "pumice/ops/index/concat.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/philox.h"

namespace pumice {
namespace {

// Solves a x = b for symmetric positive a (n, n) and b (n, m), which becomes x.
void solve_cholesky(std::vector<double>& a, std::vector<double>& b, int64_t n, int64_t m) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = j; i < n; ++i) {
      double sum = a[i * n + j];
      for (int64_t k = 0; k < j; ++k) { sum -= a[i * n + k] * a[j * n + k]; }
      if (i == j) {
        REQUIRE(NumericError, sum > 0, "[fewshot] the features make a matrix that is not positive: are there infinite or NaN ones?");
        a[j * n + j] = std::sqrt(sum);
      } else { a[i * n + j] = sum / a[j * n + j]; }
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < i; ++k) {
      for (int64_t c = 0; c < m; ++c) { b[i * m + c] -= a[i * n + k] * b[k * m + c]; }
    }
    for (int64_t c = 0; c < m; ++c) { b[i * m + c] /= a[i * n + i]; }
  }
  for (int64_t i = n - 1; i >= 0; --i) {
    for (int64_t k = i + 1; k < n; ++k) {
      for (int64_t c = 0; c < m; ++c) { b[i * m + c] -= a[k * n + i] * b[k * m + c]; }
    }
    for (int64_t c = 0; c < m; ++c) { b[i * m + c] /= a[i * n + i]; }
  }
}

constexpr double kBias = 100;

struct Features {
  Tensor x;  // (n, C)
  std::vector<int> labels;
};

Features features_of(const ImageTextPipeline& pipeline, const LabelledSet& set, std::vector<std::string>& problems) {
  Features found;
  std::vector<Tensor> parts;
  const int64_t chunk = 256;
  for (int64_t begin = 0; begin < set.size(); begin += chunk) {
    PixelBatch batch(pipeline);
    for (int64_t i = begin; i < std::min(begin + chunk, set.size()); ++i) {
      const auto sample = batch.sample([&] { return set.sample(i); });
      if (sample && batch.add(sample->image, sample->name)) { found.labels.push_back(sample->label); }
    }
    problems.insert(problems.end(), batch.problems().begin(), batch.problems().end());
    if (batch.count()) { parts.push_back(pipeline.image_features(batch.pixels())); }
  }
  REQUIRE(FormatError, !parts.empty(), "[fewshot] none of the ", set.size(), " pictures could be read; the first problem: ",
          problems.empty() ? "none" : problems[0]);
  found.x = concat(parts, 0);
  return found;
}

// `shots` rows of each class, by a random order of each class's rows that depends on the seed alone: fewer shots are a part of more.
std::vector<int32_t> draw(const std::vector<std::vector<int32_t>>& rows_of_class, int64_t shots, uint64_t seed) {
  std::vector<int32_t> chosen;
  for (size_t c = 0; c < rows_of_class.size(); ++c) {
    std::vector<int32_t> rows = rows_of_class[c];
    for (size_t i = 0; i < rows.size(); ++i) {
      Random4 r = random4({.seed = seed, .step = uint32_t(c), .site = 0xf3u}, i);
      std::swap(rows[i], rows[i + r.v[0] % (rows.size() - i)]);
    }
    chosen.insert(chosen.end(), rows.begin(), rows.begin() + shots);
  }
  return chosen;
}

}  // namespace

RidgeClassifier::RidgeClassifier(const Tensor& x, const std::vector<int>& labels, int classes, double l2) : classes_(classes) {
  const int64_t n = x.dim(0), d = x.dim(1), w = d + 1;
  REQUIRE(ShapeError, n > 0 && n == int64_t(labels.size()) && classes > 1 && l2 > 0,
          "[fewshot] one label per row of features, two classes and a positive l2 are required, got ", x.shape(),
          ", ", labels.size(), " labels, ", classes, " classes and l2 ", l2);
  const std::vector<double> v = x.to_vector<double>();
  mean_.assign(d, 0);
  scale_.assign(d, 0);
  for (int64_t i = 0; i < n * d; ++i) { mean_[i % d] += v[i] / double(n); }
  for (int64_t i = 0; i < n * d; ++i) { scale_[i % d] += (v[i] - mean_[i % d]) * (v[i] - mean_[i % d]) / double(n); }
  for (double& s : scale_) { s = 1 / (std::sqrt(s) + 1e-5); }
  std::vector<double> z(size_t(n * w));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < d; ++k) { z[i * w + k] = (v[i * d + k] - mean_[k]) * scale_[k]; }
    z[i * w + d] = kBias;
  }
  auto target = [&](int64_t i, int c) { return labels[i] == c ? 1.0 : -1.0; };
  weights_.assign(w * classes, 0);
  if (n >= w) {
    std::vector<double> gram(size_t(w * w));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t a = 0; a < w; ++a) {
        for (int64_t b = 0; b <= a; ++b) { gram[a * w + b] += z[i * w + a] * z[i * w + b]; }
        for (int c = 0; c < classes; ++c) { weights_[a * classes + c] += z[i * w + a] * target(i, c); }
      }
    }
    for (int64_t a = 0; a < w; ++a) { gram[a * w + a] += l2; }
    solve_cholesky(gram, weights_, w, classes);
    return;
  }
  std::vector<double> gram(size_t(n * n)), dual(size_t(n * classes));  // W = z^T (z z^T + l2 I)^-1 y
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      for (int64_t a = 0; a < w; ++a) { gram[i * n + j] += z[i * w + a] * z[j * w + a]; }
    }
    gram[i * n + i] += l2;
    for (int c = 0; c < classes; ++c) { dual[i * classes + c] = target(i, c); }
  }
  solve_cholesky(gram, dual, n, classes);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t a = 0; a < w; ++a) {
      for (int c = 0; c < classes; ++c) { weights_[a * classes + c] += z[i * w + a] * dual[i * classes + c]; }
    }
  }
}

std::vector<int> RidgeClassifier::predict(const Tensor& x) const {
  const int64_t d = int64_t(mean_.size());
  REQUIRE(ShapeError, x.rank() == 2 && x.dim(1) == d, "[fewshot] features must be (m, ", d, "), got ", x.shape());
  const std::vector<double> v = x.to_vector<double>();
  std::vector<int> best(x.dim(0));
  std::vector<double> score(classes_);
  for (int64_t i = 0; i < x.dim(0); ++i) {
    for (int c = 0; c < classes_; ++c) { score[c] = kBias * weights_[d * classes_ + c]; }
    for (int64_t k = 0; k < d; ++k) {
      const double z = (v[i * d + k] - mean_[k]) * scale_[k];
      for (int c = 0; c < classes_; ++c) { score[c] += z * weights_[k * classes_ + c]; }
    }
    best[i] = int(std::max_element(score.begin(), score.end()) - score.begin());
  }
  return best;
}

FewshotResult evaluate_fewshot(const ImageTextPipeline& pipeline, const LabelledSet& train, const LabelledSet& test, const FewshotOptions& options) {
  NoGrad no_grad;
  const int classes = int(test.classnames.size());
  REQUIRE(UsageError, train.classnames == test.classnames && classes > 1, "[fewshot] both sides must have the same classes, at least two, got ",
          train.classnames.size(), " and ", classes);
  REQUIRE(UsageError, !options.shots.empty() && options.seeds > 0 && options.l2 > 0, "[fewshot] shots, seeds and l2 must be positive");
  FewshotResult result;
  Features known = features_of(pipeline, train, result.problems), asked = features_of(pipeline, test, result.problems);
  result.images = int64_t(asked.labels.size());
  result.classes = classes;
  std::vector<std::vector<int32_t>> rows(classes);
  for (size_t i = 0; i < known.labels.size(); ++i) { rows[known.labels[i]].push_back(int32_t(i)); }
  for (int64_t shots : options.shots) {
    REQUIRE(UsageError, shots > 0, "[fewshot] shots must be positive, got ", shots);
    for (int c = 0; c < classes; ++c) {
      REQUIRE(UsageError, int64_t(rows[c].size()) >= shots, "[fewshot] the class '", train.classnames[c], "' has ", rows[c].size(),
              " labelled pictures, fewer than the ", shots,
              " shots. Lower --shots");
    }
    FewshotScore score{shots, {}};
    for (int64_t seed = 0; seed < options.seeds; ++seed) {
      std::vector<Tensor> x;
      std::vector<int> labels;
      for (int32_t row : draw(rows, shots, uint64_t(seed))) {
        x.push_back(known.x.slice(0, row, row + 1));
        labels.push_back(known.labels[row]);
      }
      std::vector<int> guess = RidgeClassifier(concat(x, 0), labels, classes, options.l2).predict(asked.x);
      int64_t right = 0;
      for (size_t i = 0; i < guess.size(); ++i) { right += guess[i] == asked.labels[i]; }
      score.top1.push_back(double(right) / double(guess.size()));
    }
    result.scores.push_back(std::move(score));
  }
  return result;
}

}  // namespace pumice
