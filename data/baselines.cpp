#include "pumice/data/baselines.h"

#include <cmath>

#include "pumice/tensor/parallel.h"

namespace pumice {
namespace {

using Feature = std::vector<float>;

Feature colour_histogram(const Image& image) {
  Feature bins(512);
  const float share = 3.0f / float(image.rgb.size());
  for (size_t i = 0; i + 2 < image.rgb.size(); i += 3) {
    bins[size_t(image.rgb[i] >> 5 << 6 | image.rgb[i + 1] >> 5 << 3 | image.rgb[i + 2] >> 5)] += share;
  }
  return bins;
}

Feature thumbnail(const Image& image) {
  Image small = resize(image, 16, 16, Filter::bilinear);
  return Feature(small.rgb.begin(), small.rgb.end());
}

template <class Extract, class Distance>
double nearest(const std::vector<Image>& known, const std::vector<int>& known_labels, const std::vector<Image>& asked,
               const std::vector<int>& asked_labels, const Extract& extract, const Distance& distance) {
  std::vector<Feature> features(known.size());
  std::vector<char> right(asked.size());
  parallel_for(int64_t(known.size()), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) { features[size_t(i)] = extract(known[size_t(i)]); }
  });
  parallel_for(int64_t(asked.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Feature query = extract(asked[size_t(i)]);
      size_t best = 0;
      float least = INFINITY;
      for (size_t k = 0; k < features.size(); ++k) {
        float sum = 0;
        for (size_t j = 0; j < query.size(); ++j) { sum += distance(query[j] - features[k][j]); }
        if (sum < least) {
          least = sum;
          best = k;
        }
      }
      right[size_t(i)] = !known.empty() && known_labels[best] == asked_labels[size_t(i)];
    }
  });
  int64_t hits = 0;
  for (char r : right) { hits += r; }
  return asked.empty() ? 0 : double(hits) / double(asked.size());
}

}  // namespace

double colour_histogram_1nn(const std::vector<Image>& known, const std::vector<int>& known_labels, const std::vector<Image>& asked,
                            const std::vector<int>& asked_labels) {
  return nearest(known, known_labels, asked, asked_labels, colour_histogram, [](float d) { return std::abs(d); });
}

double pixel_1nn(const std::vector<Image>& known, const std::vector<int>& known_labels, const std::vector<Image>& asked,
                 const std::vector<int>& asked_labels) {
  return nearest(known, known_labels, asked, asked_labels, thumbnail, [](float d) { return d * d; });
}

}  // namespace pumice
