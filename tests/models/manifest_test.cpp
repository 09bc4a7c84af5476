// Full-size models without their weights: what the header of each published checkpoint says (tests/oracle/make_manifests.py) against what our models
// ask of a file. The same headers, in front of files that are holes, are opened as a user opens a directory.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "../message_of.h"
#include "../temporary.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/hf/weights.h"
#include "pumice/models/hf/write.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "pumice/tensor/weight_writer.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::message_of;


// {a..b} stands for every number from a to b, {a..b..c} for every c-th.
void expand(const std::string& name, const Shape& shape, std::map<std::string, Shape>& all) {
  const size_t open = name.find('{'), close = name.find('}');
  if (open == std::string::npos) {
    EXPECT_TRUE(all.emplace(name, shape).second) << name << " twice";
    return;
  }
  int64_t first = 0, last = 0, step = 1;
  ASSERT_GE(sscanf(name.c_str() + open, "{%ld..%ld..%ld}", &first, &last, &step), 2) << name;
  for (int64_t i = first; i <= last; i += step) { expand(name.substr(0, open) + std::to_string(i) + name.substr(close + 1), shape, all); }
}

Shape shape_of(const Json& dims) {
  const std::vector<int64_t> d = dims.get<std::vector<int64_t>>();
  return Shape(d.data(), int(d.size()));
}

struct Manifest {
  Json json;
  std::string config;
  std::map<std::string, Shape> tensors;

  explicit Manifest(const std::string& name)
      : json(parse_json(read_file(std::string(PUMICE_FIXTURES) + "/models/manifests/" + name + ".json"))), config(json["config"].dump()) {
    for (const auto& [pattern, tensor] : json["tensors"].items()) { expand(pattern, shape_of(tensor[1]), tensors); }
  }
  bool is_tower() const {
    const std::string type = json["config"]["model_type"];
    return type == "clip" || type == "siglip" || type == "clip_vision_model";
  }
  bool sees() const { return !is_tower() && is_llava_config(config, "config.json"); }
  DecoderConfig decoder() const { return text_config_of(config, "config.json"); }
};

// Tensors of published files that no parameter wants.
constexpr struct { const char *start, *reason; } kUnused[] = {
    {"text_model.", "the text tower, which LLaVA does not have"},
    {"visual_projection.", "into the space that CLIP's pictures share with its captions"},
    {"text_projection.", "the same of captions"},
    {"logit_", "scale and bias of the contrastive loss"},
    {"vision_model.head.", "SigLIP's pooling of all tokens into one vector"},
    {"vision_model.embeddings.position_ids", "0, 1, 2, ..., as old versions of Transformers stored them"},
};
bool is_unused(const std::string& name) {
  for (const auto& u : kUnused) {
    if (name.rfind(u.start, 0) == 0) { return true; }
  }
  return false;
}

void expect_same(const std::vector<std::pair<std::string, Shape>>& wanted, std::map<std::string, Shape> published) {
  for (const auto& [name, shape] : wanted) {
    const auto at = published.find(name);
    if (at == published.end()) {
      ADD_FAILURE() << "the checkpoint has no " << name;
      continue;
    }
    EXPECT_EQ(at->second, shape) << name;
    published.erase(at);
  }
  for (const auto& [name, shape] : published) { EXPECT_TRUE(is_unused(name)) << "no parameter wants " << name << " " << shape; }
}

int64_t elements_of(const std::vector<std::pair<std::string, Shape>>& wanted) {
  int64_t sum = 0;
  for (const auto& [name, shape] : wanted) { sum += shape.elements(); }
  return sum;
}

// A file of the manifest's tensors whose values are a hole in it: as long as the checkpoint, without a block on the disk.
void write_hollow(const std::string& directory, const Manifest& m) {
  const std::map<std::string, int> size = {{"BF16", 2}, {"F16", 2}, {"F32", 4}, {"I64", 8}};
  Json header;
  int64_t end = 0;
  for (const auto& [pattern, tensor] : m.json["tensors"].items()) {
    std::map<std::string, Shape> names;
    expand(pattern, shape_of(tensor[1]), names);
    for (const auto& [name, shape] : names) {
      const int64_t begin = end;
      end += shape.elements() * size.at(tensor[0]);
      header[name] = {{"dtype", tensor[0]}, {"shape", tensor[1]}, {"data_offsets", {begin, end}}};
    }
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  const std::string path = directory + "/model.safetensors";
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(&length), 8) << text;
  fs::resize_file(path, 8 + length + uint64_t(end));
  write_file_atomic(directory + "/config.json", m.config);
}

