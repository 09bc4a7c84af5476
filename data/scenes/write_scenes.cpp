#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/data/csv.h"
#include "pumice/data/scenes/scene.h"
#include "pumice/data/scenes/scenes.h"
#include "pumice/data/tar.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kPerShard = 1000;

std::string digits(int64_t n, size_t width) {
  std::string text = std::to_string(n);
  return std::string(text.size() < width ? width - text.size() : 0, '0') + text;
}

class Writer {
 public:
  Writer(const SceneOptions& options, const Catalogue& catalogue, const std::function<void(double)>& progress)
      : o_(options), catalogue_(catalogue), progress_(progress), concepts_(int64_t(catalogue.concepts().size())) {
    total_ = o_.train + o_.val + 2 * held_out() + 3 * o_.eval_per_class * concepts_;
  }

  int64_t held_out() const { return std::min<int64_t>(o_.val, 500); }
  uint64_t hash() const { return hash_; }

  // Shards DIR/NAME-000000.tar, ...
  void write_split(const std::string& name, SceneSplit split, int64_t count, int64_t captions_each) {
    make_directory(name);
    std::string csv = csv_row({"filepath", "caption"});
    const bool as_files = split == SceneSplit::val;
    if (as_files) { make_directory("val_images"); }
    for (int64_t begin = 0; begin < count; begin += kPerShard) {
      TarWriter tar(path(name) / (name + "-" + digits(begin / kPerShard, 6) + ".tar"));
      for (int64_t i = begin; i < std::min(begin + kPerShard, count); ++i) {
        SceneRandom random(o_.seed, uint64_t(split), uint64_t(i));
        Scene scene = sample_scene(split, concepts_, catalogue_, o_.size, random);
        std::string png = encode_png(remember(draw_scene(scene, catalogue_, o_.size)));
        std::vector<std::string> captions;
        for (int64_t k = 0; k < captions_each; ++k) { captions.push_back(remember(caption_of(scene, catalogue_, split, random))); }
        const std::string key = digits(i, 7);
        tar.add(key + ".json", truth_json(scene, catalogue_, captions));
        tar.add(key + ".png", png);
        tar.add(key + ".txt", captions[0]);
        if (as_files) {
          write_file_atomic(path("val_images") / (key + ".png"), png);
          for (const std::string& caption : captions) { csv += csv_row({"val_images/" + key + ".png", caption}); }
        }
        step();
      }
      tar.close();
    }
    if (as_files) { write_file_atomic(path("val.csv"), csv); }
  }

  // A CLIP_benchmark directory of single objects; its training side is for baselines that learn from labels.
  void write_objects() {
    make_directory("eval-objects");
    std::string names;
    for (const Concept& c : catalogue_.concepts()) { names += c.name + "\n"; }
    write_file_atomic(path("eval-objects/classnames.txt"), names);
    write_file_atomic(path("eval-objects/zeroshot_classification_templates.txt"),
                      "a {c}\na picture of a {c}\na photo of a {c}.\nan image of a {c}\nthere is a {c}\n");
    write_side("eval-objects/test", SceneSplit::eval_test, o_.eval_per_class);
    write_side("eval-objects/train", SceneSplit::eval_train, 2 * o_.eval_per_class);
  }

  void write_description(const SceneReport& report) {
    nlohmann::ordered_json j;
    j["version"] = report.version;
    j["seed"] = o_.seed;
    j["size"] = o_.size;
    j["train"] = report.train;
    j["val"] = report.val;
    j["concepts"] = nlohmann::ordered_json::array();
    for (const Concept& c : catalogue_.concepts()) { j["concepts"].push_back({{"name", c.name}, {"category", c.category}}); }
    j["hash"] = std::to_string(report.hash);
    if (!report.font.empty()) {
      j["licences"] = {{"glyphs", "Noto Color Emoji: SIL Open Font License 1.1"}, {"names", "Unicode, Inc.: https://www.unicode.org/copyright.html"}};
    }
    write_file_atomic(path("dataset.json"), j.dump(2) + "\n");
  }

 private:
  fs::path path(const std::string& name) const { return fs::path(o_.out) / name; }

