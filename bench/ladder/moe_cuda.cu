// The sparse MLP of a mixture of experts, forward, in f32: out_t = sum_k gate_tk down_e(gelu(up_e(x_t))), e = expert_tk; x (T, C), up (E, F, C),
// down (E, C, F). Each token goes to K of E experts, so K / E of the arithmetic of all experts is wanted. The ladder gets rid of the rest: of multiplications
// first, then of padding, of waiting for the host, and of copies. Its products are all the same simple one, 16 x 16 elements per block, up to the
// engine's.
#include <algorithm>
#include <cmath>

#include "ladder.h"
#include "pumice/moe/dispatch_kernels.h"
#include "pumice/moe/grouped_linear_kernels.h"
#include "pumice/ops/elementwise/unary_kernels.h"
#include "pumice/tensor/simt/segments.h"
#include "pumice/tensor/simt/simt.h"

namespace pumice::ladder {
namespace {

constexpr int kTile = 16;

// <a, b> for the element (y, x) of a tile, y and x being the thread's: a_line is the line of A that thread row y loads, b_line the column of B; null
// counts as zeros. 256 threads.
__device__ float dot_of_tile(const float* a_line, const float* b_line, int depth) {
  SIMT_SHARED(float, sa, [kTile][kTile + 1]);  // one more: a column of it lies in different banks
  SIMT_SHARED(float, sb, [kTile][kTile + 1]);
  const int y = int(threadIdx.x) / kTile, x = int(threadIdx.x) % kTile;
  float sum = 0;
  for (int k0 = 0; k0 < depth; k0 += kTile) {
    const bool inside = k0 + x < depth;
    sa[y][x] = a_line && inside ? a_line[k0 + x] : 0.0f;
    sb[y][x] = b_line && inside ? b_line[k0 + x] : 0.0f;
    __syncthreads();
    for (int k = 0; k < kTile; ++k) { sum += sa[y][k] * sb[x][k]; }
    __syncthreads();
  }
  return sum;
}
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x))); }

struct Plain { __device__ void operator()(float& y, float sum, int) const { y = sum; } };
struct Gelu { __device__ void operator()(float& y, float sum, int) const { y = gelu(sum); } };
struct AddWeighted {  // weights (rows, stride): one column of it
  const float* weights;
  int stride;
  __device__ void operator()(float& y, float sum, int row) const { y += weights[row * stride] * sum; }
};

// y (rows, out) = store(x (rows, in) w (out, in)^T), and the same for blockIdx.z of several of them that lie one behind the other.
// Grid (rows / 16, out / 16, count), rounded up.
template <class Store> __global__ void __launch_bounds__(256) linear(float* y, const float* x, const float* w, int rows, int out, int in, Store store) {
  const int line = int(threadIdx.x) / kTile, row = int(blockIdx.x) * kTile + line, column = int(blockIdx.y) * kTile;
  x += int64_t(blockIdx.z) * rows * in;
  w += int64_t(blockIdx.z) * out * in;
  y += int64_t(blockIdx.z) * rows * out;
  const float sum = dot_of_tile(row < rows ? x + int64_t(row) * in : nullptr, column + line < out ? w + int64_t(column + line) * in : nullptr, in);
  const int c = column + int(threadIdx.x) % kTile;
  if (row < rows && c < out) { store(y[int64_t(row) * out + c], sum, row); }
}
template <class Store> void launch_linear(float* y, const float* x, const float* w, int rows, int out, int in, int count, Store store) {
  if (rows == 0) { return; }
  simt::launch<linear<Store>>({.grid = {unsigned((rows + kTile - 1) / kTile), unsigned((out + kTile - 1) / kTile), unsigned(count)}, .block = 256}, y, x, w,
                              rows, out, in, store);
}

// y (rows, C) = mask (rows, depth) x (depth, C), or with the mask turned, (depth, rows).   Grid (C / 32, rows / 8).
template <bool kTurned> __global__ void __launch_bounds__(256) mask_product(float* y, const float* mask, const float* x, int rows, int depth, int C) {
  const int c = int(blockIdx.x) * 32 + int(threadIdx.x) % 32, row = int(blockIdx.y) * 8 + int(threadIdx.x) / 32;
  if (c >= C || row >= rows) { return; }
  float sum = 0;
  for (int k = 0; k < depth; ++k) { sum += mask[kTurned ? int64_t(k) * rows + row : int64_t(row) * depth + k] * x[int64_t(k) * C + c]; }
  y[int64_t(row) * C + c] = sum;
}

