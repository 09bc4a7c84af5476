// Image-text retrieval: recall@1/5/10 in both directions, computed in chunks. A caption that stands at several pictures is a hit
// for each of them, so identical captions never count as misses.
#pragma once
#include <string>
#include <vector>

#include "pumice/data/eval_sets.h"
#include "pumice/train/pipeline.h"

namespace pumice {

struct Recall {
  double at1 = 0, at5 = 0, at10 = 0;
};
struct RetrievalResult {
  int64_t images = 0, captions = 0, distinct_captions = 0;
  Recall image_to_text, text_to_image, chance_image_to_text, chance_text_to_image;
  std::vector<std::string> problems;
};

// image (I, D), text (X, D) unit vectors; caption_of[x] is the distinct-caption id of text x; image_of[x] the image it stands at.
// Distinct captions are ranked once: image -> text counts a hit if any caption of the image is among the top k distinct captions;
// text -> image if any image that carries the caption is among the top k.
RetrievalResult rank_retrieval(const Tensor& image, const Tensor& text, const std::vector<int64_t>& caption_of,
                               const std::vector<int64_t>& image_of, int64_t chunk = 256);

RetrievalResult evaluate_retrieval(const ImageTextPipeline& pipeline, const RetrievalSet& set);

}  // namespace pumice
