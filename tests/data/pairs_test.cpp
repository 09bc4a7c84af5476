#include "pumice/data/pairs.h"

#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>
#include <set>

#include "pumice/data/coco.h"
#include "pumice/data/eval_sets.h"
#include "pumice/data/idx.h"
#include "pumice/data/image.h"
#include "pumice/data/loader.h"
#include "pumice/data/source_problems.h"
#include "pumice/data/tar.h"
#include "pumice/tensor/file.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;

std::string picture(uint8_t grey) { return encode_png({8, 8, std::vector<uint8_t>(8 * 8 * 3, grey)}); }

void write(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  write_file_atomic(path, content);
}

std::vector<std::string> captions_of(const PairSource& s) {
  std::vector<std::string> all;
  for (int64_t i = 0; i < s.size(); ++i) { all.push_back(s.caption(i)); }
  return all;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Pairs, OfACsv) {
  Temporary d;
  write(d / "img/a.png", picture(1));
  write(d / "img/b.png", picture(2));
  write(d / "x.tsv", "image\tcaption\nimg/a.png\t a cat \nimg/b.png\t\nimg/c.png\tgone\nimg/b.png\ta dog\n");
  auto pairs = open_pairs(d / "x.tsv");
  EXPECT_EQ(captions_of(*pairs), (std::vector<std::string>{"a cat", "a dog"}));
  EXPECT_EQ(pairs->image(1), picture(2));
  EXPECT_EQ(pairs->name(1), (d / "x.tsv") + " line 5 (" + (d / "img/b.png") + ")");
  EXPECT_EQ(pairs->report(), "left out 2 of 4 entries; the first: " + (d / "x.tsv") + " line 3: the caption is empty");

  write(d / "elsewhere/y.csv", "photo,words\na.png,one\nb.png,two\n");
  EXPECT_EQ(open_pairs(d / "elsewhere/y.csv", {.image_column = "photo", .caption_column = "words", .image_folder = d / "img"})->size(), 2);
  EXPECT_TRUE(contains(message_of<UsageError>([&] { open_pairs(d / "elsewhere/y.csv"); }),
                       "no column 'filepath' or 'image' or 'path' or 'file_name' or 'image_name'. Columns: photo, words"));
  EXPECT_TRUE(contains(message_of<FormatError>([&] { open_pairs(d / "elsewhere/y.csv", {.image_column = "photo", .caption_column = "words"}); }),
                       "Relative paths start at the file's folder; --image-folder names another"));
  write(d / "h.csv", "image,caption\n");
  EXPECT_TRUE(contains(message_of<FormatError>([&] { open_pairs(d / "h.csv"); }), "h.csv holds no entry: a pair is a picture and its caption"));
  EXPECT_TRUE(contains(message_of<UsageError>([&] { open_pairs(d / "img/a.png"); }), "is of no kind that pairs are read from"));
  EXPECT_TRUE(contains(message_of<IoError>([&] { open_pairs(d / "nothing"); }), "nothing does not exist"));
  EXPECT_TRUE(contains(message_of<IoError>([&] { open_pairs(d / "*.tar"); }), "A '*' stands for itself here: name shards by a range"));
  EXPECT_TRUE(contains(message_of<UsageError>([&] { open_pairs((d / "x.tsv") + "::"); }), "a source is an empty path"));
  std::filesystem::create_symlink("loop", d / "loop");
  EXPECT_TRUE(contains(message_of<IoError>([&] { open_pairs(d / "loop"); }), "loop cannot be read: Too many levels of symbolic links"));
}