// y[r] = x[from[r]].   Grid R, 128 threads.
__global__ void __launch_bounds__(128) gather(float* y, const float* x, const int32_t* from, int C) {
  for (int c = int(threadIdx.x); c < C; c += 128) { y[int64_t(blockIdx.x) * C + c] = x[int64_t(from[blockIdx.x]) * C + c]; }
}
// out[t] = sum_k gate[t, k] y[row[t, k]], in order of k.   Grid T, 128 threads.
__global__ void __launch_bounds__(128) weigh(float* out, const float* y, const float* gate, const int32_t* row, int K, int C) {
  for (int c = int(threadIdx.x); c < C; c += 128) {
    float sum = 0;
    for (int k = 0; k < K; ++k) { sum += gate[blockIdx.x * K + k] * y[int64_t(row[blockIdx.x * K + k]) * C + c]; }
    out[int64_t(blockIdx.x) * C + c] = sum;
  }
}

// The rows of all experts in one launch: a block finds out from the offsets, on the device, whose rows it has, and none has rows of two experts. `from`, where
// there is one, says which row of x a row is: the product gathers while it loads.   Grid (segment_blocks, out / 16).
template <class Store>
__global__ void __launch_bounds__(256)
grouped(float* y, const float* x, const int32_t* from, const float* w, const int32_t* offsets, int64_t experts, int64_t rows, int out, int in, Store store) {
  const auto own = simt::segment_block<kTile>(offsets, experts, rows, blockIdx.x);
  if (own.empty()) { return; }
  const int line = int(threadIdx.x) / kTile, column = int(blockIdx.y) * kTile;
  const int64_t row = own.start + line;
  const float* a_line = row < own.end ? x + (from ? from[row] : row) * in : nullptr;
  const float sum = dot_of_tile(a_line, column + line < out ? w + (own.segment * out + column + line) * in : nullptr, in);
  const int c = column + int(threadIdx.x) % kTile;
  if (row < own.end && c < out) { store(y[row * out + c], sum, int(row)); }
}

struct Problem {
  int T, C, F, E, K, R, Q;  // R = T K rows; Q: the most rows of an expert
  Tensor x, up, down, out;
  Tensor gate, row, token_of_row, offsets;  // (T, K), i32 (T, K), i32 (R), i32 (E + 1): rows are sorted by expert
  Tensor dense_gate;                        // (T, E): 0 where a token did not choose the expert
  Tensor mask, weights;                     // (T, E Q): 1, and the gate, where a token has a place
  std::vector<int32_t> experts;             // (T, K), on the host
  std::vector<float> gates;
};

// Tokens choose K different experts, the lower ones more often, as routers do.
Problem problem(bool large) {
  Problem p{.T = large ? 4096 : 64, .C = large ? 768 : 64, .F = large ? 3072 : 128, .E = large ? 8 : 4, .K = 2};
  p.R = p.T * p.K;
  const size_t T = size_t(p.T), K = size_t(p.K), E = size_t(p.E);
  const std::vector<float> u = values({p.T, 2 * p.K}, DType::f32, 9).to_vector<float>();
  std::vector<int32_t> count(E), offsets(E + 1), row, token_of_row(size_t(p.R));
  for (size_t t = 0; t < T; ++t) {
    for (size_t k = 0; k < K; ++k) {
      int32_t e = int32_t(u[t * 2 * K + k] * u[t * 2 * K + k] * float(p.E)) % p.E;
      for (size_t before = 0; before < k; ++before) { e = e == p.experts[t * K + before] ? (e + 1) % p.E : e; }
      p.experts.push_back(e);
      p.gates.push_back(std::abs(u[t * 2 * K + K + k]));
      row.push_back(count[size_t(e)]++);  // the place within the expert, for now
    }
  }
  for (size_t e = 0; e < E; ++e) { offsets[e + 1] = offsets[e] + count[e]; }
  p.Q = *std::max_element(count.begin(), count.end());
  std::vector<float> dense(T * E), mask(T * E * size_t(p.Q)), weights(mask.size());
  for (size_t i = 0; i < T * K; ++i) {
    const size_t t = i / K, e = size_t(p.experts[i]), place = (t * E + e) * size_t(p.Q) + size_t(row[i]);
    dense[t * E + e] = weights[place] = p.gates[i];
    mask[place] = 1;
    row[i] += offsets[e];
    token_of_row[size_t(row[i])] = int32_t(t);
  }
  const auto on_device = [](const auto& v, const Shape& shape) { return to_device(from_values(shape, v), Device::cuda()); };
  p.gate = on_device(p.gates, {p.T, p.K});
  p.row = on_device(row, {p.T, p.K});
  p.token_of_row = on_device(token_of_row, {p.R});
  p.offsets = on_device(offsets, {p.E + 1});
  p.dense_gate = on_device(dense, {p.T, p.E});
  p.mask = on_device(mask, {p.T, p.E * p.Q});
  p.weights = on_device(weights, {p.T, p.E * p.Q});
  p.x = values({p.T, p.C}, DType::f32, 1);
  p.up = values({p.E, p.F, p.C}, DType::f32, 2);
  p.down = values({p.E, p.C, p.F}, DType::f32, 3);
  p.out = empty({p.T, p.C}, DType::f32, Device::cuda());
  return p;
}