std::vector<std::string> all_manifests() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(PUMICE_FIXTURES "/models/manifests")) { names.push_back(entry.path().stem().string()); }
  std::sort(names.begin(), names.end());
  return names;
}

class Published : public ::testing::TestWithParam<std::string> {};

TEST_P(Published, TensorsAreTheModels) {
  const Manifest m(GetParam());
  std::vector<std::pair<std::string, Shape>> wanted;
  int64_t parameters = 0;
  if (m.is_tower()) {
    const auto store = ParameterStore::make_unfilled();
    const VisionConfig tower = vision_config_from_hf(m.config, "config.json");
    const auto built = make_image_tower(Scope(*store), tower);
    wanted = wanted_tensors(*store, [&](const std::string& name) { return std::vector{tower_tensor(tower, name, "")}; });
    parameters = store->size();
  } else if (m.sees()) {
    const VisionConfig clip{.image_size = 336, .patch = 14, .width = 1024, .layers = 24, .heads = 16, .hidden = 4096};
    const LlavaConfig config = llava_config_from_hf(m.config, "config.json", clip);
    const Llava model = Llava::unfilled(config);
    wanted = wanted_tensors(model.parameters(), [&](const std::string& name) { return hf_llava_tensors(config, name); });
    parameters = model.parameters().size();
  } else {
    const DecoderConfig config = m.decoder();
    const Decoder model = Decoder::unfilled(config);
    wanted = wanted_tensors(model.parameters(), [&](const std::string& name) { return hf_tensors_of(config, name); });
    parameters = model.parameters().size();
    EXPECT_EQ(cost_of(config).parameters, parameters);
  }
  expect_same(wanted, m.tensors);
  int64_t unused = 0;
  for (const auto& [name, shape] : m.tensors) { unused += is_unused(name) ? shape.elements() : 0; }
  EXPECT_EQ(elements_of(wanted), parameters);
  EXPECT_EQ(parameters, m.json["parameters"].get<int64_t>() - unused);
}

TEST_P(Published, OpensFromItsDirectory) {
  const Manifest m(GetParam());
  const testing::Temporary d;
  write_hollow(d.path(), m);
  const auto open = [&] {
    if (m.is_tower()) { open_vision_tower(d.path()); }
    else if (m.sees()) { open_llava(d.path()); }
    else { open_decoder(d.path()); }
  };
  EXPECT_NO_THROW(open());

  // a layer more or less than the file has is seen
  Manifest other = m;
  Json& whole = other.json["config"];
  Json& config = whole.contains("text_config") ? whole[m.is_tower() ? "vision_config" : "text_config"] : whole;
  config["num_hidden_layers"] = (m.is_tower() ? vision_config_from_hf(m.config, "config.json").layers : m.decoder().layers) + 1;
  write_file_atomic(d / "config.json", whole.dump());
  EXPECT_NE(message_of<FormatError>(open).find("the weights do not fit config.json"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Published, ::testing::ValuesIn(all_manifests()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name) { c = isalnum(c) ? c : '_'; }
  return name;
});

// Phi-2 and LLaVA-1.5 are published in f16, which weights are stored in and never computed with.
TEST(HalfPrecision, IsConvertedAsTheWeightsAreAsked) {
  for (const char* name : {"moe-stablelm", "phi"}) {
    const std::string from = std::string(PUMICE_FIXTURES "/models/fixtures/") + name;
    const Decoder original = open_decoder(from);
    const testing::Temporary half, whole;
    const Locate locate = [&](const std::string& parameter) { return hf_tensors_of(original.config(), parameter); };
    const NamedTensors f16 = hf_tensors(original.parameters(), locate, DType::f16);
    NamedTensors f32;
    for (const auto& [tensor, value] : f16) { f32.emplace_back(tensor, to_dtype(value, DType::f32)); }
    write_weights(half.path(), f16);
    write_weights(whole.path(), f32);
    for (const testing::Temporary* d : {&half, &whole}) { fs::copy_file(from + "/config.json", *d / "config.json"); }
    const DecoderInput input{.ids = from_values<int32_t>({5}, {1, 2, 3, 4, 5}), .sequences = from_values<int32_t>({2}, {0, 5})};
    for (DType dtype : {DType::f32, DType::bf16}) {
      const NoGrad no_grad;
      const auto hidden = [&](const testing::Temporary& d) {
        return open_decoder(d.path()).forward(input, {.dtype = dtype}).hidden.to_vector<double>();
      };
      EXPECT_EQ(hidden(half), hidden(whole)) << name;
    }
  }
}

TEST(Defaults, AreTransformersWhereConfigSaysNothing) {  // transformers 4.57.6, configuration_llama.py and its neighbours
  struct Case {
    const char* type;
    int64_t vocabulary, width, hidden, layers, heads, kv_heads, positions, window;
  };
  for (const Case& c : {Case{"llama", 32000, 4096, 11008, 32, 32, 32, 2048, 0},
                        Case{"mistral", 32000, 4096, 14336, 32, 32, 8, 131072, 4096},
                        Case{"qwen2", 151936, 4096, 22016, 32, 32, 32, 32768, 0},
                        Case{"stablelm", 50304, 2560, 6912, 32, 32, 32, 4096, 0},
                        Case{"phi", 51200, 2048, 8192, 24, 32, 32, 2048, 0}}) {
    const DecoderConfig d = decoder_config_from_hf(concat_text(R"({"model_type": ")", c.type, "\"}"), "config.json");
    EXPECT_EQ((std::vector{d.vocabulary, d.width, d.hidden, d.layers, d.heads, d.kv_heads, d.positions, d.window}),
              (std::vector{c.vocabulary, c.width, c.hidden, c.layers, c.heads, c.kv_heads, c.positions, c.window})) << c.type;
  }
}

