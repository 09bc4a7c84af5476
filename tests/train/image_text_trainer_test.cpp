#include "pumice/models/limoe.h"

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>

#include "pumice/data/loader.h"
#include "pumice/data/tar.h"
#include "pumice/data/webdataset.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/rng.h"
#include "pumice/data/image.h"
#include "pumice/models/transfer.h"
#include "pumice/train/checkpoint.h"
#include "pumice/train/surgery.h"
#include "../message_of.h"
#include "../temporary.h"
#include "toy_training.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Losses;
using testing::Temporary;

const std::string& scenes() { return testing::toy_scenes(); }
ImageTextTraining toy(const std::string& out) { return testing::toy_training(out); }

TEST(Trainer, OverfitsABatch) {
  Temporary d;
  ImageTextTraining t = toy(d / "run");
  t.overfit = 32;
  t.schedule.steps = 100;
  t.save_every = 0;
  Losses run;
  TrainOutcome outcome = train_image_text(t, run.observer);
  EXPECT_TRUE(outcome.finished);
  EXPECT_GT(run.loss[0], 0.8 * std::log(32.0));  // no better than a guess
  EXPECT_LT(outcome.loss, 0.9);  // captions repeat: several are right for one picture, so the loss does not reach 0
}

// Metrics without what depends on the clock.
std::string metrics_of(const std::string& run) {
  std::string text = read_file(run + "/metrics.jsonl");
  for (const std::string key : {",\"pairs_per_second\":", ",\"seconds_waited\":"}) {
    for (size_t at = text.find(key); at != std::string::npos; at = text.find(key, at)) {
      text.erase(at, text.find_first_of(",}", at + key.size()) - at);
    }
  }
  return text;
}

TEST(Trainer, ResumesToTheSameBits) {
  for (bool bf16 : {false, true}) {
    Temporary d;
    ImageTextTraining t = toy(d / "whole");
    t.precision = bf16 ? DType::bf16 : DType::f32;
    Losses whole;
    train_image_text(t, whole.observer);

    t.out = d / "pieces";
    Losses first, second;
    first.stop_after = 6;  // after the checkpoint of step 4: stopping saves step 6
    EXPECT_FALSE(train_image_text(t, first.observer).finished);
    t.resume = ImageTextTraining::Resume::always;
    second.stop_after = 100;
    train_image_text(t, second.observer);
    first.loss.insert(first.loss.end(), second.loss.begin(), second.loss.end());
    EXPECT_EQ(first.loss, whole.loss);
    EXPECT_EQ(metrics_of(d / "pieces"), metrics_of(d / "whole"));
    EXPECT_EQ(read_file(d / "pieces/checkpoints/latest/model.safetensors"), read_file(d / "whole/checkpoints/latest/model.safetensors"));
  }
}

// A run that was killed after a checkpoint has written metrics beyond it; resuming cuts them back.
TEST(Trainer, ResumesFromACheckpointBehindTheMetrics) {
  Temporary d;
  ImageTextTraining t = toy(d / "whole");
  Losses whole, first, second;
  train_image_text(t, whole.observer);
  t.out = d / "killed";
  first.stop_after = 7;
  train_image_text(t, first.observer);
  std::filesystem::remove_all(d / "killed/checkpoints/step-000007");  // as if the kill had come before this save
  std::filesystem::remove(d / "killed/checkpoints/latest");
  std::filesystem::create_symlink("step-000004", d / "killed/checkpoints/latest");
  t.resume = ImageTextTraining::Resume::always;
  train_image_text(t, second.observer);
  EXPECT_EQ(second.loss, std::vector<double>(whole.loss.begin() + 4, whole.loss.end()));
  EXPECT_EQ(metrics_of(d / "killed"), metrics_of(d / "whole"));
}

TEST(Trainer, ThreadsDoNotChangeBits) {
  std::vector<double> loss[2];
  for (int threads : {1, 2}) {
    Temporary d;
    set_thread_count(threads);
    ImageTextTraining t = toy(d / "run");
    t.schedule.steps = 4;
    Losses run;
    train_image_text(t, run.observer);
    loss[threads - 1] = run.loss;
  }
  EXPECT_EQ(loss[0], loss[1]);
}

