// Language models as a user types them: made, turned into experts, asked, talked with, and every wrong input that a user meets.
#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "../temporary.h"
#include "pumice/data/image.h"
#include "pumice/tensor/file.h"
#include "run_program.h"

namespace pumice {
namespace {

using testing::holds;
using testing::Outcome;
using testing::run;

constexpr const char* kConfig =
    R"({"model_type": "qwen2", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "tie_word_embeddings": false})";

class LanguageProgram : public ::testing::Test {
 protected:
  // A tiny model with random weights at d_ / "model".
  void SetUp() override {
    write_file_atomic(d_ / "captions.txt", "a red cat on a mat\na blue dog\nwhat is this\nwhere is the cat\n");
    ASSERT_EQ(run("tokenizer train " + (d_ / "captions.txt") + " --vocab-size 280 --out " + (d_ / "tokenizer")).code, 0);
    write_file_atomic(d_ / "qwen2.json", kConfig);
    const Outcome made = run("model init --model-config " + (d_ / "qwen2.json") + " --tokenizer " + (d_ / "tokenizer") + " --out " + (d_ / "model"));
    ASSERT_EQ(made.code, 0) << made.text;
  }
  std::string generate(const std::string& rest) const { return "generate --raw --max-new-tokens 8 -p 'a red cat' --model " + rest; }