// Every expert on every token; a gate of zero takes back what was not asked for. E / K times the arithmetic that is wanted, and nothing can go wrong.
Tensor all_experts(const Problem& p, const Tensor& hidden) {  // hidden (T, F)
  fill(p.out, 0);
  for (int e = 0; e < p.E; ++e) {
    launch_linear(hidden.data<float>(), p.x.data<float>(), p.up.data<float>() + int64_t(e) * p.F * p.C, p.T, p.F, p.C, 1, Gelu{});
    launch_linear(p.out.data<float>(), hidden.data<float>(), p.down.data<float>() + int64_t(e) * p.C * p.F, p.T, p.C, p.F, 1,
                  AddWeighted{p.dense_gate.data<float>() + e, p.E});
  }
  return p.out;
}

// As the papers write it (GShard, V-MoE: einsum 'SEQ,SC->EQC'): one-hot masks bring each token to a place of its expert's buffer and back. Experts then
// multiply Q rows each, Q being the capacity; but the masks are products too, 4 T E Q C FLOP of almost nothing but zeros.
Tensor one_hot_masks(const Problem& p, const Tensor& rows, const Tensor& hidden, const Tensor& y) {  // (E Q, C), (E Q, F), (E Q, C)
  const int places = p.E * p.Q;
  const unsigned columns = unsigned(p.C + 31) / 32;
  simt::launch<mask_product<true>>({.grid = {columns, unsigned(places + 7) / 8}, .block = 256}, rows.data<float>(), p.mask.data<float>(),
                                   p.x.data<float>(), places, p.T, p.C);
  launch_linear(hidden.data<float>(), rows.data<float>(), p.up.data<float>(), p.Q, p.F, p.C, p.E, Gelu{});
  launch_linear(y.data<float>(), hidden.data<float>(), p.down.data<float>(), p.Q, p.C, p.F, p.E, Plain{});
  simt::launch<mask_product<false>>({.grid = {columns, unsigned(p.T + 7) / 8}, .block = 256}, p.out.data<float>(), p.weights.data<float>(), y.data<float>(),
                                    p.T, places, p.C);
  return p.out;
}

// Index lists instead of masks: a token is copied, not multiplied, and an expert has the rows that it has, no padding. A loop over experts needs to know how
// many that are, so the host waits for the device; and an expert with few rows leaves most of a card idle.
Tensor loop_over_experts(const Problem& p, const Tensor& rows, const Tensor& hidden, const Tensor& y) {  // (R, C), (R, F), (R, C)
  simt::launch<gather>({.grid = unsigned(p.R), .block = 128}, rows.data<float>(), p.x.data<float>(), p.token_of_row.data<int32_t>(), p.C);
  const std::vector<int32_t> offsets = p.offsets.to_vector<int32_t>();
  for (int e = 0; e < p.E; ++e) {
    const int64_t first = offsets[size_t(e)];
    const int n = int(offsets[size_t(e) + 1] - first);
    launch_linear(hidden.data<float>() + first * p.F, rows.data<float>() + first * p.C, p.up.data<float>() + int64_t(e) * p.F * p.C, n, p.F, p.C, 1, Gelu{});
    launch_linear(y.data<float>() + first * p.C, hidden.data<float>() + first * p.F, p.down.data<float>() + int64_t(e) * p.C * p.F, n, p.C, p.F, 1, Plain{});
  }
  simt::launch<weigh>({.grid = unsigned(p.T), .block = 128}, p.out.data<float>(), y.data<float>(), p.gate.data<float>(), p.row.data<int32_t>(), p.K, p.C);
  return p.out;
}

