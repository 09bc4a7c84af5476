// The `pumice` program as a user types it.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "pumice/tensor/file.h"
#include "../temporary.h"
#include "run_program.h"

namespace pumice {
namespace {

using testing::holds;
using testing::Outcome;
using testing::run;

TEST(Program, HelpAndMistypedNames) {
  Outcome o = run("--help");
  EXPECT_EQ(o.code, 0);
  EXPECT_TRUE(holds(o, "train limoe")) << o.text;
  EXPECT_EQ(run("").code, 2);
  EXPECT_EQ(run("--version").text.substr(0, 7), "pumice ");

  o = run("trian limoe");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "error: pumice: there is no command 'trian limoe'. Did you mean 'train limoe'?")) << o.text;
  o = run("tokenizer");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "Usage: pumice tokenizer COMMAND") && holds(o, "  tokenizer encode  print the token ids")) << o.text;
  EXPECT_FALSE(holds(o, "train limoe")) << o.text;
  EXPECT_EQ(run("data --help").code, 0);
  o = run("train limoe --batchsize 3");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "there is no flag --batchsize. Did you mean 'batch-size'?")) << o.text;
  o = run("train limoe --preset tinny");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "there is no preset 'tinny'")) << o.text;
  o = run("train limoe --steps many");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "--steps must be an integer (optimizer steps in total), got 'many'")) << o.text;
  o = run("train limoe --steps");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "--steps needs a value")) << o.text;
  o = run("train limoe --help");
  EXPECT_EQ(o.code, 0);
  EXPECT_TRUE(holds(o, "--capacity-factor X")) << o.text;
}

TEST(Program, DryRunShowsWhereValuesComeFrom) {
  testing::Temporary d;
  write_file_atomic(d / "c.json", "{\"preset\": \"small\", \"lr\": 0.002, // a comment\n \"batch_size\": 64}");
  Outcome o = run("train limoe --config " + (d / "c.json") + " --batch-size 32 --moe-layers 1,3 --bf16_unknown 1");
  EXPECT_EQ(o.code, 2);
  o = run("train limoe --config " + (d / "c.json") + " --batch_size 32 --precision bf16 --grad-checkpointing True --dry-run");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "width                  192                          from preset small")) << o.text;
  EXPECT_TRUE(holds(o, "lr                     0.002                        from " + (d / "c.json"))) << o.text;
  EXPECT_TRUE(holds(o, "batch-size             32                           from --batch_size")) << o.text;
  EXPECT_TRUE(holds(o, "parameters    ")) << o.text;
  o = run("train limoe --preset h14 --dry-run");
  EXPECT_TRUE(holds(o, "5.55G total, 676M active per token")) << o.text;
}

TEST(Program, WordsOfOtherPrograms) {
  testing::Temporary d;
  Outcome o = run(
      "train limoe --dry-run --learning_rate 0.002 --bf16 True --per_device_train_batch_size=64 --siglip --warmup_steps 7 --no-grad-checkpointing");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "lr                     0.002                        from --learning_rate")) << o.text;
  EXPECT_TRUE(holds(o, "precision              bf16                         from --bf16")) << o.text;
  EXPECT_TRUE(holds(o, "loss                   sigmoid                      from --siglip")) << o.text;
  EXPECT_TRUE(holds(run("train limoe --dry-run --no-bf16"), "precision              fp32                         from --no-bf16"));
  EXPECT_EQ(run("train limoe --dry-run --resume latest --out " + (d / "none")).code, 0) << "auto: there is nothing to resume";
  const std::pair<const char*, const char*> errors[] = {
      {"--zeroshot-frequency 2", "there is no flag --zeroshot-frequency. Training evaluates nothing: keep checkpoints with --keep-every N"},
      {"--bf16=maybe", "--bf16 must be true or false, got 'maybe'"},
      {"--precision amp", "--precision must be one of fp32, bf16, got 'amp'."},
      {"--warmup_ratio 0.1", "Give steps instead: --warmup N."},
      {"--dry-run --accum-freq 0", "--accum-freq must be at least 1, got 0"},
      {"--dry-run --batch-size 10 --accum-freq 3", "--batch-size must be a multiple of --accum-freq, got 10 and 3"},
      {"--dry-run --architecture classifier", "--architecture says architecture classifier, which pumice train classifier trains"},
      {"--lr-scheduler cosin", "--lr-scheduler must be one of constant, linear, cosine, rsqrt, got 'cosin'. Did you mean 'cosine'?"},
  };
  for (auto [flags, message] : errors) {
    o = run(std::string("train limoe ") + flags);
    EXPECT_EQ(o.code, 2) << flags;
    EXPECT_TRUE(holds(o, message)) << o.text;
  }
}

