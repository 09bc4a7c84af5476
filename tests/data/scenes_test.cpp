#include "pumice/data/scenes/scenes.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "pumice/data/eval_sets.h"
#include "pumice/data/scenes/scene.h"
#include "pumice/data/webdataset.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using testing::message_of;
using testing::Temporary;

SceneOptions small(const std::string& out) {
  return {.out = out, .train = 40, .val = 6, .eval_per_class = 1, .size = 32, .concepts = 8, .seed = 3, .shapes = true};
}
SceneReport write(const SceneOptions& o) { return write_scenes(o, [](double) {}); }

// Every file below a directory with its content.
std::map<std::string, std::string> contents(const std::string& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) { files[fs::relative(entry.path(), root).string()] = read_file(entry.path().string()); }
  }
  return files;
}

TEST(Scenes, SameSeedSameBytes) {
  Temporary d;
  SceneReport first = write(small(d / "a")), again = write(small(d / "b"));
  EXPECT_EQ(contents(d / "a"), contents(d / "b"));
  EXPECT_EQ(first.hash, again.hash);
  SceneOptions other = small(d / "c");
  other.seed = 4;
  EXPECT_NE(write(other).hash, first.hash);
}

// A scene depends on its own number only: asking for more leaves those that were there as they are.
TEST(Scenes, MoreTrainingPicturesKeepTheOthers) {
  Temporary d;
  write(small(d / "a"));
  SceneOptions more = small(d / "b");
  more.train = 55;
  write(more);
  WebDataset a(d / "a/train/train-000000.tar"), b(d / "b/train/train-000000.tar");
  ASSERT_EQ(b.size(), 55);
  for (int64_t i = 0; i < a.size(); ++i) { EXPECT_EQ(*a.image(i), *b.image(i)); }
  EXPECT_EQ(*a.find(39, "txt"), *b.find(39, "txt"));
}

TEST(Scenes, WhatIsWrittenCanBeRead) {
  Temporary d;
  SceneReport report = write(small(d / "s"));
  EXPECT_EQ(report.version, "shapes-v1");
  EXPECT_EQ(report.font, "");
  EXPECT_EQ(report.concepts, 8);
  WebDataset train(d / "s/train/train-000000.tar");
  ASSERT_EQ(train.size(), 40);
  for (int64_t i = 0; i < train.size(); ++i) {
    Image image = decode_image(*train.image(i), train.name(i));
    EXPECT_EQ(image.width, 32);
    EXPECT_EQ(image.height, 32);
    auto truth = parse_json(*train.find(i, "json"));
    EXPECT_EQ(truth["captions"].size(), 1u);
    EXPECT_EQ(truth["captions"][0].get<std::string>(), std::string(*train.find(i, "txt")));
    ASSERT_GE(truth["objects"].size(), 1u);
    for (const auto& object : truth["objects"]) {
      EXPECT_LT(object["box"][0].get<double>(), object["box"][2].get<double>());
      EXPECT_GE(object["box"][0].get<double>(), -8);
      EXPECT_LE(object["box"][3].get<double>(), 40);
    }
  }
  RetrievalSet val = open_retrieval_set(d / "s/val.csv");
  ASSERT_EQ(val.size(), 6);
  EXPECT_EQ(val.sample(0).captions.size(), 3u);
  EXPECT_EQ(open_retrieval_set(d / "s/val/val-000000.tar").sample(5).captions, val.sample(5).captions);
  LabelledSet objects = open_labelled_set(d / "s/eval-objects", "test");
  EXPECT_EQ(objects.size(), 8);
  EXPECT_EQ(objects.classnames.size(), 8u);
  EXPECT_EQ(open_labelled_set(d / "s/eval-objects", "train").size(), 16);
  EXPECT_EQ(parse_json(read_file(d / "s/dataset.json"))["version"], "shapes-v1");
}

// Captions say what is in the picture: the right number, and the right object above or left of the other.
TEST(Scenes, CaptionsAreTrue) {
  Catalogue catalogue(shape_concepts(8), "");
  int counts = 0, pairs = 0;
  for (uint64_t i = 0; i < 400; ++i) {
    SceneRandom random(1, 0, i);
    Scene s = sample_scene(SceneSplit::train, 8, catalogue, 64, random);
    std::string caption = caption_of(s, catalogue, SceneSplit::train, random);
    auto names = [&](const Placed& o) { return catalogue.concepts()[size_t(o.concept_index)].name; };
    if (s.kind == Scene::kSingle) {
      EXPECT_NE(caption.find(names(s.objects[0])), std::string::npos) << caption;
    } else if (s.kind == Scene::kCount) {
      ++counts;
      const char* numbers[] = {"", "", "two", "three", "four"};
      EXPECT_NE(caption.find(std::string(numbers[s.objects.size()]) + " " + catalogue.concepts()[size_t(s.first)].plural), std::string::npos)
          << caption;
    } else {
      ++pairs;
      ASSERT_EQ(s.objects.size(), 2u);
      EXPECT_TRUE(s.above ? s.objects[0].y < s.objects[1].y : s.objects[0].x < s.objects[1].x);
      size_t first = caption.find(names(s.objects[0])), second = caption.find(names(s.objects[1]));
      for (const char* relation : {" above ", " left of "}) {
        if (caption.find(relation) != std::string::npos) { EXPECT_LT(first, second) << caption; }
      }
      for (const char* relation : {" below ", " right of "}) {
        if (caption.find(relation) != std::string::npos) { EXPECT_GT(first, second) << caption; }
      }
    }
  }
  EXPECT_GT(counts, 40);
  EXPECT_GT(pairs, 40);
}