TEST(Pairs, OfTheCsvsThatPeopleHave) {
  Temporary d;
  write(d / "a.png", picture(1));
  auto captions = [&](const std::string& content) {
    write(d / "x.csv", content);
    return captions_of(*open_pairs(d / "x.csv"));
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(captions("\xef\xbb\xbf""filepath,caption\r\na.png,\"two\r\nlines, \"\"quoted\"\"\"\r\n"), Texts{"two\r\nlines, \"quoted\""});
  EXPECT_EQ(captions("FilePath;Caption\na.png;one\n"), Texts{"one"});
  EXPECT_EQ(captions("image_name| comment_number| comment\na.png| 0| Two dogs .\na.png| 1| A dog .\n"), (Texts{"Two dogs .", "A dog ."}));  // Flickr30k
  EXPECT_EQ(captions("Caption,caption,image\nno,yes,a.png\n"), Texts{"yes"}) << "exact names come first";
  EXPECT_EQ(captions("image,caption\ra.png,old\r"), Texts{"old"});
}

TEST(Pairs, ACaptionIsNoBook) {
  Temporary d;
  write(d / "a.png", picture(1));
  const std::string most(kLongestCaption, 'x');
  write(d / "x.csv", "image,caption\na.png," + most + "\na.png," + most + "x\n");
  auto pairs = open_pairs(d / "x.csv");
  EXPECT_EQ(pairs->size(), 1);
  EXPECT_EQ(pairs->problems(), std::vector<std::string>{(d / "x.csv") + " line 3: the caption has 65537 bytes, more than 65536"});
  TarWriter tar(d / "x.tar");
  for (const char* key : {"0", "1"}) {
    tar.add(std::string(key) + ".png", picture(1));
    tar.add(std::string(key) + ".txt", key[0] == '0' ? most : most + "x");
  }
  tar.close();
  EXPECT_EQ(open_pairs(d / "x.tar")->problems(), std::vector<std::string>{(d / "x.tar") + ": 1: the caption has 65537 bytes, more than 65536"});
  write(d / "y.csv", "image,caption\na.png,\"   \"\n");
  EXPECT_TRUE(contains(message_of<FormatError>([&] { open_retrieval_set(d / "y.csv"); }), "y.csv line 2: the caption is empty. Leave the row out"));
  EXPECT_TRUE(contains(message_of<FormatError>([&] { open_retrieval_set(d / "x.csv"); }), "x.csv line 3: the caption has 65537 bytes"));
}

TEST(Pairs, OfACsvWithLabels) {
  Temporary d;
  for (const char* file : {"a.png", "b.png", "c.png"}) { write(d / file, picture(1)); }
  auto labels_of = [](const PairSource& s) {
    std::vector<int> all;
    for (int64_t i = 0; i < s.size(); ++i) { all.push_back(s.label(i)); }
    return all;
  };
  using Names = std::vector<std::string>;
  write(d / "names.csv", "image,label\na.png,red fox\nb.png, cat \nc.png,red fox\n");  // no captions: a sentence of the class
  auto names = open_pairs(d / "names.csv");
  EXPECT_EQ(names->classnames(), (Names{"cat", "red fox"}));
  EXPECT_EQ(labels_of(*names), (std::vector<int>{1, 0, 1}));
  EXPECT_EQ(names->caption(0), "a photo of a red fox.");

  write(d / "both.csv", "image,caption,class\na.png,one,10\nb.png,two,9\nc.png,three,\n");  // numbers by value; a row may have none
  auto both = open_pairs(d / "both.csv");
  EXPECT_EQ(both->classnames(), (Names{"9", "10"}));
  EXPECT_EQ(labels_of(*both), (std::vector<int>{1, 0, -1}));
  EXPECT_EQ(both->caption(2), "three");

  write(d / "own.csv", "image,caption,species\na.png,one,emu\nb.png,two,cat\n");
  EXPECT_TRUE(open_pairs(d / "own.csv")->classnames().empty());
  auto own = open_pairs(d / "own.csv", {.label_column = "species"});
  EXPECT_EQ(own->classnames(), (Names{"cat", "emu"}));
  EXPECT_NE(own->fingerprint(), open_pairs(d / "own.csv")->fingerprint());
  EXPECT_EQ(message_of<UsageError>([&] { open_pairs(d / "own.csv", {.label_column = "kind"}); }),
            "[csv] " + (d / "own.csv") + ": no column 'kind'. Columns: image, caption, species (separator ','). Try: --csv-label-key image");

  write(d / "lines/classnames.txt", "cat\ndog\n");
  write(d / "lines/a.png", picture(1));
  write(d / "lines/x.csv", "image,label\na.png,1\na.png,0\n");
  EXPECT_EQ(open_pairs(d / "lines/x.csv")->caption(0), "a photo of a dog.");
  write(d / "lines/y.csv", "image,label\na.png,1\na.png,2\n");
  EXPECT_EQ(message_of<FormatError>([&] { open_pairs(d / "lines/y.csv"); }),
            "[csv] " + (d / "lines/y.csv") + " line 3: the label is 2, but " + (d / "lines/classnames.txt") + " names 2 classes, counted from 0");
}

TEST(Pairs, ACsvWithLabelsIsAnEvaluationSet) {
  Temporary d;
  for (const char* file : {"a.png", "b.png"}) { write(d / file, picture(uint8_t(file[0]))); }
  write(d / "x.csv", "image,label\na.png,red fox\nb.png,\nb.png,cat\n");
  LabelledSet set = open_labelled_set(d / "x.csv", "test");
  EXPECT_EQ(set.classnames, (std::vector<std::string>{"cat", "red fox"}));
  ASSERT_EQ(set.size(), 2);
  EXPECT_EQ(set.sample(1).label, 0);
  EXPECT_EQ(set.sample(1).image, picture('b'));
  EXPECT_EQ(set.sample(1).name, (d / "x.csv") + " line 4 (" + (d / "b.png") + ")");
  EXPECT_FALSE(has_train_side(d / "x.csv"));
  write(d / "sub/y.tsv", "photo\tspecies\na.png\tcat\n");
  EXPECT_EQ(open_labelled_set(d / "sub/y.tsv", "test", {.image_column = "photo", .label_column = "species", .image_folder = d / ""}).sample(0).image,
            picture('a'));
  write(d / "none.csv", "image,caption\na.png,a cat\n");
  EXPECT_EQ(message_of<UsageError>([&] { open_labelled_set(d / "none.csv", "test"); }),
            "[csv] " + (d / "none.csv") + ": no column 'label' or 'class'. Columns: image, caption (separator ','). Try: --csv-label-key image");
  write(d / "empty.csv", "image,label\na.png,\n");
  EXPECT_EQ(message_of<FormatError>([&] { open_labelled_set(d / "empty.csv", "test"); }), "[eval] " + (d / "empty.csv") + " has no row with a label");
}

TEST(Pairs, ProblemsAreKeptWithTheirPlaces) {
  Temporary d;
  write(d / "a.png", picture(1));
  write(d / "e.png", "");
  std::filesystem::create_directories(d / "d.png");
  write(d / "x.csv", "image,caption\na.png,caf\xe9\na.png,fine\ne.png,x\nd.png,x\ngone.png,x\na.png,\na.png,a" + std::string(1, '\0') + "b\n");
  auto pairs = open_pairs(d / "x.csv");
  EXPECT_EQ(pairs->size(), 3);
  const std::string file = d / "x.csv", picture_at = ": the picture " + (d / "");
  const std::vector<std::string> expected = {
      file + " line 2: the caption is not UTF-8 (byte 3 is 0xe9)", file + " line 4" + picture_at + "e.png is empty",
      file + " line 5" + picture_at + "d.png is a directory", file + " line 6" + picture_at + "gone.png does not exist",
      file + " line 7: the caption is empty", file + " line 8: the caption holds a NUL byte (byte 1)"};
  EXPECT_EQ(pairs->problems(), expected);
  EXPECT_EQ(pairs->report(), "left out 4 of 7 entries; the first: " + file + " line 4" + picture_at +
                                 "e.png is empty; captions that are no proper text: 2; the first: " + file +
                                 " line 2: the caption is not UTF-8 (byte 3 is 0xe9). Save them as UTF-8");
  auto message = [](const std::string& bytes) { return message_of<FormatError>([&] { parse_idx_images(bytes, "f"); }); };
  EXPECT_EQ(message("version https://git-lfs.github.com/spec/v1\n"),
            "[idx] f is a git-lfs pointer, not the file itself: run git lfs pull; an IDX file, plain or .gz, is required");
}

const char* kCoco = R"({"images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}, {"id": 11, "file_name": "none.png"}],
  "annotations": [{"id": 1, "image_id": 9, "caption": "b one"}, {"id": 2, "image_id": 7, "caption": " a one\n"},
                  {"id": 3, "image_id": 9, "caption": "b two"}]})";

