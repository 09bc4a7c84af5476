// What a user does wrong with data, flags and disks: one message that names the place and what to try, and nothing half-written.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "pumice/data/image.h"
#include "pumice/tensor/file.h"
#include "../temporary.h"
#include "run_program.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using testing::holds;
using testing::Outcome;
using testing::run;

const std::string kSmall =
    " --preset tiny --image-size 16 --patch 4 --width 32 --heads 2 --mlp 64 --depth 2 --moe-layers 1 --batch-size 8 --group-examples 8 "
    "--vocab-size 300 --steps 2 ";

std::string picture(uint8_t grey) { return encode_png({8, 8, std::vector<uint8_t>(8 * 8 * 3, grey)}); }

class StrangeInput : public ::testing::Test {
 protected:
  // `words`: what the program is called with, every "@/" the test's directory.
  Outcome pumice(std::string words, const std::string& before = "") const {
    for (size_t at = 0; (at = words.find("@/", at)) != std::string::npos;) { words.replace(at, 2, d_.path() + "/"); }
    return run(words, before);
  }
  void expect(const std::string& words, int code, const std::string& message) const {
    const Outcome o = pumice(words);
    EXPECT_EQ(o.code, code) << words << "\n" << o.text;
    EXPECT_TRUE(holds(o, message)) << words << "\n" << o.text;
  }
  void write(const std::string& name, const std::string& content) const {
    fs::create_directories(fs::path(d_ / name).parent_path());
    write_file_atomic(d_ / name, content);
  }
  // `rows` pictures with what stands behind each path: " caption 3" for ",caption %".
  void write_csv(const std::string& name, const std::string& header, const std::string& behind, int rows = 16) const {
    std::string text = header + "\n";
    for (int i = 0; i < rows; ++i) {
      write("pictures/" + std::to_string(i) + ".png", picture(uint8_t(i)));
      std::string rest = behind;
      if (const size_t at = rest.find('%'); at != std::string::npos) { rest.replace(at, 1, std::to_string(i)); }
      text += "pictures/" + std::to_string(i) + ".png" + rest + "\n";
    }
    write(name, text);
  }
  testing::Temporary d_;
};

TEST_F(StrangeInput, FlagsThatContradictOrMakeNoSense) {
  write_csv("a.csv", "filepath,caption", ",caption %");
  const std::string train = "train limoe" + kSmall + "--train-data @/a.csv --out @/run ";
  expect(train + "--epochs 3", 2, "[train] --steps 2 and --epochs 3 both say how long to train; leave one out");
  expect(train + "--resume auto --overwrite", 2, "--resume and --overwrite exclude each other");
  expect(train + "--beta1 2", 2, "--beta1 and --beta2 must be in [0, 1), got 2");
  expect(train + "--eps 0", 2, "--eps must be positive, got 0");
  expect(train + "--grad-clip-norm -1", 2, "--grad-clip-norm must not be negative, got -1; 0 turns it off");
  expect(train + "--wd -1", 2, "--wd must not be negative, got -1");
  expect(train + "--prefetch -1", 2, "--prefetch must not be negative, got -1");
  expect(train + "--train-data-upsampling-factors a::b", 2, "--train-data-upsampling-factors must be what its description says (how often");
  expect(train + "--train-data-upsampling-factors 2::1", 2, "one factor for each of the 1 sources");
  expect(train + "--train-data ''", 2, "--train-data is required");
  EXPECT_FALSE(fs::exists(d_ / "run"));
  write("c.json", R"({"epochs": 100})");
  expect(train + "--config @/c.json", 0, "trained 2 steps");  // flags beat a config
}

TEST_F(StrangeInput, ABatchSizeThatFitsIntoMemory) {
  write_csv("a.csv", "filepath,caption", ",caption %", 20);
  const std::string train = "train limoe" + kSmall + "--train-data @/a.csv --out @/run --batch-size auto ";
  Outcome o = pumice(train + "--dry-run");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "from --batch-size") && !holds(o, "auto")) << o.text;
  expect(train, 0, "batch size 16: the largest power of two that memory and data have room for");
  EXPECT_NE(read_file(d_ / "run/config.json").find("\"batch-size\": 16"), std::string::npos);
  expect("train limoe --out @/run --resume", 0, "nothing to do");
  expect(train + "--overwrite --overfit 9", 0, "batch size 8: the largest power of two");
  expect(train + "--overwrite --accum-freq 0", 2, "--accum-freq must be at least 1, got 0");
  expect("train limoe --preset h14 --train-data @/a.csv --out @/large --batch-size auto", 2, "--batch-size auto: no power of two fits. A step of 2 would take");
}

