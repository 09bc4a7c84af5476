// Models written anew: other layouts, other types of numbers, projectors alone; that the copy is the model, and what is refused.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "pumice/models/hf/projector.h"
#include "pumice/models/hf/vision.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"
#include "pumice/tensor/weight_files.h"
#include "pumice/tensor/weight_writer.h"
#include "seeing_models.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using testing::holds;
using testing::Outcome;
using testing::run;
using Named = std::vector<std::pair<std::string, Tensor>>;

Named tensors_of(const std::string& model) {
  const WeightFiles files = WeightFiles::open(model);
  Named all;
  for (const std::string& name : files.names()) { all.emplace_back(name, files.load(name)); }
  return all;
}

void expect_same(const std::string& a, const std::string& b) {
  const WeightFiles left = WeightFiles::open(a), right = WeightFiles::open(b);
  const auto sorted = [](std::vector<std::string> names) { std::sort(names.begin(), names.end()); return names; };
  ASSERT_EQ(sorted(left.names()), sorted(right.names()));
  for (const std::string& name : left.names()) {
    const Tensor x = left.load(name), y = right.load(name);
    ASSERT_TRUE(x.shape() == y.shape() && x.dtype() == y.dtype()) << name;
    EXPECT_EQ(std::memcmp(x.raw(), y.raw(), size_t(x.bytes())), 0) << name;
  }
}

class Exported : public testing::SeeingModels {
 protected:
  Outcome write(const std::string& from, const std::string& to, const std::string& flags = "") const {
    return run("model export " + (d_ / from) + " --out " + (d_ / to) + " " + flags);
  }
  nlohmann::json config(const std::string& model) const { return parse_json(read_file(d_ / model + "/config.json")); }
  std::string dtype_of(const std::string& model) const {
    const nlohmann::json c = config(model);
    return c.value("dtype", c.value("torch_dtype", ""));
  }
  bool has(const std::string& path) const { return fs::exists(d_ / path); }
};

TEST_F(Exported, LayoutsAnswerAlike) {
  std::set<std::string> answers;
  for (const char* tower : {"clip-vision", "siglip-vision", "siglip-vision-headless"}) {
    fs::remove_all(d_ / "made");
    ASSERT_EQ(assemble(fixture(tower), "made/llava", "--seed 5 --vision-layer 1").code, 0);
    sharpen("made/llava");
    const std::string says = answer("made/llava");
    fs::remove_all(d_ / "other");
    fs::copy(d_ / "made/llava", d_ / "other", fs::copy_options::recursive);
    auto changed = config("other");
    changed["mm_vision_select_layer"] = 2;
    write_file_atomic(d_ / "other/config.json", changed.dump());
    EXPECT_NE(answer("other"), says) << tower << ": another layer changes no answer, so nothing is tested";
    answers.insert(says);
    for (const auto& [from, to] : {std::pair{"llava", "hf"}, {"llava", "moe_llava"}, {"hf", "moe_llava"}, {"moe_llava", "hf"}, {"hf", "llava"}}) {
      const std::string out = std::string("made/") + from + "-" + to;
      const std::string source = has(std::string("made/llava-") + from) ? std::string("made/llava-") + from : "made/llava";
      const Outcome o = write(source, out, std::string("--layout ") + to);
      ASSERT_EQ(o.code, 0) << o.text;
      EXPECT_TRUE(holds(o, std::string("in the layout ") + to + "; 16 tokens per picture")) << o.text;  // 15 without a SigLIP's first patch
      EXPECT_EQ(answer(out), says) << tower << " " << out;
      EXPECT_EQ(has(out + "/vision_tower/model.safetensors"), std::string(to) != "hf") << "the tower has a directory where the layout names one";
    }
    expect_same(d_ / "made/llava", d_ / "made/hf-llava");  // there and back
    expect_same(d_ / "made/llava/vision_tower", d_ / "made/hf-llava/vision_tower");
    expect_same(d_ / "made/llava-hf", d_ / "made/moe_llava-hf");
    // what Transformers expects of a SigLIP and what is there are the same
    const bool pools = WeightFiles::open(d_ / "made/llava-hf").contains("vision_tower.vision_model.head.probe");
    EXPECT_EQ(pools, std::string(tower) == "siglip-vision");
    EXPECT_EQ(WeightFiles::open(d_ / "made/llava/vision_tower").contains("vision_model.head.probe"), pools);
    if (std::string(tower) != "clip-vision") { EXPECT_EQ(config("made/llava-hf")["vision_config"].value("vision_use_head", true), pools); }
    const auto before = config("made/llava"), after = config("made/hf-llava");
    for (const char* field : {"model_type", "mm_projector_type", "mm_vision_select_layer", "mm_vision_select_feature", "vocab_size", "image_aspect_ratio"}) {
      EXPECT_EQ(before[field], after[field]) << field;
    }
    EXPECT_EQ(config("made/llava-hf")["text_config"]["model_type"], "qwen2");
    EXPECT_EQ(config("made/llava-moe_llava")["model_type"], "llava_qwen1_5");
  }
  EXPECT_EQ(answers.size(), 2u) << "towers of other weights must answer otherwise; the headless SigLIP has the weights of the other";
}

