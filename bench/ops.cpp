// Google Benchmark of the ops, forward and with their backward pass, as shares of what the machine can do: floor / time, where the floor is what a perfect
// kernel needs, the larger of its bytes at copy speed and its multiply-adds at register speed. Bytes are those of the formula: every operand and result
// once. Inputs change from call to call and are more than the caches hold.
//   bench_ops --benchmark_filter=layer_norm     all flags are Google Benchmark's
#include <benchmark/benchmark.h>

#include "pumice/moe/dispatch.h"
#include "pumice/moe/grouped_linear.h"
#include "pumice/nn/parameter.h"
#include "pumice/ops/attention/attention.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/elementwise/swiglu.h"
#include "pumice/ops/embedding/embedding.h"
#include "pumice/ops/image/patchify.h"
#include "pumice/ops/loss/contrastive.h"
#include "pumice/ops/loss/cross_entropy.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/ops/norm/layer_norm.h"
#include "pumice/ops/norm/rms_norm.h"
#include "pumice/ops/random/dropout.h"
#include "pumice/ops/reduce/segment_mean.h"
#include "pumice/ops/reduce/softmax.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/optim/adamw.h"
#include "roofs.h"

namespace pumice {
namespace {

constexpr int64_t kTokens = 8192 + 1280, kWidth = 384, kExperts = 8;  // a batch of 128 pictures of 64 patches, with captions of 10 tokens
constexpr int kSets = 6;                                              // of inputs

Tensor random(const Shape& shape, DType dtype, uint64_t seed) { return to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = seed}), dtype); }
Tensor integers(const Shape& shape, double below, uint64_t seed) { return to_dtype(random_uniform_tensor(shape, 0, below, {.seed = seed}), DType::i32); }
Tensor offsets(int64_t count, int64_t step) {
  std::vector<int32_t> o;
  for (int64_t i = 0; i <= count; ++i) { o.push_back(int32_t(i * step)); }
  return from_values<int32_t>({count + 1}, o);
}

struct Cost { double bytes, flops; };
struct Roofs { double copy = bench::copy_roof(), f32 = bench::multiply_roof(DType::f32), bf16 = bench::multiply_roof(DType::bf16); };
const Roofs& roofs() {
  static const Roofs measured;
  return measured;
}
double floor_seconds(Cost cost, DType dtype) {
  const double multiply = dtype == DType::bf16 ? roofs().bf16 : roofs().f32;
  return std::max(cost.bytes / roofs().copy, multiply > 0 ? cost.flops / multiply : 0) * 1e-9;
}

using Inputs = std::vector<Tensor>;
struct Op {
  std::string name;
  std::function<Inputs(DType, uint64_t seed)> inputs;
  std::function<Tensor(const Inputs&)> f;
  std::function<Cost(double element)> forward, backward;  // for elements of so many bytes
};

void run(benchmark::State& state, const Op& op, DType dtype, bool backwards) {
  std::vector<Inputs> sets;
  std::vector<Tensor> gradients;
  RandomScope scope({.seed = 5});
  for (int i = 0; i < kSets; ++i) {
    sets.push_back(op.inputs(dtype, uint64_t(i)));
    NoGrad no_grad;
    Tensor y = op.f(sets.back());
    gradients.push_back(random(y.shape(), y.dtype(), 99));
  }
  size_t at = 0;
  const auto once = [&] {
    Inputs leaves;
    for (const Tensor& x : sets[at]) { leaves.push_back(backwards && is_float(x.dtype()) ? requires_grad(x) : x); }
    Tensor y = op.f(leaves);
    if (backwards) { backward({&y, 1}, {&gradients[at], 1}); }
    benchmark::DoNotOptimize(y.raw());
    at = (at + 1) % kSets;
  };
  once();  // what it allocates stays
  for (auto _ : state) { once(); }
  const double element = double(size_of(dtype));
  Cost cost = op.forward(element);
  if (backwards) {
    const Cost more = op.backward(element);
    cost = {cost.bytes + more.bytes, cost.flops + more.flops};
  }
  const auto rate = [&](double per_run) { return benchmark::Counter(per_run * double(state.iterations()), benchmark::Counter::kIsRate); };
  state.counters["of_roof"] = rate(floor_seconds(cost, dtype));
  state.counters["GB/s"] = rate(cost.bytes * 1e-9);
  if (cost.flops > 0) { state.counters["GFLOP/s"] = rate(cost.flops * 1e-9); }
}