// A write that fails ends with a message, whether the disk is full or a limit is reached, and leaves no half checkpoint.
TEST(Program, FailedWritesAndBrokenNumbers) {
  testing::Temporary d;
  ASSERT_EQ(run("data template csv --out " + (d / "csv")).code, 0);
  const std::string small =
      " --preset tiny --image-size 16 --patch 4 --width 32 --heads 2 --mlp 64 --depth 2 --moe-layers 1 --batch-size 12 --group-examples 12 "
      "--vocab-size 300 --train-data " +
      (d / "csv/train.csv") + " --out ";
  Outcome o = run("__complete train limoe --bf1");
  EXPECT_TRUE(holds(o, "--bf16")) << o.text;
  FILE* limited = popen(("ulimit -f 100; '" PUMICE_PROGRAM "' train limoe --steps 2" + small + (d / "full") + " 2>&1").c_str(), "r");
  char buffer[4096];
  o = {0, std::string(buffer, fread(buffer, 1, sizeof buffer, limited))};
  o.code = WEXITSTATUS(pclose(limited));
  EXPECT_EQ(o.code, 1) << o.text;
  EXPECT_TRUE(holds(o, "File too large")) << o.text;
  o = run("model info " + (d / "full"));
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "holds no checkpoint")) << o.text;  // nothing half written is found
  o = run("train limoe --steps 30 --warmup 0 --lr 1e20 --grad-clip-norm 0" + small + (d / "nan"));
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "First op with a value that is not finite: [") && holds(o, "No checkpoint had been saved; try a lower --lr")) << o.text;
  o = run("train limoe --steps 2" + small + (d / "csv/train.csv"));
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "cannot be made: Not a directory")) << o.text;
  o = run("train limoe --steps 2 --batch-size 5000" + small + (d / "large") + " --batch-size 5000");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "the data has 24 samples, fewer than the batch size 5000. Lower --batch-size")) << o.text;
}

TEST(Program, DoctorAndPresets) {
  Outcome o = run("doctor");
  EXPECT_EQ(o.code, 0);
  EXPECT_TRUE(holds(o, "PUMICE_THREADS")) << o.text;
  EXPECT_TRUE(holds(o, "utf8proc ")) << o.text;
  o = run("presets tiny");
  EXPECT_EQ(o.code, 0);
  EXPECT_TRUE(holds(o, "\"moe-layers\": [")) << o.text;
}

