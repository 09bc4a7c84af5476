// card_kernels [--small] [--all] [< NAMES]: times what a training step of LIMoE-B/16 is made of, on the CUDA device, beside bench/vs_pytorch/card_kernels.py, which
// asks for one kernel after the other and measures PyTorch's in between.
//   --small   shapes for the emulator, to see that everything runs
//   --all     one line per kernel, with its share of what the device reaches, and no questions
// Answers each line of the standard input: `list` with one JSON object per kernel (its name, shape, least traffic and arithmetic), a kernel's name with
// the milliseconds of a call. `roofs` are those of bench/ladder.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../ladder/ladder.h"
#include "pumice/autograd/autograd.h"
#include "pumice/moe/dispatch.h"
#include "pumice/moe/grouped_linear.h"
#include "pumice/moe/moe_mlp.h"
#include "pumice/ops/attention/attention.h"
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/embedding/embedding.h"
#include "pumice/ops/image/patchify.h"
#include "pumice/ops/loss/contrastive.h"
#include "pumice/ops/loss/cross_entropy.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/matmul/mlp.h"
#include "pumice/ops/norm/layer_norm.h"
#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/ops/random/dropout.h"
#include "pumice/ops/reduce/softmax.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/optim/adamw.h"

namespace pumice {
namespace {

using ladder::values;

struct Sizes {  // of LIMoE-B/16 at 128 pairs
  int64_t batch, places, words, width, heads, hidden, experts, vocabulary, image, patch, scores, classes, sequence, parameters;
  int64_t tokens() const { return batch * (places + words); }
};
constexpr Sizes kLarge{128, 196, 10, 768, 12, 3072, 32, 32000, 224, 16, 4096, 8192, 1024, 87'000'000};
constexpr Sizes kSmall{2, 4, 3, 64, 2, 128, 4, 100, 32, 16, 16, 16, 32, 10'000};

struct Kernel {
  std::string name, shape;
  double bytes, flops;  // at least: every operand and result once; the products that are needed
  std::function<std::function<void()>()> make;  // its tensors exist from here on
};

std::function<void()> forward(std::function<Tensor()> f) {
  return [f] {
    const NoGrad no_grad;
    f();
  };
}

// f(leaves) and its backward pass with a fixed gradient, for all leaves.
std::function<void()> both(std::vector<Tensor> inputs, std::function<Tensor(const std::vector<Tensor>&)> f) {
  Tensor dy;
  {
    const NoGrad no_grad;
    const Tensor y = f(inputs);
    dy = y.rank() == 0 ? full({}, 1, y.dtype(), y.device()) : values(y.shape(), y.dtype(), 99);
  }
  return [inputs, f, dy] {
    std::vector<Tensor> leaves;
    for (const Tensor& t : inputs) { leaves.push_back(requires_grad(t)); }
    const Tensor y = f(leaves);
    backward({&y, 1}, {&dy, 1});
  };
}

Tensor on_device(const std::vector<int32_t>& numbers) { return to_device(from_values<int32_t>({int64_t(numbers.size())}, numbers), Device::cuda()); }

Tensor integers(int64_t n, int64_t below, uint32_t site) {
  return to_device(to_dtype(random_uniform_tensor({n}, 0, double(below), {.seed = 5, .site = site}), DType::i32), Device::cuda());
}

Tensor even_offsets(int64_t parts, int64_t each) {
  std::vector<int32_t> offsets;
  for (int64_t i = 0; i <= parts; ++i) { offsets.push_back(int32_t(i * each)); }
  return on_device(offsets);
}

template <class... Parts> std::string shape_of(Parts... parts) {
  std::string text;
  ((text += (text.empty() ? "" : " x ") + std::to_string(parts)), ...);
  return text;
}

std::vector<Kernel> kernels(const Sizes& s) {
  const int64_t T = s.tokens(), C = s.width, F = s.hidden, H = s.heads, D = C / H, E = s.experts, S = s.sequence, V = s.vocabulary, B = s.scores, L = s.classes;
  const double t = double(T), c = double(C), f = double(F);
  const DType bf16 = DType::bf16, f32 = DType::f32;
  const double row = 2 * t * c, hidden = 2 * t * f, weight = 2 * c * f;  // bytes in bf16
  std::vector<Kernel> all;
  all.push_back({"linear", shape_of(T, C, F), row + weight + hidden, 2 * t * c * f, [=] {
    const Tensor x = values({T, C}, bf16, 1), w = values({F, C}, bf16, 2), b = values({F}, f32, 3);
    return forward([=] { return linear(x, w, b); });
  }});
  all.push_back({"linear, both passes", shape_of(T, C, F), 3 * row + 2 * weight + 2 * hidden, 6 * t * c * f, [=] {
    return both({values({T, C}, bf16, 1), values({F, C}, bf16, 2), values({F}, f32, 3)}, [](const auto& x) { return linear(x[0], x[1], x[2]); });
  }});
  all.push_back({"linear f32, both passes", shape_of(T / 4, C, F), (3 * row + 2 * hidden) / 2 + 4 * weight, 6 * t / 4 * c * f, [=] {
    return both({values({T / 4, C}, f32, 1), values({F, C}, f32, 2), values({F}, f32, 3)}, [](const auto& x) { return linear(x[0], x[1], x[2]); });
  }});
  all.push_back({"mlp, both passes", shape_of(T, C, F), 5 * row + 2 * hidden + 4 * weight, 12 * t * c * f, [=] {
    return both({values({T, C}, bf16, 1), values({F, C}, bf16, 2), values({F}, f32, 3), values({C, F}, bf16, 4), values({C}, f32, 5)},
                [](const auto& x) { return mlp(x[0], x[1], x[2], x[3], x[4]); });
  }});
  const auto attend = [&](const char* name, int64_t N, int64_t length, bool causal, bool backward_too) {
    const double tokens = double(N * length), share = causal ? 0.5 : 1, products = 4 * tokens * double(length) * c * share;
    all.push_back({name, shape_of(N, length, H, D), (backward_too ? 2 * 4 : 4) * 2 * tokens * c, backward_too ? 3.5 * products : products, [=] {
      const Tensor qkv = values({N * length, 3, H, D}, bf16, 1), offsets = even_offsets(N, length);
      const AttentionOptions options{.causal = causal, .longest = length};
      if (!backward_too) { return forward([=] { return attention_qkv(qkv, offsets, options); }); }
      return both({qkv}, [=](const auto& x) { return attention_qkv(x[0], offsets, options); });
    }});
  };
  attend("attention", s.batch, s.places, false, false);
  attend("attention, both passes", s.batch, s.places, false, true);
  attend("causal attention, both passes", std::max<int64_t>(1, T / S), S, true, true);
  all.push_back({"layer_norm, both passes", shape_of(T, C), 5 * row, 0, [=] {
    return both({values({T, C}, bf16, 1), values({C}, f32, 2), values({C}, f32, 3)}, [](const auto& x) { return layer_norm(x[0], x[1], x[2]); });
  }});
  all.push_back({"softmax, both passes", shape_of(T, C), 5 * row, 0, [=] {
    return both({values({T, C}, bf16, 1)}, [](const auto& x) { return softmax(x[0]); });
  }});
  all.push_back({"gelu, both passes", shape_of(T, F), 5 * hidden, 0, [=] {
    return both({values({T, F}, bf16, 1)}, [](const auto& x) { return gelu(x[0]); });
  }});
  all.push_back({"dropout, both passes", shape_of(T, C), 4 * row, 0, [=] {
    return both({values({T, C}, bf16, 1)}, [](const auto& x) { return dropout(x[0], 0.1, 7); });
  }});
  all.push_back({"l2_normalize, both passes", shape_of(B, C), 5 * 4.0 * double(B * C), 0, [=] {
    return both({values({B, C}, f32, 1)}, [](const auto& x) { return l2_normalize(x[0]); });
  }});
  all.push_back({"patchify", shape_of(s.batch, s.image, s.image, 3), 3.0 * double(s.batch * 3 * s.image * s.image), 0, [=] {
    const Tensor pixels = to_device(to_dtype(random_uniform_tensor({s.batch, s.image, s.image, 3}, 0, 256, {.seed = 5}), DType::u8), Device::cuda());
    return forward([=] { return patchify(pixels, int(s.patch), {}, bf16); });
  }});
  all.push_back({"embedding, both passes", shape_of(T, V, C), 4 * row + 4.0 * double(V * C), 0, [=] {  // the gradient of every row is written, in f32
    const Tensor ids = integers(T, V, 1);
    return both({values({V, C}, bf16, 1)}, [=](const auto& x) { return embedding(ids, x[0]); });
  }});
  all.push_back({"cross_entropy, both passes", shape_of(L, V), 3 * 2.0 * double(L * V), 0, [=] {
    const Tensor labels = integers(L, V, 1);
    return both({values({L, V}, bf16, 1)}, [=](const auto& x) { return cross_entropy(x[0], labels); });
  }});
  all.push_back({"contrastive_loss, both passes", shape_of(B, C), 4 * 4.0 * double(B * C), 6.0 * double(B * B * C), [=] {
    const Tensor scale = full({}, 1, f32, Device::cuda());
    return both({l2_normalize(values({B, C}, f32, 1)), l2_normalize(values({B, C}, f32, 2))},
                [=](const auto& x) { return contrastive_loss(x[0], x[1], scale).loss; });
  }});
  all.push_back({"grouped_mlp, both passes", shape_of(E, T / E, C, F), 5 * row + 2 * hidden + 4 * double(E) * weight, 12 * double(T / E * E) * c * f, [=] {
    const Tensor offsets = even_offsets(E, T / E);
    return both({values({T / E * E, C}, bf16, 1), values({E, F, C}, bf16, 2), values({E, F}, f32, 3), values({E, C, F}, bf16, 4), values({E, C}, f32, 5)},
                [=](const auto& x) { return grouped_mlp(x[0], x[1], x[2], x[3], x[4], offsets); });
  }});
  all.push_back({"moe layer, both passes", shape_of(T, C, F, E), 9 * row + 2 * hidden + 4 * double(E) * weight, 12 * t * c * f, [=] {
    const auto store = std::make_shared<ParameterStore>(1, DType::f32, Device::cuda());
    RouterOptions options{.experts = int(E), .noise_std = 1};
    options.train.factor = 1.25;
    const MoeMlp layer(Scope(*store) / "moe", C, F, options, true);
    store->pack();
    TokenGroups groups;
    groups.offsets = {0, T};
    set_modality(groups, std::vector<uint8_t>(size_t(T), 0));
    groups.tensors = std::make_shared<std::map<std::string, Tensor>>();
    const auto run = both({values({T, C}, bf16, 1)}, [=](const auto& x) {
      Routing routing;
      return layer(x[0], groups, true, routing);
    });
    return std::function<void()>([store, run] {
      store->changed();  // as after an optimizer step: the copies that products read are made anew
      store->zero_gradients();
      const RandomScope scope({.seed = 1});
      run();
    });
  }});
  all.push_back({"adamw", shape_of(s.parameters), 28.0 * double(s.parameters), 0, [=] {
    const auto store = std::make_shared<ParameterStore>(1, DType::f32, Device::cuda());
    store->add("w", {s.parameters}, Init::zeros(), true);
    store->pack();
    const auto optimizer = std::make_shared<AdamW>(*store, AdamWOptions{});
    return std::function<void()>([store, optimizer] { optimizer->step({.learning_rate = 1e-3}); });
  }});
  return all;
}

double milliseconds(const Kernel& k) {
  const double ms = 1e3 * ladder::seconds_of(k.make());
  release_cached_memory();
  return ms;
}

void measure_all(const std::vector<Kernel>& all, bool large) {
  const ladder::Roofs roofs = ladder::measure_roofs(large);
  std::printf("%s\n", cuda_device::describe().c_str());
  for (const Kernel& k : all) {
    const double ms = milliseconds(k), floor = 1e3 * std::max(k.bytes / roofs.copy, k.flops / roofs.multiply_bf16);
    std::printf("%-32s %-24s %10.3f ms %5.1f %% of the floor\n", k.name.c_str(), k.shape.c_str(), ms, 100 * floor / ms);
    std::fflush(stdout);
  }
}

void answer(const std::vector<Kernel>& all, const std::string& line, bool large) {
  if (line == "list") {
    for (const Kernel& k : all) {
      std::printf("{\"name\": \"%s\", \"shape\": \"%s\", \"bytes\": %.17g, \"flops\": %.17g}\n", k.name.c_str(), k.shape.c_str(), k.bytes, k.flops);
    }
    std::printf("\n");
  } else if (line == "roofs") {
    const ladder::Roofs r = ladder::measure_roofs(large);
    std::printf("{\"device\": \"%s\", \"copy\": %.17g, \"bf16\": %.17g, \"f32\": %.17g}\n", cuda_device::describe().c_str(), r.copy, r.multiply_bf16, r.multiply_f32);
  } else {
    const Kernel* found = nullptr;
    for (const Kernel& k : all) { if (k.name == line) { found = &k; } }
    REQUIRE(UsageError, found, "[card_kernels] there is no kernel '", line, "'; ask for the list");
    std::printf("%.6f\n", milliseconds(*found));
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace pumice

int main(int argc, char** argv) {
  using namespace pumice;
  try {
    cuda_device::require(Device::cuda());
    bool small = false, no_questions = false;
    for (int i = 1; i < argc; ++i) {
      if (!std::strcmp(argv[i], "--small")) { small = true; }
      else if (!std::strcmp(argv[i], "--all")) { no_questions = true; }
      else { throw UsageError(concat_text("[card_kernels] the flags are --small and --all, got ", argv[i]), __FILE__, __LINE__); }
    }
    const std::vector<Kernel> all = kernels(small ? kSmall : kLarge);
    if (no_questions) {
      measure_all(all, !small);
      return 0;
    }
    for (std::string line; std::getline(std::cin, line);) { answer(all, line, !small); }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