// MoE-LLaVA's released files hold their tower among the model's tensors.
TEST_F(Exported, ATowerInsideStaysInside) {
  ASSERT_EQ(assemble(fixture("siglip-vision"), "apart").code, 0);
  Named all = tensors_of(d_ / "apart");
  for (const auto& [name, tensor] : tensors_of(d_ / "apart/vision_tower")) { all.emplace_back("model.vision_tower.vision_tower." + name, tensor); }
  fs::create_directories(d_ / "whole/vision_tower");
  write_weights(d_ / "whole", all);
  for (const char* file : {"config.json", "tokenizer.json", "vision_tower/config.json"}) { fs::copy(d_ / "apart/" + file, d_ / "whole/" + file); }
  const std::string says = answer("apart");
  ASSERT_EQ(answer("whole"), says);
  ASSERT_EQ(write("whole", "moe", "--layout moe_llava").code, 0);
  EXPECT_EQ(answer("moe"), says);
  const WeightFiles moe = WeightFiles::open(d_ / "moe");
  EXPECT_TRUE(moe.contains("model.image_tower.image_tower.vision_model.post_layernorm.weight") && moe.contains("model.mm_projector.image_spatial_proj.0.bias"));
  EXPECT_EQ(moe.names().size(), all.size());
  EXPECT_FALSE(has("moe/vision_tower/model.safetensors"));
  ASSERT_EQ(write("moe", "hf", "--layout hf").code, 0);
  EXPECT_EQ(answer("hf"), says);
  ASSERT_EQ(write("whole", "again", "--layout llava").code, 0);
  expect_same(d_ / "whole", d_ / "again");
}