// From nothing to numbers: scenes, training, an interrupted run resumed, evaluation, and what a wrong path says.
TEST(Program, TheWholePath) {
  testing::Temporary d;
  Outcome o = run("data scenes --shapes --train 200 --val 20 --eval-per-class 2 --concepts 8 --size 32 --out " + (d / "scenes"));
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "shapes-v1: 200 training pictures, 20 for validation, 16 of 8 single objects")) << o.text;
  o = run("data scenes --out " + (d / "scenes"));
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "is not empty")) << o.text;

  const std::string small =
      " --preset tiny --image-size 32 --width 32 --heads 2 --mlp 64 --depth 2 --moe-layers 1 --batch-size 32 --group-examples 16 --seed 3";
  o = run("train limoe --train-data '" + (d / "scenes/train/train-{000000..000003}.tar") + "' --out " + (d / "run") + small +
          " --steps 6 --warmup 2");
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "train-000001.tar does not exist (1 of 4 shards")) << o.text;
  const std::string data = " --train-data " + (d / "scenes/train/train-000000.tar");
  o = run("train limoe" + data + " --out " + (d / "run") + small + " --steps 6 --warmup 2");
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "trained 6 steps")) << o.text;
  o = run("train limoe" + data + " --out " + (d / "run") + small + " --steps 6 --warmup 2");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "holds a run already")) << o.text;
  o = run("train limoe" + data + " --out " + (d / "short") + small + " --steps 3");  // the default warm-up is longer than that
  EXPECT_EQ(o.code, 0) << o.text;
  o = run("train limoe --resume --out " + (d / "short"));
  EXPECT_TRUE(holds(o, "nothing to do")) << o.text;
  o = run("train limoe --resume --out " + (d / "run"));
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "nothing to do: " + (d / "run") + " has all its 6 steps")) << o.text;

  o = run("eval zeroshot --model " + (d / "run") + " --data " + (d / "scenes/eval-objects") + " --output " + (d / "z.json"));
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "16 pictures, 8 classes")) << o.text;
  const std::string json = read_file(d / "z.json");
  EXPECT_NE(json.find("\"colour_histogram_1nn\""), std::string::npos);
  EXPECT_LT(json.find("\"per_class\""), json.find("\"recall\"")) << json;
  EXPECT_EQ(json.find("\"confusions\"") != std::string::npos, holds(o, "most often taken for another class:")) << o.text;
  EXPECT_FALSE(
      holds(run("eval zeroshot --confusions 0 --canonicalize --model " + (d / "run") + " --data " + (d / "scenes/eval-objects")), "taken for"));
  o = run("eval retrieval --model " + (d / "run") + " --data " + (d / "scenes/val.csv"));
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "20 pictures, 60 captions")) << o.text;
  o = run("eval retrieval --model " + (d / "run") + " --data " + (d / "scenes/val.csv") + " --csv-img-key picture");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "no column 'picture'. Columns: filepath, caption (separator ','). Try: --csv-img-key filepath")) << o.text;
  o = run("model info " + (d / "run"));
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "step 6")) << o.text;
  o = run("eval zeroshot --model " + (d / "nothing") + " --data " + (d / "scenes/eval-objects"));
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "does not exist. Give a run directory")) << o.text;
}

