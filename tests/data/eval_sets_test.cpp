#include "pumice/data/eval_sets.h"

#include <filesystem>
#include <gtest/gtest.h>

#include "pumice/data/baselines.h"
#include "pumice/data/image.h"
#include "pumice/data/tar.h"
#include "pumice/tensor/file.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using testing::message_of;
using testing::Temporary;

std::string picture(uint8_t grey) { return encode_png({4, 4, std::vector<uint8_t>(48, grey)}); }

void write_shard(const std::string& path, const std::vector<std::pair<std::string, std::string>>& files) {
  fs::create_directories(fs::path(path).parent_path());
  TarWriter tar(path);
  for (const auto& [name, content] : files) { tar.add(name, content); }
  tar.close();
}

TEST(LabelledSet, ClipBenchmarkDirectory) {
  Temporary d;
  write_file_atomic(d / "classnames.txt", "cat\r\ngreen frog\n");
  write_file_atomic(d / "zeroshot_classification_templates.txt", "a photo of a {c}.\n{c}\n");
  write_shard(d / "test/0.tar", {{"a.cls", "1"}, {"a.png", picture(9)}, {"b.cls", "0"}, {"b.png", picture(8)}});
  write_shard(d / "test/1.tar", {{"c.cls", "1"}, {"c.png", picture(7)}});
  write_file_atomic(d / "test/nshards.txt", "2\n");
  LabelledSet set = open_labelled_set(d.path(), "test");
  EXPECT_EQ(set.classnames, std::vector<std::string>({"cat", "green frog"}));
  EXPECT_EQ(set.templates, std::vector<std::string>({"a photo of a {c}.", "{c}"}));
  ASSERT_EQ(set.size(), 3);
  EXPECT_EQ(set.sample(0).label, 1);
  EXPECT_EQ(set.sample(1).label, 0);
  EXPECT_EQ(set.sample(2).image, picture(7));
  EXPECT_FALSE(has_train_side(d.path()));
  fs::create_directory(d / "train");
  write_file_atomic(d / "train/nshards.txt", "1\n");
  EXPECT_TRUE(has_train_side(d.path()));

  write_file_atomic(d / "test/nshards.txt", "many\n");
  EXPECT_NE(message_of<FormatError>([&] { open_labelled_set(d.path(), "test"); }).find("must hold the number of shards, got 'many'"),
            std::string::npos);
  write_file_atomic(d / "test/nshards.txt", "3\n");
  EXPECT_NE(message_of<IoError>([&] { open_labelled_set(d.path(), "test"); }).find("2.tar does not exist (2 of 3 shards"), std::string::npos);
}

TEST(LabelledSet, AFolderPerClass) {
  Temporary d;
  for (const char* name : {"test/tabby_cat", "test/frog", "test/empty"}) { fs::create_directories(d / name); }
  write_file_atomic(d / "test/tabby_cat/2.PNG", picture(2));
  write_file_atomic(d / "test/tabby_cat/1.png", picture(1));
  write_file_atomic(d / "test/tabby_cat/notes.txt", "no picture");
  write_file_atomic(d / "test/frog/x.png", picture(3));
  LabelledSet set = open_labelled_set(d.path(), "test");
  EXPECT_EQ(set.classnames, std::vector<std::string>({"frog", "tabby cat"}));
  ASSERT_EQ(set.size(), 3);
  EXPECT_EQ(set.sample(1).image, picture(1));  // by name, so that the order is the same everywhere
  EXPECT_EQ(set.sample(1).label, 1);
  EXPECT_EQ(open_labelled_set(d / "test", "test").size(), 3);

  fs::remove_all(d / "test/frog");
  EXPECT_NE(message_of<FormatError>([&] { open_labelled_set(d.path(), "test"); }).find("one per class; found 1 such folders"), std::string::npos);
  EXPECT_NE(message_of<IoError>([&] { open_labelled_set(d / "no", "test"); }).find("no does not exist"), std::string::npos);
  write_file_atomic(d / "notes.txt", "");
  EXPECT_NE(message_of<IoError>([&] { open_labelled_set(d / "notes.txt", "test"); }).find("is not a directory. Give a CLIP_benchmark"),
            std::string::npos);
}