// MoE-LLaVA makes Phi's head without its bias, as Transformers' LLaVA makes every head.
TEST_F(Exported, APhiWhoseHeadHasNoBias) {
  fs::create_directories(d_ / "described");
  write_file_atomic(d_ / "described/config.json", R"({"model_type": "llava_phi", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48,
      "num_hidden_layers": 2, "num_attention_heads": 4, "mm_image_tower": "vision_tower", "image_projector_type": "linear"})");
  fs::copy(fixture("clip-vision"), d_ / "described/vision_tower", fs::copy_options::recursive);
  const auto init = [&](const std::string& out) {
    const Outcome o = run("model init --model-config " + (d_ / "described") + " --tokenizer " + (d_ / "tokenizer") + " --out " + (d_ / out));
    ASSERT_EQ(o.code, 0) << o.text;
    fs::copy(fixture("clip-vision"), d_ / out + "/vision_tower", fs::copy_options::recursive);
  };
  init("linear");
  EXPECT_TRUE(WeightFiles::open(d_ / "linear").contains("model.mm_projector.image_spatial_proj.weight")) << "a layer, not a list of one";
  const Outcome linear = write("linear", "x", "--layout hf");
  EXPECT_TRUE(linear.code == 2 && holds(linear, "has the projector mlp2x_gelu, not linear")) << linear.text;
  std::string text = read_file(d_ / "described/config.json");
  write_file_atomic(d_ / "described/config.json", text.replace(text.find("linear"), 6, "mlp2x_gelu"));
  init("phi");
  ASSERT_EQ(write("phi", "hf", "--layout hf").code, 0);
  EXPECT_EQ(answer("hf"), answer("phi"));
  EXPECT_EQ(config("hf")["text_config"]["lm_head_bias"], false);
  ASSERT_EQ(write("hf", "back", "--layout moe_llava").code, 0);
  EXPECT_EQ(answer("back"), answer("phi"));
}

// What Transformers' file says of a tower, where only the name of one was known.
TEST_F(Exported, ATowerIsDescribedByItsSizes) {
  for (const char* tower : {"clip-vision", "siglip-vision"}) {
    const VisionConfig was = read_vision_config(fixture(tower)), is = vision_config_from_hf(vision_config_to_hf(was), "here");
    EXPECT_TRUE(was.family == is.family && was.image_size == is.image_size && was.patch == is.patch && was.width == is.width && was.layers == is.layers &&
                was.heads == is.heads && was.hidden == is.hidden && was.norm_eps == is.norm_eps && was.activation == is.activation) << tower;
  }
}

TEST_F(Exported, AFullVocabularyGrows) {
  std::string full = testing::kDecoderConfig;
  const int64_t words = Tokenizer::load(d_ / "tokenizer").vocab_size();
  write_file_atomic(d_ / "full.json", full.replace(full.find("300"), 3, std::to_string(words)));
  fs::remove_all(d_ / "words");
  ASSERT_EQ(run("model init --model-config " + (d_ / "full.json") + " --tokenizer " + (d_ / "tokenizer") + " --out " + (d_ / "words")).code, 0);
  ASSERT_EQ(assemble(fixture("clip-vision"), "llava", "--seed 5").code, 0);
  ASSERT_EQ(assemble(fixture("clip-vision"), "made", "--seed 5 --layout hf").code, 0);
  ASSERT_EQ(write("llava", "hf", "--layout hf").code, 0);
  expect_same(d_ / "hf", d_ / "made");
  EXPECT_EQ(config("hf")["text_config"]["vocab_size"], (words / 64 + 1) * 64);
  EXPECT_EQ(config("hf")["image_token_index"], words);
  ASSERT_EQ(write("hf", "copy").code, 0);
  EXPECT_EQ(config("copy"), config("hf")) << "a copy in the same layout is a copy";
}