// Starts `pumice train limoe` in the background, waits until it has logged `lines` steps, and sends `signal`. Returns the wait status.
int train_and_signal(const std::string& out, const std::string& data, const std::string& flags, int lines, int signal) {
  const std::string command = "exec '" PUMICE_PROGRAM "' train limoe --train-data " + data + " --out " + out + flags + " > " + out + ".log 2>&1";
  const pid_t child = fork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  for (int waited = 0; waited < 3000; ++waited) {  // at most a minute
    std::ifstream metrics(out + "/metrics.jsonl");
    std::string line;
    int have = 0;
    while (std::getline(metrics, line)) { ++have; }
    if (have >= lines) { break; }
    if (waitpid(child, &status, WNOHANG) == child) { return status; }
    usleep(20'000);
  }
  kill(child, signal);
  waitpid(child, &status, 0);
  return status;
}

TEST(Program, SignalsLoseNothing) {
  testing::Temporary d;
  Outcome o = run("data scenes --shapes --train 64 --val 4 --eval-per-class 1 --concepts 8 --size 32 --out " + (d / "scenes"));
  ASSERT_EQ(o.code, 0) << o.text;
  const std::string data = d / "scenes/train/train-000000.tar";
  const std::string flags =
      " --preset tiny --image-size 32 --width 32 --heads 2 --mlp 64 --depth 2 --moe-layers 1 --batch-size 16 --group-examples 16 "
      "--steps 2000 --log-every 1 --save-every 0";
  // SIGTERM and SIGINT end after the step and save it.
  for (int signal : {SIGTERM, SIGINT}) {
    const std::string out = d / std::to_string(signal);
    int status = train_and_signal(out, data, flags, 3, signal);
    std::string log = read_file(out + ".log");
    ASSERT_TRUE(WIFEXITED(status)) << log;
    EXPECT_EQ(WEXITSTATUS(status), signal == SIGINT ? 130 : 0) << log;
    EXPECT_NE(log.find("continue with: pumice train limoe --out " + out + " --resume"), std::string::npos) << log;
    EXPECT_EQ(read_file(out + "/log.txt").find("stopped at step") != std::string::npos, true);
    o = run("model info " + out);
    EXPECT_EQ(o.code, 0) << o.text;
  }
  // SIGKILL before the first checkpoint: there is a run to resume, from its first step.
  const std::string killed = d / "killed";
  int status = train_and_signal(killed, data, flags, 3, SIGKILL);
  ASSERT_TRUE(WIFSIGNALED(status));
  o = run("train limoe --resume --steps 5 --warmup 1 --out " + killed);
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "was stopped before its first checkpoint; starting from step 0")) << o.text;
  EXPECT_TRUE(holds(o, "trained 5 steps")) << o.text;
}

const char* kSmall =
    " --preset tiny --image-size 16 --patch 4 --width 32 --heads 2 --mlp 64 --depth 2 --moe-layers 1 --batch-size 12 --group-examples 12 --steps 2 "
    "--vocab-size 300 ";

TEST(Program, EveryTemplateIsCheckedAndTrainsAsItSays) {
  testing::Temporary d;
  const std::pair<const char*, const char*> kinds[] = {
      {"csv", "/train.csv"}, {"coco", "/captions.json"}, {"karpathy", "/dataset.json"}, {"folder", ""}, {"idx", ""},
      {"webdataset", "/train-{000000..000001}.tar"}, {"clip-benchmark", ""}};
  for (auto [kind, file] : kinds) {
    const std::string out = d / kind, source = "'" + out + file + "'";
    Outcome o = run("data template " + std::string(kind) + " --out " + out);
    EXPECT_EQ(o.code, 0) << o.text;
    EXPECT_TRUE(holds(o, "--train-data " + source)) << o.text;
    o = run("data check " + source);
    EXPECT_EQ(o.code, 0) << o.text;
    EXPECT_TRUE(holds(o, " 0 unreadable")) << o.text;
    o = run("train limoe" + std::string(kSmall) + "--train-data " + source + " --out " + out + "-run");
    EXPECT_EQ(o.code, 0) << o.text;
  }
  Outcome o = run("data inspect " + (d / "csv") + "/train.csv --n 3 --size 32 --out " + (d / "sheet.png") + " --tokenizer " +
                  (d / "csv-run/checkpoints/latest/tokenizer.json"));
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "train.csv line 3 (")) << o.text;
  EXPECT_TRUE(holds(o, "[<|endoftext|>]")) << o.text;
  EXPECT_EQ(read_file(d / "sheet.png").substr(1, 3), "PNG");

  write_file_atomic((d / "csv") + "/pictures/000001.png", "<html>");
  o = run("data check " + (d / "csv") + "/train.csv");
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "train.csv line 3 (") && holds(o, "is a web page")) << o.text;
  o = run("data template cvs --out " + (d / "x"));
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "there is no template 'cvs'")) << o.text;
}

