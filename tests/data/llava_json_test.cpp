#include "pumice/data/llava_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "pumice/data/template.h"
#include "pumice/tensor/file.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using testing::message_of;

std::string human(const std::string& text) { return R"({"from": "human", "value": ")" + text + "\"}"; }
std::string gpt(const std::string& text) { return R"({"from": "gpt", "value": ")" + text + "\"}"; }
const std::string kGood = R"({"conversations": [)" + human("q") + "," + gpt("a") + "]}";

// A sample with the id 7 after a good one.
std::string problem_of(const std::string& keys, const std::string& entries) {
  const std::string text = "[" + kGood + R"(, {"id": 7, )" + keys + R"("conversations": [)" + entries + "]}]";
  const LlavaFile file = parse_llava(text, "x.json");
  EXPECT_EQ(file.samples.size(), 1u) << text;
  EXPECT_EQ(file.given, 2);
  return file.problems.first().empty() ? "" : file.problems.first()[0];
}

TEST(LlavaJson, SamplesOfAList) {
  const std::string text = "\xef\xbb\xbf \n[" + kGood + R"(, {"id": "000000033471", "image": "coco/a.jpg", "conversations": [)" +
                           human("<image>\\nWhat?") + "," + gpt("A bus.") + "," + human("Colour?") + "," + gpt("Red.") +
                           R"(]}, {"id": 5, "image": ["a.jpg", "b.jpg"], "conversations": [{"from": "system", "value": "Be brief."},)" +
                           R"({"from": "user", "value": "<image> or <image>?"}, {"from": "assistant", "value": "b"}]},)" +
                           R"({"image": null, "conversations": [)" + human("q") + "," + gpt("a") + "]}]";
  const LlavaFile file = parse_llava(text, "train.json");
  ASSERT_EQ(file.samples.size(), 4u);
  EXPECT_TRUE(file.problems.none());
  EXPECT_EQ(file.text_only, 2);
  const LlavaSample& bus = file.samples[1];
  EXPECT_EQ(bus.id, "000000033471");
  EXPECT_EQ(bus.place, "train.json[1] (id 000000033471)");
  EXPECT_EQ(bus.images, std::vector<std::string>{"coco/a.jpg"});
  ASSERT_EQ(bus.messages.size(), 4u);
  EXPECT_EQ(bus.messages[0].text, "<image>\nWhat?");
  EXPECT_EQ(bus.messages[3].text, "Red.");
  EXPECT_EQ(file.samples[2].id, "5");
  EXPECT_EQ(file.samples[2].images.size(), 2u);
  EXPECT_EQ(prompt_of(file.samples[2].conversation("v1")), "Be brief. USER: <image> or <image>? ASSISTANT: b</s>");
  EXPECT_EQ(file.samples[0].place, "train.json[0]");
}

TEST(LlavaJson, SamplesOfLines) {
  const LlavaFile file = parse_llava(kGood + "\r\n\n{\"id\": \"b\"\n" + kGood + "\n", "train.jsonl");
  ASSERT_EQ(file.samples.size(), 2u);
  EXPECT_EQ(file.samples[1].place, "train.jsonl line 4");
  EXPECT_EQ(file.given, 3);
  EXPECT_EQ(file.problems.first()[0].find("train.jsonl line 3 is not valid JSON"), 0u) << file.problems.first()[0];
  EXPECT_EQ(parse_llava(kGood, "one.jsonl").samples.size(), 1u);
}

TEST(LlavaJson, ProblemsAreNamedWithIndexAndId) {
  const std::string x = "x.json[1] (id 7): ", ask = human("q") + ",";
  EXPECT_EQ(problem_of("", ""), x + "there are no messages");
  EXPECT_EQ(problem_of("", ask + human("r")), x + "message 2 is the user's; questions and answers must alternate, beginning with the user");
  EXPECT_EQ(problem_of("", gpt("a") + "," + gpt("b")),
            x + "message 1 is the assistant's; questions and answers must alternate, beginning with the user");
  EXPECT_EQ(problem_of("", ask + gpt("a") + "," + human("r")), x + "ends with a question; training needs its answer");
  EXPECT_EQ(problem_of("", ask + gpt(" \\n")), x + "message 2 is an answer without text; leave the turn out");
  EXPECT_EQ(problem_of("", ask + gpt("see <image>")),
            x + "message 2 is an answer that holds <image>: pictures belong to questions, and the model cannot write one");
  EXPECT_EQ(problem_of("", human("<image>") + "," + gpt("a")), x + "has 0 pictures and 1 <image> in its questions; one is required for each");
  EXPECT_EQ(problem_of(R"("image": "a.jpg", )", ask + gpt("a")), x + "has 1 picture and 0 <image> in its questions; one is required for each");
  EXPECT_EQ(problem_of(R"("image": ["a", "b"], )", human("<image>") + "," + gpt("a")),
            x + "has 2 pictures and 1 <image> in its questions; one is required for each");
  EXPECT_EQ(problem_of(R"("image": "", )", ask + gpt("a")), x + "needs an \"image\" that is a path, or a list of paths");
  EXPECT_EQ(problem_of(R"("image": [3], )", ask + gpt("a")), x + "needs an \"image\" that is a path, or a list of paths");
  EXPECT_EQ(problem_of(R"("video": "v.mp4", )", ask + gpt("a")), x + "has a \"video\"; only pictures are read");
  EXPECT_EQ(problem_of("", R"({"from": "robot", "value": "q"})"), x + "message 1 is from \"robot\"; human or gpt is required");
  EXPECT_EQ(problem_of("", ask + R"({"from": "gpt"})"), x + "message 2 needs a text \"value\"");
  EXPECT_EQ(problem_of("", ask + R"({"value": "a"})"), x + "message 2 needs a text \"from\"");
  EXPECT_EQ(problem_of("", ask + R"({"from": "gpt", "value": null})"), x + "message 2 needs a text \"value\"");
  EXPECT_EQ(problem_of("", R"({"from": "system", "value": "<image>"})"), x + "has <image> in its system text; pictures belong to questions");
  const LlavaFile file = parse_llava("[" + kGood + R"(, 5, {"id": "b"}])", "x.json");
  EXPECT_EQ(file.problems.first(), (std::vector<std::string>{"x.json[1]: is no object", "x.json[2] (id b): needs a list \"conversations\""}));
  EXPECT_EQ(file.problems.report(file.given, "samples"), "left out 2 of 3 samples; the first: x.json[1]: is no object");
}

