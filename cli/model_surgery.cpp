// `model average`, `model upcycle` and `model prune`: checkpoints made from checkpoints.
#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/models/transfer.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"
#include "pumice/train/surgery.h"

namespace pumice {
namespace {

class ModelAverage : public Command {
 public:
  std::string name() const override { return "model average"; }
  std::string summary() const override { return "average the weights of several checkpoints of one run"; }
  std::string positional() const override { return "CHECKPOINT CHECKPOINT ..."; }
  std::string examples() const override {
    return "  pumice model average runs/a/checkpoints/step-000800 runs/a/checkpoints/step-001000 --out runs/a-mean\n";
  }
  void declare(OptionTable& o) override { o.add("out", out_, "Output", "the directory to write"); }
  int run(OptionTable&, const std::vector<std::string>& paths) override {
    average_checkpoints(paths, out_);
    print_line(format("wrote %s, the mean of %zu checkpoints", out_.c_str(), paths.size()));
    return 0;
  }

 private:
  std::string out_;
};

class ModelUpcycle : public Command {
 public:
  std::string name() const override { return "model upcycle"; }
  std::string summary() const override { return "turn MLPs of a dense checkpoint into experts"; }
  std::string positional() const override { return "RUN"; }
  std::string examples() const override {
    return "  pumice model upcycle runs/dense --moe-layers 1,3 --experts 8 --out runs/upcycled\n"
           "  pumice train limoe --init-from runs/upcycled --train-data shards.tar --out runs/sparse\n";
  }
  void declare(OptionTable& o) override {
    config_.router.train.factor = 1.25;
    config_.router.eval = Capacity::dropless();
    o.add("out", out_, "Output", "the directory to write");
    o.add("moe-layers", config_.moe_layers, "MoE", "indices of the blocks whose MLPs become experts");
    o.add("experts", config_.router.experts, "MoE", "experts per sparse block").alias("num-experts");
    o.add("experts-per-token", config_.router.experts_per_token, "MoE",
          "experts that each token visits; with 2 and renormalised gates the model starts as the dense one")
        .alias("top-k-experts");
    o.add("gates", gates_, "MoE", "what an expert's output is multiplied with").one_of({"raw", "renormalised"});
    o.add("seed", seed_, "MoE", "of the routers' first weights");
  }
  int run(OptionTable&, const std::vector<std::string>& paths) override {
    REQUIRE(UsageError, paths.size() == 1, "pumice model upcycle: one run or checkpoint is required, got ", paths.size());
    config_.router.gates = gates_ == "raw" ? Gates::raw : Gates::renormalised;
    Transfer done = upcycle_checkpoint(paths[0], config_.moe_layers, config_.router, seed_, out_);
    print_line(format("wrote %s: %lld parameters copied, %zu copied into each of %d experts, %zu routers start fresh", out_.c_str(),
                      static_cast<long long>(done.copied),
                      done.upcycled.size(), config_.router.experts, done.fresh.size()));
    return 0;
  }

 private:
  ImageTextConfig config_;
  std::string out_, gates_ = "raw";
  uint64_t seed_ = 0;
};

class ModelPrune : public Command {
 public:
  std::string name() const override { return "model prune"; }
  std::string summary() const override { return "keep only the experts that one modality uses most"; }
  std::string positional() const override { return "RUN"; }
  std::string examples() const override {
    return "  pumice model prune runs/a --modality image --keep 4 --data datasets/scenes/val.csv --out runs/a-image\n"
           "  pumice eval zeroshot --model runs/a-image --text-model runs/a --data datasets/scenes/eval-objects\n";
  }
  void declare(OptionTable& o) override {
    o.add("modality", modality_, "Input", "what the smaller model will read").one_of({"image", "text"});
    o.add("keep", keep_, "Input", "experts to keep in each sparse block");
    o.add("data", data_, "Input", "pairs to count the use of experts on; see --train-data of pumice train limoe");
    o.add("examples", examples_, "Input", "how many of them");
    o.add("out", out_, "Output", "the directory to write");
  }
  int run(OptionTable&, const std::vector<std::string>& paths) override {
    REQUIRE(UsageError, paths.size() == 1, "pumice model prune: one run or checkpoint is required, got ", paths.size());
    REQUIRE(UsageError, !data_.empty(), "pumice model prune: --data is required: pairs to count the use of experts on");
    LoadedImageText model = load_image_text(paths[0]);
    ExpertUse use = busiest_experts(model, *open_pairs(data_), modality_ == "image" ? Modality::image : Modality::text, keep_, examples_);
    prune_checkpoint(model, use, out_);
    for (size_t b = 0; b < use.experts.size(); ++b) {
      std::vector<std::string> names;
      for (int64_t e : use.experts[b]) { names.push_back(std::to_string(e)); }
      print_line(format("  sparse block %zu keeps experts %s, which got %s of the %s tokens", b, join(names).c_str(), percent(use.share[b]).c_str(),
                        modality_.c_str()));
    }
    print_line("wrote " + out_);
    return 0;
  }

 private:
  std::string modality_ = "image", data_, out_;
  int64_t keep_ = 4, examples_ = 1024;
};

}  // namespace

std::unique_ptr<Command> make_model_average() { return std::make_unique<ModelAverage>(); }
std::unique_ptr<Command> make_model_upcycle() { return std::make_unique<ModelUpcycle>(); }
std::unique_ptr<Command> make_model_prune() { return std::make_unique<ModelPrune>(); }

}  // namespace pumice