TEST(Program, ConversationsAreChecked) {
  testing::Temporary d;
  const std::string json = d / "set/train.json", source = "data check " + json;
  Outcome o = run("data template llava --out " + (d / "set"));
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "pumice data check '" + json + "'")) << o.text;
  o = run(source);
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "3 conversations of 4 turns, 1 without a picture; 2 pictures, 0 unreadable")) << o.text;

  const std::string phi = " --tokenizer " PUMICE_FIXTURES "/data/fixtures/tokenizer/phi.json";
  o = run(source + phi + " --template phi");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, " of them trained on; the longest conversation has ") && holds(o, ", 0 are cut at 2048")) << o.text;
  o = run(source + phi + " --template phi --max-length 8");
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "train.json[0] (id 0): the first answer begins at id ") && holds(o, "the length limit 8 leaves nothing")) << o.text;
  o = run(source + phi + " --template v1");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "ends answers with </s>, which this tokenizer has no token for. Templates that go with it: plain, phi")) << o.text;

  o = run("data inspect " + json + " --template phi --n 1");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "0  " + json + "[0] (id 0)\n    pictures/000000.png\n    | A chat between")) << o.text;
  EXPECT_TRUE(holds(o, " USER: <image>\n    | What is this? ASSISTANT:\n    >  a red circle on white<|endoftext|>\n    | USER: What")) << o.text;
  EXPECT_FALSE(holds(o, "[1]")) << o.text;
  o = run("data inspect " + json + phi + " --template phi --start 1");
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "[<|endoftext|>]\n    ") && holds(o, "[<image>]") && holds(o, " ids, a picture as one\n2  ")) << o.text;
  EXPECT_EQ(run("data inspect " + json + " --start 3").code, 2);

  std::string text = read_file(json);
  text.replace(text.find("Four."), 5, " ");
  write_file_atomic(json, text);
  std::filesystem::remove(d / "set/pictures/000001.png");
  o = run(source);
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "train.json[2] (id 2): message 2 is an answer without text")) << o.text;
  EXPECT_TRUE(holds(o, "train.json[1] (id 1): ") && holds(o, "000001.png")) << o.text;
  EXPECT_TRUE(holds(o, "2 conversations of 3 turns, 0 without a picture; 2 pictures, 1 unreadable")) << o.text;
  EXPECT_TRUE(holds(o, "left out 1 of 3 samples")) << o.text;
  EXPECT_EQ(run(source + " --image-folder " + (d / "nowhere")).code, 1);
}

TEST(Program, DataCheckNamesPlantedFaults) {
  testing::Temporary d;
  ASSERT_EQ(run("data template csv --out " + (d / "csv")).code, 0);
  const std::string csv = d / "csv/train.csv", first = read_file(d / "csv/pictures/000000.png");
  write_file_atomic(d / "csv/pictures/000000.png", first.substr(0, first.size() / 2));
  write_file_atomic(d / "csv/pictures/000001.png", "");
  write_file_atomic(d / "csv/pictures/000002.png", "version https://git-lfs.github.com/spec/v1\n");
  Outcome o = run("data check " + csv);
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, csv + " line 2 (") && holds(o, "000000.png) is not a readable PNG: the file ends too early")) << o.text;
  EXPECT_TRUE(holds(o, csv + " line 3: the picture ") && holds(o, "000001.png is empty")) << o.text;
  EXPECT_TRUE(holds(o, "000002.png) is a git-lfs pointer, not the file itself: run git lfs pull")) << o.text;
  EXPECT_TRUE(holds(o, "23 pairs, 2 unreadable")) << o.text;
  o = run("data check --problems 0 " + csv);
  EXPECT_EQ(o.code, 1);
  EXPECT_FALSE(holds(o, "line 2 (")) << o.text;
  const std::pair<const char*, const char*> taken_for[] = {{"a.csv", "PAR1...."}, {"a.json", "PK\x03\x04"}, {"a.tar", "\x80\x04...."}};
  const char* said[] = {"a.csv is a Parquet file", "a.json is a zip archive", "It is a Python pickle"};
  for (int i = 0; i < 3; ++i) {
    write_file_atomic(d / taken_for[i].first, taken_for[i].second);
    o = run("data check " + (d / taken_for[i].first));
    EXPECT_EQ(o.code, 1) << o.text;
    EXPECT_TRUE(holds(o, said[i])) << o.text;
  }
}

