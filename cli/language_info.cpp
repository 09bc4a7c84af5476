#include "pumice/cli/language_info.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "pumice/cli/terminal.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using Wanted = std::vector<std::pair<std::string, Shape>>;

std::string count(int64_t n) { return format("%s (%lld)", human_count(double(n)).c_str(), (long long)n); }

// "0, 2, ..., 30" when there are more than three at equal steps.
std::string listed(const std::vector<int64_t>& all) {
  bool even = all.size() > 3;
  for (size_t i = 2; i < all.size(); ++i) { even = even && all[i] - all[i - 1] == all[1] - all[0]; }
  if (even) { return concat_text(all[0], ", ", all[1], ", ..., ", all.back()); }
  std::string text;
  for (int64_t v : all) { text += concat_text(text.empty() ? "" : ", ", v); }
  return text;
}

void print_decoder(const DecoderConfig& c) {
  print_line(concat_text("decoder     ", c.family, ": ", c.layers, " layers, width ", c.width, ", MLP ", c.hidden,
                         c.mlp == MlpKind::swiglu ? " swiglu" : " gelu", ", vocabulary ", c.vocabulary, c.tied ? ", the head is the embedding" : ""));
  print_line(concat_text("attention   ", c.heads, " heads of ", c.head_width, ", ", c.kv_heads, " of keys and values, ",
                         c.window ? concat_text("window of ", c.window, " tokens, ") : "", "trained for ", c.positions, " tokens"));
  if (c.moe_layers.empty()) { return; }
  const bool same = std::all_of(c.experts.begin(), c.experts.end(), [&](int64_t e) { return e == c.experts[0]; });
  const std::string experts = same ? std::to_string(c.experts[0]) : listed(c.experts);
  print_line(concat_text("experts     ", experts, " in each of ", c.moe_layers.size(), " sparse layers (", listed(c.moe_layers),
                         "), ", c.router.experts_per_token, " per token", c.residual_moe ? ", beside the dense MLP" : ""));
  const std::string second = c.router.experts_per_token == 2 ? concat_text(", second choice ", name_of(c.router.second)) : "";
  print_line(concat_text("gate        order ", name_of(c.router.order), second, ", gates ", name_of(c.router.gates)));
  print_line(concat_text("capacity    ", c.router.train.factor, " in training, ", c.router.eval.factor, " in evaluation, at least ",
                         c.router.train.least, " places"));
}

void print_tower(const VisionConfig& c) {
  print_line(concat_text("tower       ", c.family, ": ", c.layers, " layers, width ", c.width, ", ", c.image_size, " px in patches of ", c.patch,
                         ", ", c.tokens(), " tokens"));
  if (!c.run || c.run->moe_layers.empty() || c.run->dense_twin) { return; }
  print_line(concat_text("  experts   ", c.run->router.experts, " in each of ", c.run->moe_layers.size(), " sparse layers (",
                         listed(c.run->moe_layers), "), ", c.run->router.experts_per_token, " per token; no token is dropped"));
}

// Whether weights are there at all, whole or not.
bool holds_weights(const std::string& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string(), extension = entry.path().extension().string();
    const bool torch = extension == ".bin" && name.rfind("pytorch_model", 0) == 0;
    if (torch || extension == ".safetensors" || name.find(".index.json") != std::string::npos) { return true; }
  }
  return false;
}

// The weights there are; what they take in memory when used in bf16: those stored in bf16 stay in the mapped files, others get a copy.
void print_weights(const std::string& directory) {
  const WeightFiles weights = WeightFiles::open(directory);
  std::map<std::string, uint64_t> bytes;  // of each dtype
  uint64_t disk = 0, copies = 0;
  for (const WeightInfo& t : weights.all()) {
    bytes[t.dtype] += t.bytes;
    copies += t.dtype == "BF16" ? 0 : uint64_t(t.shape.elements()) * 2;
  }
  for (const WeightFile& f : weights.files()) { disk += f.bytes; }
  std::string types;
  for (const auto& [dtype, n] : bytes) { types += (types.empty() ? "" : ", ") + dtype + (bytes.size() > 1 ? " " + human_bytes(double(n)) : ""); }
  print_line(format("weights     %s on disk in %zu %s of %s: %zu tensors, %s", human_bytes(double(disk)).c_str(), weights.files().size(),
                    weights.files().size() == 1 ? "file" : "files", weights.files()[0].format.c_str(), weights.all().size(), types.c_str()));
  print_line("mapped      " + human_bytes(double(disk)) + ", not copied" +
             (copies ? "; and up to " + human_bytes(double(copies)) + " of copies in bf16 of what is stored in another type" : ""));
}

void print_tensors(const Wanted& wanted) {
  for (const auto& [name, shape] : wanted) { print_line(format("  %-64s %s", name.c_str(), concat_text(shape).c_str())); }
}