TEST_F(Exported, WeightsInAnotherType) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);  // bf16 but for the projector
  for (const auto& [flag, type, named] : {std::tuple{"f32", "F32", "float32"}, {"bf16", "BF16", "bfloat16"}, {"float16", "F16", "float16"}}) {
    const std::string words = std::string("words-") + flag, sees = std::string("sees-") + flag;
    ASSERT_EQ(write("words", words, std::string("--dtype ") + flag).code, 0);
    ASSERT_EQ(write("sees", sees, std::string("--layout hf --max-shard-bytes 30000 --dtype ") + flag).code, 0);
    for (const std::string& model : {words, sees}) {
      const WeightFiles files = WeightFiles::open(d_ / model);
      for (const WeightInfo& info : files.all()) { EXPECT_EQ(info.dtype, type) << info.name; }
      EXPECT_EQ(config(model)["torch_dtype"], named);
      EXPECT_TRUE(holds(run("model info " + (d_ / model)), "every tensor that config.json asks for is there"));
    }
    EXPECT_GT(WeightFiles::open(d_ / sees).files().size(), 1u);
    EXPECT_EQ(config(sees)["text_config"]["torch_dtype"], named);
    EXPECT_EQ(run("generate --precision f32 -p a --raw --max-new-tokens 4 --model " + (d_ / words)).code, 0);
  }
  // widened numbers are the same numbers
  const std::string ask = "generate --precision f32 --raw --max-new-tokens 12 -p 'a red' --model ";
  EXPECT_EQ(run(ask + (d_ / "words-f32")).text, run(ask + (d_ / "words")).text);
  const Tensor wide = WeightFiles::open(d_ / "words-f32").load("model.norm.weight"), own = WeightFiles::open(d_ / "words").load("model.norm.weight");
  EXPECT_EQ(wide.to_vector<float>(), to_dtype(own, DType::f32).to_vector<float>());
  ASSERT_EQ(write("words-f32", "narrow", "--dtype bf16").code, 0);
  expect_same(d_ / "narrow", d_ / "words");
}

// Also a tower that has a directory of its own.
TEST_F(Exported, EveryWeightIsInTheType) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);
  write_file_atomic(d_ / "sees/vision_tower/preprocessor_config.json", R"({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]})");
  write_file_atomic(d_ / "sees/vision_tower/optimizer.pt", "x");
  ASSERT_EQ(write("sees", "wide", "--dtype f32").code, 0);
  for (const char* part : {"wide", "wide/vision_tower"}) {
    const WeightFiles files = WeightFiles::open(d_ / part);
    for (const WeightInfo& info : files.all()) { EXPECT_EQ(info.dtype, "F32") << info.name; }
    EXPECT_EQ(dtype_of(part), "float32") << part;
  }
  EXPECT_TRUE(has("wide/vision_tower/preprocessor_config.json"));
  EXPECT_FALSE(has("wide/vision_tower/optimizer.pt"));
  ASSERT_EQ(write("sees", "hf", "--layout hf").code, 0);
  EXPECT_TRUE(has("hf/preprocessor_config.json")) << "there is no other place for it";
  ASSERT_EQ(write("hf", "half", "--layout llava --dtype f16").code, 0);
  EXPECT_EQ(WeightFiles::open(d_ / "half/vision_tower").all()[0].dtype, "F16");
  EXPECT_EQ(dtype_of("half/vision_tower"), "float16");
}

TEST_F(Exported, NumbersBeyondTheTypeAreNamed) {
  Named all = tensors_of(d_ / "words");
  auto& norm = std::find_if(all.begin(), all.end(), [](const auto& t) { return t.first == "model.norm.weight"; })->second;
  std::vector<float> large(32, 1);
  large[7] = -70000;
  norm = from_values<float>({32}, large);
  write_weights(d_ / "words", all);
  const Outcome o = write("words", "half", "--dtype f16");
  EXPECT_TRUE(o.code == 2 && holds(o, "'model.norm.weight' holds -70000, which is beyond the range of f16")) << o.text;
  EXPECT_FALSE(has("half"));
  EXPECT_EQ(write("words", "half", "--dtype bf16").code, 0);
}

TEST_F(Exported, AProjectorGoesAndComes) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees", "--seed 9 --projector mlp3x_gelu --layout moe_llava").code, 0);
  const std::string says = answer("sees");
  EXPECT_NE(answer((assemble(fixture("clip-vision"), "fresh", "--projector mlp3x_gelu"), "fresh")), says);
  const Outcome o = write("sees", "alone", "--projector-only --layout llava");
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "mm_projector.safetensors: a projector of 3 linear layers")) << o.text;
  EXPECT_TRUE(WeightFiles::open(d_ / "alone/mm_projector.safetensors").contains("model.mm_projector.4.bias"));
  for (const char* source : {"alone", "alone/mm_projector.safetensors", "sees"}) {
    const std::string out = std::string("from-") + fs::path(source).filename().string();
    const Outcome made = assemble(fixture("clip-vision"), out, "--projector-weights " + (d_ / source));
    EXPECT_TRUE(made.code == 0 && holds(made, "of them in the projector")) << made.text;
    EXPECT_EQ(answer(out), says) << source;
  }
  ASSERT_EQ(write("sees", "half", "--projector-only --dtype bf16").code, 0);
  EXPECT_EQ(WeightFiles::open(d_ / "half/mm_projector.safetensors").all()[0].dtype, "BF16");
}

