// Language models as a user types them: made, turned into experts, asked, talked with, and every wrong input that a user meets.
#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

#include "../temporary.h"
#include "pumice/data/image.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
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
  auto config = parse_json(read_file(d_ / "gated/config.json"));
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

// Experts being alike, whichever is drawn second changes no answer of renormalised gates.
TEST_F(LanguageProgram, DeepSpeedsGateAnswers) {
  ASSERT_EQ(run("model convert " + (d_ / "model") + " --out " + (d_ / "sparse") + " --gate deepspeed").code, 0);
  const Outcome dense = run(generate((d_ / "model") + " --precision f32")), sparse = run(generate((d_ / "sparse") + " --precision f32"));
  EXPECT_EQ(sparse.code, 0) << sparse.text;
  EXPECT_EQ(sparse.text, dense.text);
  ASSERT_EQ(run("model convert " + (d_ / "model") + " --out " + (d_ / "raw") + " --gate paper --moe-mode dense").code, 0);
  EXPECT_NE(run(generate((d_ / "raw") + " --precision f32")).text, dense.text) << "raw gates of two of four experts sum to less than 1";
}

TEST_F(LanguageProgram, ATextLongerThanTheModelWasTrainedForIsNoted) {
  std::string words;
  for (int i = 0; i < 70; ++i) { words += "a red cat "; }
  const std::string ask = "generate --raw --max-new-tokens 2 --model " + (d_ / "model") + " -p ";
  const Outcome longer = run(ask + "'" + words + "'");
  EXPECT_TRUE(longer.code == 0 && holds(longer, "tokens, the model was trained for 128; what it says beyond them may make no sense")) << longer.text;
  EXPECT_FALSE(holds(run(ask + "'a red cat'"), "note:"));
}

TEST_F(LanguageProgram, StopsBeforeAString) {
  const std::string ask = "generate --raw -p cat --max-new-tokens 60 --temperature 5 --top-k 0 --model " + (d_ / "model");  // any token, the same on every run
  const std::string whole = run(ask).text;
  const size_t at = whole.find_first_of("abcdefghijklmnopqrstuvwxyz");
  ASSERT_NE(at, std::string::npos) << whole;
  EXPECT_EQ(run(ask + " --stop " + whole[at]).text, whole.substr(0, at) + "\n");
}

TEST_F(LanguageProgram, AnswersFilesOfPrompts) {
  write_file_atomic(d_ / "prompts.txt", "a red cat\r\nwhere is\na blue dog on a mat\n");
  const std::string flags = " --raw --max-new-tokens 8 --temperature 3 --seed 2 --precision f32 --model " + (d_ / "model");
  Outcome o = run("generate --prompts " + (d_ / "prompts.txt") + " --out " + (d_ / "one.jsonl") + " --batch-size 1" + flags);
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "3 of 3 prompts answered in ") && holds(o, " new tokens, ")) << o.text;
  const auto on_stdout = [&](const std::string& file) {  // the last line is stderr's
    const std::string text = run("generate --prompts " + (d_ / file) + flags).text;
    return text.substr(0, text.rfind('\n', text.size() - 2) + 1);
  };
  std::string text = on_stdout("prompts.txt");
  EXPECT_EQ(text, read_file(d_ / "one.jsonl"));
  std::vector<nlohmann::json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) { lines.push_back(parse_json(line)); }
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["prompt"], "a red cat");
  EXPECT_EQ(run("generate -p 'a red cat'" + flags).text, lines[0]["answer"].get<std::string>() + "\n") << "the first prompt is that of a single answer";
  EXPECT_TRUE(lines[1]["tokens"] == 8 && lines[1]["finish_reason"] == "length" && lines[1]["prompt_tokens"].get<int>() > 0) << lines[1];

  write_file_atomic(d_ / "prompts.jsonl", "{\"id\": 7, \"prompt\": \"a red cat\", \"tokens\": \"old\"}\n");
  text = on_stdout("prompts.jsonl");
  EXPECT_EQ(text.substr(0, 42), "{\"id\":7,\"prompt\":\"a red cat\",\"tokens\":8,\"a") << "fields stay where they were";
  EXPECT_EQ(parse_json(text)["answer"], lines[0]["answer"]);

  o = run("generate --prompts " + (d_ / "prompts.txt") + " --out " + (d_ / "one.jsonl") + flags);
  EXPECT_TRUE(o.code == 2 && holds(o, "one.jsonl holds something already; name another --out, or give --overwrite")) << o.text;
  EXPECT_EQ(run("generate --overwrite --prompts " + (d_ / "prompts.txt") + " --out " + (d_ / "one.jsonl") + flags).code, 0);
}

