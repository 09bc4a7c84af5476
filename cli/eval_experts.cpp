#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/train/eval/experts.h"

namespace pumice {
namespace {

class EvalExperts : public Command {
 public:
  std::string name() const override { return "eval experts"; }
  std::string summary() const override { return "what each expert reads: modality, words, patches"; }
  std::string examples() const override {
    return "  pumice eval experts --model runs/a --data datasets/scenes/val.csv --output experts.json --maps experts.png\n";
  }
  void declare(OptionTable& o) override {
    o.add("model", model_, "Input", "a run directory or a checkpoint");
    o.add("data", data_, "Input", "pairs to route; see --train-data of pumice train limoe");
    o.add("exif-orientation", exif_, "Input", "turn pictures as their EXIF data says; default: as in training").alias("exif-rotate");
    o.add("max-examples", options_.max_examples, "Input", "how many of them");
    o.add("top", options_.top, "Output", "words and patches named per expert");
    o.add("map-pictures", options_.maps, "Output", "pictures whose patches are mapped to experts");
    o.add("output", output_, "Output", "write everything as JSON to this file");
    o.add("maps", maps_, "Output", "write a PNG: pictures, and the same tinted by expert for each sparse block");
  }

  int run(OptionTable& options, const std::vector<std::string>&) override {
    REQUIRE(UsageError, !model_.empty() && !data_.empty(), "pumice eval experts: --model and --data are required. See pumice eval experts --help");
    ImageTextPipeline pipeline(model_);
    if (!options.find("exif-orientation")->source.empty()) { pipeline.set_exif_orientation(exif_); }
    ExpertReport report = profile_experts(pipeline, *open_pairs(data_), options_);
    print_line(format("%lld examples, model at step %lld", static_cast<long long>(report.examples), static_cast<long long>(pipeline.step())));
    for (const LayerProfile& layer : report.layers) {
      print_line(format("%sblock %lld: expert and modality share %.2f bits", layer.tower.empty() ? "" : (layer.tower + " ").c_str(),
                        static_cast<long long>(layer.block),
                        layer.mutual_information));
      print_line("  expert  kind   of images  of text    gate  words");
      for (size_t e = 0; e < layer.experts.size(); ++e) {
        const ExpertProfile& x = layer.experts[e];
        std::string words;
        for (const TokenCount& t : x.top_tokens) { words += " [" + t.piece + "]"; }
        print_line(format("  %6zu  %-6s %8s %8s    %.2f %s", e, x.kind.c_str(), percent(x.image_load).c_str(), percent(x.text_load).c_str(),
                          x.mean_gate, words.c_str()));
      }
    }
    for (const std::string& problem : report.problems) { print_line("  left out: " + problem); }
    if (!output_.empty()) { write_file_atomic(output_, to_json(report)); }
    if (!maps_.empty()) { write_file_atomic(maps_, encode_png(draw_maps(report))); }
    return 0;
  }

 private:
  std::string model_, data_, output_, maps_;
  bool exif_ = false;
  ExpertOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_eval_experts() { return std::make_unique<EvalExperts>(); }

}  // namespace pumice