// Names in the files of others: Qwen-1's trunk, Transformers' layers, DeepSpeed's wrapper.
TEST_F(Exported, ProjectorsAreKnownByTheirNames) {
  const auto at = [&](const std::vector<std::pair<const char*, Shape>>& tensors) {
    Named all;
    for (const auto& [name, shape] : tensors) { all.emplace_back(name, zeros(shape)); }
    fs::create_directories(d_ / "p");
    write_weights(d_ / "p", all);
    return read_projector(d_ / "p");
  };
  const auto fails = [&](const std::vector<std::pair<const char*, Shape>>& tensors) -> std::string {
    try { at(tensors); } catch (const FormatError& e) { return e.what(); }
    return "";
  };
  EXPECT_EQ(at({{"transformer.mm_projector.image_spatial_proj.0.weight", {3, 2}}, {"transformer.mm_projector.image_spatial_proj.0.bias", {3}}}).layers, 1);
  const ProjectorWeights two = at({{"multi_modal_projector.linear_1.weight", {3, 2}}, {"multi_modal_projector.linear_1.bias", {3}}, {"lm_head.weight", {4, 3}},
                                   {"multi_modal_projector.linear_2.weight", {3, 3}}, {"multi_modal_projector.linear_2.bias", {3}}});
  ASSERT_EQ(two.layers, 2);
  EXPECT_EQ(two.parts[2].parameter, "projector.2.weight");
  EXPECT_EQ(at({{"base_model.model.model.mm_projector.weight", {3, 2}}, {"base_model.model.model.mm_projector.bias", {3}}}).layers, 1) << "linear";
  const auto expect = [&](const std::string& message, const char* says) { EXPECT_NE(message.find(says), std::string::npos) << message; };
  expect(fails({{"lm_head.weight", {4, 3}}}), "there is no projector in it");
  expect(fails({{"mm_projector.0.weight", {3, 2}}, {"mm_projector.0.bias", {3}}, {"mm_projector.2.weight", {3, 3}}}), "but no bias of its linear layer 2");
  expect(fails({{"mm_projector.0.weight", {3, 2}}, {"mm_projector.0.bias", {2}}}), "'mm_projector.0.bias' is (2) where a bias is required of width 3");
  expect(fails({{"mm_projector.0.weight", {3, 2}}, {"mm_projector.0.bias", {3}}, {"mm_projector.2.weight", {3, 4}}, {"mm_projector.2.bias", {3}}}),
         "'mm_projector.2.weight' is (3, 4) where (out, in) is required of width 3");
  expect(fails({{"mm_projector.0.weight", {3}}, {"mm_projector.0.bias", {3}}}), "where (out, in) is required");
  expect(fails({{"a.mm_projector.0.weight", {3, 2}}, {"b.mm_projector.0.weight", {3, 2}}}), "are the same part of a projector");
}