TEST_F(LanguageProgram, PromptsBringPicturesFromBesideTheirFile) {
  std::filesystem::create_directories(d_ / "llava");
  write_file_atomic(d_ / "llava/config.json", R"({"model_type": "llava", "vision_config": {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8,
      "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}, "text_config": )" + std::string(kConfig) + "}");
  Outcome o = run("model init --model-config " + (d_ / "llava/config.json") + " --tokenizer " + (d_ / "tokenizer") + " --out " + (d_ / "sees"));
  ASSERT_EQ(o.code, 0) << o.text;
  std::filesystem::create_directories(d_ / "files/pictures");
  for (int level : {0, 250}) {
    write_file_atomic(d_ / ("files/pictures/" + std::to_string(level) + ".png"), encode_png({16, 16, std::vector<uint8_t>(16 * 16 * 3, uint8_t(level))}));
  }
  write_file_atomic(d_ / "files/ask.jsonl", R"({"prompt": "what is this", "image": "pictures/0.png"}
{"prompt": "what is this"}
{"prompt": "<image> or <image>", "image": ["pictures/0.png", "pictures/250.png"]}
{"prompt": "what is this", "image": null}
)");
  const auto answers = [&](const std::string& size) {
    const Outcome asked = run("generate --conv-mode phi --temperature 5 --max-new-tokens 12 --prompts " + (d_ / "files/ask.jsonl") + " --model " +
                              (d_ / "sees") + " --overwrite --out " + (d_ / "answers.jsonl") + " --batch-size " + size);
    EXPECT_EQ(asked.code, 0) << asked.text;
    return read_file(d_ / "answers.jsonl");
  };
  const std::string one = answers("1");
  EXPECT_EQ(answers("3"), one);
  std::vector<int64_t> tokens;
  std::istringstream in(one);
  for (std::string line; std::getline(in, line);) { tokens.push_back(parse_json(line)["prompt_tokens"]); }
  ASSERT_EQ(tokens.size(), 4u);
  EXPECT_EQ(tokens[1], tokens[3]);
  EXPECT_GE(tokens[0], tokens[1] + 4) << "a picture has four tokens";

  write_file_atomic(d_ / "files/pictures/250.png", "no picture");
  o = run("generate --conv-mode phi --prompts " + (d_ / "files/ask.jsonl") + " --model " + (d_ / "sees"));
  EXPECT_TRUE(o.code == 1 && holds(o, "files/ask.jsonl:3: ") && holds(o, "files/pictures/250.png")) << o.text;
}

TEST_F(LanguageProgram, WrongPromptsAreNamed) {
  const auto with = [&](const std::string& name, const std::string& content, const std::string& flags = "--raw") {
    write_file_atomic(d_ / name, content);
    return run("generate " + flags + " --prompts " + (d_ / name) + " --model " + (d_ / "nowhere"));
  };
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"p.txt", "one\n\nthree\n", "p.txt:2: the line is empty; each line is a prompt, and prompts of several lines go into a .jsonl"},
      {"p.txt", "", "p.txt is an empty file; a text with one prompt a line, or objects"},
      {"p.txt", "one\ntw\xffo\n", "p.txt:2: the line is not UTF-8 from its byte 3 on"},
      {"p.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \n", "p.jsonl:2: is not valid JSON"},
      {"p.jsonl", "{\"prompt\": 3}\n", "p.jsonl:1: there is no text \"prompt\"; in a .jsonl file every line is an object {\"prompt\""},
      {"p.jsonl", "{\"prompt\": \"a\", \"image\": [1]}\n", "p.jsonl:1: \"image\" must be a path or a list of paths, got [1]"},
      {"p.jsonl", "{\"prompt\": \"a\", \"image\": \"no.png\"}\n", "/no.png; relative paths start beside the file"}};
  for (const auto& [name, content, says] : cases) {
    const Outcome o = with(name, content);
    EXPECT_TRUE(o.code != 0 && holds(o, says)) << o.text;
  }
  Outcome o = with("p.txt", "one\n", "-p two");
  EXPECT_TRUE(o.code == 2 && holds(o, "--prompts brings its own prompts and pictures; leave out -p and --image")) << o.text;
  o = with("p.txt", "one\n", "--raw --batch-size 0");
  EXPECT_TRUE(o.code == 2 && holds(o, "--batch-size must be in [1, 4096], got 0")) << o.text;
  write_file_atomic(d_ / "picture.png", encode_png({2, 2, std::vector<uint8_t>(12)}));
  o = with("p.jsonl", "{\"prompt\": \"a\", \"image\": \"picture.png\"}\n");
  EXPECT_TRUE(o.code == 2 && holds(o, "p.jsonl:1: --raw continues text alone")) << o.text;
  o = run("generate -p one --out x --model " + (d_ / "model"));
  EXPECT_TRUE(o.code == 2 && holds(o, "--out is for the answers to --prompts FILE")) << o.text;
}

