#include "pumice/data/template.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "pumice/data/csv.h"
#include "pumice/data/image.h"
#include "pumice/data/tar.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

struct Colour { const char* name; uint8_t rgb[3]; };
constexpr Colour kColours[] = {{"red", {214, 48, 49}}, {"green", {39, 174, 96}}, {"blue", {41, 98, 214}}, {"yellow", {241, 196, 15}}};
constexpr const char* kShapes[] = {"circle", "square", "triangle"};
constexpr int kSize = 64, kSamples = 24;

struct Sample { std::string key, picture, caption, shape; int label; };

bool inside(int shape, double x, double y) {  // of the unit square around 0
  if (shape == 0) { return x * x + y * y < 0.64; }
  if (shape == 1) { return std::abs(x) < 0.7 && std::abs(y) < 0.7; }
  return y < 0.7 && std::abs(x) < (y + 0.8) / 2;
}

// Every colour and shape, once on white and once on grey.
Image drawing(int i) {
  const Colour& colour = kColours[i % 4];
  const int shape = i / 4 % 3;
  Image image{kSize, kSize, std::vector<uint8_t>(size_t(kSize) * kSize * 3, uint8_t(i < 12 ? 255 : 160))};
  for (int p = 0; p < kSize * kSize; ++p) {
    if (!inside(shape, (p % kSize + 0.5) / (kSize / 2) - 1, (p / kSize + 0.5) / (kSize / 2) - 1)) { continue; }
    std::copy(colour.rgb, colour.rgb + 3, image.rgb.begin() + 3 * p);
  }
  return image;
}

Sample sample(int i) {
  const int shape = i / 4 % 3;
  const std::string number = std::to_string(i), caption = concat_text("a ", kColours[i % 4].name, " ", kShapes[shape], i < 12 ? " on white" : " on grey");
  return {std::string(6 - number.size(), '0') + number, encode_png(drawing(i)), caption, kShapes[shape], shape};
}

void write_picture(const fs::path& path, const Sample& s) {
  fs::create_directories(path.parent_path());
  write_file_atomic(path.string(), s.picture);
}

std::string write_csv(const fs::path& directory) {
  std::string rows = csv_row({"filepath", "caption"});
  for (int i = 0; i < kSamples; ++i) {
    Sample s = sample(i);
    write_picture(directory / "pictures" / (s.key + ".png"), s);
    rows += csv_row({"pictures/" + s.key + ".png", s.caption});
  }
  write_file_atomic((directory / "train.csv").string(), rows);
  return (directory / "train.csv").string();
}

std::string write_coco(const fs::path& directory) {
  std::string images, annotations;
  for (int i = 0; i < kSamples; ++i) {
    Sample s = sample(i);
    write_picture(directory / "pictures" / (s.key + ".png"), s);
    images += concat_text(i ? ",\n    " : "", "{\"id\": ", i, ", \"file_name\": \"pictures/", s.key, ".png\", \"width\": ", kSize, ", \"height\": ",
                          kSize, "}");
    annotations += concat_text(i ? ",\n    " : "", "{\"id\": ", i, ", \"image_id\": ", i, ", \"caption\": \"", s.caption, "\"}");
  }
  write_file_atomic((directory / "captions.json").string(),
                    "{\n  \"images\": [\n    " + images + "],\n  \"annotations\": [\n    " + annotations + "]\n}\n");
  return (directory / "captions.json").string();
}

std::string write_karpathy(const fs::path& directory) {
  std::string images;
  for (int i = 0; i < kSamples; ++i) {
    Sample s = sample(i);
    write_picture(directory / "pictures" / (s.key + ".png"), s);
    images += concat_text(i ? ",\n  " : "", "{\"filepath\": \"pictures\", \"filename\": \"", s.key, ".png\", \"split\": \"", i % 8 < 6 ? "train" : "test",
                          "\", \"sentences\": [{\"raw\": \"", s.caption, "\"}]}");
  }
  write_file_atomic((directory / "dataset.json").string(), "{\"images\": [\n  " + images + "]}\n");
  return (directory / "dataset.json").string();
}

std::string write_folder(const fs::path& directory) {
  for (int i = 0; i < kSamples; ++i) {
    Sample s = sample(i);
    write_picture(directory / (i % 8 < 6 ? "train" : "test") / s.shape / (s.key + ".png"), s);
  }
  return directory.string();
}

void write_shard(const fs::path& path, int begin, int end, bool labels) {
  fs::create_directories(path.parent_path());
  TarWriter tar(path.string());
  for (int i = begin; i < end; ++i) {
    Sample s = sample(i);
    if (labels) { tar.add(s.key + ".cls", std::to_string(s.label)); }
    tar.add(s.key + ".png", s.picture);
    if (!labels) { tar.add(s.key + ".txt", s.caption); }
  }
  tar.close();
}