// A cost of `bytes` elements per element of the (tokens, width) array.
std::function<Cost(double)> streams(double arrays, int64_t n = kTokens * kWidth) {
  return [=](double element) { return Cost{arrays * element * double(n), 0}; };
}
std::function<Cost(double)> product(double M, double N, double K, double times = 1, double weights = 1) {  // `times` products of this size
  return [=](double element) { return Cost{times * element * (M * K + weights * N * K + M * N), times * 2 * M * N * K}; };
}

// An optimizer's state and a router's choice, made once.
Routing routed() {
  RouterOptions options{.experts = int(kExperts), .train = Capacity::dropless(), .eval = Capacity::dropless()};
  TokenGroups groups;
  groups.offsets = {0, kTokens};
  groups.modality = zeros({kTokens}, DType::u8);
  NoGrad no_grad;
  return route(random_uniform_tensor({kTokens, kExperts}, -1, 1, {.seed = 7}), groups, options, false, 1);
}

std::vector<Op> ops() {
  const int64_t T = kTokens, C = kWidth, V = 32000, B = 2048, rows = 1024;
  const double n = double(T * C);
  const auto array = [=](DType d, uint64_t s) { return Inputs{random({T, C}, d, s)}; };
  const auto two = [=](DType d, uint64_t s) { return Inputs{random({T, C}, d, s), random({T, C}, d, s + 50)}; };
  const auto per_channel = [=](DType d, uint64_t s) { return Inputs{random({T, C}, d, s), random({C}, DType::f32, 8), random({C}, DType::f32, 9)}; };
  const auto attention_of = [=](int64_t length) {
    const double D = 64, H = double(C) / D, pairs = n / D * double(length);  // of a query and a key
    return Op{"attention, length " + std::to_string(length), [=](DType d, uint64_t s) { return Inputs{random({T / length * length, 3, C / 64, 64}, d, s)}; },
              [=](const Inputs& x) { return attention_qkv(x[0], offsets(T / length, length)); },
              [=](double e) { return Cost{4 * e * n + 4 * double(T) * H, 4 * D * pairs}; }, [=](double e) { return Cost{8 * e * n + 4 * double(T) * H, 10 * D * pairs}; }};
  };
  const Routing routing = routed();
  return {
      {"add", two, [](const Inputs& x) { return add(x[0], x[1]); }, streams(3), streams(0)},
      {"gelu", array, [](const Inputs& x) { return gelu(x[0]); }, streams(2), streams(3)},
      {"swiglu", two, [](const Inputs& x) { return swiglu(x[0], x[1]); }, streams(3), streams(5)},
      {"dropout", array, [](const Inputs& x) { return dropout(x[0], 0.1, 3); }, streams(2), streams(2)},
      {"softmax", array, [](const Inputs& x) { return softmax(x[0]); }, streams(2), streams(3)},
      {"layer_norm", per_channel, [](const Inputs& x) { return layer_norm(x[0], x[1], x[2]); }, streams(2), streams(3)},
      {"rms_norm", per_channel, [](const Inputs& x) { return rms_norm(x[0], x[1]); }, streams(2), streams(3)},
      {"l2_normalize", array, [](const Inputs& x) { return l2_normalize(x[0]); }, streams(2), streams(3)},
      {"segment_mean", array, [](const Inputs& x) { return segment_mean(x[0], offsets(kTokens / 64, 64)); }, streams(1), streams(1)},
      {"embedding", [=](DType d, uint64_t s) { return Inputs{random({V, C}, d, s), integers({T}, double(V), s)}; },
       [](const Inputs& x) { return embedding(x[1], x[0]); }, streams(2), [=](double e) { return Cost{e * n + 8 * n + 4 * double(V * C), 0}; }},
      {"patchify", [=](DType, uint64_t s) { return Inputs{to_dtype(random_uniform_tensor({128, 64, 64, 3}, 0, 256, {.seed = s}), DType::u8)}; },
       [](const Inputs& x) { return patchify(x[0], 8, {}, DType::f32); }, [](double) { return Cost{5.0 * 128 * 64 * 64 * 3, 0}; }, streams(0)},
      {"linear", [=](DType d, uint64_t s) { return Inputs{random({T, C}, d, s), random({4 * C, C}, d, s)}; },
       [](const Inputs& x) { return linear(x[0], x[1], {}); }, product(double(T), 4 * double(C), double(C)), product(double(T), 4 * double(C), double(C), 2)},
      {"grouped_linear, 8 experts", [=](DType d, uint64_t s) { return Inputs{random({T, C}, d, s), random({kExperts, 4 * C, C}, d, s)}; },
       [=](const Inputs& x) { return grouped_linear(x[0], x[1], {}, offsets(kExperts, T / kExperts)); },
       product(double(T), 4 * double(C), double(C), 1, kExperts), product(double(T), 4 * double(C), double(C), 2, kExperts)},
      attention_of(64),
      attention_of(256),
      attention_of(1024),
      {"dispatch", array, [=](const Inputs& x) { return dispatch(x[0], routing); }, streams(2), streams(2)},
      {"combine", array, [=](const Inputs& x) { return combine(x[0], routing); }, streams(2), streams(3)},
      {"cross_entropy, 32000 classes", [=](DType d, uint64_t s) { return Inputs{random({rows, V}, d, s), integers({rows}, double(V), s)}; },
       [](const Inputs& x) { return cross_entropy(x[0], x[1]); }, streams(1, rows * V), streams(2, rows * V)},
      {"contrastive_loss, 2048 pairs", [=](DType d, uint64_t s) { return Inputs{random({B, C}, d, s), random({B, C}, d, s + 50), full({}, 1)}; },
       [](const Inputs& x) { return contrastive_loss(x[0], x[1], x[2]).loss; }, [=](double e) { return Cost{2 * e * double(B * C), 2.0 * double(B * B * C)}; },
       [=](double e) { return Cost{4 * e * double(B * C), 6.0 * double(B * B * C)}; }},
  };
}