TEST(LlavaJson, AnAnswerThatStandsFirstIsDroppedAndTold) {
  const LlavaFile file = parse_llava(R"([{"id": "s", "conversations": [)" + gpt("x") + "," + human("q") + "," + gpt("a") + "]}]", "x.json");
  ASSERT_EQ(file.samples.size(), 1u);
  EXPECT_EQ(file.samples[0].messages.size(), 2u);
  EXPECT_EQ(file.problems.report(file.given, "samples"),
            "samples whose first message is an answer, which was dropped: 1; the first: x.json[0] (id s)");
}

TEST(LlavaJson, OtherFilesAreNamed) {
  auto message = [](const std::string& text) { return message_of<FormatError>([&] { parse_llava(text, "x.json"); }); };
  EXPECT_EQ(message(""), "[llava] x.json is an empty file; conversations as JSON or JSONL are required");
  EXPECT_EQ(message("version https://git-lfs.github.com/spec/v1\n"),
            "[llava] x.json is a git-lfs pointer, not the file itself: run git lfs pull; conversations as JSON or JSONL are required");
  EXPECT_EQ(message("id,image\n"), "[llava] x.json is neither a JSON list of conversations nor JSONL, with one a line");
  EXPECT_EQ(message("[]"), "[llava] x.json holds no samples");
  EXPECT_EQ(message("[{}]"), "[llava] x.json: none of 1 samples can be used; the first: x.json[0]: needs a list \"conversations\"");
  EXPECT_EQ(message(R"({"images": [], "annotations": []})"),
            "[llava] x.json has \"annotations\": it looks like COCO captions, and conversations are required");
  EXPECT_EQ(message("[" + kGood).find("[llava] x.json is not valid JSON"), 0u);
  const std::string pretty = message("{\n  \"id\": 1\n}\n");
  EXPECT_EQ(pretty.find("[llava] x.json line 1 is not valid JSON"), 0u) << pretty;
  EXPECT_NE(pretty.find(". In JSONL every line is a sample; samples over several lines must stand in one list [...]"), std::string::npos) << pretty;
}

TEST(LlavaJson, TheTemplateIsInOrder) {
  testing::Temporary d;
  const std::string path = write_template("llava", d / "set");
  EXPECT_EQ(path, d / "set/train.json");
  EXPECT_TRUE(is_llava_file(path));
  const LlavaFile file = parse_llava(read_file(path), path);
  EXPECT_TRUE(file.problems.none());
  ASSERT_EQ(file.samples.size(), 3u);
  EXPECT_EQ(file.text_only, 1);
  for (const LlavaSample& sample : file.samples) {
    for (const std::string& image : sample.images) { EXPECT_EQ(read_file(d / "set/" + image).substr(1, 3), "PNG"); }
  }
}

TEST(LlavaJson, FilesAreToldByNameAndFirstByte) {
  testing::Temporary d;
  write_file_atomic(d / "a.JSONL", "");
  write_file_atomic(d / "b.json", "\xef\xbb\xbf\n [");
  write_file_atomic(d / "c.json", R"({"images": []})");
  write_file_atomic(d / "d.txt", "[");
  EXPECT_TRUE(is_llava_file(d / "a.JSONL"));
  EXPECT_TRUE(is_llava_file(d / "b.json"));
  EXPECT_FALSE(is_llava_file(d / "c.json"));
  EXPECT_FALSE(is_llava_file(d / "d.txt"));
  EXPECT_FALSE(is_llava_file(d / "missing.json"));
}

}  // namespace
}  // namespace pumice
