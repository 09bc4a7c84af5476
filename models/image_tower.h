// What turns pictures into the tokens that a language model reads: CLIP's and SigLIP's image towers (vision_tower.h), or a model that this program
// trained on images, sparse blocks included (run_tower.h).
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "pumice/models/image_text_config.h"
#include "pumice/nn/parameter.h"
#include "pumice/ops/elementwise/gelu.h"

namespace pumice {

struct VisionConfig {
  std::string family = "clip";  // names of tensors: clip, siglip; limoe, two_tower and classifier of our own
  int64_t image_size = 0, patch = 0, width = 0, layers = 0, heads = 0, hidden = 0;
  double norm_eps = 1e-5;
  Gelu activation = Gelu::quick;
  bool class_token = true;   // before the patches, with a position of its own
  bool first_norm = true;    // of what enters the first layer
  bool patch_bias = false;
  std::optional<ImageTextConfig> run;  // a model of our own, whose sizes stand above as well; norm_eps to patch_bias do not describe it

  int64_t tokens() const { return (image_size / patch) * (image_size / patch) + (class_token ? 1 : 0); }
  // Throws UsageError naming the field and what it must be.
  void validate() const;
};

class ImageTower {
 public:
  virtual ~ImageTower() = default;
  // pixels f32 (B, 3, S, S), normalised   ->   (B, tokens(), C): what leaves layer `after` (0: what enters the first; negative ones count from
  // the end, -1 the last), without the norm behind the last layer. Later layers are not computed. Throws ShapeError for another size, UsageError
  // for a layer that does not exist.
  virtual Tensor operator()(const Tensor& pixels, DType dtype, int64_t after = -1) const = 0;
  const VisionConfig& config() const { return config_; }

 protected:
  explicit ImageTower(const VisionConfig& config);
  // The number of layers to compute for `after`; checks both arguments.
  int64_t layers_until(int64_t after, const Tensor& pixels) const;

  VisionConfig config_;
};

// Names of parameters begin with the path of `scope`.
std::unique_ptr<ImageTower> make_image_tower(const Scope& scope, const VisionConfig& config);

}  // namespace pumice
