#include "pumice/models/image_tower.h"

#include "pumice/models/run_tower.h"
#include "pumice/models/vision_tower.h"
#include "pumice/tensor/error.h"

namespace pumice {

void VisionConfig::validate() const {
  if (run) {
    run->validate();
    return;
  }
  for (auto [name, v] : {std::pair{"image_size", image_size}, {"patch", patch}, {"width", width}, {"layers", layers}, {"heads", heads}, {"hidden", hidden}}) {
    const int64_t most = name == std::string_view("layers") ? 1024 : name == std::string_view("image_size") ? 8192 : 1 << 24;  // as of a decoder
    REQUIRE(UsageError, v > 0 && v <= most, "[vision tower] ", name, " must be in [1, ", most, "], got ", v);
  }
  REQUIRE(UsageError, patch <= image_size && width % heads == 0, "[vision tower] patch must be at most image_size, and width a multiple of heads; got ", patch,
          " of ", image_size, " and ", width, " with ", heads, " heads");
}

ImageTower::ImageTower(const VisionConfig& config) : config_(config) { config_.validate(); }

int64_t ImageTower::layers_until(int64_t after, const Tensor& pixels) const {
  const int64_t S = config_.image_size, layers = config_.layers, last = after < 0 ? layers + 1 + after : after;
  REQUIRE(ShapeError, pixels.rank() == 4 && pixels.dim(1) == 3 && pixels.dim(2) == S && pixels.dim(3) == S,
          "[vision tower] pixels must be (B, 3, ", S, ", ", S, "), got ", pixels.shape());
  REQUIRE(UsageError, last >= 0 && last <= layers, "[vision tower] hidden states exist for layers 0 to ", layers, " or -", layers + 1,
          " to -1, got ", after);
  return last;
}

std::unique_ptr<ImageTower> make_image_tower(const Scope& scope, const VisionConfig& config) {
  if (config.run) { return std::make_unique<RunTower>(scope, config); }
  return std::make_unique<VisionTower>(scope, config);
}

}  // namespace pumice
