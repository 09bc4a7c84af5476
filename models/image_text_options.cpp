// What names the fields of an ImageTextConfig where they are typed and where they are kept.
#include <algorithm>
#include <charconv>

#include "pumice/models/image_text_config.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

// An option whose value is one of an enumeration's names, in the order of its values.
template <class E> Option& add_choice(OptionTable& o, const char* name, E& value, const char* help, const std::vector<std::string>& names) {
  return o.add(name, "Model", help, [&value, names] { return names[size_t(value)]; },
               [&value, names](const std::string& text) {
                 value = E(std::find(names.begin(), names.end(), text) - names.begin());
                 return true;
               }).one_of(names);
}

}  // namespace

void declare_model_options(OptionTable& o, ImageTextConfig& c) {
  add_choice(o, "architecture", c.architecture, "one tower for both, one for each, or images alone", {"limoe", "two-tower", "classifier"});
  o.add("image-size", c.image_size, "Model", "pixels per side that pictures are resized to").alias("force-image-size");
  o.add("patch", c.patch, "Model", "pixels per side of a patch").alias("patch-size");
  o.add("text-length", c.text_length, "Model", "most tokens of a caption, end-of-text included").alias("max-length").alias("model-max-length");
  o.add("vocab-size", c.vocabulary, "Model", "rows of the text embedding");
  o.add("depth", c.depth, "Model", "blocks").alias("layers");
  o.add("width", c.width, "Model", "channels");
  o.add("heads", c.heads, "Model", "attention heads");
  o.add("mlp", c.hidden, "Model", "channels inside an MLP or expert");
  o.add("embed-dim", c.embedding, "Model", "channels of the joint space");
  o.add("text-depth", c.text_depth, "Model", "two towers: blocks of the text tower; 0 = as the image tower");
  o.add("text-width", c.text_width, "Model", "two towers: its channels; 0 = as the image tower");
  o.add("text-heads", c.text_heads, "Model", "two towers: its attention heads; 0 = as the image tower");
  o.add("text-mlp", c.text_hidden, "Model", "two towers: channels inside its MLPs; 0 = as the image tower");
  o.add("causal-text", c.causal_text, "Model", "two towers: words see only those before them, as in CLIP");
  add_choice(o, "pooling", c.image_pooling, "one vector per picture: mean of its tokens, attention from a probe, or a class token",
             {"mean", "map", "token"});
  add_choice(o, "text-pooling", c.text_pooling, "the same per caption; token is the end of text", {"mean", "map", "token"});
  add_choice(o, "positions", c.positions, "of patches", {"learned", "sincos"});
  add_choice(o, "loss", c.loss, "over the batch (CLIP's softmax, SigLIP's sigmoid) or over a classifier's classes", {"softmax", "sigmoid"})
      .switched_by("siglip", "sigmoid", "softmax");
  o.add("init-bias", c.initial_bias, "Model", "sigmoid loss: added to the logits at the start; it is learned");
  o.add("classnames", "Model", "classes of a classifier, one per line; taken from the training data",
        [&c] { return join(c.classnames, "\n"); },
        [&c](const std::string& text) {
          c.classnames.clear();
          for (size_t begin = 0; begin < text.size();) {
            const size_t end = std::min(text.find('\n', begin), text.size());
            c.classnames.push_back(text.substr(begin, end - begin));
            begin = end + 1;
          }
          return true;
        });
  o.add("dropout", c.dropout, "Model", "after attention and MLP");
  o.add("init-temperature", c.initial_temperature, "Model", "similarities are multiplied by this at the start; it is learned");

  o.add("moe-layers", c.moe_layers, "MoE", "indices of the sparse blocks; empty for a dense model").alias("moe-layers-idx");
  o.add("text-moe-layers", c.text_moe_layers, "MoE", "the same of the text tower of two");
  o.add("experts", c.router.experts, "MoE", "experts per sparse block").alias("num-experts");
  o.add("experts-per-token", c.router.experts_per_token, "MoE", "experts that each token visits").alias("top-k-experts");
  o.add("capacity-factor", c.router.train.factor, "MoE", "places per expert over its even share, in training; 0 = no token is dropped");
  o.add("eval-capacity-factor", c.router.eval.factor, "MoE", "the same in evaluation");
  o.add("capacity-multiple", "MoE", "places per expert are rounded up to a multiple of this, which is at least 1",
        [&c] { return std::to_string(c.router.train.multiple_of); },
        [&c](const std::string& text) {
          int n = 0;
          if (std::from_chars(text.data(), text.data() + text.size(), n).ptr != text.data() + text.size() || n < 1) { return false; }
          c.router.train.multiple_of = c.router.eval.multiple_of = n;
          return true;
        }).type = Option::kInteger;
  o.add("router-noise", c.router.noise_std, "MoE", "deviation of the noise on router logits in training, divided by the number of experts");
  o.add("gates", "MoE", "what an expert's output is multiplied with: its probability, or that over the sum of the token's experts",
        [&c] { return std::string(name_of(c.router.gates)); },
        [&c](const std::string& text) {
          c.router.gates = gates_named(text);
          return true;
        }).one_of(gates_names());
  o.add("routing-order", "MoE", "who claims places first",
        [&c] { return std::string(c.router.order == Order::position ? "position" : c.router.order == Order::random ? "random" : "batch-priority"); },
        [&c](const std::string& text) {
          c.router.order = text == "position" ? Order::position : text == "random" ? Order::random : Order::batch_priority;
          return true;
        }).one_of({"batch-priority", "position", "random"});
  o.add("group-examples", c.group_examples, "MoE", "whole examples per routing group: capacity and balance are counted within it");
  o.add("dense-twin", c.dense_twin, "MoE", "replace each sparse block by one MLP of the same FLOPs");
  o.add("independent-experts", c.independent_experts, "MoE", "draw each expert's first weights on its own instead of copying one draw");
  o.add("aux-weight", c.aux.weight, "MoE", "coefficient of the mean of the auxiliary losses").alias("router-aux-loss-coef");
  o.add("aux-losses", "MoE", "active auxiliary losses", [&c] { return join(c.aux.names(), ","); },
        [&c](const std::string& text) { return c.aux.set_names(text); });
  o.add("aux-scope", "MoE", "tokens that an auxiliary loss is computed over: each routing group, or the whole batch at once",
        [&c] { return std::string(c.aux.scope == LossScope::group ? "group" : "global"); },
        [&c](const std::string& text) {
          c.aux.scope = text == "group" ? LossScope::group : LossScope::global;
          return true;
        }).one_of({"group", "global"});
  o.add("soft-min-image", c.aux.soft_min_image, "MoE", "experts that images should use at least (global_image loss); 0 = min(20, 0.62 experts)");
  o.add("soft-min-text", c.aux.soft_min_text, "MoE", "experts that text should use at least (global_text loss); 0 = min(9, 0.28 experts)");
  o.add("aux-noisy-entropies", c.aux.noisy_entropies, "MoE", "entropy losses of the noisy probabilities that chose, instead of the clean ones");
  o.add("aux-sum-layers", c.sum_aux_over_layers, "MoE", "sum the auxiliary loss over sparse blocks instead of taking the mean");
}

std::string to_json(const ImageTextConfig& config) {
  ImageTextConfig copy = config;
  OptionTable table;
  table.add("preset", copy.preset, "Model", "where the values came from");
  declare_model_options(table, copy);
  return table.to_json();
}

ImageTextConfig image_text_config_from_json(const std::string& text, const std::string& source) {
  ImageTextConfig config;
  OptionTable table;
  table.add("preset", config.preset, "Model", "where the values came from");
  declare_model_options(table, config);
  try {
    table.set_from_json(text, source);
    config.validate();
  } catch (const UsageError& e) {  // of a file, not of what was typed
    throw FormatError(e.what(), e.file, e.line);
  }
  return config;
}

}  // namespace pumice
