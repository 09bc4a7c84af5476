// A training that takes a second: toy scenes, a sparse model of two blocks, and what its steps report.
#pragma once
#include <string>
#include <vector>

#include "pumice/data/scenes/scenes.h"
#include "pumice/train/image_text_trainer.h"
#include "../temporary.h"

namespace pumice::testing {

inline const std::string& toy_scenes() {  // drawn once for all tests
  static Temporary* directory = [] {
    auto* d = new Temporary;
    SceneOptions o;
    o.out = *d / "scenes";
    o.train = 128;
    o.val = 8;
    o.eval_per_class = 1;
    o.size = 16;
    o.concepts = 8;
    o.shapes = true;
    write_scenes(o, [](double) {});
    return d;
  }();
  static std::string shard = *directory / "scenes/train/train-000000.tar";
  return shard;
}

inline ImageTextTraining toy_training(const std::string& out) {
  ImageTextTraining t;
  ImageTextConfig& c = t.model;
  c.image_size = 16;
  c.patch = 4;
  c.text_length = 8;
  c.vocabulary = 320;
  c.depth = 2;
  c.width = 32;
  c.heads = 2;
  c.hidden = 64;
  c.embedding = 32;
  c.moe_layers = {1};
  c.router.experts = 4;
  c.group_examples = 8;
  t.train_data = toy_scenes();
  t.out = out;
  t.batch_size = 32;
  t.schedule = {.kind = Schedule::kCosine, .peak = 3e-3, .steps = 12, .warmup = 2};
  t.save_every = 4;
  t.log_every = 1;
  t.seed = 5;
  return t;
}

struct Losses {
  std::vector<double> loss;
  ImageTextObserver observer;
  int64_t stop_after = 1 << 30;
  std::vector<std::string> messages;
  Losses() {
    observer.step = [this](const ImageTextMetrics& m) { loss.push_back(m.loss); };
    observer.should_stop = [this] { return int64_t(loss.size()) >= stop_after; };
    observer.message = [this](const std::string& text) { messages.push_back(text); };
  }
};

}  // namespace pumice::testing