TEST(Defaults, QwenMustSayItsSizes) {
  EXPECT_EQ(message_of<FormatError>([] { decoder_config_from_hf(R"({"model_type": "qwen", "vocab_size": 100})", "config.json"); }),
            "config.json: \"hidden_size\" is required and missing");
}

// What MoE-LLaVA's sizes come to; its paper says 2.9 B and 2.0 B, 3.1 B and 2.2 B, 5.3 B and 3.6 B (Table 1), and for OpenChat, whose dense model it
// takes for 6.7 B, 15.2 B and 9.6 B (Table 8). Vision tower and projector are not in it.
TEST(Cost, IsWhatMoeLlavaCounts) {
  struct Case {
    const char* name;
    int64_t parameters, active;
  };
  for (const Case& c : {Case{"moe-llava-stablelm-1.6b-4e", 2'890'321'920, 2'059'849'728},
                        Case{"moe-llava-qwen-1.8b-4e", 3'054'323'712, 2'242'725'888},
                        Case{"moe-llava-phi2-2.7b-4e", 5'296'993'280, 3'618'862'080},
                        Case{"moe-llava-openchat-7b-4e", 15'697'727'488, 10'060'582'912}}) {
    const DecoderCost cost = cost_of(Manifest(c.name).decoder());
    EXPECT_EQ(cost.parameters, c.parameters) << c.name;
    EXPECT_EQ(cost.active_parameters, c.active) << c.name;
  }
}

TEST(Defaults, NullIsNotLeftOut) {
  const DecoderConfig d = decoder_config_from_hf(R"({"model_type": "mistral", "num_key_value_heads": null, "sliding_window": null})", "config.json");
  EXPECT_EQ(d.kv_heads, 32);
  EXPECT_EQ(d.window, 0);
  const DecoderConfig windows = decoder_config_from_hf(R"({"model_type": "qwen2", "use_sliding_window": true})", "config.json");
  EXPECT_EQ(windows.window, 4096);
  EXPECT_EQ(windows.window_from, 28);
  const std::string four = R"({"model_type": "mistral", "hidden_size": 64, "num_attention_heads": 4})";
  EXPECT_EQ(message_of<FormatError>([&] { decoder_config_from_hf(four, "config.json"); }),
            "config.json: \"num_key_value_heads\" is missing, and a mistral model without it has 8, which must divide \"num_attention_heads\" 4");
}

}  // namespace
}  // namespace pumice