TEST_F(Exported, CompanionsComeAlong) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);
  const std::vector<std::string> taken = {"generation_config.json", "chat_template.jinja", "qwen.tiktoken", "LICENSE"};
  const std::vector<std::string> left = {"optimizer.pt", "trainer_state.json", "notes.md", "checkpoint-100/optimizer.pt", "training_args.bin"};
  fs::create_directories(d_ / "sees/checkpoint-100");
  for (const auto* names : {&taken, &left}) {
    for (const std::string& name : *names) { write_file_atomic(d_ / "sees/" + name, "{}"); }
  }
  for (const std::string how : {"export", "convert"}) {
    const Outcome o = run("model " + how + " " + (d_ / "sees") + " --out " + (d_ / how));
    ASSERT_EQ(o.code, 0) << o.text;
    for (const std::string& name : taken) { EXPECT_TRUE(has(how + "/" + name)) << name; }
    for (const std::string& name : left) { EXPECT_FALSE(has(how + "/" + name)) << name; }
    EXPECT_TRUE(has(how + "/tokenizer.json") && has(how + "/vision_tower/config.json"));
    EXPECT_FALSE(has(how + "/checkpoint-100"));
  }
  expect_same(d_ / "sees", d_ / "export");
  // a tower that a path leads to outside of the model is no part of it
  auto outside = config("sees");
  outside["mm_vision_tower"] = "../tower";
  fs::rename(d_ / "sees/vision_tower", d_ / "tower");
  write_file_atomic(d_ / "sees/config.json", outside.dump());
  const Outcome o = write("sees", "without");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_FALSE(has("without/vision_tower") || has("tower/.partial"));
  EXPECT_EQ(answer("without"), answer("export"));
}

// A model's Python files are its own only where it is run by some.
TEST_F(Exported, PythonFilesOfAModel) {
  write_file_atomic(d_ / "words/modeling.py", "pass");
  ASSERT_EQ(write("words", "without").code, 0);
  EXPECT_FALSE(has("without/modeling.py"));
  auto remote = config("words");
  remote["auto_map"] = {{"AutoModelForCausalLM", "modeling.Model"}};
  write_file_atomic(d_ / "words/config.json", remote.dump());
  ASSERT_EQ(write("words", "with").code, 0);
  EXPECT_TRUE(has("with/modeling.py"));
}

TEST_F(Exported, WhatIsReadIsNeverWrittenOver) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);
  fs::rename(d_ / "sees/vision_tower", d_ / "tower");
  auto absolute = config("sees");
  absolute["mm_vision_tower"] = d_ / "tower";
  write_file_atomic(d_ / "sees/config.json", absolute.dump());
  ASSERT_EQ(write("sees", "projector", "--projector-only").code, 0);
  const std::string tower = " --image-tower " + (d_ / "tower") + " --overwrite --out " + (d_ / "tower");
  fs::create_directory_symlink(d_ / "tower", d_ / "link");
  for (const std::string& command :
       {"export " + (d_ / "sees") + tower, "convert " + (d_ / "sees") + tower, "export " + (d_ / "sees") + " --layout hf --overwrite --out " + (d_ / "tower"),
        "export " + (d_ / "sees") + " --overwrite --out " + (d_ / "link"), "init --model-config " + (d_ / "words") + " --overwrite --out " + (d_ / "words"),
        "init --model-config " + (d_ / "qwen2.json") + " --tokenizer " + (d_ / "tokenizer") + " --overwrite --out " + (d_ / "tokenizer"),
        "assemble --decoder " + (d_ / "words") + " --image-tower " + fixture("clip-vision") + " --projector-weights " + (d_ / "projector") + " --overwrite --out " +
            (d_ / "projector")}) {
    const Outcome o = run("model " + command);
    EXPECT_TRUE(o.code == 2 && (holds(o, "which is read, lies in --out") || holds(o, "must not be the model's own directory"))) << command << "\n" << o.text;
  }
  EXPECT_TRUE(has("tower/model.safetensors") && has("projector/mm_projector.safetensors") && has("tokenizer/tokenizer.json"));
}