TEST(Pairs, OfCocoAndKarpathyJson) {
  Temporary d;
  write(d / "a.png", picture(1));
  write(d / "b.png", picture(2));
  write(d / "captions.json", kCoco);
  EXPECT_EQ(captions_of(*open_pairs(d / "captions.json")), (std::vector<std::string>{"a one", "b one", "b two"}));
  RetrievalSet set = open_retrieval_set(d / "captions.json");
  ASSERT_EQ(set.size(), 2);
  EXPECT_EQ(set.sample(1).captions, (std::vector<std::string>{"b one", "b two"}));

  write(d / "sub/a.png", picture(3));
  write(d / "dataset.json", R"({"images": [{"filename": "a.png", "filepath": "sub", "split": "restval", "sentences": [{"raw": "r"}]},
    {"filename": "b.png", "split": "test", "sentences": [{"raw": "t"}]},
    {"filename": "a.png", "split": "train", "sentences": [{"raw": "u"}, {"raw": "v"}]}]})");
  EXPECT_EQ(captions_of(*open_pairs(d / "dataset.json")), (std::vector<std::string>{"r", "u", "v"}));
  EXPECT_EQ(open_pairs(d / "dataset.json")->image(0), picture(3));
  EXPECT_EQ(open_retrieval_set(d / "dataset.json").sample(0).captions, (std::vector<std::string>{"t"}));
}