  testing::Temporary d_;
};

TEST_F(LanguageProgram, AnswersRepeatAndExpertsStartAsTheMlp) {
  const Outcome dense = run(generate((d_ / "model") + " --precision f32"));
  ASSERT_EQ(dense.code, 0) << dense.text;
  EXPECT_EQ(run(generate((d_ / "model") + " --precision f32")).text, dense.text);
  const std::string sampled = (d_ / "model") + " --temperature 5 --top-k 0 --seed ";
  EXPECT_EQ(run(generate(sampled + "1")).text, run(generate(sampled + "1")).text);
  EXPECT_NE(run(generate(sampled + "1")).text, run(generate(sampled + "2")).text);

  const Outcome sparse = run("model convert " + (d_ / "model") + " --out " + (d_ / "sparse") + " --experts 4");
  ASSERT_EQ(sparse.code, 0) << sparse.text;
  EXPECT_EQ(run(generate((d_ / "sparse") + " --precision f32")).text, dense.text);  // the sum of top-2 gates is 1, and all experts are the MLP
  ASSERT_EQ(run("model convert " + (d_ / "model") + " --out " + (d_ / "residual") + " --use-residual --moe-layers 1 --experts 3").code, 0);
  EXPECT_EQ(run(generate((d_ / "residual") + " --precision f32")).text, dense.text);  // both halves are the MLP, and their weights sum to 1
  const Outcome again = run("model convert " + (d_ / "sparse") + " --out " + (d_ / "sparser"));
  EXPECT_TRUE(again.code == 2 && holds(again, "this model is sparse already")) << again.text;
}

// What `convert` is told is in config.json, is what reading it back gives, and what `info` says.
TEST_F(LanguageProgram, GatesOfASparseModel) {
  const auto info = [&](const std::string& flags, const std::string& name) {
    const Outcome made = run("model convert " + (d_ / "model") + " --experts 4 --overwrite --out " + (d_ / name) + " " + flags);
    EXPECT_EQ(made.code, 0) << made.text;
    return run("model info " + (d_ / name)).text;
  };
  for (const auto& [flags, says] : {std::pair{"", "gate        order position, second choice argmax, gates renormalised\n"},
                                    {"--gate deepspeed", "gate        order position, second choice gumbel_always, gates renormalised\n"},
                                    {"--gate deepspeed --top-k-experts 1", "gate        order random, gates raw\n"},
                                    {"--gate paper", "gate        order batch_priority, second choice argmax, gates raw\n"},
                                    {"--gate paper --order random --second-choice gumbel --gates renormalised",
                                     "gate        order random, second choice gumbel, gates renormalised\n"}}) {
    const std::string text = info(flags, "gated");
    EXPECT_NE(text.find(says), std::string::npos) << flags << "\n" << text;
  }
  const std::string capacity = info("--capacity-factor 1.25 --eval-capacity-factor 3 --min-capacity 2", "gated");
  EXPECT_NE(capacity.find("capacity    1.25 in training, 3 in evaluation, at least 2 places\n"), std::string::npos) << capacity;
  // a file without our fields reads as the default; one with a wrong name says which there are
  auto config = nlohmann::json::parse(read_file(d_ / "gated/config.json"));
  config["moe"]["order"] = "randm";
  write_file_atomic(d_ / "gated/config.json", config.dump());
  Outcome o = run("model info " + (d_ / "gated"));
  EXPECT_TRUE(o.code == 1 && holds(o, "order must be one of position, random, batch_priority, got 'randm'")) << o.text;
  for (const char* ours : {"order", "second_choice", "gates"}) { EXPECT_EQ(config["moe"].erase(ours), 1u); }
  write_file_atomic(d_ / "gated/config.json", config.dump());
  EXPECT_TRUE(holds(run("model info " + (d_ / "gated")), "order position, second choice argmax, gates renormalised"));

  for (const auto& [flags, says] : {std::pair{"--gate deepspeed --top-k-experts 3", "DeepSpeed 0.9.5 sends a token to 1 or 2 experts, got 3"},
                                    {"--second-choice gumbel --top-k-experts 3", "a Gumbel second choice needs experts_per_token = 2, got 3"},
                                    {"--gates renormalised --top-k-experts 1", "renormalised gates need experts_per_token >= 2, got 1"},
                                    {"--order rndom", "--order must be"}}) {
    const Outcome wrong = run("model convert " + (d_ / "model") + " --experts 4 --out " + (d_ / "wrong") + " " + flags);
    EXPECT_TRUE(wrong.code == 2 && holds(wrong, says)) << wrong.text;
    EXPECT_FALSE(std::filesystem::exists(d_ / "wrong"));
  }
}

// A gate that draws numbers draws the same ones for the same seed; all experts being alike, it changes no answer of renormalised gates.
TEST_F(LanguageProgram, DeepSpeedsGateAnswers) {
  ASSERT_EQ(run("model convert " + (d_ / "model") + " --out " + (d_ / "sparse") + " --gate deepspeed").code, 0);
  const Outcome dense = run(generate((d_ / "model") + " --precision f32")), sparse = run(generate((d_ / "sparse") + " --precision f32"));
  EXPECT_EQ(sparse.code, 0) << sparse.text;
  EXPECT_EQ(sparse.text, dense.text);
  ASSERT_EQ(run("model convert " + (d_ / "model") + " --out " + (d_ / "raw") + " --gate paper --moe-mode dense").code, 0);
  EXPECT_NE(run(generate((d_ / "raw") + " --precision f32")).text, dense.text) << "raw gates of two of four experts sum to less than 1";
}

TEST_F(LanguageProgram, StopsBeforeAString) {
  const std::string ask = "generate --raw -p cat --max-new-tokens 60 --temperature 5 --top-k 0 --model " + (d_ / "model");  // any token, the same on every run
  const std::string whole = run(ask).text;
  const size_t at = whole.find_first_of("abcdefghijklmnopqrstuvwxyz");
  ASSERT_NE(at, std::string::npos) << whole;
  EXPECT_EQ(run(ask + " --stop " + whole[at]).text, whole.substr(0, at) + "\n");
}

TEST_F(LanguageProgram, GenerationSettingsAreRead) {
  write_file_atomic(d_ / "model/generation_config.json", R"({"do_sample": false, "eos_token_id": [0, "one"]})");
  const Outcome o = run(generate(d_ / "model"));
  EXPECT_TRUE(o.code == 1 && holds(o, "generation_config.json: \"eos_token_id\" must be a list of integers, got [0,\"one\"]")) << o.text;
}

TEST_F(LanguageProgram, Talks) {
  ASSERT_EQ(run("model convert " + (d_ / "model") + " --out " + (d_ / "sparse")).code, 0);
  const std::string script = "printf 'hello\\n/experts\\n/nonsense\\n/image nowhere.png\\n/save " + (d_ / "saved.txt") + "\\nagain\\n/clear\\n/experts\\n/quit\\n' | ";
  const Outcome o = run("chat --conv-mode phi --max-new-tokens 4 --stats --model " + (d_ / "sparse"), script);
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "layer  0  picture") && holds(o, "there is no command /nonsense; /help lists them") && holds(o, "nowhere.png") && holds(o, "saved: ") &&
              holds(o, "nothing has been answered yet"))
      << o.text;
  EXPECT_EQ(read_file(d_ / "saved.txt").substr(0, 8), "> hello\n");
}