// One launch for all experts, whose blocks read the offsets; the first product gathers its rows itself. Three launches, and the host knows nothing.
Tensor grouped_products(const Problem& p, const Tensor& hidden, const Tensor& y) {  // (R, F), (R, C)
  const unsigned blocks = unsigned(simt::segment_blocks(p.R, p.E, kTile));
  const int32_t* none = nullptr;
  simt::launch<grouped<Gelu>>({.grid = {blocks, unsigned(p.F + kTile - 1) / kTile}, .block = 256}, hidden.data<float>(), p.x.data<float>(),
                              p.token_of_row.data<int32_t>(), p.up.data<float>(), p.offsets.data<int32_t>(), p.E, p.R, p.F, p.C, Gelu{});
  simt::launch<grouped<Plain>>({.grid = {blocks, unsigned(p.C + kTile - 1) / kTile}, .block = 256}, y.data<float>(), hidden.data<float>(), none,
                               p.down.data<float>(), p.offsets.data<int32_t>(), p.E, p.R, p.C, p.F, Plain{});
  simt::launch<weigh>({.grid = unsigned(p.T), .block = 128}, p.out.data<float>(), y.data<float>(), p.gate.data<float>(), p.row.data<int32_t>(), p.K, p.C);
  return p.out;
}

Tensor engine(const Problem& p, const Tensor& rows, const Tensor& hidden, const Tensor& y) {
  const Device device = Device::cuda();
  dispatch_rows(device, {rows, p.x, p.token_of_row, p.R, p.C});
  grouped_forward(device, {hidden, rows, p.up, {}, p.offsets});
  unary_fwd(device, {hidden, hidden, Unary::gelu_tanh, 1, 0});
  grouped_forward(device, {y, hidden, p.down, {}, p.offsets});
  combine_rows(device, {p.out, y, p.gate, p.row, p.T, p.K, p.C});
  return p.out;
}

}  // namespace

Ladder moe_f32(bool large) {
  const Problem p = problem(large);
  Ladder l{.name = "moe f32, " + std::to_string(p.T) + " tokens, " + std::to_string(p.C) + " to " + std::to_string(p.F) + " and back, " + std::to_string(p.K) +
                   " of " + std::to_string(p.E) + " experts",
           .bytes = 4.0 * (2.0 * p.T * p.C + 2.0 * p.E * p.C * p.F), .flops = 4.0 * p.R * double(p.C) * p.F, .multiplies = DType::f32, .bound = 2e-6,
           .rows = p.T, .columns = p.C, .out = p.out};
  l.reference = [p, x = p.x.to_vector<float>(), up = p.up.to_vector<float>(), down = p.down.to_vector<float>()](int64_t t) {
    const size_t C = size_t(p.C), F = size_t(p.F);
    std::vector<double> out(C), hidden(F);
    for (int k = 0; k < p.K; ++k) {
      const size_t choice = size_t(t * p.K + k), e = size_t(p.experts[choice]);
      for (size_t f = 0; f < F; ++f) {
        double sum = 0;
        for (size_t c = 0; c < C; ++c) { sum += double(x[size_t(t) * C + c]) * double(up[(e * F + f) * C + c]); }
        hidden[f] = 0.5 * sum * (1 + std::tanh(0.7978845608028654 * (sum + 0.044715 * sum * sum * sum)));
      }
      for (size_t c = 0; c < C; ++c) {
        double sum = 0;
        for (size_t f = 0; f < F; ++f) { sum += hidden[f] * double(down[(e * C + c) * F + f]); }
        out[c] += double(p.gates[choice]) * sum;
      }
    }
    return out;
  };
  const auto scratch = [](int64_t rows, int64_t columns) { return empty({rows, columns}, DType::f32, Device::cuda()); };
  const int64_t most = std::max(int64_t(p.E) * p.Q, int64_t(p.R));
  const Tensor rows = scratch(most, p.C), hidden = scratch(most, p.F), y = scratch(most, p.C);
  const auto first = [](const Tensor& t, int64_t n) { return t.slice(0, 0, n); };
  l.rungs = {
      {"every expert, every token", "a gate of zero takes back what was not asked for", [=] { return all_experts(p, hidden); }},
      {"one-hot masks", "experts multiply as many rows as the fullest has; tokens come and go by products with masks of zeros and ones",
       [=] { return one_hot_masks(p, rows, hidden, y); }},
      {"loop over experts", "index lists: tokens are copied, not multiplied, and no row is padding; the host waits for the counts",
       [=] { return loop_over_experts(p, rows, hidden, y); }},
      {"grouped", "one launch for all experts, the counts stay on the device, rows are gathered as they are loaded",
       [=] { return grouped_products(p, hidden, y); }},
      {"the engine", "tiles of 64 or 128; rows are copied once, for the backward pass to find them: moe/dispatch_cuda.cu, moe/grouped_linear_cuda.cu",
       [=] { return engine(p, first(rows, p.R), first(hidden, p.R), first(y, p.R)); }},
  };
  return l;
}

}  // namespace pumice::ladder
