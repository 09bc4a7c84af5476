#include <nlohmann/json.hpp>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/train/eval/zeroshot.h"
#include "pumice/train/recipe.h"

namespace pumice {
namespace {

using Json = nlohmann::ordered_json;

class EvalZeroshot : public Command {
 public:
  std::string name() const override { return "eval zeroshot"; }
  std::string summary() const override { return "classify pictures by the text of their class names"; }
  std::string examples() const override {
    return "  pumice eval zeroshot --model runs/a --data datasets/scenes/eval-objects\n"
           "  pumice eval zeroshot --model runs/a --data pictures-by-class --templates 'a photo of a {}.,a drawing of a {}.'\n";
  }
  void declare(OptionTable& o) override {
    o.add("model", model_, "Input", "a run directory or a checkpoint");
    o.add("text-model", text_model_, "Input",
          "another checkpoint that embeds the prompts, such as one that keeps the experts of text; default: --model");
    o.add("ema", ema_, "Input", "evaluate the moving average of the weights");
    o.add("data", data_, "Input", "a folder per class, a CSV with labels, an IDX or CLIP_benchmark folder, or webdataset shards with .cls");
    o.add("csv-img-key", files_.image_column, "Input", "CSV: the column of picture paths; default: filepath, image, path, file_name or image_name");
    o.add("csv-label-key", files_.label_column, "Input", "CSV: the column of classes; default: label or class");
    o.add("image-folder", files_.image_folder, "Input", "where relative picture paths of a CSV start; default: beside the file");
    o.add("exif-orientation", exif_, "Input", "turn pictures as their EXIF data says; default: as in training").alias("exif-rotate");
    o.add("templates", templates_, "Input", "prompt templates with {} for the class name, separated by commas; default: those of the set");
    o.add("canonicalize", canonical_, "Input", "prompts in lower case, without punctuation, '_' as a space, as big_vision evaluates");
    o.add("confusions", confusions_, "Output", "how many of the most frequent confusions are printed; the JSON has all");
    o.add("output", output_, "Output", "write the result as JSON to this file");
    add_device_option(o, device_);
    o.add("baselines", baselines_, "Output", "measure nearest-neighbour baselines where the set has a training side");
  }

  int run(OptionTable& options, const std::vector<std::string>&) override {
    REQUIRE(UsageError, confusions_ >= 0, "pumice eval zeroshot: --confusions must not be negative, got ", confusions_);
    REQUIRE(UsageError, !model_.empty() && !data_.empty(), "pumice eval zeroshot: --model and --data are required. See pumice eval zeroshot --help");
    LabelledSet set = open_labelled_set(data_, "test", files_);
    if (!templates_.empty()) { set.templates = templates_; }
    ImageTextPipeline pipeline(model_, DType::f32, ema_ ? Weights::average : Weights::trained, device_);
    if (!options.find("exif-orientation")->source.empty()) { pipeline.set_exif_orientation(exif_); }
    std::unique_ptr<ImageTextPipeline> text =
        text_model_.empty() ? nullptr : std::make_unique<ImageTextPipeline>(text_model_, DType::f32, Weights::trained, device_);
    std::unique_ptr<LabelledSet> train_side;
    if (baselines_ && has_train_side(data_)) { train_side = std::make_unique<LabelledSet>(open_labelled_set(data_, "train", files_)); }
    ZeroshotResult r = evaluate_zeroshot(pipeline, set, train_side.get(), {.text = text.get(), .canonical = canonical_});

    print_line(format("%lld pictures, %lld classes, %lld prompts each, model at step %lld", static_cast<long long>(r.images),
                      static_cast<long long>(r.classes), static_cast<long long>(r.templates), static_cast<long long>(pipeline.step())));
    const char* kind = pipeline.is_classifier() ? "classifier" : "zero-shot";
    print_line(format("  %-10s top-1           %8s", kind, percent(r.top1).c_str()));
    print_line(format("  %-10s top-5           %8s", kind, percent(r.top5).c_str()));
    print_line(format("  mean per-class recall      %8s", percent(r.mean_per_class_recall).c_str()));
    print_line(format("  chance                     %8s", percent(r.chance).c_str()));
    if (r.colour_baseline >= 0) {
      print_line(
          format("  colour histogram, nearest  %8s   (sees labelled pictures; the model saw captions only)", percent(r.colour_baseline).c_str()));
      print_line(format("  pixels, nearest            %8s", percent(r.pixel_baseline).c_str()));
    }
    print_confusions(r, set.classnames);
    for (const std::string& problem : r.problems) { print_line("  left out: " + problem); }
    if (!output_.empty()) { write_file_atomic(output_, json_of(r, pipeline, set).dump(2) + "\n"); }
    return 0;
  }

 private:
  void print_confusions(const ZeroshotResult& r, const std::vector<std::string>& names) const {
    const size_t shown = std::min(r.confusions.size(), size_t(confusions_));
    if (shown) { print_line("  most often taken for another class:"); }
    for (size_t i = 0; i < shown; ++i) {
      const Confusion& c = r.confusions[i];
      print_line(format("    %lld of %lld %s for %s", static_cast<long long>(c.count), static_cast<long long>(c.of), names[c.truth].c_str(),
                        names[c.taken_for].c_str()));
    }
  }

  Json json_of(const ZeroshotResult& r, const ImageTextPipeline& pipeline, const LabelledSet& set) const {
    Json j;
    j["dataset"] = data_;
    j["model"] = pipeline.checkpoint();
    j["task"] = pipeline.is_classifier() ? "classification" : "zeroshot_classification";
    j["metrics"] = {{"acc1", r.top1}, {"acc5", r.top5}, {"mean_per_class_recall", r.mean_per_class_recall}};
    j["chance"] = {{"acc1", r.chance}};
    if (r.colour_baseline >= 0) { j["baselines"] = {{"colour_histogram_1nn", r.colour_baseline}, {"pixel_1nn", r.pixel_baseline}}; }
    j["images"] = r.images;
    j["prompts"] = {{"templates", pipeline.is_classifier() ? std::vector<std::string>() : set.templates}, {"canonicalized", canonical_}};
    j["per_class"] = Json::array();
    for (size_t c = 0; c < r.per_class.size(); ++c) {  // a class without pictures has no recall: null
      j["per_class"].push_back({{"class", set.classnames[c]}, {"recall", r.per_class[c]}, {"images", r.images_per_class[c]}});
    }
    j["confusions"] = Json::array();
    for (const Confusion& c : r.confusions) {
      j["confusions"].push_back({{"class", set.classnames[c.truth]}, {"taken_for", set.classnames[c.taken_for]}, {"count", c.count}, {"of", c.of}});
    }
    j["left_out"] = r.problems;
    return j;
  }

  std::string model_, text_model_, data_, output_;
  std::vector<std::string> templates_;
  int64_t confusions_ = 5;
  EvalFiles files_;
  Device device_;
  bool exif_ = false, baselines_ = true, ema_ = false, canonical_ = false;
};

}  // namespace

std::unique_ptr<Command> make_eval_zeroshot() { return std::make_unique<EvalZeroshot>(); }

}  // namespace pumice