  void make_directory(const std::string& name) const {
    std::error_code error;
    fs::create_directories(path(name), error);
    REQUIRE(IoError, !error, "[scenes] the directory ", path(name).string(), " cannot be made: ", error.message());
  }

  void write_side(const std::string& name, SceneSplit split, int64_t per_class) {
    make_directory(name);
    write_file_atomic(path(name) / "nshards.txt", "1\n");
    TarWriter tar(path(name) / "0.tar");
    for (int64_t i = 0; i < per_class * concepts_; ++i) {
      SceneRandom random(o_.seed, uint64_t(split), uint64_t(i));
      const int64_t label = i % concepts_;
      Image image = remember(draw_scene(sample_object(label, catalogue_, o_.size, random), catalogue_, o_.size));
      const std::string key = "s" + digits(i, 7);
      tar.add(key + ".cls", std::to_string(label));
      tar.add(key + ".png", encode_png(image));
      step();
    }
    tar.close();
  }

  void step() {
    if (++done_ % 200 == 0 || done_ == total_) { progress_(double(done_) / double(total_)); }
  }

  Image remember(Image image) {
    for (uint8_t v : image.rgb) { hash_ = (hash_ ^ v) * 1099511628211ull; }  // FNV-1a
    return image;
  }
  std::string remember(std::string caption) {
    for (unsigned char v : caption) { hash_ = (hash_ ^ v) * 1099511628211ull; }
    return caption;
  }

  const SceneOptions& o_;
  const Catalogue& catalogue_;
  const std::function<void(double)>& progress_;
  int64_t concepts_, total_ = 0, done_ = 0;
  uint64_t hash_ = 14695981039346656037ull;
};

void prepare_directory(const SceneOptions& o) {
  std::error_code error;
  const bool filled = fs::exists(o.out) && !fs::is_empty(o.out, error);
  REQUIRE(UsageError, !filled || o.overwrite, "[scenes] ", o.out, " is not empty. Choose another --out, or replace what is there with --overwrite");
  if (!filled) { return; }
  REQUIRE(UsageError, fs::exists(fs::path(o.out) / "dataset.json"), "[scenes] ", o.out,
          " does not look like a set of sample scenes (no dataset.json), so --overwrite leaves it alone. "
          "Choose another --out");
  for (const char* part : {"train", "val", "val_images", "val.csv", "compositional", "templates", "eval-objects", "dataset.json"}) {
    fs::remove_all(fs::path(o.out) / part, error);
  }
}

}  // namespace

SceneReport write_scenes(const SceneOptions& options, const std::function<void(double)>& progress) {
  REQUIRE(UsageError, !options.out.empty(), "[scenes] --out is required: the directory to fill, for example --out datasets/scenes");
  REQUIRE(UsageError, options.size >= 16 && options.size <= 1024, "[scenes] --size must be in [16, 1024], got ", options.size);
  REQUIRE(UsageError, options.concepts >= 8, "[scenes] --concepts must be at least 8, got ", options.concepts,
          ": with fewer, no combination could be held out");
  REQUIRE(UsageError, options.train >= 0 && options.val >= 1 && options.eval_per_class >= 1,
          "[scenes] --train must not be negative, --val and --eval-per-class must be at least 1, got ", options.train, ", ", options.val, " and ",
          options.eval_per_class);
  SceneReport report;
  report.font = options.shapes ? "" : find_emoji_font(options.font);
  report.version = report.font.empty() ? "shapes-v1" : "emoji-v1";
  Catalogue catalogue(report.font.empty() ? shape_concepts(options.concepts) : emoji_concepts(options.concepts), report.font);
  prepare_directory(options);
  Writer writer(options, catalogue, progress);
  writer.write_split("train", SceneSplit::train, options.train, 1);
  writer.write_split("val", SceneSplit::val, options.val, 3);
  writer.write_split("compositional", SceneSplit::compositional, writer.held_out(), 3);
  writer.write_split("templates", SceneSplit::templates, writer.held_out(), 3);
  writer.write_objects();
  report.concepts = int64_t(catalogue.concepts().size());
  report.train = options.train;
  report.val = options.val;
  report.eval = options.eval_per_class * report.concepts;
  report.hash = writer.hash();
  writer.write_description(report);
  return report;
}

}  // namespace pumice
