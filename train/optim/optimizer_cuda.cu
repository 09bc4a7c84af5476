// Optimizers on CUDA: streams over the flat arena, bound by memory. Traffic per parameter: AdamW 28 bytes, the average of the weights 12, squares 4;
// Adafactor 12 to 24, plus two more reads of the gradient (8) for a factored moment, whose sums are taken in f64 in a fixed order.
#include "pumice/tensor/simt/rows.h"
#include "pumice/tensor/simt/sum_in_order.h"
#include "pumice/train/optim/optimizer_kernels.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256, kVector = 4;
constexpr float kTiny = 1e-30f;  // added to squares, so that a zero gradient divides by something

unsigned blocks_of(int64_t items) { return simt::blocks_for(items, kBlock, int64_t(1) << 30); }
__device__ __forceinline__ int64_t thread_number() { return int64_t(blockIdx.x) * kBlock + threadIdx.x; }

// f(i, width constant) for a range of an arena, a thread per vector of 4: whole vectors at once, the ends of the range one by one.
struct One { static constexpr int kWidth = 1; };
struct Four { static constexpr int kWidth = kVector; };
template <class F> __device__ __forceinline__ void over_range(int64_t begin, int64_t end, bool aligned, const F& f) {
  const int64_t i = (begin / kVector + thread_number()) * kVector;
  if (aligned && i >= begin && i + kVector <= end) { return f(i, Four()); }
  for (int64_t k = i; k < i + kVector; ++k) {
    if (k >= begin && k < end) { f(k, One()); }
  }
}
unsigned blocks_of_range(int64_t begin, int64_t end) { return blocks_of((end - 1) / kVector - begin / kVector + 1); }

// A rate times a factor, in f64 and rounded once, as the host does it.
__device__ __forceinline__ float times(double rate, float factor) { return float(rate * double(factor)); }
__device__ __forceinline__ bool halted(const StepState* state) { return state && state->halted; }

struct AdamW {
  float lr, beta1, beta2, eps, decay, correction1, correction2, gradient_scale;

  __device__ __forceinline__ void take(const StepOnDevice& s) {
    if (!s.numbers) { return; }
    lr = times(s.numbers->learning_rate, lr);
    correction1 = s.numbers->of_optimizer[0];
    correction2 = s.numbers->of_optimizer[1];
    gradient_scale = s.state->gradient_scale;
  }
};

__global__ void __launch_bounds__(kBlock) adamw(float* p, float* m, float* v, const float* g, int64_t begin, int64_t end, bool aligned, AdamW a,
                                                StepOnDevice on_device) {
  if (halted(on_device.state)) { return; }
  a.take(on_device);
  over_range(begin, end, aligned, [&]<class W>(int64_t i, W) {
    constexpr int V = W::kWidth;
    auto pv = simt::load_vector<V>(p + i), mv = simt::load_vector<V>(m + i), vv = simt::load_vector<V>(v + i);
    const auto gv = simt::load_vector<V>(g + i);
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) {
      const float gi = gv.v[j] * a.gradient_scale;
      mv.v[j] = a.beta1 * mv.v[j] + (1 - a.beta1) * gi;
      vv.v[j] = a.beta2 * vv.v[j] + (1 - a.beta2) * gi * gi;
      pv.v[j] -= a.lr * (mv.v[j] * a.correction1 / (sqrtf(vv.v[j] * a.correction2) + a.eps) + a.decay * pv.v[j]);
    }
    simt::store_vector(m + i, mv);
    simt::store_vector(v + i, vv);
    simt::store_vector(p + i, pv);
  });
}

__global__ void __launch_bounds__(kBlock) move_average(float* average, const float* x, int64_t n, bool aligned, float decay,
                                                       const StepState* state) {
  if (halted(state)) { return; }
  over_range(0, n, aligned, [&]<class W>(int64_t i, W) {
    auto av = simt::load_vector<W::kWidth>(average + i);
    const auto xv = simt::load_vector<W::kWidth>(x + i);
    SIMT_UNROLL
    for (int j = 0; j < W::kWidth; ++j) { av.v[j] = decay * av.v[j] + (1 - decay) * xv.v[j]; }
    simt::store_vector(average + i, av);
  });
}

// A block per partial sum of `block` elements.
__global__ void __launch_bounds__(simt::kSumBlock) squares(double* partial, const float* x, int64_t n, int64_t block) {
  const int64_t begin = blockIdx.x * block;
  const double sum = simt::sum_in_order(min(block, n - begin), [=](int64_t i) { return double(x[begin + i]) * double(x[begin + i]); });
  if (threadIdx.x == 0) { partial[blockIdx.x] = sum; }
}