TEST(Pairs, BrokenCocoNamesThePlace) {
  auto message = [](const std::string& text) { return message_of<FormatError>([&] { parse_caption_json(text, "c.json", "train"); }); };
  EXPECT_EQ(message(R"({"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []})"),
            "[coco] c.json: images[1] has the id 1 of an earlier image");
  EXPECT_EQ(message(R"({"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2, "caption": "x"}]})"),
            "[coco] c.json: annotations[0] belongs to the image 2, which \"images\" does not list");
  EXPECT_TRUE(contains(message(R"({"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": []}]})"),
                       "is this an instances or keypoints file?"));
  EXPECT_EQ(message(R"({"images": [{"id": "1", "file_name": "a"}], "annotations": []})"), "[coco] c.json: images[0] needs an integer \"id\"");
  EXPECT_TRUE(contains(message(R"({"images": []})"), "is neither COCO captions"));
  EXPECT_EQ(message("{}"), "[coco] c.json needs a list \"images\"");
  EXPECT_TRUE(contains(message("[]"), "c.json is a list; captions come as an object"));
  EXPECT_EQ(message("PK\x03\x04"), "[coco] c.json is a zip archive (a PyTorch or NumPy .npz file is one too); captions as JSON are required");
  EXPECT_TRUE(contains(message("{"), "c.json is not valid JSON"));
}

TEST(Pairs, OfClassFoldersAndTheirSplits) {
  Temporary d;
  for (const char* file : {"train/red_fox/1.png", "train/red_fox/2.png", "train/cat/1.png", "test/cat/9.png", "test/red_fox/8.png"}) {
    write(d / file, picture(5));
  }
  auto train = open_pairs(d / "");
  EXPECT_EQ(captions_of(*train), (std::vector<std::string>{"a photo of a cat.", "a photo of a red fox.", "a photo of a red fox."}));
  EXPECT_EQ(train->classnames(), (std::vector<std::string>{"cat", "red fox"}));
  EXPECT_EQ(train->label(2), 1);
  EXPECT_EQ(open_pairs(d / "", {.split = "test"})->size(), 2);
  Temporary empty;
  EXPECT_TRUE(contains(message_of<UsageError>([&] { open_pairs(empty / ""); }), "is no source of pairs: looked for two folders with pictures"));
}