TEST(LabelledSet, ShardsWithClassesBesideThem) {
  Temporary d;
  write_shard(d / "x.tar", {});
  EXPECT_NE(message_of<FormatError>([&] { open_labelled_set(d / "x.tar", "test"); }).find("x.tar' holds no sample"), std::string::npos);
  write_shard(d / "x.tar", {{"0.cls", "1"}, {"0.png", picture(1)}});
  EXPECT_NE(message_of<IoError>([&] { open_labelled_set(d / "x.tar", "test"); }).find("classnames.txt: a class name per line"), std::string::npos);
  write_file_atomic(d / "classnames.txt", "a\nb\n");
  write_shard(d / "x.tar", {{"0.cls", "1"}, {"0.png", picture(1)}, {"1.cls", "2"}, {"1.png", picture(1)}, {"2.png", picture(1)}});
  LabelledSet set = open_labelled_set(d / "x.tar", "test");
  EXPECT_EQ(set.templates.size(), 3u);  // its own, when the set has none
  EXPECT_EQ(set.sample(0).label, 1);
  EXPECT_NE(message_of<FormatError>([&] { set.sample(1); }).find("from 0 to 1, got '2'"), std::string::npos);
  EXPECT_NE(message_of<FormatError>([&] { set.sample(2); }).find("needs an image (.png, .jpg, .webp) and a class (.cls)"), std::string::npos);
}

TEST(RetrievalSet, CsvGroupsRowsOfOnePicture) {
  Temporary d;
  write_file_atomic(d / "1.png", picture(1));
  write_file_atomic(d / "val.csv", "filepath,caption\n1.png,one\n2.png,\"two, quoted\"\n1.png,uno\n");
  RetrievalSet set = open_retrieval_set(d / "val.csv");
  ASSERT_EQ(set.size(), 2);
  EXPECT_EQ(set.sample(0).captions, std::vector<std::string>({"one", "uno"}));
  EXPECT_EQ(set.sample(0).image, picture(1));
  EXPECT_NE(message_of<IoError>([&] { set.sample(1); }).find("val.csv line 3: [file] "), std::string::npos);
  write_file_atomic(d / "empty.csv", "filepath,caption\n");
  EXPECT_NE(message_of<FormatError>([&] { open_retrieval_set(d / "empty.csv"); }).find("has a header and no rows"), std::string::npos);
  EXPECT_NE(message_of<UsageError>([&] { open_retrieval_set(d / "val.csv", {.image_column = "photo"}); }).find("no column 'photo'"),
            std::string::npos);
}

TEST(RetrievalSet, ShardsWithOneOrManyCaptions) {
  Temporary d;
  write_shard(d / "x.tar", {{"0.json", R"({"captions": ["a", "b"]})"}, {"0.png", picture(1)}, {"0.txt", "unused"},
                            {"1.png", picture(2)}, {"1.txt", "c\nd\n"},
                            {"2.json", R"({"captions": 3})"}, {"2.png", picture(2)}, {"3.png", picture(2)}, {"3.txt", "  \n\t\n"}});
  RetrievalSet set = open_retrieval_set(d / "x.tar");
  ASSERT_EQ(set.size(), 4);
  EXPECT_EQ(set.sample(0).captions, std::vector<std::string>({"a", "b"}));
  EXPECT_EQ(set.sample(1).captions, std::vector<std::string>({"c", "d"}));
  EXPECT_NE(message_of<FormatError>([&] { set.sample(2); }).find("needs a caption"), std::string::npos);
  EXPECT_NE(message_of<FormatError>([&] { set.sample(3); }).find("x.tar: 3 needs a caption"), std::string::npos);
  write_shard(d / "none.tar", {});
  EXPECT_NE(message_of<FormatError>([&] { open_retrieval_set(d / "none.tar"); }).find("none.tar' holds no sample"), std::string::npos);
}

Image filled(uint8_t r, uint8_t g, uint8_t b) {
  Image image{8, 8, {}};
  for (int i = 0; i < 64; ++i) { image.rgb.insert(image.rgb.end(), {r, g, b}); }
  return image;
}

TEST(Baselines, NearestByColourAndByPlace) {
  std::vector<Image> known = {filled(250, 0, 0), filled(0, 250, 0)}, asked = {filled(240, 5, 5), filled(5, 240, 5), filled(240, 0, 0)};
  EXPECT_DOUBLE_EQ(colour_histogram_1nn(known, {0, 1}, asked, {0, 1, 1}), 2.0 / 3);
  EXPECT_DOUBLE_EQ(pixel_1nn(known, {0, 1}, asked, {0, 1, 1}), 2.0 / 3);

  // A picture and its mirror image hold the same colours: only the places tell them apart.
  Image left = filled(0, 0, 0), right = filled(0, 0, 0);
  for (int y = 0; y < 8; ++y) {
    for (int x = 0; x < 12; ++x) { left.rgb[size_t(y * 24 + x)] = right.rgb[size_t(y * 24 + 12 + x)] = 255; }
  }
  EXPECT_DOUBLE_EQ(pixel_1nn({left, right}, {0, 1}, {right, left}, {1, 0}), 1);
  EXPECT_DOUBLE_EQ(colour_histogram_1nn({left, right}, {0, 1}, {right, left}, {1, 0}), 0.5);  // the first of equal distances
  EXPECT_EQ(pixel_1nn({}, {}, asked, {0, 1, 1}), 0);
}

}  // namespace
}  // namespace pumice
