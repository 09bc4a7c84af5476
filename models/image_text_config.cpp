#include "pumice/models/image_text_config.h"

#include <algorithm>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

// Blocks 1, 3, 5, ... ("Every 2" of V-MoE counts from the second block).
std::vector<int64_t> every_second(int64_t depth) {
  std::vector<int64_t> blocks;
  for (int64_t i = 1; i < depth; i += 2) { blocks.push_back(i); }
  return blocks;
}

struct Size {
  const char* name;
  int64_t image_size, patch, text_length, vocabulary, depth, width, heads, hidden, embedding, experts;
};
// The first four are this project's; the others are the sizes of the LIMoE paper, with S as in V-MoE (512 wide, 8 deep).
constexpr Size kSizes[] = {
    {"micro", 32, 8, 16, 2048, 4, 64, 2, 256, 64, 0},
    {"tiny", 64, 8, 16, 2048, 4, 128, 4, 512, 128, 8},
    {"small", 64, 8, 16, 2048, 6, 192, 3, 768, 192, 8},
    {"medium", 64, 8, 32, 2048, 6, 384, 6, 1536, 384, 8},
    {"s32", 224, 32, 16, 32000, 8, 512, 8, 2048, 512, 32},
    {"s16", 224, 16, 16, 32000, 8, 512, 8, 2048, 512, 32},
    {"b32", 224, 32, 16, 32000, 12, 768, 12, 3072, 768, 32},
    {"b16", 224, 16, 16, 32000, 12, 768, 12, 3072, 768, 32},
    {"l16", 224, 16, 16, 32000, 24, 1024, 16, 4096, 1024, 32},
    {"h14", 224, 14, 16, 32000, 32, 1280, 16, 5120, 1280, 32},
};

// Parameters of one encoder with its pool, and the multiply-adds of one token (attention scores apart).
struct TowerCost { double total = 0, active = 0, macs_per_token = 0; };
TowerCost cost_of_tower(const TowerConfig& t, const ImageTextConfig& c) {
  const int64_t w = t.width, E = c.router.experts, K = c.router.experts_per_token;
  const double mlp = double(2 * w * t.hidden + t.hidden + w), attention = 4.0 * double(w) * double(w + 1);
  TowerCost cost;
  for (int64_t i = 0; i < t.depth; ++i) {
    const bool sparse = t.sparse(i) && !c.dense_twin;
    const double copies = t.sparse(i) ? double(K) : 1;
    // K experts side by side, or one MLP K times as wide in the dense twin: the output bias exists once there.
    const double dense = t.sparse(i) && c.dense_twin ? double(2 * w * t.hidden * K + t.hidden * K + w) : mlp * copies;
    cost.total += attention + double(4 * w) + (sparse ? mlp * double(E) + double(w * E) : dense);
    cost.active += attention + double(4 * w) + (sparse ? mlp * double(K) + double(w * E) : dense);
    cost.macs_per_token += 4.0 * double(w * w) + copies * 2.0 * double(w * t.hidden) + (sparse ? double(w * E) : 0);
  }
  cost.total += double(2 * w);  // the final norm
  cost.active += double(2 * w);
  return cost;
}

// of an AttentionPool
double pool_parameters(Pooling pooling, const TowerConfig& t) {
  const double w = double(t.width), F = double(t.hidden);
  return pooling == Pooling::map ? 4 * w * (w + 1) + 3 * w + 2 * w * F + F + w : 0;
}

double macs_of_sequence(const TowerCost& cost, const TowerConfig& t, int64_t tokens) {
  return cost.macs_per_token * double(tokens) + 2.0 * double(t.depth) * double(tokens) * double(tokens) * double(t.width);
}

bool is_causal_allowed(const ImageTextConfig& c) { return !c.causal_text || c.architecture == Architecture::two_tower; }

void require_tower(const TowerConfig& t, const char* which, const char* flag) {
  REQUIRE(UsageError, t.depth > 0 && t.width > 0 && t.hidden > 0, "[model] ", which, "depth, width and hidden must be positive, got ", t.depth, ", ",
          t.width, " and ", t.hidden);
  REQUIRE(UsageError, t.heads > 0 && t.width % t.heads == 0, "[model] ", which, "width must be a multiple of heads, got ", t.width, " and ", t.heads);
  for (int64_t i : t.moe_layers) {
    REQUIRE(UsageError, i >= 0 && i < t.depth, "[model] ", flag, " are block indices in [0, ", t.depth, "), got ", i);
  }
}

}  // namespace

bool TowerConfig::sparse(int64_t block) const { return std::find(moe_layers.begin(), moe_layers.end(), block) != moe_layers.end(); }

TowerConfig ImageTextConfig::image_tower() const { return {depth, width, heads, hidden, moe_layers, false}; }

TowerConfig ImageTextConfig::text_tower() const {
  if (architecture != Architecture::two_tower) { return image_tower(); }
  auto or_else = [](int64_t own, int64_t other) { return own ? own : other; };
  return {or_else(text_depth, depth), or_else(text_width, width), or_else(text_heads, heads), or_else(text_hidden, hidden),
          text_moe_layers, causal_text};
}

