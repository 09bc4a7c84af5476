// What the CPU and CUDA kernels of contrastive_loss share: their arguments. Outputs first; everything packed. Features arrive in
// the type that everything is computed in, f32 or f64. CUDA kernels use none of the scratch but their own; panels are absent there.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

// Which pairs belong together: rows i and j where group[i] == group[j]; members[i] is the size of row i's group.
struct ContrastiveTargets {
  View group, members;  // (B) i32
};
struct ContrastiveFwd {
  View loss;            // ()
  View hits;            // (2) i64: rows whose largest logit is a right one, images then texts
  View lse;             // (2, B): over the texts of each image, then over the images of each text
  View row_loss, hit;   // (B), (B) u8: scratch
  View panels;          // (ceil(B / kContrastivePanel) * kContrastivePanel, C): scratch
  View image, text, log_temperature;  // (B, C), (B, C), ()
  ContrastiveTargets targets;
  int64_t batch, width;
};
struct ContrastiveBwd {
  View dimage, dtext, dlog_temperature;  // (B, C), (B, C), (); absent when nobody wants them
  View dy;                               // ()
  View image, text, log_temperature, lse, panels;
  ContrastiveTargets targets;
  int64_t batch, width;
};
struct SigmoidContrastiveFwd {
  View loss, hits;      // (); (2) i64, as above
  View row_loss, hit;   // (B), (B) u8: scratch
  View panels;          // as above: scratch
  View image, text, log_temperature, bias;
  ContrastiveTargets targets;
  int64_t batch, width;
};
struct SigmoidContrastiveBwd {
  View dimage, dtext, dlog_temperature, dbias;  // absent when nobody wants them; dimage is there when either of the last two is
  View row_sum;                                 // (B) scratch
  View dy, image, text, log_temperature, bias, panels;
  ContrastiveTargets targets;
  int64_t batch, width;
};
inline constexpr int64_t kContrastivePanel = 128;  // columns of a tile of logits

PUMICE_DECLARE_KERNEL(contrastive_fwd, ContrastiveFwd);
PUMICE_DECLARE_KERNEL(contrastive_bwd, ContrastiveBwd);
PUMICE_DECLARE_KERNEL(sigmoid_contrastive_fwd, SigmoidContrastiveFwd);
PUMICE_DECLARE_KERNEL(sigmoid_contrastive_bwd, SigmoidContrastiveBwd);

}  // namespace pumice
