// A language model that sees: a vision tower, a projector, and a decoder whose input has pictures where the text says <image> (LLaVA: Liu et al.
// 2023, arXiv:2304.08485). With sparse layers in the decoder it is MoE-LLaVA (Lin et al. 2024, arXiv:2401.15947).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "pumice/models/decoder.h"
#include "pumice/models/image_tower.h"
#include "pumice/nn/layers.h"

namespace pumice {

inline constexpr int32_t kImageId = -200;  // stands among token ids where a picture belongs

struct LlavaConfig {
  VisionConfig vision;
  DecoderConfig text;
  std::string layout = "moe_llava";  // names of tensors: hf, llava, moe_llava
  int64_t projector_layers = 2;      // 1: linear; N: N linear layers with gelu between them (mlpNx_gelu)
  int64_t vision_layer = -2;         // whose hidden states are read
  bool drop_first = true;            // "patch": without the first token, which is CLIP's class token; a SigLIP tower loses its first patch, as in
                                     // MoE-LLaVA, while a tower of our own loses nothing but a class token

  bool drops_first() const { return drop_first && (!vision.run || vision.class_token); }
  int64_t image_tokens() const { return vision.tokens() - (drops_first() ? 1 : 0); }
  void validate() const;
};

// Token ids with kImageId in them, packed, and the pictures in the order in which they are mentioned. A sequence may have none or several.
struct LlavaInput {
  Tensor ids;        // i32 (T) on the CPU
  Tensor sequences;  // i32 (N + 1) on the CPU
  Tensor labels;     // i32 (T) on the CPU, -100 where ignored; undefined outside training
  Tensor pixels;     // f32 (I, 3, S, S), normalised; undefined without pictures
};

// Layers "0", "2", ... under `scope`, as in a list that has gelu between them. They start as LLaVA's do, U(-1 / sqrt(in), 1 / sqrt(in)).
std::vector<Linear> make_projector(const Scope& scope, const LlavaConfig& config);

class Llava {
 public:
  explicit Llava(const LlavaConfig& config, uint64_t seed = 0, DType master = DType::f32, Device device = Device::cpu());
  // In a store of the caller's, who packs it, or binds what is unfilled.
  Llava(const LlavaConfig& config, std::shared_ptr<ParameterStore> store);
  static Llava unfilled(const LlavaConfig& config);

  // pixels (I, 3, S, S) -> (I, image_tokens(), C of the decoder)
  Tensor image_features(const Tensor& pixels, DType dtype) const;

  // The decoder's input with every picture's tokens in its place, and labels (T') where the input has them, -100 at pictures. Text-only sequences
  // cost no picture. Throws ShapeError when there are more or fewer pictures than places for them.
  struct Spliced {
    DecoderInput input;
    Tensor labels;
  };
  Spliced splice(const LlavaInput& input, DType dtype) const;

  const LlavaConfig& config() const { return config_; }
  const Decoder& decoder() const { return decoder_; }
  ParameterStore& parameters() { return *store_; }
  const ParameterStore& parameters() const { return *store_; }

 private:
  LlavaConfig config_;
  std::shared_ptr<ParameterStore> store_;
  std::shared_ptr<const ImageTower> tower_;  // "vision."
  std::vector<Linear> projector_;           // "projector."
  Decoder decoder_;                         // without a scope: as alone
};

}  // namespace pumice