TEST(Program, AClassifierTrainsFromACsvOfLabels) {
  testing::Temporary d;
  ASSERT_EQ(run("data template folder --out " + (d / "set")).code, 0);
  std::string rows = "path,label\n";
  for (const char* shape : {"circle", "square", "triangle"}) {
    for (const auto& file : std::filesystem::directory_iterator((d / "set/train/") + shape)) { rows += file.path().string() + "," + shape + "\n"; }
  }
  write_file_atomic(d / "train.csv", rows);
  Outcome o = run("train classifier" + std::string(kSmall) + "--train-data " + (d / "train.csv") + " --exif-orientation --out " + (d / "run"));
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "(chance 1.10)")) << o.text;  // ln 3
  o = run("eval zeroshot --no-baselines --model " + (d / "run") + " --data " + (d / "set"));
  EXPECT_EQ(o.code, 0) << o.text;
  o = run("eval zeroshot --model " + (d / "run") + " --data " + (d / "train.csv"));
  EXPECT_TRUE(o.code == 0 && holds(o, "18 pictures, 3 classes")) << o.text;
  o = run("train classifier" + std::string(kSmall) + "--train-data " + (d / "train.csv") + " --csv-label-key shape --out " + (d / "no"));
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "no column 'shape'. Columns: path, label")) << o.text;
}

TEST(Program, RivalsAndWhatIsMadeOfThem) {
  testing::Temporary d;
  ASSERT_EQ(run("data template folder --out " + (d / "set")).code, 0);
  const std::string data = "--train-data " + (d / "set") + " ", small = std::string(kSmall) + data;
  Outcome o = run("train classifier" + small + "--out " + (d / "vmoe"));
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "(chance 1.10)")) << o.text;  // ln 3
  o = run("eval zeroshot --no-baselines --model " + (d / "vmoe") + " --data " + (d / "set"));
  EXPECT_TRUE(holds(o, "classifier top-1")) << o.text;
  o = run("eval fewshot --shots 1,4 --seeds 2 --model " + (d / "vmoe") + " --data " + (d / "set"));
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "4-shot top-1")) << o.text;
  o = run("eval fewshot --shots 100 --model " + (d / "vmoe") + " --data " + (d / "set"));
  EXPECT_TRUE(o.code == 2 && holds(o, "labelled pictures, fewer than the 100 shots")) << o.text;
  o = run("eval retrieval --model " + (d / "vmoe") + " --data " + (d / "set"));
  EXPECT_EQ(o.code, 2) << o.text;
  EXPECT_TRUE(holds(o, "is no retrieval set: a directory needs test/nshards.txt")) << o.text;
  ASSERT_EQ(run("data template csv --out " + (d / "csv")).code, 0);
  o = run("eval retrieval --model " + (d / "vmoe") + " --data " + (d / "csv") + "/train.csv");
  EXPECT_EQ(o.code, 2) << o.text;
  EXPECT_TRUE(holds(o, "is a classifier of 3 classes: it reads no text")) << o.text;

  o = run("train clip --init-from " + (d / "vmoe") + " --freeze 'image.blocks.*' --batch-size 12 --group-examples 12 --steps 2 --log-format json " +
          data + "--out " + (d / "lit"));
  ASSERT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "{\"message\":\"started from ")) << o.text;
  EXPECT_TRUE(holds(o, "frozen: ")) << o.text;
  EXPECT_TRUE(holds(o, "\"step\":2,")) << o.text;
  o = run("train clip --resume auto --out " + (d / "lit"));
  EXPECT_TRUE(holds(o, "nothing to do")) << o.text;

  o = run("train limoe" + small + "--moe-layers '' --out " + (d / "dense"));
  ASSERT_EQ(o.code, 0) << o.text;
  o = run("model upcycle " + (d / "dense") + " --moe-layers 0,1 --experts 4 --out " + (d / "sparse"));
  EXPECT_EQ(o.code, 0) << o.text;
  o = run("model prune " + (d / "sparse") + " --modality text --keep 2 --data " + (d / "set") + " --out " + (d / "text"));
  EXPECT_EQ(o.code, 0) << o.text;
  o = run("eval zeroshot --no-baselines --model " + (d / "sparse") + " --text-model " + (d / "text") + " --data " + (d / "set"));
  EXPECT_EQ(o.code, 0) << o.text;
  o = run("train limoe --freeze 'image.block.*'" + small + "--out " + (d / "x"));
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "--freeze 'image.block.*' matches no parameter")) << o.text;
}