TEST_F(LanguageProgram, InfoOfWeightsThatFitAndThatDoNot) {
  Outcome o = run("model info --tensors " + (d_ / "model"));
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "decoder     qwen2: 2 layers, width 32, MLP 48 swiglu, vocabulary 300\n") && holds(o, "4 heads of 8, 2 of keys and values") &&
              holds(o, "KV cache    125 KiB per 1000 tokens") &&  // 2 layers x 2 x 2 heads x 8 x 2 bytes x 1000
              holds(o, "model.layers.1.mlp.down_proj.weight") && holds(o, "every tensor that config.json asks for is there"))
      << o.text;
  std::string config = kConfig;
  write_file_atomic(d_ / "model/config.json", config.replace(config.find("\"num_hidden_layers\": 2"), 22, "\"num_hidden_layers\": 3"));
  o = run("model info " + (d_ / "model"));
  EXPECT_TRUE(o.code == 1 && holds(o, "decoder     qwen2: 3 layers") && holds(o, "the weights do not fit config.json; 12 missing")) << o.text;
}

TEST_F(LanguageProgram, InfoOfConfigJsonAlone) {
  const auto info = [&](const std::string& name) {
    std::filesystem::create_directories(d_ / name);
    const auto manifest = nlohmann::json::parse(read_file(PUMICE_FIXTURES "/models/manifests/" + name + ".json"));
    write_file_atomic(d_ / name + "/config.json", manifest["config"].dump());
    return run("model info " + (d_ / name));
  };
  Outcome o = info("moe-llava-phi2-2.7b-4e");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "4 in each of 16 sparse layers (0, 2, ..., 30), 2 per token") && holds(o, "5.30G (5296993280) total, 3.62G (3618862080) active") &&
              holds(o, "tower     304M (303507456)") && holds(o, "projector 9.18M (9180160)") && holds(o, "10.4 GiB of weights") &&
              holds(o, "312 MiB per 1000 tokens") && holds(o, "576 tokens per picture, from the tower's layer -2") && holds(o, "none here"))
      << o.text;
  o = info("siglip-so400m-patch14-384");
  EXPECT_TRUE(o.code == 0 && holds(o, "siglip: 27 layers, width 1152, 384 px in patches of 14, 729 tokens")) << o.text;
  o = info("openchat-3.5-1210");
  EXPECT_TRUE(o.code == 0 && holds(o, "window of 4096 tokens") && holds(o, "125 MiB per 1000 tokens")) << o.text;
  write_file_atomic(d_ / "openchat-3.5-1210/config.json", R"({"model_type": "llava_gpt9", "mm_vision_tower": "nowhere"})");
  o = run("model info " + (d_ / "openchat-3.5-1210"));
  EXPECT_TRUE(o.code == 1 && holds(o, "\"mm_vision_tower\": \"nowhere\" is neither a directory beside it nor a tower whose sizes")) << o.text;
}