// Wherever PNG and JPEG are taken; what becomes of the pixels is tested in image_test.cpp.
TEST(Pairs, WebpIsAPictureEverywhere) {
  Temporary d;
  const std::string webp = read_file(PUMICE_FIXTURES "/data/fixtures/pictures/0025_lossless.webp");
  for (const char* file : {"classes/cat/a.webp", "classes/dog/b.WEBP"}) { write(d / file, webp); }
  write(d / "x.csv", "image,caption\nclasses/cat/a.webp,a cat\n");
  write(d / "coco.json", R"({"images": [{"id": 1, "file_name": "classes/cat/a.webp"}], "annotations": [{"image_id": 1, "caption": "a cat"}]})");
  TarWriter tar(d / "0.tar");
  for (const auto& [name, content] : {std::pair<std::string, std::string>{"1.cls", "1"}, {"1.txt", "a cat"}, {"1.webp", webp}}) {
    tar.add(name, content);
  }
  tar.close();
  write(d / "classnames.txt", "dog\ncat\n");
  for (const char* source : {"classes", "x.csv", "coco.json", "0.tar"}) { EXPECT_EQ(open_pairs(d / source)->image(0), webp) << source; }
  EXPECT_EQ(open_labelled_set(d / "classes", "test").sample(1).image, webp);
  EXPECT_EQ(open_labelled_set(d / "0.tar", "test").sample(0).label, 1);
  for (const char* source : {"x.csv", "coco.json", "0.tar"}) { EXPECT_EQ(open_retrieval_set(d / source).sample(0).image, webp) << source; }
}

std::string idx(uint32_t magic, std::vector<uint32_t> axes, const std::string& values) {
  std::string bytes;
  auto put = [&](uint32_t v) { for (int shift : {24, 16, 8, 0}) { bytes += char(v >> shift & 255); } };
  put(magic);
  for (uint32_t a : axes) { put(a); }
  return bytes + values;
}

TEST(Pairs, OfIdxFiles) {
  Temporary d;
  write(d / "train-images-idx3-ubyte", idx(0x803, {2, 2, 3}, "abcdefABCDEF"));
  write(d / "train-labels-idx1-ubyte", idx(0x801, {2}, std::string("\x01\x00", 2)));
  auto pairs = open_pairs(d / "");
  EXPECT_EQ(captions_of(*pairs), (std::vector<std::string>{"a photo of a 1.", "a photo of a 0."}));
  Image image = decode_image(pairs->image(1), "x");
  EXPECT_EQ(image.width, 3);
  EXPECT_EQ(image.height, 2);
  EXPECT_EQ(image.rgb[4], 'B');
  EXPECT_EQ(open_labelled_set(d / "", "train").sample(0).label, 1);
  write(d / "classnames.txt", "bag\n");
  EXPECT_TRUE(contains(message_of<FormatError>([&] { open_pairs(d / ""); }), "label 0 of "));

  auto images = [](const std::string& bytes) { return message_of<FormatError>([&] { parse_idx_images(bytes, "f"); }); };
  EXPECT_TRUE(contains(images(idx(0x801, {2}, "ab")), "must begin with 00 00 08 03. Are images and labels swapped?"));
  EXPECT_TRUE(contains(images(idx(0x803, {2, 2, 2}, "abc")), "promises 8 values and holds 3"));
  EXPECT_TRUE(contains(images(idx(0x803, {0xffffffff, 0xffffffff, 0xffffffff}, "")), "promises more than 4 GiB of values"));
  EXPECT_TRUE(contains(images(idx(0x803, {2}, "")), "ends within its header"));
}