// One block.
__global__ void __launch_bounds__(simt::kSumBlock) clip(StepState* state, const double* partial, int64_t blocks, const double* losses, int64_t count,
                                                        double limit) {
  const double norm = sqrt(simt::sum_in_order(blocks, [=](int64_t i) { return partial[i]; }));
  if (threadIdx.x != 0) { return; }
  bool finite = norm - norm == 0;
  for (int64_t i = 0; i < count; ++i) { finite = finite && losses[i] - losses[i] == 0; }
  state->gradient_norm = norm;
  state->gradient_scale = limit > 0 && norm > limit ? float(limit / norm) : 1.0f;
  state->halted = state->halted || !finite;
}

// ---- Adafactor ----

struct Rates {
  float lr, beta1, beta2, decay, gradient_scale;
  StepOnDevice on_device;
  bool decay_times_rate;

  __device__ __forceinline__ Rates of_step() const {
    Rates r = *this;
    if (!on_device.numbers) { return r; }
    r.lr = times(on_device.numbers->learning_rate, lr);
    r.decay = times(decay_times_rate ? on_device.numbers->learning_rate : on_device.numbers->schedule, decay);
    r.beta2 = on_device.numbers->of_optimizer[0];
    r.gradient_scale = on_device.state->gradient_scale;
    return r;
  }
};

// p moves by the average m of u, which is kept in M; the update uses it before it is rounded. m may be null.
template <class M> __device__ __forceinline__ void move(float* p, M* m, int64_t i, float u, const Rates& r) {
  if (m) {
    u = r.beta1 * float(m[i]) + (1 - r.beta1) * u;
    m[i] = M(u);
  }
  p[i] -= r.lr * u + r.decay * p[i];
}

template <class M> __global__ void __launch_bounds__(kBlock) adafactor_full(float* p, M* m, float* v, const float* g, int64_t n, Rates given) {
  if (halted(given.on_device.state)) { return; }
  const Rates r = given.of_step();
  const int64_t i = thread_number();
  if (i >= n) { return; }
  const float gi = g[i] * r.gradient_scale, vi = r.beta2 * v[i] + (1 - r.beta2) * (gi * gi + kTiny);
  v[i] = vi;
  move(p, m, i, gi / sqrtf(vi), r);
}

__device__ __forceinline__ double square_of(float g, const Rates& r) { return double(g * r.gradient_scale * (g * r.gradient_scale) + kTiny); }

// `count` matrices, one behind the other; their means as rows, cols, rows, cols ...
struct Factored {
  float *row, *col;
  double* partial;
  int64_t count, rows, cols, blocks;

  __device__ __forceinline__ float* row_of(int64_t matrix) const { return row + matrix * (rows + cols); }
  __device__ __forceinline__ float* col_of(int64_t matrix) const { return col + matrix * (rows + cols); }
  __device__ __forceinline__ double* partial_of(int64_t matrix) const { return partial + matrix * blocks * cols; }
};

// A block per row of the gradient.
__global__ void __launch_bounds__(simt::kSumBlock) row_means(Factored f, const float* g, Rates given) {
  if (halted(given.on_device.state)) { return; }
  const Rates r = given.of_step();
  float* mean = f.row_of(blockIdx.x / f.rows) + blockIdx.x % f.rows;
  g += blockIdx.x * f.cols;
  const double sum = simt::sum_in_order(f.cols, [=](int64_t c) { return square_of(g[c], r); });
  if (threadIdx.x == 0) { *mean = r.beta2 * *mean + (1 - r.beta2) * float(sum / double(f.cols)); }
}
// A thread per column and block of kAdafactorRows rows.
__global__ void __launch_bounds__(kBlock) column_sums_of_squares(Factored f, const float* g, Rates given) {
  if (halted(given.on_device.state)) { return; }
  const Rates r = given.of_step();
  const int64_t i = thread_number(), c = i % f.cols, b = i / f.cols % f.blocks, matrix = i / f.cols / f.blocks;
  if (matrix >= f.count) { return; }
  g += matrix * f.rows * f.cols + c;
  double sum = 0;
  for (int64_t k = b * kAdafactorRows; k < min((b + 1) * kAdafactorRows, f.rows); ++k) { sum += square_of(g[k * f.cols], r); }
  f.partial[i] = sum;
}
__global__ void __launch_bounds__(kBlock) column_means(Factored f, Rates given) {
  if (halted(given.on_device.state)) { return; }
  const Rates r = given.of_step();
  const int64_t i = thread_number(), c = i % f.cols, matrix = i / f.cols;
  if (matrix >= f.count) { return; }
  const double* partial = f.partial_of(matrix) + c;
  double sum = 0;
  for (int64_t b = 0; b < f.blocks; ++b) { sum += partial[b * f.cols]; }
  float* mean = f.col_of(matrix) + c;
  *mean = r.beta2 * *mean + (1 - r.beta2) * float(sum / double(f.rows));
}
// A block per matrix: the mean of its row means goes where the first of its partial sums stood; those have been used.
__global__ void __launch_bounds__(simt::kSumBlock) mean_of_rows(Factored f, Rates given) {
  if (halted(given.on_device.state)) { return; }
  const float* row = f.row_of(blockIdx.x);
  const double sum = simt::sum_in_order(f.rows, [=](int64_t k) { return row[k]; });
  if (threadIdx.x == 0) { *f.partial_of(blockIdx.x) = sum / double(f.rows); }
}
template <class M> __global__ void __launch_bounds__(kBlock) adafactor_factored(float* p, M* m, Factored f, const float* g, Rates given) {
  if (halted(given.on_device.state)) { return; }
  const Rates r = given.of_step();
  const int64_t i = thread_number(), c = i % f.cols, k = i / f.cols % f.rows, matrix = i / f.cols / f.rows;
  if (matrix >= f.count) { return; }
  const float of_row = 1 / sqrtf(float(double(f.row_of(matrix)[k]) / *f.partial_of(matrix)));
  move(p, m, i, g[i] * r.gradient_scale * of_row / sqrtf(f.col_of(matrix)[c]), r);
}

