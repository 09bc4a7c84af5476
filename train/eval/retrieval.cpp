#include "pumice/train/eval/retrieval.h"

#include <algorithm>
#include <map>

#include "pumice/ops/index/concat.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

void count_hit(Recall& recall, int64_t rank) {
  recall.at1 += rank < 1;
  recall.at5 += rank < 5;
  recall.at10 += rank < 10;
}

void divide(Recall& recall, double n) {
  recall.at1 /= n;
  recall.at5 /= n;
  recall.at10 /= n;
}

// Rank of the best right answer among all columns of one row of scores: how many columns score higher. Among equal scores wrong
// columns come first, so that a constant model scores nothing.
int64_t best_rank(const float* scores, int64_t columns, const std::vector<int64_t>& right) {
  float best = scores[right[0]];
  for (int64_t c : right) { best = std::max(best, scores[c]); }
  int64_t ahead = 0;
  for (int64_t c = 0; c < columns; ++c) { ahead += scores[c] >= best; }
  int64_t own = 0;  // right answers with the best score are not ahead of themselves
  for (int64_t c : right) { own += scores[c] >= best; }
  return ahead - own;
}

// For every row: recall of its right columns, in chunks of rows.
Recall recall_of(const Tensor& rows, const Tensor& columns, const std::vector<std::vector<int64_t>>& right, int64_t chunk) {
  Recall recall;
  for (int64_t begin = 0; begin < rows.dim(0); begin += chunk) {
    int64_t end = std::min(begin + chunk, rows.dim(0));
    Tensor scores = matmul(rows.slice(0, begin, end), columns, false, true);
    for (int64_t r = begin; r < end; ++r) {
      count_hit(recall, best_rank(scores.data<float>() + (r - begin) * columns.dim(0), columns.dim(0), right[r]));
    }
  }
  divide(recall, double(rows.dim(0)));
  return recall;
}

// Expected recall of random ranking: 1 - C(n - m, k) / C(n, k) for m right answers among n.
double chance_at(int64_t n, int64_t m, int64_t k) {
  double miss = 1;
  for (int64_t i = 0; i < std::min(k, n); ++i) { miss *= std::max(0.0, double(n - m - i)) / double(n - i); }
  return 1 - miss;
}

Recall chance_of(const std::vector<std::vector<int64_t>>& right, int64_t columns) {
  Recall recall;
  for (const auto& r : right) {
    recall.at1 += chance_at(columns, int64_t(r.size()), 1);
    recall.at5 += chance_at(columns, int64_t(r.size()), 5);
    recall.at10 += chance_at(columns, int64_t(r.size()), 10);
  }
  divide(recall, double(right.size()));
  return recall;
}

}  // namespace

RetrievalResult rank_retrieval(const Tensor& image, const Tensor& text, const std::vector<int64_t>& caption_of,
                               const std::vector<int64_t>& image_of, int64_t chunk) {
  const int64_t images = image.dim(0), texts = text.dim(0);
  REQUIRE(ShapeError, texts == int64_t(caption_of.size()) && texts == int64_t(image_of.size()) && texts > 0 && images > 0,
          "[retrieval] one caption id and one image per text is required, got ", texts, " texts, ", caption_of.size(), " ids and ",
          image_of.size(), " images");
  const int64_t distinct = 1 + *std::max_element(caption_of.begin(), caption_of.end());
  std::vector<std::vector<int64_t>> captions_of_image(images), images_of_caption(distinct), images_of_text(texts);
  Tensor unique = empty({distinct, text.dim(1)});
  for (int64_t x = 0; x < texts; ++x) {
    captions_of_image[image_of[x]].push_back(caption_of[x]);
    images_of_caption[caption_of[x]].push_back(image_of[x]);
    copy_into(unique.slice(0, caption_of[x], caption_of[x] + 1), text.slice(0, x, x + 1));
  }
  auto sort_unique = [](std::vector<int64_t>& v) {
    std::sort(v.begin(), v.end());
    v.erase(std::unique(v.begin(), v.end()), v.end());
  };
  for (auto& v : captions_of_image) {
    sort_unique(v);
    REQUIRE(ShapeError, !v.empty(), "[retrieval] every image needs a caption");
  }
  for (auto& v : images_of_caption) { sort_unique(v); }
  for (int64_t x = 0; x < texts; ++x) { images_of_text[x] = images_of_caption[caption_of[x]]; }

  RetrievalResult result;
  result.images = images;
  result.captions = texts;
  result.distinct_captions = distinct;
  result.image_to_text = recall_of(image, unique, captions_of_image, chunk);
  result.text_to_image = recall_of(text, image, images_of_text, chunk);
  result.chance_image_to_text = chance_of(captions_of_image, distinct);
  result.chance_text_to_image = chance_of(images_of_text, images);
  return result;
}

RetrievalResult evaluate_retrieval(const ImageTextPipeline& pipeline, const RetrievalSet& set) {
  NoGrad no_grad;
  const int64_t chunk = 256;
  std::vector<Tensor> images;
  std::vector<std::string> captions, problems;
  std::vector<int64_t> caption_of, image_of;
  std::map<std::string, int64_t> ids;
  int64_t count = 0;
  for (int64_t begin = 0; begin < set.size(); begin += chunk) {
    PixelBatch batch(pipeline);
    for (int64_t i = begin; i < std::min(begin + chunk, set.size()); ++i) {
      const auto sample = batch.sample([&] { return set.sample(i); });
      if (!sample || !batch.add(sample->image, sample->name)) { continue; }
      for (const std::string& caption : sample->captions) {
        captions.push_back(caption);
        caption_of.push_back(ids.emplace(caption, int64_t(ids.size())).first->second);
        image_of.push_back(count);
      }
      ++count;
    }
    if (batch.count()) { images.push_back(pipeline.encode_pixels(batch.pixels())); }
    problems.insert(problems.end(), batch.problems().begin(), batch.problems().end());
  }
  REQUIRE(FormatError, count > 0, "[retrieval] none of the ", set.size(), " pictures could be read; the first problem: ",
          problems.empty() ? "none" : problems[0]);
  RetrievalResult result = rank_retrieval(concat(images, 0), pipeline.encode_texts(captions), caption_of, image_of);
  result.problems = problems;
  return result;
}

}  // namespace pumice