Batch first_batch(const ImageTextTraining& t, const Tokenizer& tokenizer) {
  auto source = open_pairs(t.train_data);
  Loader loader(*source, tokenizer,
                {.batch_size = t.batch_size, .image_size = t.model.image_size, .text_length = t.model.text_length, .seed = 1, .prefetch = 0});
  return loader.next();
}

Tokenizer byte_tokenizer() { return Tokenizer::train({}, {.vocab_size = 257}); }

TEST(Trainer, MicrobatchesGiveTheGradientsOfTheWholeBatch) {
  Temporary d;
  ImageTextTraining t = toy(d / "run");
  t.model.text_length = 24;
  Limoe model(t.model, 3);
  Tokenizer tokenizer = byte_tokenizer();
  Batch batch = first_batch(t, tokenizer);
  RandomScope scope({.seed = 9, .step = 4});
  std::vector<double> gradients[2];
  LossReport report[2];
  for (int i : {0, 1}) {
    model.parameters().zero_gradients();
    report[i] = accumulate_gradients(model, batch, i ? 4 : 1, {.training = true});
    gradients[i] = model.parameters().gradients().to_vector<double>();
  }
  EXPECT_NEAR(report[0].loss, report[1].loss, 1e-5);
  EXPECT_NEAR(report[0].aux, report[1].aux, 1e-6);
  EXPECT_EQ(report[0].layers[0].stats.all().kept, report[1].layers[0].stats.all().kept);
  double scale = 0;
  for (double g : gradients[0]) { scale = std::max(scale, std::abs(g)); }
  for (size_t i = 0; i < gradients[0].size(); ++i) { ASSERT_NEAR(gradients[0][i], gradients[1][i], 2e-5 * scale + 1e-6) << i; }
}

TEST(Trainer, RefusesToMixRuns) {
  Temporary d;
  ImageTextTraining t = toy(d / "run");
  t.schedule.steps = 2;
  Losses run;
  train_image_text(t, run.observer);
  EXPECT_EQ(message_of<UsageError>([&] { train_image_text(t, run.observer); }),
            "[train] " + t.out + " holds a run already. Continue it with --resume, replace it with --overwrite, or choose another --out");
  t.resume = ImageTextTraining::Resume::always;
  t.schedule.peak = 1e-4;
  std::string text = message_of<UsageError>([&] { train_image_text(t, run.observer); });
  EXPECT_NE(text.find("\n  lr: 0.003 then, 0.0001 now\nResume"), std::string::npos) << text;
  EXPECT_EQ(text.find("batch-size"), std::string::npos) << text;  // only what differs

  // A new run that cannot start leaves the old one alone.
  t = toy(d / "run");
  t.overwrite = true;
  t.batch_size = 100'000;
  EXPECT_NE(message_of<UsageError>([&] { train_image_text(t, run.observer); }).find("fewer than the batch size"), std::string::npos);
  EXPECT_EQ(load_image_text(d / "run").state.step, 2);
  t.out = d / "other";
  message_of<UsageError>([&] { train_image_text(t, run.observer); });
  EXPECT_FALSE(std::filesystem::exists(d / "other"));

  t = toy(d / "run");
  t.overwrite = true;
  t.schedule.steps = 2;
  EXPECT_TRUE(train_image_text(t, run.observer).finished);
}

TEST(Trainer, ABrokenLossNamesTheFirstOp) {
  Temporary d;
  ImageTextTraining t = toy(d / "run");
  t.schedule.peak = 1e30;
  t.clip = 0;
  Losses run;
  std::string text = message_of<NumericError>([&] { train_image_text(t, run.observer); });
  EXPECT_NE(text.find("[train] the loss of step "), std::string::npos) << text;
  EXPECT_NE(text.find("First op with a value that is not finite: ["), std::string::npos) << text;
}