void print_memory(int64_t parameters, const DecoderConfig* decoder) {
  print_line("bf16        " + human_bytes(2.0 * double(parameters)) + " of weights");
  if (!decoder) { return; }
  const double token = 2.0 * 2.0 * double(decoder->layers * decoder->kv_heads * decoder->head_width);  // keys and values of 2 bytes
  print_line("KV cache    " + human_bytes(1000 * token) + " per 1000 tokens of each conversation in bf16");
}

void print_llava(const std::string& directory, std::string tower, bool tensors) {
  const LlavaConfig c = read_llava_config(directory, tower);
  const Llava model = Llava::unfilled(c);
  const DecoderCost cost = cost_of(c.text);
  int64_t seeing = 0, projector = 0, idle = 0;  // idle: experts of the tower that a token does not visit
  for (const auto& p : model.parameters().all()) {
    if (p->name().rfind("vision.", 0) == 0 && p->name().find(".moe.experts.") != std::string::npos) {
      idle += p->size() / p->shape()[0] * (p->shape()[0] - c.vision.run->router.experts_per_token);
    }
    seeing += p->name().rfind("vision.", 0) == 0 ? p->size() : 0;
    projector += p->name().rfind("projector.", 0) == 0 ? p->size() : 0;
  }
  const int64_t rest = seeing + projector, all = rest + cost.parameters;
  print_line("model       language and pictures, in the layout of " +
             std::string(c.layout == "hf" ? "Transformers" : c.layout == "llava" ? "LLaVA" : "MoE-LLaVA"));
  print_decoder(c.text);
  print_tower(c.vision);
  print_line(concat_text("projector   ", c.projector_layers, c.projector_layers == 1 ? " layer, " : " layers, ", c.vision.width, " -> ", c.text.width,
                         "; ", c.image_tokens(), " tokens per picture, from the tower's layer ", c.vision_layer));
  print_line("parameters  " + count(all) + " total, " + count(rest - idle + cost.active_parameters) + " active per token");
  print_line("  decoder   " + count(cost.parameters) + " total, " + count(cost.active_parameters) + " active per token");
  print_line("  tower     " + count(seeing) + (idle ? " total, " + count(seeing - idle) + " active per token" : ""));
  print_line("  projector " + count(projector));
  print_memory(all, &c.text);
  if (tensors) { print_tensors(wanted_tensors(model.parameters(), [&](const std::string& name) { return hf_llava_tensors(c, name); })); }
}

void print_text_model(const std::string& directory, bool tensors) {
  const std::string path = directory + "/config.json";
  const DecoderConfig c = decoder_config_from_hf(read_file(path), path);
  const DecoderCost cost = cost_of(c);
  print_line("model       language");
  print_decoder(c);
  print_line("parameters  " + count(cost.parameters) + " total, " + count(cost.active_parameters) + " active per token");
  print_memory(cost.parameters, &c);
  const Decoder model = Decoder::unfilled(c);
  if (tensors) { print_tensors(wanted_tensors(model.parameters(), [&](const std::string& name) { return hf_tensors_of(c, name); })); }
}

void print_vision_model(const std::string& directory, bool tensors) {
  const std::string path = directory + "/config.json";
  const auto store = ParameterStore::make_unfilled();
  const VisionConfig config = vision_config_from_hf(read_file(path), path);
  const auto tower = make_image_tower(Scope(*store), config);
  print_line("model       vision tower, as a language model reads it");
  print_tower(config);
  print_line("parameters  " + count(store->size()));
  print_memory(store->size(), nullptr);
  const Locate locate = [&](const std::string& name) { return std::vector{tower_tensor(config, name, "")}; };
  if (tensors) { print_tensors(wanted_tensors(*store, locate)); }
}

bool is_tower(const std::string& type) {
  return type == "clip" || type == "siglip" || type == "clip_vision_model" || type == "siglip_vision_model";
}

}  // namespace

bool is_hf_directory(const std::string& directory) {
  const std::string path = directory + "/config.json";
  if (!fs::is_regular_file(path)) { return false; }
  const nlohmann::json config = parse_hf_object(read_file(path), path);
  return config.contains("model_type") || config.contains("text_config");
}

void print_hf_model(const std::string& directory, const std::string& tower, bool tensors) {
  const std::string path = directory + "/config.json", text = read_file(path);
  const nlohmann::json config = parse_hf_object(text, path);
  const bool vision = is_tower(Fields(config, path).text("model_type", "")), sees = !vision && is_llava_config(text, path);
  if (vision) { print_vision_model(directory, tensors); }
  else if (sees) { print_llava(directory, tower, tensors); }
  else { print_text_model(directory, tensors); }
  if (!holds_weights(directory)) {
    print_line("weights     none here: this is what config.json says");
    return;
  }
  print_weights(directory);
  if (vision) { open_vision_tower(directory); }  // throws where they do not fit
  else if (sees) { open_llava(directory, tower); }
  else { open_decoder(directory); }
  print_line("            every tensor that config.json asks for is there");
}

}  // namespace pumice
