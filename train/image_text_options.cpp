#include "pumice/train/image_text_options.h"

#include <algorithm>
#include <charconv>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

bool parse_factors(const std::string& text, std::vector<double>& factors) {
  std::vector<double> parsed;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find("::", begin), text.size());
    double factor = 0;
    auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, factor);
    if (error != std::errc() || stop != text.data() + end) { return false; }
    parsed.push_back(factor);
    begin = end + 2;
  }
  factors = parsed;
  return true;
}

// As many numbers as there are targets, separated by commas.
bool parse_numbers(const std::string& text, const std::vector<double*>& targets) {
  std::vector<double> parsed;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    double value = 0;
    auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end) { return false; }
    parsed.push_back(value);
    begin = end + 1;
  }
  if (parsed.size() != targets.size()) { return false; }
  for (size_t i = 0; i < parsed.size(); ++i) { *targets[i] = parsed[i]; }
  return true;
}

}  // namespace

void declare_training_options(OptionTable& o, ImageTextTraining& t) {
  o.add("train-data", t.train_data, "Data",
        "shards (a path with braces), CSV, COCO JSON, a folder per class, an IDX or CLIP_benchmark folder; several joined by '::'")
      .alias("data").alias("data-path");
  o.add("train-data-upsampling-factors", "Data", "how often each source of a mix is drawn from, such as 2::1",
        [&t] {
          std::vector<std::string> parts;
          for (double f : t.data.upsampling) { parts.push_back(concat_text(f)); }
          return join(parts, "::");
        },
        [&t](const std::string& text) { return parse_factors(text, t.data.upsampling); });
  o.add("csv-img-key", t.data.image_column, "Data", "CSV: the column of picture paths; default: filepath, image, path, file_name or image_name");
  o.add("csv-caption-key", t.data.caption_column, "Data", "CSV: the column of captions; default: title, caption, text or comment");
  o.add("csv-label-key", t.data.label_column, "Data", "CSV: the column of classes; default: label or class, if there is one");
  o.add("image-folder", t.data.image_folder, "Data", "where relative picture paths of a CSV or JSON start; default: beside the file");
  o.add("split", t.data.split, "Data", "of sources that have several");
  o.add("exif-orientation", t.decoding.exif_orientation, "Data", "turn pictures as their EXIF data says; evaluation then does so too")
      .alias("exif-rotate");
  o.add("dedupe-batch", t.dedupe_batch, "Data", "no two examples of a batch have the same caption or picture");
  o.add("aug-scale", "Data", "random crops of a share of the picture's area, such as 0.9,1, resized; 1,1: the centre crop",
        [&t] { return concat_text(t.augmentation.min_scale, ",", t.augmentation.max_scale); },
        [&t](const std::string& text) { return parse_numbers(text, {&t.augmentation.min_scale, &t.augmentation.max_scale}); });
  o.add("aug-flip", t.augmentation.flip, "Data", "probability of a mirror image; leave it at 0 when captions say left and right");
  o.add("aug-color-jitter", "Data",
        "strength of random brightness, contrast, saturation and, if four numbers are given, hue, such as 0.4,0.4,0.4,0.1",
        [&t] {
          const Augmentation& a = t.augmentation;
          return concat_text(a.brightness, ",", a.contrast, ",", a.saturation, a.hue > 0 ? concat_text(",", a.hue) : "");
        },
        [&t](const std::string& text) {
          Augmentation& a = t.augmentation;
          a.hue = 0;
          return parse_numbers(text, {&a.brightness, &a.contrast, &a.saturation}) ||
                 parse_numbers(text, {&a.brightness, &a.contrast, &a.saturation, &a.hue});
        });
  o.add("aug-gray", t.augmentation.grey, "Data", "probability of losing the colour").alias("aug-grey").alias("aug-gray-scale-prob");
  o.add("tokenizer", t.tokenizer, "Data", "a tokenizer file or a directory with one (pumice tokenizer info --help lists the kinds); "
        "without it that of --init-from, or one is learned from the captions");
  o.add("init-from", t.init_from, "Model", "start from the weights of this run or checkpoint: fine-tuning, LiT, sparse upcycling")
      .alias("pretrained").alias("model-name-or-path");
  o.add("overfit", t.overfit, "Data", "train on the first N pairs only, in order: a check that a model can learn at all; 0 = off");
  o.add("prefetch", t.prefetch, "Data", "batches decoded ahead by the loader's thread");

  declare_model_options(o, t.model);

  Option& batch = o.add("batch-size", "Optimiser", "pairs per step: the contrastive batch; auto: the largest power of two whose step fits into memory",
        [&t] { return std::to_string(t.batch_size); },
        [&t](const std::string& text) {
          const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), t.batch_size);
          t.fit_batch = text == "auto";
          return t.fit_batch || (error == std::errc() && end == text.data() + text.size());
        });
  batch.type = Option::kInteger;
  batch.alias("per-device-train-batch-size");
  o.add("accum-freq", t.accum_freq, "Optimiser", "microbatches per step; the contrastive batch stays whole").alias("gradient-accumulation-steps");
  declare_recipe_options(o, t);
}

std::string to_json(const ImageTextTraining& training) {
  ImageTextTraining copy = training;
  OptionTable table;
  if (!copy.model.preset.empty()) { table.add("preset", copy.model.preset, "Model", "where the values came from"); }
  declare_training_options(table, copy);
  return table.to_json(options_of_place());
}

}  // namespace pumice