TEST(Trainer, CorruptPicturesAreCountedAndLeftOut) {
  Temporary d;
  {
    WebDataset good(scenes());
    TarWriter tar(d / "mixed.tar");
    for (int64_t i = 0; i < 64; ++i) {
      std::string key = std::to_string(1000 + i), png(*good.image(i));
      tar.add(key + ".png", i % 16 == 3 ? png.substr(0, png.size() / 2) : png);
      tar.add(key + ".txt", *good.find(i, "txt"));
    }
    tar.close();
  }
  ImageTextTraining t = toy(d / "run");
  t.train_data = d / "mixed.tar";
  t.schedule.steps = 2;
  t.schedule.warmup = 0;
  Losses run;
  int64_t corrupt = 0;
  run.observer.step = [&](const ImageTextMetrics& m) { corrupt = m.corrupt_samples; };
  train_image_text(t, run.observer);
  EXPECT_GE(corrupt, 3);  // of the first 64 pictures tried; the loader may be ahead
  bool named = false;
  for (const std::string& m : run.messages) { named |= m.find("mixed.tar: 1003 is not a readable PNG") != std::string::npos; }
  EXPECT_TRUE(named);
}

TEST(Checkpoint, AFullDiskLeavesThePreviousOne) {
  Temporary d;
  ImageTextTraining t = toy(d / "run");
  t.schedule.steps = 2;
  Losses run;
  train_image_text(t, run.observer);
  LoadedImageText before = load_image_text(d / "run");
  AdamW optimizer(before.model->parameters(), {});
  TrainState state = before.state;
  state.step = 3;
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old, small;
  getrlimit(RLIMIT_FSIZE, &old);
  small = {4096, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  std::string text =
      message_of<IoError>([&] { save_checkpoint(d / "run", state, {.newest = 3}, [&](const std::string& directory) {
        write_image_text(directory, *before.model, before.tokenizer);
        save_optimizer(directory, optimizer, nullptr, before.model->parameters());
      }); });
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_NE(text.find("The previous checkpoint is untouched"), std::string::npos) << text;
  EXPECT_FALSE(std::filesystem::exists(d / "run/checkpoints/step-000003"));
  EXPECT_FALSE(std::filesystem::exists(d / "run/checkpoints/step-000003.partial"));
  EXPECT_EQ(load_image_text(d / "run").state.step, 2);
}

// --keep deletes all but the newest, --keep-every protects its multiples and saves them where --save-every would not.
TEST(Checkpoint, KeepEveryOutlivesKeep) {
  Temporary d;
  ImageTextTraining t = toy(d / "run");
  t.keep = 1;
  t.keep_every = 5;  // save_every is 4, steps 12
  ImageTextObserver quiet;
  train_image_text(t, quiet);
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(d / "run/checkpoints")) { left.push_back(entry.path().filename().string()); }
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"latest", "step-000005", "step-000010", "step-000012"}));
  t.keep_every = -1;
  EXPECT_EQ(message_of<UsageError>([&] { t.validate(); }), "[train] --save-every, --keep and --keep-every must not be negative, got 4, 1 and -1");
  t.keep_every = 0;
  t.schedule.cooldown = 13;
  EXPECT_EQ(message_of<UsageError>([&] { t.validate(); }),
            "[train] --lr-cooldown must be in [0, --steps] and --lr-timescale positive, got 13 of 12 and 10000");
}

// A copy may lose the link "latest"; the newest checkpoint is found, and a resumed run does not start afresh over it.
TEST(Checkpoint, TheNewestIsFoundWithoutItsLink) {
  Temporary d;
  ImageTextTraining t = toy(d / "run");
  Losses run;
  run.stop_after = 6;
  train_image_text(t, run.observer);
  std::filesystem::remove(d / "run/checkpoints/latest");
  std::filesystem::create_directory(d / "run/checkpoints/step-old");  // somebody else's
  EXPECT_EQ(find_checkpoint(d / "run"), d / "run/checkpoints/step-000006");
  EXPECT_EQ(find_checkpoint(d / "run/checkpoints/step-000004/model.safetensors"), d / "run/checkpoints/step-000004");
  t.resume = ImageTextTraining::Resume::always;
  Losses rest;
  EXPECT_EQ(train_image_text(t, rest.observer).steps_done, 6);
}

