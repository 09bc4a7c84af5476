// Weights of one model as the start of another: fine-tuning at another resolution, LiT from a classifier, sparse upcycling
// (Komatsuzaki et al. 2023, arXiv:2212.05055), and models that keep only the experts that one modality uses.
#pragma once
#include <string>
#include <vector>

#include "pumice/models/image_text_model.h"

namespace pumice {

struct Transfer {
  std::vector<std::string> resized, upcycled;  // parameters of `to` that needed more than a copy
  std::vector<std::string> fresh;              // parameters of `to` that `from` has nothing for; they keep their initial values
  std::vector<std::string> unused;             // parameters of `from` that nothing took
  int64_t copied = 0;
};

// Copies every parameter that has the same name and shape. Beyond that
//   * the tower of a LIMoE is the image tower of two, or of a classifier;
//   * learned patch positions are interpolated to another grid, bilinearly with the corners kept (V-MoE's vit_zoom);
//   * a dense MLP becomes each expert of a sparse block; its router starts fresh.
// Throws UsageError listing the parameters whose shapes cannot be reconciled, and when nothing fits.
Transfer transfer_parameters(const ImageTextModel& from, ImageTextModel& to);

// A model that holds experts[i] of the i-th sparse block only, in that order (the same number in each block): routers lose the other
// rows, so probabilities are those of a softmax over the experts that stay. Throws UsageError unless the lists fit.
std::unique_ptr<ImageTextModel> with_experts(const ImageTextModel& model, const std::vector<std::vector<int64_t>>& experts);

}  // namespace pumice
