// The option table of training: other programs' spellings, and that a flag and a configuration file's key say the same.
#include "pumice/tensor/json.h"
#include "pumice/train/image_text_options.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "pumice/tensor/error.h"
#include "../message_of.h"

namespace pumice {
namespace {

using Json = nlohmann::ordered_json;
using testing::message_of;

struct Table {
  ImageTextTraining training;
  OptionTable options;
  Table() {
    training.model = limoe_preset("tiny");
    declare_training_options(options, training);
  }
  Json json() const { return parse_json(options.to_json()); }
};

TEST(TrainingOptions, SpellingsOfOtherPrograms) {
  struct Spelling { const char *flag, *value, *option; Json expected; };
  const Spelling all[] = {
      {"learning_rate", "0.002", "lr", 0.002},
      {"per_device_train_batch_size", "64", "batch-size", 64},
      {"gradient_accumulation_steps", "4", "accum-freq", 4},
      {"num_train_epochs", "3", "epochs", 3},
      {"max_steps", "70", "steps", 70},
      {"warmup_steps", "7", "warmup", 7},
      {"weight_decay", "0.05", "wd", 0.05},
      {"lr_scheduler_type", "linear", "lr-scheduler", "linear"},
      {"lr_scheduler_type", "constant_with_warmup", "lr-scheduler", "constant"},
      {"lr_scheduler_type", "inverse_sqrt", "lr-scheduler", "rsqrt"},
      {"lr-scheduler", "const", "lr-scheduler", "constant"},
      {"max_grad_norm", "2", "grad-clip-norm", 2},
      {"grad-clip-norm", "2", "grad-clip-norm", 2},
      {"adam_beta1", "0.8", "beta1", 0.8},
      {"adam_beta2", "0.98", "beta2", 0.98},
      {"adam_epsilon", "1e-6", "eps", 1e-6},
      {"optim", "adamw_torch", "optimizer", "adamw"},
      {"opt", "adafactor", "optimizer", "adafactor"},
      {"gradient_checkpointing", "True", "grad-checkpointing", true},
      {"precision", "amp_bf16", "precision", "bf16"},
      {"precision", "amp_bfloat16", "precision", "bf16"},
      {"save_steps", "50", "save-every", 50},
      {"save_total_limit", "2", "keep", 2},
      {"logging_steps", "5", "log-every", 5},
      {"log-every-n-steps", "5", "log-every", 5},
      {"output_dir", "runs/x", "out", "runs/x"},
      {"overwrite_output_dir", "True", "overwrite", true},
      {"resume", "latest", "resume", "auto"},
      {"data_path", "a.csv", "train-data", "a.csv"},
      {"image_folder", "pictures", "image-folder", "pictures"},
      {"model_name_or_path", "runs/a", "init-from", "runs/a"},
      {"pretrained", "runs/a", "init-from", "runs/a"},
      {"force-image-size", "96", "image-size", 96},
      {"model_max_length", "12", "text-length", 12},
      {"num_experts", "16", "experts", 16},
      {"top_k_experts", "2", "experts-per-token", 2},
      {"capacity_factor", "1.5", "capacity-factor", 1.5},
      {"router_aux_loss_coef", "0.01", "aux-weight", 0.01},
      {"moe_layers_idx", "0,2", "moe-layers", {0, 2}},
  };
  for (const Spelling& s : all) {
    Table t;
    Option* option = t.options.find(s.flag);
    ASSERT_TRUE(option) << s.flag;
    t.options.set(*option, s.value, std::string("--") + s.flag);
    EXPECT_EQ(t.json()[s.option], s.expected) << s.flag << " " << s.value;
  }
}

TEST(TrainingOptions, SwitchesSetAnotherOption) {
  struct Case { std::string key; const char *option, *on; };
  for (const auto& [key, option, on] : {Case{"bf16", "precision", "bf16"}, Case{"siglip", "loss", "sigmoid"}}) {
    Table t;
    t.options.set_from_json("{\"" + key + "\": true}", "c.json");
    EXPECT_EQ(t.json()[option], on);
    t.options.set_from_json("{\"" + key + "\": false}", "c.json");
    EXPECT_EQ(t.json()[option], Table().json()[option]);
    EXPECT_EQ(message_of<UsageError>([&] { t.options.set_from_json("{\"" + key + "\": 3}", "c.json"); }),
              "c.json: '" + key + "' must be true or false, got 3");
  }
}

// What has no counterpart says what to do instead, and names options that exist.
TEST(TrainingOptions, ForeignNamesAreExplained) {
  const char* names[] = {"warmup_ratio", "train-num-samples", "skip-scheduler", "lr-cooldown-end", "epochs-cooldown", "dataset-type", "csv-separator",
                         "dataset-resampled", "workers", "dataloader_num_workers", "aug-cfg", "model", "lock-image", "lock-text", "moe_enable",
                         "moe_mode", "min_capacity", "ep_size", "fp16", "tf32", "local-loss", "gather-with-grad", "local_rank", "deepspeed", "fsdp",
                         "logs", "name", "run_name", "resume_from_checkpoint", "save-frequency", "save_strategy", "save-most-recent", "report_to",
                         "wandb-project-name", "logging_dir", "val-data", "val-frequency", "imagenet-val", "zeroshot-frequency",
                         "evaluation_strategy", "eval_strategy", "eval_steps", "load_best_model_at_end"};
  Table t;
  for (const char* name : names) {
    EXPECT_FALSE(t.options.find(name)) << name;
    const std::string hint = t.options.hint(name);
    EXPECT_EQ(hint.substr(0, 1), " ") << name;
    EXPECT_EQ(hint.find("Did you mean"), std::string::npos) << name << hint;
    for (size_t at = hint.find("--"); at != std::string::npos; at = hint.find("--", at + 2)) {
      const std::string flag = hint.substr(at + 2, hint.find_first_not_of("abcdefghijklmnopqrstuvwxyz-", at + 2) - at - 2);
      EXPECT_TRUE(flag == "preset" || t.options.find(flag)) << name << ": " << flag;
    }
  }
  EXPECT_EQ(message_of<UsageError>([&] { t.options.set_from_json("{\"fp16\": true}", "c.json"); }),
            "c.json: there is no option 'fp16'. There is no fp16; use --precision bf16.");
  EXPECT_EQ(t.options.hint("batchsize"), " Did you mean 'batch-size'?");
}

// A value other than the default for every option of the table.
Json other_value(const Option& o) {
  static const std::map<std::string, Json> special = {
      {"train-data-upsampling-factors", "2::1"}, {"aug-scale", "0.5,1"}, {"aug-color-jitter", "0.1,0.2,0.3,0.4"}, {"wd", 0.25}, {"beta1", 0.75},
      {"classnames", "cat\ndog"}, {"capacity-multiple", 8}, {"aux-losses", "importance,z"}};
  if (auto found = special.find(o.name); found != special.end()) { return found->second; }
  if (!o.choices.empty()) { return o.choices[0] == o.get() ? o.choices[1] : o.choices[0]; }
  switch (o.type) {
    case Option::kInteger: return std::stoll(o.get()) + 3;
    case Option::kNumber: return std::stod(o.get()) + 0.5;
    case Option::kBoolean: return o.get() != "true";
    case Option::kIntegers: return Json{0, 2, 3};
    case Option::kTexts: return Json{"a.*", "b"};
    case Option::kText: break;
  }
  return "some text";
}

std::string flag_text(const Json& value) {
  if (value.is_string()) { return value.get<std::string>(); }
  if (!value.is_array()) { return value.dump(); }
  std::string text;
  for (const Json& v : value) { text += (text.empty() ? "" : ",") + flag_text(v); }
  return text;
}

TEST(TrainingOptions, AFlagAndAKeySayTheSame) {
  Table every_flag;
  Json every_key = Json::object();
  const Table names;
  const Json defaults = names.json();
  for (const Option& o : names.options.all()) {
    SCOPED_TRACE(o.name);
    Table by_flag, by_key;
    const Json value = other_value(*by_flag.options.find(o.name));
    by_flag.options.set(*by_flag.options.find(o.name), flag_text(value), "--" + o.name);
    by_key.options.set_from_json(Json{{o.name, value}}.dump(), "c.json");
    EXPECT_EQ(by_flag.json(), by_key.json());
    EXPECT_EQ(by_flag.json()[o.name], value);
    EXPECT_NE(by_flag.json()[o.name], defaults[o.name]);
    every_flag.options.set(*every_flag.options.find(o.name), flag_text(value), "--" + o.name);
    every_key[o.name] = value;
  }
  EXPECT_GT(every_key.size(), 90u);
  Table all;
  all.options.set_from_json(every_key.dump(), "c.json");
  EXPECT_EQ(all.json(), every_flag.json());
  Table again;  // what a run writes is read back
  again.options.set_from_json(all.options.to_json(), "config.json");
  EXPECT_EQ(again.json(), all.json());
}

}  // namespace
}  // namespace pumice