// Strangers stay; of a model that was there nothing is left, not even a tower that its config.json did not name.
TEST_F(Exported, WhatIsReplacedAndWhatStays) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);
  fs::create_directories(d_ / "old/vision_tower");
  fs::create_directories(d_ / "old/.partial");
  fs::create_directories(d_ / "old/.partial-999999999");  // of a process that is no more
  for (const char* file : {"train.py", "LICENSE", "mine.txt", ".partial/mine", "vision_tower/notes.txt"}) { write_file_atomic(d_ / "old/" + file, "mine"); }
  for (const char* file : {"vocab.json", "vision_tower/model.safetensors"}) { write_file_atomic(d_ / "old/" + file, "stale"); }
  ASSERT_EQ(write("sees", "old", "--overwrite --max-shard-bytes 6000").code, 0);
  EXPECT_EQ(answer("old"), answer("sees"));
  for (const char* file : {"train.py", "LICENSE", "mine.txt", ".partial/mine", "vision_tower/notes.txt"}) { EXPECT_EQ(read_file(d_ / "old/" + file), "mine"); }
  EXPECT_FALSE(has("old/vocab.json") || has("old/vision_tower/model.safetensors") || has("old/.partial-999999999"));
  // a tower that is a link is unlinked, and what it leads to stays
  fs::rename(d_ / "old/vision_tower", d_ / "elsewhere");
  fs::create_directory_symlink(d_ / "elsewhere", d_ / "old/vision_tower");
  ASSERT_EQ(write("words", "old", "--overwrite").code, 0);
  EXPECT_TRUE(has("elsewhere/config.json"));
  EXPECT_FALSE(has("old/vision_tower"));
  // what a command that was killed left does not make a directory full
  fs::create_directories(d_ / "fresh/.partial-999999999");
  EXPECT_EQ(write("words", "fresh").code, 0);
  EXPECT_FALSE(has("fresh/.partial-999999999"));
}

TEST_F(Exported, PathsFromWhereOneStands) {
  const std::string here = "cd '" + (d_ / "") + "' && timeout 60 ";
  for (const char* out : {"new", "./newer/", "deep/er/new", "words/../beside", "words-too"}) {
    const Outcome o = run("model export words/ --out " + std::string(out), here);
    EXPECT_EQ(o.code, 0) << o.text;
    EXPECT_TRUE(has(std::string(out) + "/config.json")) << out;
  }
  for (const char* out : {"words", "./words/", "words/in", "."}) {
    const Outcome o = run("model export words --overwrite --out " + std::string(out), here);
    EXPECT_TRUE(o.code == 2 && (holds(o, "must not be the model's own directory") || holds(o, "which is read, lies in --out"))) << out << o.text;
  }
  const Outcome failed = run("model export words --ema --out no/where", here);
  EXPECT_EQ(failed.code, 1) << failed.text;
  EXPECT_FALSE(has("no"));
}

// Where a file cannot be put in place, all is as it was.
TEST_F(Exported, AFailureUndoesWhatWasDone) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);
  for (const char* in_the_way : {"vision_tower", "tokenizer.json"}) {
    fs::remove_all(d_ / "old");
    fs::copy(d_ / "words", d_ / "old", fs::copy_options::recursive);
    const bool file = std::string(in_the_way) == "vision_tower";
    if (file) { write_file_atomic(d_ / "old/vision_tower", "a file"); }
    else {
      fs::remove(d_ / "old/tokenizer.json");
      fs::create_directory(d_ / "old/tokenizer.json");
    }
    const std::string weights = read_file(d_ / "old/model.safetensors"), described = read_file(d_ / "old/config.json");
    const Outcome o = write("sees", "old", "--overwrite");
    EXPECT_TRUE(o.code == 1 && holds(o, "could not be put in place")) << o.text;
    EXPECT_TRUE(read_file(d_ / "old/model.safetensors") == weights && read_file(d_ / "old/config.json") == described) << in_the_way;
    for (const auto& entry : fs::directory_iterator(d_ / "old")) { EXPECT_FALSE(entry.path().filename().string().starts_with(".partial")); }
  }
  EXPECT_EQ(write("words", "a/b/c", "--dtype f16").code, 0);
  EXPECT_EQ(run("model export " + (d_ / "words") + " --ema --out " + (d_ / "x/y/z")).code, 1) << "it has no moving average";
  EXPECT_FALSE(has("x"));
}