// The splits measure what they claim: combinations and wordings that train never shows.
TEST(Scenes, HeldOutCombinationsStayHeldOut) {
  Catalogue catalogue(shape_concepts(8), "");
  auto combinations = [&](SceneSplit split) {
    std::set<std::pair<int64_t, int64_t>> seen;
    for (uint64_t i = 0; i < 3000; ++i) {
      SceneRandom random(1, uint64_t(split), i);
      Scene s = sample_scene(split, 8, catalogue, 64, random);
      if (s.kind == Scene::kPair) { seen.insert({s.first, s.second}); }
      if (s.kind == Scene::kCount) { seen.insert({s.first, -int64_t(s.objects.size())}); }
    }
    return seen;
  };
  auto train = combinations(SceneSplit::train), held_out = combinations(SceneSplit::compositional);
  EXPECT_GT(held_out.size(), 3u);
  EXPECT_GT(train.size(), 40u);
  for (const auto& c : held_out) { EXPECT_FALSE(train.count(c)); }
}

// Sampling looks for a combination of the split until it finds one, so each split must have some however few concepts there are.
TEST(Scenes, EverySplitHasCombinations) {
  for (int64_t n = 8; n < 40; ++n) {
    Catalogue catalogue(shape_concepts(n), "");
    for (SceneSplit split : {SceneSplit::train, SceneSplit::compositional}) {
      int counts = 0, pairs = 0;
      for (uint64_t i = 0; i < 100; ++i) {
        SceneRandom random(1, uint64_t(split), i);
        Scene s = sample_scene(split, n, catalogue, 32, random);
        counts += s.kind == Scene::kCount;
        pairs += s.kind == Scene::kPair;
      }
      EXPECT_GT(counts, 0) << n << " concepts";
      EXPECT_GT(pairs, 0) << n << " concepts";
    }
  }
}

TEST(Scenes, RefusesToOverwriteWhatIsNotItsOwn) {
  Temporary d;
  write_file_atomic(d / "letter.txt", "dear");
  SceneOptions o = small(d.path());
  EXPECT_NE(message_of<UsageError>([&] { write(o); }).find("is not empty"), std::string::npos);
  o.overwrite = true;
  EXPECT_NE(message_of<UsageError>([&] { write(o); }).find("leaves it alone"), std::string::npos);
  EXPECT_EQ(read_file(d / "letter.txt"), "dear");
  o.out = d / "s";
  write(o);
  EXPECT_EQ(write(o).train, 40);
  o.concepts = 7;
  EXPECT_NE(message_of<UsageError>([&] { write(o); }).find("--concepts must be at least 8, got 7"), std::string::npos);
  o.size = 8;
  EXPECT_NE(message_of<UsageError>([&] { write(o); }).find("--size must be in [16, 1024]"), std::string::npos);
}

TEST(Scenes, EmojiWhereTheFontIs) {
  const std::string font = find_emoji_font("");
  if (font.empty()) { GTEST_SKIP() << "no NotoColorEmoji.ttf here"; }
  Temporary d;
  SceneOptions o = small(d / "s");
  o.shapes = false;
  SceneReport report = write(o);
  EXPECT_EQ(report.version, "emoji-v1");
  EXPECT_EQ(report.font, font);
  Catalogue catalogue(emoji_concepts(8), font);
  for (int64_t i = 0; i < 8; ++i) {  // every glyph has an opaque body and a transparent surrounding
    const Sprite& sprite = catalogue.sprite(i, 64);
    ASSERT_GE(sprite.size, 64);
    double opaque = 0;
    for (size_t p = 3; p < sprite.rgba.size(); p += 4) { opaque += sprite.rgba[p]; }
    opaque /= double(sprite.size) * sprite.size;
    EXPECT_GT(opaque, 0.1) << catalogue.concepts()[size_t(i)].name;
    EXPECT_LT(opaque, 0.99) << catalogue.concepts()[size_t(i)].name;
  }
  EXPECT_NE(message_of<IoError>([&] { find_emoji_font(d / "missing.ttf"); }).find("missing.ttf"), std::string::npos);
}

}  // namespace
}  // namespace pumice
