#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/scenes/scenes.h"

namespace pumice {
namespace {

class DataScenes : public Command {
 public:
  std::string name() const override { return "data scenes"; }
  std::string summary() const override { return "draw sample pictures with captions to train and evaluate on"; }
  std::string examples() const override { return "  pumice data scenes --out datasets/scenes --train 20000 --val 1000 --size 64 --seed 1\n"; }
  void declare(OptionTable& o) override {
    o.add("out", options_.out, "Output", "directory to fill");
    o.add("train", options_.train, "Output", "training pictures, in shards of 1000");
    o.add("val", options_.val, "Output", "validation pictures with three captions each");
    o.add("eval-per-class", options_.eval_per_class, "Output", "test pictures of each object in eval-objects");
    o.add("overwrite", options_.overwrite, "Output", "replace the sample scenes that are in --out");
    o.add("size", options_.size, "Scene", "pixels per side");
    o.add("concepts", options_.concepts, "Scene", "objects to draw from, at most");
    o.add("seed", options_.seed, "Scene", "the same seed gives the same bytes");
    o.add("font", options_.font, "Scene", "NotoColorEmoji.ttf; searched for when left out");
    o.add("shapes", options_.shapes, "Scene", "draw procedural shapes instead of emoji");
  }

  int run(OptionTable&, const std::vector<std::string>&) override {
    SceneReport r = write_scenes(options_, [](double share) { print_status("drawing: " + percent(share)); });
    if (r.font.empty() && !options_.shapes) {
      print_line("no emoji font was found, so these are procedural shapes; for emoji: apt-get install fonts-noto-color-emoji");
    }
    print_line(format("%s: %lld training pictures, %lld for validation, %lld of %lld single objects, hash %016llx", r.version.c_str(),
                      static_cast<long long>(r.train), static_cast<long long>(r.val), static_cast<long long>(r.eval),
                      static_cast<long long>(r.concepts), static_cast<unsigned long long>(r.hash)));
    print_line(format("next: pumice train limoe --preset tiny --train-data '%s/train/train-{000000..%06lld}.tar' --out runs/a", options_.out.c_str(),
                      static_cast<long long>((options_.train + 999) / 1000 - 1)));
    return 0;
  }

 private:
  SceneOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_data_scenes() { return std::make_unique<DataScenes>(); }

}  // namespace pumice