TEST_F(Exported, WhatCannotBeWrittenIsNamed) {
  const auto expect = [](const Outcome& o, int code, const char* says) { EXPECT_TRUE(o.code == code && holds(o, says)) << o.text; };
  expect(run("model export --out x"), 2, "one directory is required, got 0");
  expect(write("words", "x", "--layout hf"), 2, "words reads text alone: there is no layout to choose and no tower; `pumice model assemble` gives it one");
  expect(write("words", "x", "--image-tower " + fixture("clip-vision")), 2, "words reads text alone");
  expect(write("words", "x", "--projector-only"), 1, "there is no projector in it");
  expect(write("words", "x", "--dtype f8"), 2, "--dtype must be one of bf16, f16, f32, got 'f8'");
  expect(write("words", "x", "--dtype ''"), 2, "--dtype must be one of bf16, f16, f32, got ''");
  expect(run("model export " + (d_ / "words")), 2, "--out DIR is required");
  expect(write("words", "words/x"), 2, "--out must not be the model's own directory");
  ASSERT_EQ(assemble(d_ / "run", "own").code, 0);
  expect(write("own", "x", "--layout hf"), 2, "Transformers' layout cannot describe a tower of our own (limoe)");
  EXPECT_EQ(write("own", "own-moe", "--layout moe_llava").code, 0);
  EXPECT_EQ(answer("own-moe"), answer("own"));
  ASSERT_EQ(assemble(fixture("clip-vision"), "wide", "--projector mlp3x_gelu").code, 0);
  expect(write("wide", "x", "--layout hf"), 2, "Transformers' LLaVA has the projector mlp2x_gelu, not mlp3x_gelu: use the layout llava or moe_llava");
  const Outcome sparse = run("model convert " + (d_ / "wide") + " --out " + (d_ / "sparse"));
  ASSERT_EQ(sparse.code, 0) << sparse.text;
  EXPECT_TRUE(holds(sparse, "MoE-LLaVA, with a language model of")) << sparse.text;
  EXPECT_EQ(answer("sparse"), answer("wide")) << "experts that are alike";
  EXPECT_EQ(config("sparse")["architectures"][0], "MoELLaVAQwen2ForCausalLM");
  EXPECT_TRUE(WeightFiles::open(d_ / "sparse").contains("model.mm_projector.image_spatial_proj.4.bias")) << "LLaVA has no experts: it is MoE-LLaVA's layout";
  expect(write("sparse", "x", "--layout llava"), 2, "the decoder has experts, which the layout moe_llava alone can describe");
  EXPECT_FALSE(has("x"));
  expect(write("wide", "x", "--projector-only --layout hf"), 2, "has the projector mlp2x_gelu, not mlp3x_gelu");
  ASSERT_EQ(write("sparse", "sparse-moe", "--layout moe_llava").code, 0);
  expect_same(d_ / "sparse", d_ / "sparse-moe");

  const std::string weights = "--projector-weights " + (d_ / "wide");
  expect(assemble(fixture("clip-vision"), "x", weights + " --projector linear"), 2, "has 3 linear layers, not those of linear");
  expect(assemble(fixture("clip-vision"), "x", "--projector-weights " + (d_ / "words")), 1, "there is no projector in it");
  expect(assemble(d_ / "run", "x", weights), 1, "'model.mm_projector.0.weight' is (32, 16), but between this tower of width 64 and this decoder of width 32");
  expect(assemble(fixture("clip-vision"), "x", "--projector-weights " + (d_ / "nowhere")), 1, "nowhere");
}

}  // namespace
}  // namespace pumice