void optimizer_step(benchmark::State& state) {  // 28 bytes per parameter: three arrays read and written, one read
  const int64_t n = int64_t(16) << 20;
  ParameterStore store(1);
  Scope(store).parameter("w", {n}, Init::ones(), true);
  store.pack();
  store.zero_gradients();
  AdamW optimizer(store, {});
  for (auto _ : state) { optimizer.step({.learning_rate = 1e-3}); }
  state.counters["of_roof"] = benchmark::Counter(floor_seconds({28.0 * double(n), 0}, DType::f32) * double(state.iterations()), benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(28e-9 * double(n) * double(state.iterations()), benchmark::Counter::kIsRate);
}

}  // namespace
}  // namespace pumice

int main(int argc, char** argv) {
  using namespace pumice;
  std::vector<Op> all = ops();
  for (const Op& op : all) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (bool backwards : {false, true}) {
        if ((op.name == "patchify" && (backwards || dtype == DType::bf16)) || (op.name == "add" && backwards)) { continue; }
        benchmark::RegisterBenchmark((op.name + (dtype == DType::bf16 ? "/bf16" : "/f32") + (backwards ? "/backward too" : "")).c_str(),
                                     [op, dtype, backwards](benchmark::State& state) { run(state, op, dtype, backwards); })
            ->UseRealTime()->Unit(benchmark::kMillisecond);
      }
    }
  }
  benchmark::RegisterBenchmark("AdamW, 16M parameters", optimizer_step)->UseRealTime()->Unit(benchmark::kMillisecond);
  benchmark::Initialize(&argc, argv);
  std::printf("roofs: copy %.1f GB/s, multiply-adds %.0f GFLOP/s f32, %.0f bf16\n", roofs().copy, roofs().f32, roofs().bf16);
  benchmark::RunSpecifiedBenchmarks();
}