TEST(Pairs, MixesRepeatSourcesByTheirFactors) {
  Temporary d;
  write(d / "a.png", picture(1));
  write(d / "x.csv", "image,caption\na.png,x0\na.png,x1\n");
  write(d / "y.csv", "image,caption\na.png,y0\na.png,y1\na.png,y2\na.png,y3\n");
  const std::string spec = (d / "x.csv") + "::" + (d / "y.csv");
  EXPECT_EQ(captions_of(*open_pairs(spec)), (std::vector<std::string>{"x0", "x1", "y0", "y1", "y2", "y3"}));
  EXPECT_EQ(captions_of(*open_pairs(spec, {.upsampling = {2, 2}})), captions_of(*open_pairs(spec)));
  EXPECT_EQ(captions_of(*open_pairs(spec, {.upsampling = {2, 1}})), (std::vector<std::string>{"x0", "x1", "x0", "x1", "y0", "y1", "y2", "y3"}));
  // one and a half passes over y: every sample once, then every second one
  EXPECT_EQ(captions_of(*open_pairs(spec, {.upsampling = {1, 1.5}})), (std::vector<std::string>{"x0", "x1", "y0", "y1", "y2", "y3", "y0", "y2"}));
  EXPECT_NE(open_pairs(spec, {.upsampling = {2, 1}})->fingerprint(), open_pairs(spec)->fingerprint());
  EXPECT_TRUE(contains(message_of<UsageError>([&] { open_pairs(spec, {.upsampling = {1}}); }), "must name one factor for each of the 2 sources"));
  EXPECT_TRUE(contains(message_of<UsageError>([&] { open_pairs(spec, {.upsampling = {1, -1}}); }), "must be positive"));
  EXPECT_TRUE(contains(message_of<UsageError>([&] { open_pairs(spec, {.upsampling = {1e6, 1e-6}}); }),
                       "--train-data-upsampling-factors 1e+06::1e-06 make a pass of more than 1000000000 samples"));
}

TEST(Pairs, LabelsOfAMixMeanTheClassesOfAllItsSources) {
  Temporary d;
  for (const char* file : {"a/cat/1.png", "a/dog/1.png", "b/dog/1.png", "b/emu/1.png"}) { write(d / file, picture(5)); }
  auto mix = open_pairs((d / "a") + "::" + (d / "b"));
  EXPECT_EQ(mix->classnames(), (std::vector<std::string>{"cat", "dog", "emu"}));
  std::vector<int> labels;
  for (int64_t i = 0; i < mix->size(); ++i) { labels.push_back(mix->label(i)); }
  EXPECT_EQ(labels, (std::vector<int>{0, 1, 1, 2}));
}

TEST(Pairs, ShardsTakeLabelsAndCaptionsFromClasses) {
  Temporary d;
  {
    TarWriter tar(d / "0.tar");
    tar.add("1.png", picture(1));
    tar.add("1.cls", "1\n");
    tar.add("2.png", picture(2));
    tar.add("2.cls", "0");
    tar.add("2.txt", "own words");
    tar.close();
  }
  write(d / "classnames.txt", "cat\nred fox\n");
  auto pairs = open_pairs(d / "0.tar");
  EXPECT_EQ(captions_of(*pairs), (std::vector<std::string>{"a photo of a red fox.", "own words"}));
  EXPECT_EQ(pairs->label(0), 1);
  EXPECT_EQ(pairs->label(1), 0);
}

TEST(Pairs, TheExpectedShareOfDuplicates) {
  Temporary d;
  write(d / "a.png", picture(1));
  std::string rows = "image,caption\n";
  for (int i = 0; i < 100; ++i) { rows += "a.png," + std::string(i < 50 ? "same" : "own " + std::to_string(i)) + "\n"; }
  write(d / "x.csv", rows);
  auto pairs = open_pairs(d / "x.csv");
  EXPECT_EQ(duplicate_share(*pairs, 1), 0);
  EXPECT_NEAR(duplicate_share(*pairs, 2), 0.5 * 49 / 99, 1e-12);
  EXPECT_NEAR(duplicate_share(*pairs, 64), 0.5, 1e-6);
}

