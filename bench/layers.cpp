// Google Benchmark of a transformer's layers, forward and backward, at the sizes of the presets: the matrix products, attention, and a
// sparse MLP beside the dense one of equal FLOPs. FLOP/s count the products that are needed (a backward pass has two per forward one).
//   bench_layers --benchmark_filter=Moe      all flags are Google Benchmark's; with PUMICE_PROFILE=1 the time of each kernel at the end
#include <benchmark/benchmark.h>

#include <cstdio>

#include "pumice/moe/moe_mlp.h"
#include "pumice/nn/layers.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/profile.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

constexpr int64_t kTokens = 8192 + 1280;  // a batch of 128 pictures of 64 patches, with captions of 10 tokens
constexpr int64_t kManyTokens = 64 * 512;  // 512 rows for each of 64 experts

Tensor random(const Shape& shape, DType dtype) { return to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 3}), dtype); }

DType dtype_of(int64_t bf16) { return bf16 ? DType::bf16 : DType::f32; }

void report(benchmark::State& state, double flops, int64_t bf16) {
  state.SetLabel(bf16 ? "bf16" : "f32");
  state.counters["FLOP/s"] = benchmark::Counter(flops * double(state.iterations()), benchmark::Counter::kIsRate);
}

// Runs f and its backward pass with a fixed gradient.
template <class F> void forward_backward(benchmark::State& state, const Tensor& x, ParameterStore& store, const F& f) {
  Tensor dy;
  {
    NoGrad no_grad;
    dy = random(f(x).shape(), x.dtype());
  }
  const auto step = [&] {
    store.zero_gradients();
    Tensor leaf = requires_grad(x), y = f(leaf);
    backward({&y, 1}, {&dy, 1});
    benchmark::DoNotOptimize(store.gradients().raw());
  };
  step();  // touches the memory that later steps find again
  for (auto _ : state) { step(); }
}

void Gemm(benchmark::State& state) {  // rows x in -> out, without bias
  const int64_t M = state.range(0), K = state.range(1), N = state.range(2), bf16 = state.range(3);
  Tensor a = random({M, K}, dtype_of(bf16)), b = random({N, K}, dtype_of(bf16));
  NoGrad no_grad;
  for (auto _ : state) { benchmark::DoNotOptimize(matmul(a, b, false, true).raw()); }
  report(state, 2.0 * double(M * N * K), bf16);
}
BENCHMARK(Gemm)->ArgNames({"M", "K", "N", "bf16"})->ArgsProduct({{kTokens}, {128, 384}, {512, 1536}, {0, 1}})
    ->Args({1024, 1024, 1024, 0})->Args({1024, 1024, 1024, 1})->UseRealTime();

// One row, as in generation: every weight is used once, so bytes per second are the measure. 256 columns stay in cache, 32,000 do not.
void Row(benchmark::State& state) {
  const int64_t K = state.range(0), N = state.range(1), bf16 = state.range(2);
  Tensor a = random({1, K}, dtype_of(bf16)), b = random({N, K}, dtype_of(bf16));
  NoGrad no_grad;
  for (auto _ : state) { benchmark::DoNotOptimize(matmul(a, b, false, true).raw()); }
  state.SetLabel(bf16 ? "bf16" : "f32");
  state.SetBytesProcessed(state.iterations() * b.bytes());
}
BENCHMARK(Row)->ArgNames({"K", "N", "bf16"})->ArgsProduct({{768, 2048}, {256, 32000}, {0, 1}})->UseRealTime();

void Attention(benchmark::State& state) {  // self-attention layer over 128 sequences
  const int64_t C = state.range(0), length = state.range(1), bf16 = state.range(2), N = 128;
  ParameterStore store(1);
  SelfAttention layer(Scope(store) / "attention", C, C / 32);
  store.pack();
  std::vector<int32_t> offsets;
  for (int64_t i = 0; i <= N; ++i) { offsets.push_back(int32_t(i * length)); }
  Tensor sequences = from_values<int32_t>({N + 1}, offsets);
  forward_backward(state, random({N * length, C}, dtype_of(bf16)), store, [&](const Tensor& x) { return layer(x, sequences); });
  report(state, 3 * double(N * length) * (8.0 * double(C * C) + 4.0 * double(length * C)), bf16);
}
BENCHMARK(Attention)->ArgNames({"C", "length", "bf16"})->ArgsProduct({{128, 384}, {64, 256}, {0, 1}})->UseRealTime()->Unit(benchmark::kMillisecond);

double mlp_flops(int64_t T, int64_t C) { return 3 * 2.0 * double(T) * 2 * double(C * 4 * C); }

void DenseMlp(benchmark::State& state) {
  const int64_t T = state.range(0), C = state.range(1), bf16 = state.range(2);
  ParameterStore store(1);
  Mlp layer(Scope(store) / "mlp", C, 4 * C);
  store.pack();
  forward_backward(state, random({T, C}, dtype_of(bf16)), store, layer);
  report(state, mlp_flops(T, C), bf16);
}
BENCHMARK(DenseMlp)->ArgNames({"T", "C", "bf16"})->ArgsProduct({{kTokens}, {128, 384}, {0, 1}})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(DenseMlp)->ArgNames({"T", "C", "bf16"})->ArgsProduct({{kManyTokens}, {128}, {0, 1}})->UseRealTime()->Unit(benchmark::kMillisecond);

void SparseMlp(benchmark::State& state) {  // K = 1: the FLOPs of the dense one; dropless, so that all of them are done
  const int64_t T = state.range(0), C = state.range(1), E = state.range(2), bf16 = state.range(3);
  ParameterStore store(1);
  RouterOptions options{.experts = int(E), .train = Capacity::dropless(), .noise_std = 1};
  MoeMlp layer(Scope(store) / "moe", C, 4 * C, options, true);
  store.pack();
  TokenGroups groups;
  groups.offsets = {0, T};
  groups.modality = zeros({T}, DType::u8);
  RandomScope scope({.seed = 1});
  forward_backward(state, random({T, C}, dtype_of(bf16)), store, [&](const Tensor& x) {
    Routing routing;
    return layer(x, groups, true, routing);
  });
  report(state, mlp_flops(T, C), bf16);
}
BENCHMARK(SparseMlp)->ArgNames({"T", "C", "E", "bf16"})->ArgsProduct({{kTokens}, {128, 384}, {8, 16, 32, 64}, {0, 1}})->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(SparseMlp)->ArgNames({"T", "C", "E", "bf16"})->ArgsProduct({{kManyTokens}, {128}, {8, 16, 32, 64}, {0, 1}})->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pumice

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) { return 1; }
  benchmark::RunSpecifiedBenchmarks();
  if (pumice::flags::profile()) { std::fputs(pumice::profile_table().c_str(), stderr); }
}