TEST(Checkpoint, ErrorsSayWhatIsMissing) {
  Temporary d;
  EXPECT_EQ(message_of<IoError>([&] { find_checkpoint(d / "nowhere"); }),
            "[checkpoint] " + (d / "nowhere") +
                " does not exist. Give a run directory (runs/a) or one of its checkpoints (runs/a/checkpoints/step-000500)");
  ImageTextTraining t = toy(d / "run");
  t.schedule.steps = 1;
  t.schedule.warmup = 0;
  Losses run;
  train_image_text(t, run.observer);
  t.model.hidden = 48;
  Limoe other(t.model, 0);
  std::string text = message_of<FormatError>([&] { load_parameters(find_checkpoint(d / "run"), other.parameters()); });
  EXPECT_NE(text.find("misshapen  blocks.0.mlp.up.weight: the file has (64, 32), the model (48, 32)"), std::string::npos) << text;
}

// A checkpoint that lost a file, was cut short or was edited says so, and is never half loaded.
TEST(Checkpoint, DamagedFilesAreNamed) {
  Temporary d;
  ImageTextTraining t = toy(d / "run");
  t.schedule.steps = 2;
  t.schedule.warmup = 0;
  ImageTextObserver quiet;
  train_image_text(t, quiet);
  const std::string at = d / "run/checkpoints/latest/";
  t.resume = ImageTextTraining::Resume::always;
  auto evaluate = [&] { return message_of<FormatError>([&] { load_image_text(d / "run"); }); };
  auto resume = [&] { return message_of<FormatError>([&] { train_image_text(t, quiet); }); };
  auto expect = [](const std::string& message, const std::string& part) { EXPECT_NE(message.find(part), std::string::npos) << message; };
  auto with = [&](const std::string& file, const std::string& content, const auto& check) {
    const std::string whole = read_file(at + file);
    write_file_atomic(at + file, content);
    check();
    write_file_atomic(at + file, whole);
  };
  auto without = [&](const std::string& file, const auto& check) {
    std::filesystem::rename(at + file, d / "aside");
    check();
    std::filesystem::rename(d / "aside", at + file);
  };
  for (const char* file : {"tokenizer.json", "config.json", "state.json"}) {
    without(file, [&] {
      expect(evaluate(), std::string("/checkpoints/latest is incomplete: ") + file + " is missing. To evaluate it must hold model.safetensors, ");
    });
  }
  without("optimizer.safetensors", [&] { expect(resume(), "is incomplete: optimizer.safetensors is missing. To resume it must hold"); });
  without("optimizer.safetensors", [&] { EXPECT_EQ(load_image_text(d / "run").state.step, 2) << "needs no optimizer"; });
  const std::string model = read_file(at + "model.safetensors"), config = read_file(at + "config.json");
  with("model.safetensors", model.substr(0, model.size() - 100), [&] { expect(evaluate(), "MetadataIncompleteBuffer"); });
  with("model.safetensors", model.substr(0, 5), [&] { expect(evaluate(), "HeaderTooSmall"); });
  with("optimizer.safetensors", model, [&] { expect(resume(), "holds no first_moment: it is of another optimizer"); });
  with("config.json", "{", [&] { expect(evaluate(), "config.json is not valid JSON"); });
  with("config.json", "{\"widht\": 32}", [&] { expect(evaluate(), "config.json: there is no option 'widht'. Did you mean 'width'?"); });
  with("state.json", "{\"step\": 2}", [&] { expect(evaluate(), "state.json is not a valid training state"); });
  with("tokenizer.json", "garbage", [&] { expect(evaluate(), "tokenizer.json: the file is not valid JSON"); });
  EXPECT_EQ(load_image_text(d / "run").state.step, 2);
}

TEST(Training, TheLargestBatchThatFits) {
  ImageTextTraining t = toy("unused");
  t.batch_size = 64;
  const double bytes = memory_of(t).total();
  EXPECT_EQ(largest_batch(t, bytes), 64);
  EXPECT_EQ(largest_batch(t, bytes - 1), 32);
  EXPECT_EQ(largest_batch(t, 1e18), 32768);
  t.accum_freq = 3;
  EXPECT_NE(message_of<UsageError>([&] { largest_batch(t, 1e18); }).find("no power of two fits. A step of 6 would take about"), std::string::npos);
  t.accum_freq = 1;
  EXPECT_NE(message_of<UsageError>([&] { largest_batch(t, 1000); }).find("Choose a smaller --preset, or --grad-checkpointing"), std::string::npos);
}