TEST_F(LanguageProgram, WrongInputIsNamed) {
  for (const auto& [flags, says] : {std::pair{"--temperature hot", "--temperature must be a number"}, {"--top-k 1.5", "--top-k must be an integer of at least 0, got 1.5"},
                                    {"--top-p 2", "top-p must be in [0, 1], got 2"}}) {
    const Outcome wrong = run(generate((d_ / "model") + " " + flags));
    EXPECT_TRUE(wrong.code == 2 && holds(wrong, says)) << wrong.text;
  }
  Outcome o = run("generate -p hello --model " + (d_ / "model"));
  EXPECT_TRUE(o.code == 2 && holds(o, "no conversation template is known for this model: name one with --conv-mode (")) << o.text;
  o = run("generate -p hello --conv-mode fi --model " + (d_ / "model"));
  EXPECT_TRUE(o.code == 2 && holds(o, "--conv-mode must be")) << o.text;
  write_file_atomic(d_ / "picture.png", encode_png({2, 2, std::vector<uint8_t>(12)}));
  o = run("generate -p hello --conv-mode phi --image " + (d_ / "picture.png") + " --model " + (d_ / "model"));
  EXPECT_TRUE(o.code == 2 && holds(o, "this model reads text alone, not pictures")) << o.text;
  o = run(generate((d_ / "nowhere")));
  EXPECT_TRUE(o.code == 1 && holds(o, "nowhere/config.json")) << o.text;

  const auto with_config = [&](std::string config, const std::string& what, const std::string& by) {
    const size_t at = config.find(what);
    EXPECT_NE(at, std::string::npos);
    write_file_atomic(d_ / "model/config.json", config.replace(at, what.size(), by));
    return run(generate(d_ / "model"));
  };
  o = with_config(kConfig, "qwen2", "gpt9");
  EXPECT_TRUE(o.code == 1 && holds(o, "config.json: \"model_type\": \"gpt9\" is not known; known are llama, mistral, qwen2, qwen, stablelm, phi")) << o.text;
  o = with_config(kConfig, "\"intermediate_size\": 48", "\"intermediate_size\": 50");
  EXPECT_TRUE(o.code == 1 && holds(o, "the weights do not fit config.json; 6 misshapen: model.layers.0.mlp.gate_proj.weight (48, 32) instead of (50, 32)")) << o.text;
  o = with_config(kConfig, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
  EXPECT_TRUE(o.code == 1 && holds(o, "12 missing: model.layers.2.")) << o.text;
  o = with_config(kConfig, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
  EXPECT_TRUE(o.code == 1 && holds(o, "12 unexpected: model.layers.1.")) << o.text;
  o = with_config(kConfig, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3");
  EXPECT_TRUE(o.code == 1 && holds(o, "heads must be a multiple of kv_heads, got 4 and 3")) << o.text;
  o = with_config(kConfig, "\"hidden_size\": 32", "\"hidden_size\": \"32\"");
  EXPECT_TRUE(o.code == 1 && holds(o, "config.json: \"hidden_size\" must be an integer, got \"32\"")) << o.text;
  const auto sparse_with = [&](const std::string& fields) { return with_config(kConfig, "\"tie_word", "\"moe\": {" + fields + "}, \"tie_word"); };
  // sizes that nobody could hold are an error before anything is made for them
  o = with_config(kConfig, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000000000");
  EXPECT_TRUE(o.code == 1 && holds(o, "config.json: [decoder] layers must be at most 1024, got 1000000000")) << o.text;
  o = with_config(kConfig, "\"num_attention_heads\": 4", "\"num_attention_heads\": 4, \"head_dim\": 4611686018427387904");
  EXPECT_TRUE(o.code == 1 && holds(o, "head_width must be at most 16777216, got 4611686018427387904")) << o.text;
  o = sparse_with("\"num_experts\": 4294967300");
  EXPECT_TRUE(o.code == 1 && holds(o, "a sparse layer has 1 to 4096 experts, got 4294967300 in layer 1")) << o.text;
  o = sparse_with("\"num_experts\": 4, \"top_k_experts\": 4294967298");
  EXPECT_TRUE(o.code == 1 && holds(o, "\"top_k_experts\" must be at least 1 and at most the number of experts, got 4294967298")) << o.text;
  o = sparse_with("\"num_experts\": 4, \"eval_capacity_factor\": -1");
  EXPECT_TRUE(o.code == 1 && holds(o, "config.json: [capacity] factor must be a finite number >= 0")) << o.text;
  o = sparse_with("\"num_experts\": 4, \"min_capacity\": 9223372036854775807");
  EXPECT_TRUE(o.code == 1 && holds(o, "the least number of places must be in [0, 2^30], got 9223372036854775807")) << o.text;
}

TEST_F(LanguageProgram, AnEmptyPromptIsOneAndATokenizerMustFit) {
  const Outcome empty = run("generate --raw -p '' --model " + (d_ / "model"), "printf 'a cat' | ");
  EXPECT_TRUE(empty.code == 2 && holds(empty, "the prompt is empty")) << "standard input was read though a prompt was given: " << empty.text;
  std::string small = kConfig;
  write_file_atomic(d_ / "small.json", small.replace(small.find("300"), 3, "100"));
  const Outcome o = run("model init --model-config " + (d_ / "small.json") + " --tokenizer " + (d_ / "tokenizer") + " --out " + (d_ / "small"));
  EXPECT_TRUE(o.code == 2 && holds(o, "small.json only a \"vocab_size\" of 100")) << o.text;
  EXPECT_FALSE(std::filesystem::exists(d_ / "small"));
}

TEST_F(LanguageProgram, ConvertTakesWhatBelongsToTheModel) {
  namespace fs = std::filesystem;
  const std::vector<std::string> taken = {"generation_config.json", "preprocessor_config.json", "chat_template.jinja", "qwen.tiktoken", "LICENSE"};
  const std::vector<std::string> left = {"optimizer.pt", "trainer_state.json", "notes.md", "checkpoint-100/optimizer.pt", "training_args.bin"};
  fs::create_directories(d_ / "model/checkpoint-100");
  for (const auto* names : {&taken, &left}) {
    for (const std::string& name : *names) { write_file_atomic(d_ / "model/" + name, "{}"); }
  }
  fs::create_directories(d_ / "model/towers/clip");
  write_file_atomic(d_ / "model/towers/clip/config.json", "{}");
  for (const std::string tower : {"", "../model/towers/clip", "towers/clip"}) {
    auto config = nlohmann::json::parse(kConfig);
    config["mm_vision_tower"] = tower;
    write_file_atomic(d_ / "model/config.json", config.dump());
    fs::remove_all(d_ / "copy");
    run("model convert " + (d_ / "model") + " --no-moe --out " + (d_ / "copy"));  // such a tower cannot be read back; what was copied stays
    for (const std::string& name : taken) { EXPECT_TRUE(fs::exists(d_ / "copy/" + name)) << name; }
    for (const std::string& name : left) { EXPECT_FALSE(fs::exists(d_ / "copy/" + name)) << name; }
    EXPECT_TRUE(fs::exists(d_ / "copy/tokenizer.json"));
    EXPECT_FALSE(fs::exists(d_ / "copy/checkpoint-100"));
    EXPECT_EQ(fs::exists(d_ / "copy/towers/clip/config.json"), tower == "towers/clip") << tower;
  }
}

TEST_F(LanguageProgram, AnOutputThatCannotBeMadeIsNamed) {
  write_file_atomic(d_ / "file", "x");
  const Outcome o = run("model convert " + (d_ / "model") + " --out " + (d_ / "file/new"));
  EXPECT_TRUE(o.code == 1 && holds(o, "file/new could not be made: Not a directory")) << o.text;
}

TEST_F(LanguageProgram, AModelIsNotWrittenIntoItself) {
  for (const char* out : {"model", "model/sparse", "model/../model/sparse/deep"}) {
    const Outcome o = run("model convert " + (d_ / "model") + " --overwrite --out " + (d_ / out));
    EXPECT_TRUE(o.code == 2 && holds(o, "--out must not be the model's own directory")) << o.text;
  }
  EXPECT_FALSE(std::filesystem::exists(d_ / "model/sparse"));
  EXPECT_EQ(run("model convert " + (d_ / "model") + "/ --out " + (d_ / "model-sparse")).code, 0) << "a name that begins alike lies beside it";
}

}  // namespace
}  // namespace pumice
