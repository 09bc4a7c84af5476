// Directories of tiny random language models, as `pumice` opens them.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "../temporary.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/weights.h"
#include "pumice/models/hf/write.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/weight_writer.h"
#include "pumice/train/language_model.h"

namespace pumice::testing {

// 4 tokens per picture.
constexpr const char* kTinyLlava =
    R"({"model_type": "llava", "vision_feature_layer": -1,
        "vision_config": {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8, "hidden_size": 16, "intermediate_size": 24,
                          "num_hidden_layers": 1, "num_attention_heads": 2},
        "text_config": {"model_type": "qwen2", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}})";

class TinyLanguageModel {
 public:
  explicit TinyLanguageModel(DType dtype = DType::f32) : dtype_(dtype) {
    LlavaConfig config = llava_config_from_hf(kTinyLlava, "config.json", {});
    config.projector_layers = 2;
    const Llava llava(config, 7);
    open(kTinyLlava, hf_tensors(llava.parameters(), [&](const std::string& name) { return hf_llava_tensors(config, name); }, DType::f32));
  }
  // One that reads text alone, of the same sizes, with `fields` added to config.json.
  explicit TinyLanguageModel(const std::string& fields, const std::string& type = "llama") {
    const std::string json = R"({"model_type": ")" + type + R"(", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                                 "num_attention_heads": 4, )" + (type == "qwen" ? "" : R"("num_key_value_heads": 2, )") +
                             R"("max_position_embeddings": 128)" + fields + "}";
    const DecoderConfig config = decoder_config_from_hf(json, "config.json");
    const Decoder decoder(config, 7);
    open(json, hf_tensors(decoder.parameters(), [&](const std::string& name) { return hf_tensors_of(config, name); }, DType::f32));
  }
  const LanguageModel& operator*() const { return *model_; }
  const LanguageModel* operator->() const { return &*model_; }

 private:
  // Matrices far larger than they start in training: the context decides what comes next, not the last token alone.
  void open(const std::string& json, const NamedTensors& weights) {
    for (const auto& [name, w] : weights) {
      for (int64_t i = 0; w.rank() == 2 && i < w.size(); ++i) { w.data<float>()[i] *= 10; }
    }
    write_weights(d_.path(), weights);
    write_file_atomic(d_ / "config.json", json);
    Tokenizer::train({"a red cat on a mat", "a blue dog", "where is the cat"}, {.vocab_size = 280}).save(d_.path());
    model_.emplace(LanguageModel::open(d_.path(), {.dtype = dtype_}));
  }

  Temporary d_;
  DType dtype_ = DType::f32;
  std::optional<LanguageModel> model_;
};

inline Image flat_picture(uint8_t level) { return {16, 16, std::vector<uint8_t>(16 * 16 * 3, level)}; }

}  // namespace pumice::testing