TEST(Pairs, SharesOfEqualPicturesAreEstimated) {
  Temporary d;
  std::string rows = "image,caption\n", once = rows;
  for (int i = 0; i < 100; ++i) {
    write(d / (std::to_string(i) + ".png"), picture(uint8_t(i)));
    once += std::to_string(i) + ".png,own " + std::to_string(i) + "\n";
  }
  for (int i = 0; i < 2000; ++i) { rows += std::to_string(i % 100) + ".png,own " + std::to_string(i) + "\n"; }
  write(d / "many.csv", rows);
  write(d / "once.csv", once);
  auto many = open_pairs(d / "many.csv");
  EXPECT_EQ(duplicate_share(*many, 128), 0);
  EXPECT_EQ(duplicate_picture_share(*open_pairs(d / "once.csv"), 64), 0);
  const double exact = 1 - std::pow(1 - 19.0 / 1999, 31);
  EXPECT_NEAR(duplicate_picture_share(*many, 32, 2000), exact, 1e-12);
  EXPECT_NEAR(duplicate_picture_share(*many, 32), exact, 0.04);  // of 512
}

TEST(Pairs, ABatchOfDistinctPicturesLeavesDuplicatesOut) {
  Temporary d;
  std::string rows = "image,caption\n";
  for (int i = 0; i < 40; ++i) {
    write(d / (std::to_string(i) + ".png"), picture(uint8_t(i % 10)));  // equal files under other names
    rows += std::to_string(i) + ".png,caption " + std::to_string(i) + "\n";
  }
  write(d / "x.csv", rows);
  auto pairs = open_pairs(d / "x.csv");
  Tokenizer tokenizer = Tokenizer::train({}, {.vocab_size = 257});
  LoaderOptions o{.batch_size = 8, .image_size = 8, .text_length = 16, .seed = 3, .distinct = true, .prefetch = 0};
  Loader loader(*pairs, tokenizer, o);
  for (int b = 0; b < 10; ++b) {
    const Batch batch = loader.next();
    std::set<uint8_t> greys;
    for (int i = 0; i < 8; ++i) { greys.insert(batch.pixels.data<uint8_t>()[i * 8 * 8 * 3]); }
    EXPECT_EQ(greys.size(), 8u);
  }
  o.batch_size = 11;
  Loader impossible(*pairs, tokenizer, o);
  EXPECT_TRUE(contains(message_of<FormatError>([&] { impossible.next(); }), "there are too few different captions or pictures for --dedupe-batch"));
}

TEST(Pairs, ABatchOfDistinctCaptionsLeavesDuplicatesOut) {
  Temporary d;
  std::string rows = "image,caption\n";
  for (int i = 0; i < 40; ++i) {
    write(d / (std::to_string(i) + ".png"), picture(uint8_t(i)));
    rows += std::to_string(i) + ".png,caption " + std::to_string(i % 10) + "\n";
  }
  write(d / "x.csv", rows);
  auto pairs = open_pairs(d / "x.csv");
  Tokenizer tokenizer = Tokenizer::train({}, {.vocab_size = 257});
  LoaderOptions o{.batch_size = 8, .image_size = 8, .text_length = 16, .seed = 3, .distinct = true, .prefetch = 0};
  Loader whole(*pairs, tokenizer, o);
  std::vector<std::string> all, pieces;
  for (int b = 0; b < 10; ++b) {
    Batch batch = whole.next();
    std::vector<std::string> captions = batch.captions;
    all.insert(all.end(), captions.begin(), captions.end());
    std::sort(captions.begin(), captions.end());
    EXPECT_EQ(std::unique(captions.begin(), captions.end()), captions.end());
    Loader resumed(*pairs, tokenizer, o);  // the position says everything
    o.position = batch.position;
    std::vector<std::string> again = resumed.next().captions;
    pieces.insert(pieces.end(), again.begin(), again.end());
  }
  EXPECT_EQ(all, pieces);
  o.batch_size = 11;
  o.position = 0;
  Loader impossible(*pairs, tokenizer, o);
  EXPECT_TRUE(contains(message_of<FormatError>([&] { impossible.next(); }), "there are too few different captions or pictures for --dedupe-batch"));
}

}  // namespace
}  // namespace pumice