TEST(Training, MemoryCountsTheOptimizerThatRuns) {
  ImageTextTraining t = toy("unused");
  const double parameters = double(cost_of(t.model).parameters);
  EXPECT_EQ(memory_of(t).optimizer, 8 * parameters);
  t.optimizer = ImageTextTraining::Optim::adafactor;
  EXPECT_EQ(memory_of(t).optimizer, 4 * parameters);
  t.adafactor.momentum = DType::bf16;
  t.ema_decay = 0.9;
  EXPECT_EQ(memory_of(t).optimizer, 6 * parameters);
  t.accum_freq = 0;
  EXPECT_EQ(message_of<UsageError>([&] { t.validate_recipe(); }), "[train] --accum-freq must be at least 1, got 0");
}

// Every recipe option at once: stopped half way and resumed, the run is the one that was never stopped, averages and all.
TEST(Training, EveryRecipeOptionResumesBitForBit) {
  Temporary d;
  auto recipe = [&](const std::string& out) {
    ImageTextTraining t = toy(d / out);
    t.optimizer = ImageTextTraining::Optim::adafactor;
    t.adafactor.min_dim_to_factor = 8;
    t.adafactor.momentum = DType::bf16;
    t.groups = {.lr_mult = {"text.*=0.5"}, .freeze = {"image.patches.*"}, .layer_decay = 0.8};
    t.ema_decay = 0.9;
    t.dedupe_batch = true;
    t.augmentation = {.min_scale = 0.5, .flip = 0.5, .brightness = 0.3, .grey = 0.1};
    t.batch_size = 8;
    t.model.group_examples = 8;
    t.schedule.steps = 6;
    t.schedule.kind = Schedule::kRsqrt;
    t.schedule.cooldown = 2;
    t.schedule.hold = true;
    t.save_every = 3;
    return t;
  };
  ImageTextObserver quiet;
  train_image_text(recipe("whole"), quiet);
  ImageTextTraining t = recipe("pieces");
  int64_t steps = 0;
  ImageTextObserver stopping;
  stopping.step = [&](const ImageTextMetrics&) { ++steps; };
  stopping.should_stop = [&] { return steps == 3; };
  train_image_text(t, stopping);
  t.resume = ImageTextTraining::Resume::automatic;
  train_image_text(t, quiet);
  for (const char* file : {"model.safetensors", "ema.safetensors", "optimizer.safetensors"}) {
    EXPECT_EQ(read_file(d / "whole/checkpoints/latest/" + file), read_file(d / "pieces/checkpoints/latest/" + file)) << file;
  }
  LoadedImageText trained = load_image_text(d / "whole"), average = load_image_text(d / "whole", Weights::average);
  EXPECT_NE(trained.model->parameters().masters().to_vector<float>(), average.model->parameters().masters().to_vector<float>());
  auto patches = [](const ImageTextModel& m) { return m.parameters().find("image.patches.weight")->master().to_vector<float>(); };
  EXPECT_EQ(patches(*trained.model), patches(*make_model(t.model, t.seed))) << "frozen from the start";
  train_image_text(toy(d / "plain"), {.should_stop = [n = 0]() mutable { return n++ == 1; }});
  EXPECT_NE(message_of<IoError>([&] { load_image_text(d / "plain", Weights::average); }).find("keeps no moving average"), std::string::npos);
}

TEST(Training, TwoTowersWithTheSigmoidLossLearn) {
  Temporary d;
  ImageTextTraining t = toy(d / "run");
  t.model = as_architecture(t.model, Architecture::two_tower);
  t.model.loss = Loss::sigmoid;
  t.model.image_pooling = Pooling::map;
  t.overfit = t.batch_size;
  t.schedule.steps = 60;
  double first = 0, last = 0;
  train_image_text(t, {.step = [&](const ImageTextMetrics& m) { (m.step == 1 ? first : last) = m.loss; }});
  EXPECT_LT(last, 0.5 * first);
}

