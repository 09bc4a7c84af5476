#include <nlohmann/json.hpp>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/train/eval/retrieval.h"
#include "pumice/train/recipe.h"

namespace pumice {
namespace {

using Json = nlohmann::ordered_json;

class EvalRetrieval : public Command {
 public:
  std::string name() const override { return "eval retrieval"; }
  std::string summary() const override { return "find captions by picture and pictures by caption: recall@1/5/10"; }
  std::string examples() const override { return "  pumice eval retrieval --model runs/a --data datasets/scenes/val.csv\n"; }
  void declare(OptionTable& o) override {
    o.add("model", model_, "Input", "a run directory or a checkpoint");
    o.add("ema", ema_, "Input", "evaluate the moving average of the weights");
    o.add("data", data_, "Input",
          "a CSV of pictures and captions, COCO or Karpathy JSON, webdataset shards, or a CLIP_benchmark retrieval directory");
    o.add("exif-orientation", exif_, "Input", "turn pictures as their EXIF data says; default: as in training").alias("exif-rotate");
    o.add("csv-img-key", files_.image_column, "Input", "CSV: the column of picture paths; default: filepath, image, path, file_name or image_name");
    o.add("csv-caption-key", files_.caption_column, "Input", "CSV: the column of captions; default: title, caption, text or comment");
    o.add("image-folder", files_.image_folder, "Input", "where relative picture paths of a CSV or JSON start; default: beside the file");
    o.add("output", output_, "Output", "write the result as JSON to this file");
    add_device_option(o, device_);
  }

  int run(OptionTable& options, const std::vector<std::string>&) override {
    REQUIRE(UsageError, !model_.empty() && !data_.empty(),
            "pumice eval retrieval: --model and --data are required. See pumice eval retrieval --help");
    RetrievalSet set = open_retrieval_set(data_, files_);
    ImageTextPipeline pipeline(model_, DType::f32, ema_ ? Weights::average : Weights::trained, device_);
    if (!options.find("exif-orientation")->source.empty()) { pipeline.set_exif_orientation(exif_); }
    RetrievalResult r = evaluate_retrieval(pipeline, set);
    print_line(format("%lld pictures, %lld captions (%lld distinct), model at step %lld", static_cast<long long>(r.images),
                      static_cast<long long>(r.captions), static_cast<long long>(r.distinct_captions), static_cast<long long>(pipeline.step())));
    print_line("                      recall@1      @5     @10    chance@1      @5     @10");
    print_row("  image to text   ", r.image_to_text, r.chance_image_to_text);
    print_row("  text to image   ", r.text_to_image, r.chance_text_to_image);
    for (const std::string& problem : r.problems) { print_line("  left out: " + problem); }
    if (!output_.empty()) { write_file_atomic(output_, json_of(r, pipeline).dump(2) + "\n"); }
    return 0;
  }

 private:
  static void print_row(const char* name, const Recall& r, const Recall& chance) {
    print_line(format("%s     %8s%8s%8s    %8s%8s%8s", name, percent(r.at1).c_str(), percent(r.at5).c_str(), percent(r.at10).c_str(),
                      percent(chance.at1).c_str(), percent(chance.at5).c_str(), percent(chance.at10).c_str()));
  }
  static Json json_of(const Recall& image_to_text, const Recall& text_to_image) {
    return {{"text_retrieval_recall@1", image_to_text.at1}, {"text_retrieval_recall@5", image_to_text.at5},
            {"text_retrieval_recall@10", image_to_text.at10},
            {"image_retrieval_recall@1", text_to_image.at1}, {"image_retrieval_recall@5", text_to_image.at5},
            {"image_retrieval_recall@10", text_to_image.at10}};
  }
  Json json_of(const RetrievalResult& r, const ImageTextPipeline& pipeline) const {
    Json j;
    j["dataset"] = data_;
    j["model"] = pipeline.checkpoint();
    j["task"] = "zeroshot_retrieval";
    j["metrics"] = json_of(r.image_to_text, r.text_to_image);
    j["chance"] = json_of(r.chance_image_to_text, r.chance_text_to_image);
    j["images"] = r.images;
    j["captions"] = r.captions;
    j["distinct_captions"] = r.distinct_captions;
    j["left_out"] = r.problems;
    return j;
  }

  std::string model_, data_, output_;
  EvalFiles files_;
  Device device_;
  bool exif_ = false, ema_ = false;
};

}  // namespace

std::unique_ptr<Command> make_eval_retrieval() { return std::make_unique<EvalRetrieval>(); }

}  // namespace pumice
