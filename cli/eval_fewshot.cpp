#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/train/eval/fewshot.h"
#include "pumice/train/recipe.h"

namespace pumice {
namespace {

class EvalFewshot : public Command {
 public:
  std::string name() const override { return "eval fewshot"; }
  std::string summary() const override { return "a linear classifier on frozen features of a few labelled pictures per class"; }
  std::string examples() const override {
    return "  pumice eval fewshot --model runs/a --data pictures-by-class --shots 1,5,10\n"
           "  pumice eval fewshot --model runs/a --train-data 'train-{0..4}.tar' --data test.tar --seeds 5\n";
  }
  void declare(OptionTable& o) override {
    o.add("model", model_, "Input", "a run directory or a checkpoint");
    o.add("data", data_, "Input", "labelled pictures to test on; see pumice eval zeroshot");
    o.add("csv-img-key", files_.image_column, "Input", "CSV: the column of picture paths; default: filepath, image, path, file_name or image_name");
    o.add("csv-label-key", files_.label_column, "Input", "CSV: the column of classes; default: label or class");
    o.add("image-folder", files_.image_folder, "Input", "where relative picture paths of a CSV start; default: beside the file");
    o.add("exif-orientation", exif_, "Input", "turn pictures as their EXIF data says; default: as in training").alias("exif-rotate");
    o.add("train-data", train_data_, "Input", "labelled pictures to learn from; default: the training side of --data");
    o.add("shots", options_.shots, "Protocol", "labelled pictures per class");
    o.add("seeds", options_.seeds, "Protocol", "draws of them");
    o.add("l2", options_.l2, "Protocol", "ridge penalty");
    o.add("ema", ema_, "Input", "evaluate the moving average of the weights");
    o.add("output", output_, "Output", "write the result as JSON to this file");
    add_device_option(o, device_);
  }

  int run(OptionTable& options, const std::vector<std::string>&) override {
    REQUIRE(UsageError, !model_.empty() && !data_.empty(), "pumice eval fewshot: --model and --data are required. See pumice eval fewshot --help");
    REQUIRE(UsageError, !train_data_.empty() || has_train_side(data_), "pumice eval fewshot: ", data_,
            " has no training side; name labelled pictures to learn from by --train-data");
    LabelledSet test = open_labelled_set(data_, "test", files_),
                train = open_labelled_set(train_data_.empty() ? data_ : train_data_, "train", files_);
    ImageTextPipeline pipeline(model_, DType::f32, ema_ ? Weights::average : Weights::trained, device_);
    if (!options.find("exif-orientation")->source.empty()) { pipeline.set_exif_orientation(exif_); }
    FewshotResult r = evaluate_fewshot(pipeline, train, test, options_);
    print_line(format("%lld pictures, %lld classes, %lld draws, model at step %lld", static_cast<long long>(r.images),
                      static_cast<long long>(r.classes), static_cast<long long>(options_.seeds), static_cast<long long>(pipeline.step())));
    nlohmann::ordered_json metrics;
    for (const FewshotScore& s : r.scores) {
      const double mean = std::accumulate(s.top1.begin(), s.top1.end(), 0.0) / double(s.top1.size());
      print_line(format("  %3lld-shot top-1   %8s   (%s to %s)", static_cast<long long>(s.shots), percent(mean).c_str(),
                        percent(*std::min_element(s.top1.begin(), s.top1.end())).c_str(),
                        percent(*std::max_element(s.top1.begin(), s.top1.end())).c_str()));
      metrics[std::to_string(s.shots) + "shot_acc1"] = {{"mean", mean}, {"seeds", s.top1}};
    }
    print_line(format("  chance           %8s", percent(1 / double(r.classes)).c_str()));
    for (const std::string& problem : r.problems) { print_line("  left out: " + problem); }
    if (!output_.empty()) {
      nlohmann::ordered_json j = {{"dataset", data_}, {"model", pipeline.checkpoint()}, {"task", "fewshot_classification"}, {"metrics", metrics},
                                  {"l2", options_.l2}, {"left_out", r.problems}};
      write_file_atomic(output_, j.dump(2) + "\n");
    }
    return 0;
  }

 private:
  std::string model_, data_, train_data_, output_;
  FewshotOptions options_;
  EvalFiles files_;
  Device device_;
  bool exif_ = false, ema_ = false;
};

}  // namespace

std::unique_ptr<Command> make_eval_fewshot() { return std::make_unique<EvalFewshot>(); }

}  // namespace pumice