template <class M> void adafactor(const AdafactorStep& a) {
  const Rates r{a.lr, a.beta1, a.beta2, a.decay, a.gradient_scale, a.on_device, a.decay_times_rate};
  M* m = a.m.as<M>();
  if (a.v) {
    simt::launch<adafactor_full<M>>({.grid = blocks_of(a.cols), .block = kBlock}, a.p, m, a.v, a.g, a.cols, r);
    return;
  }
  const Factored f{a.row, a.col, a.partial, a.count, a.rows, a.cols, (a.rows + kAdafactorRows - 1) / kAdafactorRows};
  simt::launch<row_means>({.grid = unsigned(f.count * f.rows), .block = simt::kSumBlock}, f, a.g, r);
  simt::launch<column_sums_of_squares>({.grid = blocks_of(f.count * f.blocks * f.cols), .block = kBlock}, f, a.g, r);
  simt::launch<column_means>({.grid = blocks_of(f.count * f.cols), .block = kBlock}, f, r);
  simt::launch<mean_of_rows>({.grid = unsigned(f.count), .block = simt::kSumBlock}, f, r);
  simt::launch<adafactor_factored<M>>({.grid = blocks_of(f.count * f.rows * f.cols), .block = kBlock}, a.p, m, f, a.g, r);
}

}  // namespace

void adamw_step(const AdamWStep& a) {
  if (a.begin >= a.end) { return; }
  float *p = a.p.as<float>(), *m = a.m.as<float>(), *v = a.v.as<float>();
  const float* g = a.g.as<float>();
  simt::launch<adamw>({.grid = blocks_of_range(a.begin, a.end), .block = kBlock}, p, m, v, g, a.begin, a.end, simt::aligned16(p, m, v, g),
                      AdamW{a.lr, a.beta1, a.beta2, a.eps, a.decay, a.correction1, a.correction2, a.gradient_scale}, a.on_device);
}

void adafactor_step(const AdafactorStep& a) {
  if (!a.count || !a.rows || !a.cols) { return; }
  if (a.m.dtype == DType::bf16) { adafactor<bf16>(a); } else { adafactor<float>(a); }
}

void average_step(const AverageStep& a) {
  if (!a.n) { return; }
  float* average = a.average.as<float>();
  const float* x = a.x.as<float>();
  simt::launch<move_average>({.grid = blocks_of_range(0, a.n), .block = kBlock}, average, x, a.n, simt::aligned16(average, x), a.decay,
                             a.state);
}

void clip_on_device_kernel(const ClipOnDevice& a) {
  simt::launch<clip>({.grid = 1, .block = simt::kSumBlock}, a.state, a.partial.as<double>(), a.partial.size(), a.losses.as<double>(), a.losses.size(), a.clip);
}

void sum_squares(const SumSquares& a) {
  if (!a.n) { return; }
  simt::launch<squares>({.grid = unsigned((a.n + a.block - 1) / a.block), .block = simt::kSumBlock}, a.partial.as<double>(), a.x.as<float>(), a.n,
                        a.block);
}

}  // namespace pumice::cuda