TEST_F(StrangeInput, OneClassIsNoClassifier) {
  write_csv("one.csv", "filepath,label", ",cat");
  const std::string one = "[train] a classifier needs two classes at least; the training data has one, 'cat'";
  expect("train classifier" + kSmall + "--train-data @/one.csv --out @/run", 2, one);
  EXPECT_FALSE(fs::exists(d_ / "run"));
  write_csv("none.csv", "filepath,caption", ",a cat");
  expect("train classifier" + kSmall + "--train-data @/none.csv --out @/run", 2, "the training data names no class");
  expect("train limoe" + kSmall + "--train-data @/one.csv --out @/run", 0,
         "note: about 100 % of the examples of a batch share their caption with another one. Equal captions are right answers for each other");
  expect("eval zeroshot --model @/run --data @/one.csv", 1, "[zeroshot] the set has one class, 'cat': every answer would be right. Give two at least");
  write("folder/cat/1.png", picture(1));
  expect("train classifier" + kSmall + "--train-data @/folder --out @/new", 2, "looked for two folders with pictures, one per class (found 1)");
}

TEST_F(StrangeInput, EvaluationNamesWhatItLeavesOut) {
  write_csv("a.csv", "filepath,caption", ",caption %");
  write_csv("b.csv", "filepath,label", ",kind %");
  ASSERT_EQ(pumice("train limoe" + kSmall + "--train-data @/a.csv --out @/run").code, 0);
  write("pictures/3.png", "");
  fs::remove(d_ / "pictures/5.png");
  for (const char* words : {"eval retrieval --model @/run --data @/a.csv", "eval zeroshot --model @/run --data @/b.csv"}) {
    const Outcome o = pumice(words);
    EXPECT_EQ(o.code, 0) << o.text;
    EXPECT_TRUE(holds(o, "14 pictures")) << o.text;
    EXPECT_TRUE(holds(o, "3.png") && holds(o, "is an empty file; a PNG, JPEG or WebP picture is required")) << o.text;
    EXPECT_TRUE(holds(o, ".csv line 7: [file] ") && holds(o, "5.png cannot be opened: No such file or directory")) << o.text;
  }
  write("gone.csv", "filepath,caption\nx.png,a cat\n");
  expect("eval retrieval --model @/run --data @/gone.csv", 1,
         "none of the 1 pictures could be read; the first problem: [eval] " + (d_ / "gone.csv") + " line 2: [file] ");
  fs::create_symlink("loop", d_ / "loop");
  expect("data check @/loop", 1, "loop cannot be read: Too many levels of symbolic links");
  expect("eval zeroshot --model @/run --data @/loop", 1, "loop cannot be read or written: Too many levels of symbolic links");
}

// A file-size limit fails like a full disk; the shell counts in blocks of 512 or 1024 bytes.
TEST_F(StrangeInput, AFullDiskLeavesNothingHalfWritten) {
  write_csv("a.csv", "filepath,caption", ",caption %");
  ASSERT_EQ(pumice("train limoe" + kSmall + "--train-data @/a.csv --out @/run").code, 0);
  ASSERT_EQ(pumice("train limoe" + kSmall + "--dense-twin --train-data @/a.csv --out @/dense").code, 0);
  auto names = [&] {
    std::set<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(d_.path())) {
      if (!entry.is_directory()) { all.insert(entry.path().string()); }
    }
    return all;
  };
  const std::set<std::string> before = names();
  for (const char* words : {"model average @/run @/run --out @/new", "model upcycle @/dense --moe-layers 1 --experts 4 --out @/new",
                            "model prune @/run --modality image --keep 2 --data @/a.csv --out @/new", "tokenizer train @/a.csv --out @/new",
                            "eval retrieval --model @/run --data @/a.csv --output @/new.json", "data inspect @/a.csv --out @/new.png",
                            "eval experts --model @/run --data @/a.csv --maps @/new.png", "data scenes --train 100 --val 10 --out @/new"}) {
    const Outcome o = pumice(words, "ulimit -f 0; ");
    EXPECT_EQ(o.code, 1) << words << "\n" << o.text;
    EXPECT_TRUE(holds(o, "cannot be written: File too large")) << words << "\n" << o.text;
    EXPECT_EQ(names(), before) << words;
  }
}

TEST_F(StrangeInput, MemoryThatIsNotThere) {
  write_csv("a.csv", "filepath,caption", ",caption %");
  const Outcome o = pumice("train limoe" + kSmall + "--train-data @/a.csv --out @/run", "PUMICE_MEMORY_LIMIT=1 ");
  EXPECT_EQ(o.code, 1) << o.text;
  EXPECT_TRUE(holds(o, "Lower --batch-size or raise --accum-freq, or turn on --grad-checkpointing. In use:")) << o.text;
}

}  // namespace
}  // namespace pumice