TEST_F(LanguageProgram, ThePromptOfStandardInputEndsBeforeItsNewline) {
  const std::string ask = "generate --raw --max-new-tokens 8 --precision f32 --model " + (d_ / "model");
  const std::string wanted = run(ask + " -p 'a red cat'").text;
  EXPECT_EQ(run(ask, "printf 'a red cat\\n' | ").text, wanted);
  EXPECT_EQ(run(ask, "printf 'a red cat\\r\\n' | ").text, wanted);
  EXPECT_EQ(run(ask, "printf 'a red cat\\n\\n' | ").text, run(ask + " -p 'a red cat\n'").text);
  const Outcome o = run("generate --model " + (d_ / "nowhere"), "printf '\\n' | ");
  EXPECT_TRUE(o.code == 2 && holds(o, "the prompt is empty; give -p TEXT, or pipe a text into it")) << o.text;
}

TEST_F(LanguageProgram, FlagsAreCheckedBeforeTheModelIsOpened) {
  for (const auto& [flags, says] : {std::pair{"--top-p 2", "top-p must be in [0, 1], got 2"},
                                    {"--max-new-tokens 0", "the number of new tokens must be positive, got 0"},
                                    {"--temperature -1", "the temperature must be 0 (greedy) or positive, got -1"},
                                    {"--stop a,,b", "a stop string is empty"}}) {
    for (const char* command : {"generate -p a ", "chat "}) {
      const Outcome o = run(command + std::string(flags) + " --model " + (d_ / "nowhere"));
      EXPECT_TRUE(o.code == 2 && holds(o, says)) << o.text;
    }
  }
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
    const auto manifest = parse_json(read_file(PUMICE_FIXTURES "/models/manifests/" + name + ".json"));
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

TEST_F(LanguageProgram, AnOutputThatCannotBeMadeIsNamed) {
  write_file_atomic(d_ / "file", "x");
  const Outcome o = run("model convert " + (d_ / "model") + " --out " + (d_ / "file/new"));
  EXPECT_TRUE(o.code == 1 && holds(o, "file/new cannot be written: Not a directory")) << o.text;
}

TEST_F(LanguageProgram, AModelIsNotWrittenIntoItself) {
  for (const char* out : {"model", "model/sparse", "model/../model/sparse/deep"}) {
    const Outcome o = run("model convert " + (d_ / "model") + " --overwrite --out " + (d_ / out));
    EXPECT_TRUE(o.code == 2 && holds(o, "--out must not be the model's own directory")) << o.text;
  }
  EXPECT_FALSE(std::filesystem::exists(d_ / "model/sparse"));
  EXPECT_EQ(run("model convert " + (d_ / "model") + "/ --out " + (d_ / "model-sparse")).code, 0) << "a name that begins alike lies beside it";
}

// From a text to a model that is asked, measured, continued, and turned into experts.
TEST_F(LanguageProgram, TrainsOnText) {
  std::string text;
  for (int i = 0; i < 30; ++i) { text += "The red cat sat on the mat. The blue dog sat on the bed.\n"; }
  write_file_atomic(d_ / "text.txt", text);
  const std::string train = "train lm --preset micro --vocab-size 300 --batch-size 4 --length 32 --steps 6 --train-data " + (d_ / "text.txt");
  const Outcome made = run(train + " --out " + (d_ / "lm"));
  ASSERT_EQ(made.code, 0) << made.text;
  EXPECT_TRUE(holds(made, "tokenizer: ")) << made.text;
  EXPECT_TRUE(holds(made, "trained 6 steps")) << made.text;
  const Outcome score = run("eval lm --model " + (d_ / "lm") + " --data " + (d_ / "text.txt") + " --output " + (d_ / "score.json"));
  ASSERT_EQ(score.code, 0) << score.text;
  EXPECT_TRUE(holds(score, "bits per byte")) << score.text;
  const auto result = parse_json(read_file(d_ / "score.json"));
  EXPECT_NEAR(std::log(result["perplexity"].get<double>()), result["loss"].get<double>(), 1e-6);
  EXPECT_EQ(run(generate(d_ / "lm")).code, 0);
  EXPECT_EQ(run("train lm --out " + (d_ / "lm") + " --resume").code, 0);  // its own options

  ASSERT_EQ(run("model convert " + (d_ / "lm") + " --out " + (d_ / "sparse") + " --experts 2").code, 0);
  const Outcome on = run("train lm --init-from " + (d_ / "sparse") + " --steps 2 --batch-size 4 --length 32 --log-format json --train-data " +
                         (d_ / "text.txt") + " --out " + (d_ / "tuned"));
  ASSERT_EQ(on.code, 0) << on.text;
  EXPECT_TRUE(holds(on, "block0/loss/balance")) << on.text;

  // a run's moving average, as a model of its own
  ASSERT_EQ(run(train + " --ema-decay 0.5 --out " + (d_ / "averaged")).code, 0);
  ASSERT_EQ(run("model export " + (d_ / "averaged") + " --ema --out " + (d_ / "average")).code, 0);
  const auto loss_of = [&](const std::string& flags) {
    const Outcome o = run("eval lm --precision fp32 --data " + (d_ / "text.txt") + " --output " + (d_ / "loss.json") + " --model " + flags);
    EXPECT_EQ(o.code, 0) << o.text;
    return parse_json(read_file(d_ / "loss.json"))["loss"].get<double>();
  };
  EXPECT_EQ(loss_of(d_ / "average"), loss_of((d_ / "averaged") + " --ema"));
  EXPECT_NE(loss_of(d_ / "average"), loss_of(d_ / "averaged"));

  EXPECT_TRUE(holds(run("model info " + (d_ / "tuned")), "experts"));
  EXPECT_TRUE(holds(run("model inspect " + (d_ / "lm")), "model.embed_tokens.weight"));
  // a run with experts goes on with its own options, those that are not set included
  ASSERT_EQ(run(train + " --moe --experts 2 --gate paper --out " + (d_ / "moe")).code, 0);
  const Outcome resumed = run("train lm --out " + (d_ / "moe") + " --resume");
  EXPECT_TRUE(resumed.code == 0 && holds(resumed, "has all its 6 steps")) << resumed.text;
  EXPECT_TRUE(holds(run("model info " + (d_ / "moe")), "order batch_priority, second choice argmax, gates raw"));
  const Outcome plan = run(train + " --moe --experts 4 --dry-run");
  EXPECT_EQ(plan.code, 0) << plan.text;
  EXPECT_TRUE(holds(plan, "FLOP per step of 128 tokens")) << plan.text;
  EXPECT_FALSE(std::filesystem::exists(d_ / "none"));
  const Outcome wrong = run("train lm --preset tinny --train-data x --out y");
  EXPECT_EQ(wrong.code, 2);
  EXPECT_TRUE(holds(wrong, "Did you mean")) << wrong.text;
  EXPECT_TRUE(holds(run("train lm --out " + (d_ / "none")), "--train-data is required"));
  EXPECT_TRUE(holds(run("eval lm --model " + (d_ / "lm")), "--model and --data are required"));
  EXPECT_TRUE(holds(run("presets"), "of pumice train lm:"));
}

}  // namespace
}  // namespace pumice