TEST(Program, CompletionOffersWhatTheProgramUnderstands) {
  EXPECT_EQ(run("__complete train cl").text, "clip\nclassifier\n");
  EXPECT_EQ(run("__complete train limoe --preset ti").text, "tiny\n");
  EXPECT_EQ(run("__complete train limoe --routing-order ''").text, "batch-priority\nposition\nrandom\n");
  EXPECT_TRUE(holds(run("__complete eval zeroshot --m"), "--model\n"));
  EXPECT_EQ(run("__complete train limoe --train-data ''").text, "");
  EXPECT_TRUE(holds(run("completion bash"), "complete -o default -F _pumice pumice"));
  EXPECT_EQ(run("completion tcsh").code, 2);
}

TEST(Program, TokenizersAreTrainedAndTried) {
  testing::Temporary d;
  write_file_atomic(d / "a.txt", "two red apples\ntwo red foxes\r\na red kite\n");
  Outcome o = run("tokenizer train " + (d / "a.txt") + " --vocab-size 270 --out " + (d / "t"));
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_EQ(o.text, (d / "t") + "/tokenizer.json: byte-level BPE of 263 tokens learned from 3 texts\n");
  EXPECT_TRUE(holds(run("tokenizer train " + (d / "a.txt") + " --out " + (d / "t")), "holds a tokenizer already; --overwrite replaces it"));
  const std::string use = " --tokenizer " + (d / "t") + " ";
  o = run("tokenizer encode" + use + "--pieces 'A red'");
  EXPECT_TRUE(holds(o, "  [a][\u0120red]\n")) << o.text;
  o = run("tokenizer encode" + use + "'Two red <|endoftext|>' | '" PUMICE_PROGRAM "' tokenizer decode" + use);
  EXPECT_EQ(o.text, "two red <|endoftext|>\n");
  EXPECT_EQ(run("tokenizer decode" + use + "--skip-special '[64, 262]'").text, "a\n");
  o = run("tokenizer decode" + use + "263");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(holds(o, "'263' is no id of this tokenizer; ids go from 0 to 262")) << o.text;
  o = run("tokenizer info " + (d / "t"));
  EXPECT_TRUE(holds(o, "kind         byte-level BPE\ntokens       263\nend of text  <|endoftext|> (262)\nspecial      1: <|endoftext|> (262)\n"))
      << o.text;
  o = run("tokenizer info " + d.path());
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(holds(o, "holds no tokenizer: none of tokenizer.json")) << o.text;
  EXPECT_TRUE(holds(run("__complete tokenizer train --type ''"), "sentencepiece-bpe"));
  o = run("tokenizer info " + (d / "t") + " --out " + (d / "copies/deep"));
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(std::filesystem::exists(d / "copies/deep/tokenizer.json"));
}