TEST(Training, AClassifierLearnsAndItsTowerStartsAnother) {
  Temporary d;
  for (int i = 0; i < 32; ++i) {
    std::filesystem::create_directories(d / (i % 2 ? "data/light" : "data/dark"));
    write_file_atomic(d / (i % 2 ? "data/light/" : "data/dark/") + std::to_string(i) + ".png",
                      encode_png({16, 16, std::vector<uint8_t>(768, uint8_t(i % 2 ? 200 + i : 20 + i))}));
  }
  ImageTextTraining t = toy(d / "classifier");
  t.train_data = d / "data";
  t.model.architecture = Architecture::classifier;
  t.batch_size = 8;
  t.model.group_examples = 4;
  t.accum_freq = 2;
  t.schedule.steps = 30;
  ImageTextMetrics last;
  train_image_text(t, {.step = [&](const ImageTextMetrics& m) { last = m; }});
  EXPECT_GT(last.image_to_text, 0.9);
  EXPECT_NEAR(last.chance, std::log(2.0), 1e-9);
  EXPECT_EQ(load_image_text(d / "classifier").model->config().classnames, (std::vector<std::string>{"dark", "light"}));

  ImageTextTraining lit = toy(d / "lit");
  lit.model.architecture = Architecture::two_tower;
  lit.init_from = d / "classifier";
  lit.groups.freeze = {"image.*"};
  lit.batch_size = 8;
  lit.model.group_examples = 4;
  lit.accum_freq = 2;  // the frozen tower's half of each microbatch has no graph
  lit.schedule.steps = 3;
  std::vector<std::string> messages;
  train_image_text(lit, {.message = [&](const std::string& m) { messages.push_back(m); }});
  auto tower = [&](const char* run) {
    return load_image_text(d / run).model->parameters().find("image.blocks.1.moe.experts.up.weight")->master().to_vector<float>();
  };
  EXPECT_EQ(tower("classifier"), tower("lit"));
  EXPECT_NE(std::find_if(messages.begin(), messages.end(), [](const std::string& m) { return m.rfind("started from ", 0) == 0; }), messages.end());
  t.train_data = scenes();
  t.out = d / "none";
  EXPECT_NE(message_of<UsageError>([&] { train_image_text(t, {}); }).find("a classifier needs labelled pictures"), std::string::npos);
}

TEST(Surgery, AverageUpcycleAndPrune) {
  Temporary d;
  ImageTextTraining t = toy(d / "dense");
  t.model.moe_layers = {};
  t.schedule.steps = 4;
  t.save_every = 2;
  train_image_text(t, {});
  const std::string a = d / "dense/checkpoints/step-000002", b = d / "dense/checkpoints/step-000004";
  average_checkpoints({a, b}, d / "mean");
  auto weights = [](const std::string& path) { return load_image_text(path).model->parameters().masters().to_vector<float>(); };
  std::vector<float> x = weights(a), y = weights(b), mean = weights(d / "mean");
  for (size_t i = 0; i < x.size(); ++i) { ASSERT_EQ(mean[i], float((double(x[i]) + double(y[i])) / 2)); }
  EXPECT_NE(message_of<UsageError>([&] { average_checkpoints({a, b}, d / "mean"); }).find("exists already"), std::string::npos);

  RouterOptions router{.experts = 4};
  Transfer done = upcycle_checkpoint(b, {0, 1}, router, 7, d / "sparse");
  EXPECT_EQ(done.upcycled.size(), 8u);
  LoadedImageText sparse = load_image_text(d / "sparse");
  auto source = open_pairs(scenes());
  ExpertUse use = busiest_experts(sparse, *source, Modality::text, 2, 64);
  ASSERT_EQ(use.experts.size(), 2u);
  EXPECT_GE(use.share[0], 0.5);
  prune_checkpoint(sparse, use, d / "text");
  EXPECT_EQ(load_image_text(d / "text").model->config().router.experts, 2);
  EXPECT_NE(message_of<UsageError>([&] { upcycle_checkpoint(d / "sparse", {1}, router, 7, d / "again"); }).find("has sparse blocks already"),
            std::string::npos);
  EXPECT_NE(message_of<UsageError>([&] { average_checkpoints({b, d / "sparse"}, d / "mixed"); }).find("is another model than"), std::string::npos);
}

}  // namespace
}  // namespace pumice