std::string write_webdataset(const fs::path& directory) {
  for (int shard : {0, 1}) {
    write_shard(directory / concat_text("train-00000", shard, ".tar"), shard * kSamples / 2, (shard + 1) * kSamples / 2, false);
  }
  return (directory / "train-{000000..000001}.tar").string();
}

std::string big_endian(uint32_t value) { return {char(value >> 24), char(value >> 16), char(value >> 8), char(value)}; }

// Grey pictures and their classes, as MNIST's files have them.
std::string write_idx(const fs::path& directory) {
  fs::create_directories(directory);
  for (const bool train : {true, false}) {
    std::string pixels, labels;
    for (int i = 0; i < kSamples; ++i) {
      if ((i % 8 < 6) != train) { continue; }
      const Image image = drawing(i);
      for (int p = 0; p < kSize * kSize; ++p) { pixels += char((image.rgb[size_t(3 * p)] + image.rgb[size_t(3 * p + 1)] + image.rgb[size_t(3 * p + 2)]) / 3); }
      labels += char(sample(i).label);
    }
    const auto count = uint32_t(labels.size());
    const std::string stem = (directory / (train ? "train" : "t10k")).string();
    write_file_atomic(stem + "-images-idx3-ubyte", big_endian(0x803) + big_endian(count) + big_endian(kSize) + big_endian(kSize) + pixels);
    write_file_atomic(stem + "-labels-idx1-ubyte", big_endian(0x801) + big_endian(count) + labels);
  }
  std::string names;
  for (const char* shape : kShapes) { names += shape + std::string("\n"); }
  write_file_atomic((directory / "classnames.txt").string(), names);
  return directory.string();
}

std::string write_benchmark(const fs::path& directory) {
  write_shard(directory / "train" / "0.tar", 0, kSamples / 2, true);
  write_shard(directory / "test" / "0.tar", kSamples / 2, kSamples, true);
  for (const char* split : {"train", "test"}) { write_file_atomic((directory / split / "nshards.txt").string(), "1\n"); }
  std::string names;
  for (const char* shape : kShapes) { names += shape + std::string("\n"); }
  write_file_atomic((directory / "classnames.txt").string(), names);
  write_file_atomic((directory / "zeroshot_classification_templates.txt").string(), "a photo of a {c}.\na {c}\n");
  return directory.string();
}

// Several turns, a picture at the end of its question, and text alone.
std::string write_llava(const fs::path& directory) {
  auto entry = [](const char* from, const std::string& value) { return concat_text("{\"from\": \"", from, "\", \"value\": \"", value, "\"}"); };
  auto line = [](const char* id, const std::string& image, const std::vector<std::string>& entries) {
    const std::string picture = image.empty() ? "" : "\"image\": \"" + image + "\", ";
    return concat_text("  {\"id\": \"", id, "\", ", picture, "\"conversations\": [", join(entries), "]}");
  };
  std::string pictures[2];
  for (int i : {0, 1}) {
    pictures[i] = "pictures/" + sample(i).key + ".png";
    write_picture(directory / pictures[i], sample(i));
  }
  const std::string lines[] = {
      line("0", pictures[0], {entry("human", "<image>\\nWhat is this?"), entry("gpt", sample(0).caption), entry("human", "What shape is it?"),
                              entry("gpt", "It is a " + sample(0).shape + ".")}),
      line("1", pictures[1], {entry("human", "Describe the picture.\\n<image>"), entry("gpt", sample(1).caption)}),
      line("2", "", {entry("human", "How many corners has a square?"), entry("gpt", "Four.")})};
  write_file_atomic((directory / "train.json").string(), "[\n" + lines[0] + ",\n" + lines[1] + ",\n" + lines[2] + "\n]\n");
  return (directory / "train.json").string();
}

}  // namespace

const std::vector<std::string>& template_kinds() {
  static const std::vector<std::string> kinds = {"csv", "coco", "karpathy", "folder", "idx", "webdataset", "clip-benchmark", "llava"};
  return kinds;
}

std::string write_template(const std::string& kind, const std::string& directory) {
  const auto& kinds = template_kinds();
  REQUIRE(UsageError, std::find(kinds.begin(), kinds.end(), kind) != kinds.end(), "[template] there is no template '", kind,
          "'. Templates: ", join(kinds), ".", did_you_mean(kind, kinds));
  REQUIRE(UsageError, !directory.empty(), "[template] --out is required: the directory to write");
  REQUIRE(UsageError, !fs::exists(directory), "[template] ", directory, " exists already; choose another --out");
  if (kind == "csv") { return write_csv(directory); }
  if (kind == "coco") { return write_coco(directory); }
  if (kind == "karpathy") { return write_karpathy(directory); }
  if (kind == "folder") { return write_folder(directory); }
  if (kind == "idx") { return write_idx(directory); }
  if (kind == "llava") { return write_llava(directory); }
  return kind == "webdataset" ? write_webdataset(directory) : write_benchmark(directory);
}

}  // namespace pumice