TEST(Program, TokenizersSayWhatIsWrong) {
  testing::Temporary d;
  write_file_atomic(d / "a.txt", "two red apples\n");
  write_file_atomic(d / "binary.txt", std::string("fine\na\xff\n"));
  write_file_atomic(d / "corpus.dat", "two red apples\n");
  auto expect = [&](const std::string& words, int code, const std::string& part) {
    Outcome o = run(words);
    EXPECT_EQ(o.code, code) << words;
    EXPECT_TRUE(holds(o, part)) << words << "\n" << o.text;
  };
  const std::string train = "tokenizer train ", out = " --out " + (d / "new");
  expect(train + (d / "none.txt") + out, 1, "none.txt cannot be opened: No such file or directory");
  expect(train + (d / "binary.txt") + out, 1, "binary.txt line 2 is not UTF-8 (byte 1 is 0xff). Save the text as UTF-8");
  expect(train + (d / "corpus.dat") + out, 2, "Text, one per line, is read from files that end in .txt");
  expect(train + (d / "a.txt") + " --vocab-size 10" + out, 2, "at least 257 tokens, got 10. Raise --vocab-size");
  expect(train + (d / "a.txt") + " --type foo" + out, 2, "--type must be one of bpe, sentencepiece, sentencepiece-bpe, got 'foo'");
  EXPECT_FALSE(std::filesystem::exists(d / "new")) << "nothing is left behind by what failed";

  expect(train + (d / "a.txt") + out, 0, "byte-level BPE");
  const std::string use = " --tokenizer " + (d / "new") + " ";
  expect("tokenizer encode a", 2, "pumice tokenizer encode: --tokenizer is required");
  expect("tokenizer encode --tokenizer " + (d / "gone") + " a", 1, "does not exist. Give a tokenizer file, a directory with one, or a training run");
  expect("tokenizer encode --tokenizer " + (d / "corpus.dat") + " a", 1, "corpus.dat is no tokenizer: a tokenizer.json, vocab.json with merges.txt");
  EXPECT_EQ(run("tokenizer encode" + use + "< /dev/null").text, "");
  EXPECT_EQ(run("tokenizer encode" + use + "< '" + (d / "binary.txt") + "' | '" PUMICE_PROGRAM "' tokenizer decode" + use).text, "fine\na\xff\n");
  expect("tokenizer decode" + use + "< '" + (d / "a.txt") + "'", 2, "line 1 of standard input: 'two' is no id of this tokenizer; ids go from 0 to ");

  Outcome o = run("data template csv --out " + (d / "set"));
  const std::string data = "train limoe --preset tiny --dry-run --train-data " + (d / "set/train.csv") + use;
  expect(data, 0, "parameters ");
  expect(data + "--vocab-size 99", 2, " tokens; the model's text embedding has 99 rows. Raise --vocab-size or choose another tokenizer");
  expect("train limoe --preset tiny --dry-run --tokenizer " + (d / "gone"), 1, "gone does not exist");
}

TEST(Program, AnotherTokenizerThanThatOfTheWeightsIsNoted) {
  testing::Temporary d;
  run("data template csv --out " + (d / "set"));
  write_file_atomic(d / "a.txt", "two red apples\n");
  run("tokenizer train " + (d / "a.txt") + " --out " + (d / "words"));
  const std::string train = "train limoe --train-data " + (d / "set/train.csv") + kSmall;
  Outcome o = run(train + "--out " + (d / "first"));
  EXPECT_EQ(o.code, 0) << o.text;
  o = run(train + "--init-from " + (d / "first") + " --out " + (d / "second") + " --tokenizer " + (d / "words"));
  EXPECT_EQ(o.code, 0) << o.text;
  EXPECT_TRUE(holds(o, "words is not the tokenizer of " + (d / "first") + ", whose word embeddings were learned for other tokens")) << o.text;
  o = run(train + "--init-from " + (d / "first") + " --out " + (d / "third") + " --tokenizer " + (d / "first"));
  EXPECT_FALSE(holds(o, "is not the tokenizer of")) << o.text;
}

}  // namespace
}  // namespace pumice