void ImageTextConfig::validate() const {
  REQUIRE(UsageError, patch > 0 && image_size > 0 && image_size % patch == 0, "[model] image_size must be a multiple of patch, got ",
          image_size, " and ", patch);
  require_tower(image_tower(), "", "moe_layers");
  require_tower(text_tower(), architecture == Architecture::two_tower ? "text " : "", "text_moe_layers");
  REQUIRE(UsageError, embedding > 0, "[model] embedding must be positive, got ", embedding);
  REQUIRE(UsageError, text_length > 0 && vocabulary > 1, "[model] text_length and vocabulary must be positive, got ", text_length, " and ",
          vocabulary);
  REQUIRE(UsageError, group_examples > 0, "[model] group_examples must be positive, got ", group_examples);
  REQUIRE(UsageError, dropout >= 0 && dropout < 1, "[model] dropout must be in [0, 1), got ", dropout);
  REQUIRE(UsageError, initial_temperature > 0, "[model] initial_temperature must be positive, got ", initial_temperature);
  REQUIRE(UsageError, is_causal_allowed(*this),
          "[model] --causal-text needs a text tower of its own: the one tower of a LIMoE reads pictures as well");
  REQUIRE(UsageError, text_moe_layers.empty() || architecture == Architecture::two_tower,
          "[model] --text-moe-layers are of the text tower of two; use --moe-layers");
  REQUIRE(UsageError, architecture != Architecture::classifier || classnames.size() != 1,
          "[model] a classifier needs at least two classes, got one: ", classnames.empty() ? "" : classnames[0]);
  REQUIRE(UsageError, positions != Positions::sincos || width % 4 == 0, "[model] sincos positions need a width that is a multiple of 4, got ", width);
  if (!moe_layers.empty() || !text_moe_layers.empty()) {
    require_valid(router);
    soft_min_of(aux, Modality::image, router.experts);
    soft_min_of(aux, Modality::text, router.experts);
  }
}

std::vector<std::string> limoe_preset_names() {
  std::vector<std::string> names;
  for (const Size& s : kSizes) { names.push_back(s.name); }
  return names;
}

ImageTextConfig limoe_preset(const std::string& name) {
  for (const Size& s : kSizes) {
    if (name != s.name) { continue; }
    ImageTextConfig c;
    c.preset = name;
    c.image_size = s.image_size;
    c.patch = s.patch;
    c.text_length = s.text_length;
    c.vocabulary = s.vocabulary;
    c.depth = s.depth;
    c.width = s.width;
    c.heads = s.heads;
    c.hidden = s.hidden;
    c.embedding = s.embedding;
    c.router.experts_per_token = 1;
    c.router.experts = s.experts ? int(s.experts) : 1;
    c.router.train.factor = 1.25;
    c.router.eval = Capacity::dropless();  // an embedding must not depend on what else is in the batch
    if (s.experts) { c.moe_layers = every_second(s.depth); }
    // H/14 has twelve sparse blocks, denser towards the end; the paper's exact list is not published in a form we could check.
    if (name == "h14") { c.moe_layers = {3, 7, 11, 15, 18, 21, 24, 26, 28, 29, 30, 31}; }
    if (name == "micro") { c.group_examples = 8; }
    return c;
  }
  throw UsageError(concat_text("[preset] there is no preset '", name, "'. Presets: ", join(limoe_preset_names()), ".",
                               did_you_mean(name, limoe_preset_names())), __FILE__, __LINE__);
}

ImageTextConfig as_architecture(ImageTextConfig c, Architecture architecture) {
  c.architecture = architecture;
  if (architecture == Architecture::two_tower) { c.moe_layers.clear(); }
  return c;
}

ImageTextCost cost_of(const ImageTextConfig& c) {
  const TowerConfig image = c.image_tower(), text = c.text_tower();
  const TowerCost image_cost = cost_of_tower(image, c), text_cost = cost_of_tower(text, c);
  const int64_t w = c.width, places = (c.image_size / c.patch) * (c.image_size / c.patch);
  const double patches = double(3 * c.patch * c.patch * w), learned = c.positions == Positions::learned ? double(places * w) : 0;
  double rest = patches + double(w) + learned + (c.image_pooling == Pooling::token ? double(w) : 0) + pool_parameters(c.image_pooling, image);
  double total = image_cost.total, active = image_cost.active;
  ImageTextCost cost;
  cost.image_macs = macs_of_sequence(image_cost, image, c.image_tokens()) + double(places) * patches;
  if (c.architecture == Architecture::classifier) {
    const double head = double(w + 1) * double(c.classnames.size());
    rest += head;
    cost.image_macs += head;
  } else {
    rest += double((c.text_length + c.vocabulary) * text.width) + pool_parameters(c.text_pooling, text) + double((w + text.width) * c.embedding) +
            (c.loss == Loss::sigmoid ? 2 : 1);
    cost.image_macs += double(w * c.embedding);
    cost.text_macs = macs_of_sequence(text_cost, text, c.text_length) + double(text.width * c.embedding);
  }
  if (c.architecture == Architecture::two_tower) {
    total += text_cost.total;
    active += text_cost.active;
  }
  cost.parameters = int64_t(total + rest);
  cost.active_parameters = int64_t(active + rest);
  return cost;
}

ImageTextMemory memory_of(const ImageTextConfig& c, int64_t examples, bool bf16, bool recompute) {
  ImageTextCost cost = cost_of(c);
  const double P = double(cost.parameters), tokens = double(examples) * double(c.image_tokens() + c.text_length);
  const double element = bf16 ? 2 : 4, w = double(c.width), F = double(c.hidden) * double(std::max(1, c.router.experts_per_token));
  ImageTextMemory m;
  m.weights = P * (bf16 ? 6 : 4);
  m.gradients = P * 4;
  m.optimizer = P * 8;
  // Saved per token and block: two norm inputs, q, k, v, the attention output and the MLP's hidden layer before its activation; a recomputed block
  // keeps its input only. The block at work has the outputs of norms, the hidden layer after its activation and its gradient, too.
  const double full = (6 * w + F) * element, kept = w * element, working = (2 * w + 2 * F) * element;
  m.activations = tokens * ((recompute ? kept * double(c.depth) + full : full * double(c.depth)) + working);
  return m;
}

}  // namespace pumice
