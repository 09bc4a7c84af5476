// The contrastive losses on CUDA, in f32. As on the CPU, images against texts and texts against images are one computation with the sides swapped,
// and logits exist as tiles only: a block owns 64 rows and walks its columns in panels of 128. Forward keeps each row's statistics in registers;
// backward recomputes a tile, turns it into g_ij in shared memory and adds g times the panel's features to its rows of the gradient.
//
// Small batches have too few blocks of rows for a device, so the columns are split as well, by a rule that depends on the batch alone; the splits'
// results are combined in order. FLOP per side: 2 B^2 C forward, 4 B^2 C backward. Features are read B / 64 times, from L2.
#include "pumice/ops/loss/contrastive_kernels.h"
#include "pumice/tensor/simt/device_scratch.h"
#include "pumice/tensor/simt/rows.h"
#include "pumice/tensor/simt/scalar_math.h"
#include "pumice/tensor/simt/sum_in_order.h"

namespace pumice::cuda {
namespace {

// A tile is 64 x 128; thread (ty, tx) of 16 x 16 has rows 4 ty ... and columns 4 tx ... and 64 + 4 tx ...
constexpr int kBlock = 256, kRows = 64, kCols = int(kContrastivePanel), kDepth = 16, kPad = 4;
constexpr int kMyRows = 4, kMyCols = 8;

__device__ __forceinline__ int my_row(int i) { return threadIdx.x / 16 * kMyRows + i; }
__device__ __forceinline__ int my_col(int j) { return j / 4 * 64 + threadIdx.x % 16 * 4 + j % 4; }

struct Features {
  const float *rows, *cols;  // (B, C)
  int64_t B, C;
  bool vectors;  // C and the addresses, those of a result included, allow accesses of 16 bytes
};

// to[k][r] = x[first + r][k0 + k] for r < N, k < kDepth, and 0 beyond the matrix.
template <int N> __device__ void load_transposed(float (&to)[kDepth][N + kPad], const float* x, int64_t first, int64_t k0, const Features& f) {
  if (f.vectors) {
    for (int i = threadIdx.x; i < N * kDepth / 4; i += kBlock) {
      const int r = i / (kDepth / 4), k = i % (kDepth / 4) * 4;
      simt::Vector<float, 4> v{};
      if (first + r < f.B && k0 + k < f.C) { v = simt::load_vector<4>(x + (first + r) * f.C + k0 + k); }
      SIMT_UNROLL
      for (int j = 0; j < 4; ++j) { to[k + j][r] = v.v[j]; }
    }
  } else {
    for (int i = threadIdx.x; i < N * kDepth; i += kBlock) {
      const int r = i / kDepth, k = i % kDepth;
      to[k][r] = first + r < f.B && k0 + k < f.C ? x[(first + r) * f.C + k0 + k] : 0.0f;
    }
  }
}
// to[k][c] = x[first + k][c0 + c] for k < kDepth, c < kCols, and 0 beyond the matrix.
__device__ void load_straight(float (&to)[kDepth][kCols + kPad], const float* x, int64_t first, int64_t c0, const Features& f) {
  if (f.vectors) {
    for (int i = threadIdx.x; i < kDepth * kCols / 4; i += kBlock) {
      const int k = i / (kCols / 4), c = i % (kCols / 4) * 4;
      simt::Vector<float, 4> v{};
      if (first + k < f.B && c0 + c < f.C) { v = simt::load_vector<4>(x + (first + k) * f.C + c0 + c); }
      simt::store_vector(&to[k][c], v);
    }
  } else {
    for (int i = threadIdx.x; i < kDepth * kCols; i += kBlock) {
      const int k = i / kCols, c = i % kCols;
      to[k][c] = first + k < f.B && c0 + c < f.C ? x[(first + k) * f.C + c0 + c] : 0.0f;
    }
  }
}

// sum[i][j] += sum_{k < kDepth} a[k][my row i] * b[k][my column j]
__device__ __forceinline__ void multiply(float (&sum)[kMyRows][kMyCols], const float (*a)[kRows + kPad], const float (*b)[kCols + kPad]) {
SIMT_UNROLL_BY(2)  // more of it costs registers and gains nothing: 32 independent sums are enough
  for (int k = 0; k < kDepth; ++k) {
    const auto x = simt::load_vector<4>(&a[k][my_row(0)]);
    const auto low = simt::load_vector<4>(&b[k][my_col(0)]), high = simt::load_vector<4>(&b[k][my_col(4)]);
    SIMT_UNROLL
    for (int i = 0; i < kMyRows; ++i) {
      SIMT_UNROLL
      for (int j = 0; j < 4; ++j) {
        sum[i][j] += x.v[i] * low.v[j];
        sum[i][4 + j] += x.v[i] * high.v[j];
      }
    }
  }
}

// dot[i][j] = <rows_(row + my row i), cols_(col + my column j)>
__device__ void dot_tile(float (&dot)[kMyRows][kMyCols], float (&a)[kDepth][kRows + kPad], float (&b)[kDepth][kCols + kPad], const Features& f,
                         int64_t row, int64_t col) {
  for (int i = 0; i < kMyRows; ++i) {
    for (int j = 0; j < kMyCols; ++j) { dot[i][j] = 0; }
  }
  for (int64_t k0 = 0; k0 < f.C; k0 += kDepth) {
    __syncthreads();  // the readers of the previous chunk are done
    load_transposed<kRows>(a, f.rows, row, k0, f);
    load_transposed<kCols>(b, f.cols, col, k0, f);
    __syncthreads();
    if (row + my_row(0) < f.B && col + my_col(0) < f.B) { multiply(dot, a, b); }  // others have nothing in this tile
  }
}

// How B rows are given to blocks: blocks of 64 rows, each `splits` times with its part of the panels.
struct Grid {
  int64_t row_blocks, panels, splits;

  Grid(int64_t B, int64_t most_splits) : row_blocks((B + kRows - 1) / kRows), panels((B + kCols - 1) / kCols), splits(264 / row_blocks) {
    if (splits > most_splits) { splits = most_splits; }
    if (splits > panels) { splits = panels; }
    if (splits < 1) { splits = 1; }
  }
  unsigned blocks() const { return unsigned(row_blocks * splits); }
  __device__ int64_t row() const { return blockIdx.x % row_blocks * kRows; }
  __device__ int64_t split() const { return blockIdx.x / row_blocks; }
  __device__ int64_t first_panel() const { return panels * split() / splits; }
  __device__ int64_t end_panel() const { return panels * (split() + 1) / splits; }
};

// ---- forward ----

struct State {  // of one row and some of its columns
  float top = -__FLT_MAX__, sum = 0;  // softmax: the largest logit and the sum of exp(logit - top); sigmoid: sum of the losses
  float positive = 0;                 // softmax: sum of the logits of right answers
  float best_logit = -__FLT_MAX__;
  int32_t best = -1;                  // the first column with the largest logit
};

struct Softmax {
  static constexpr bool kFirstIsBest = false;  // a row of nothing but -inf or NaN has no best answer
  __device__ void add(State& s, const float (&x)[kMyCols], uint32_t valid, uint32_t right) const {
    float next = s.top;
    SIMT_UNROLL
    for (int j = 0; j < kMyCols; ++j) { next = valid >> j & 1 ? simt::Max()(next, x[j]) : next; }
    s.sum *= expf(s.top - next);
    SIMT_UNROLL
    for (int j = 0; j < kMyCols; ++j) {
      s.sum += valid >> j & 1 ? expf(x[j] - next) : 0.0f;
      s.positive += right >> j & 1 ? x[j] : 0.0f;
    }
    s.top = next;
  }
  __device__ void merge(State& s, const State& other) const {
    const float next = simt::Max()(s.top, other.top);
    s.sum = s.sum * expf(s.top - next) + other.sum * expf(other.top - next);
    s.positive += other.positive;
    s.top = next;
  }
  __device__ float lse(const State& s) const { return s.top + logf(s.sum); }
  __device__ float loss(const State& s, int32_t members) const { return lse(s) - s.positive / float(members); }
};
struct Sigmoid {
  static constexpr bool kFirstIsBest = true;
  const float* bias;
  __device__ void add(State& s, const float (&x)[kMyCols], uint32_t valid, uint32_t right) const {
    SIMT_UNROLL
    for (int j = 0; j < kMyCols; ++j) { s.sum += valid >> j & 1 ? simt::softplus(right >> j & 1 ? -(x[j] + *bias) : x[j] + *bias) : 0.0f; }
  }
  __device__ void merge(State& s, const State& other) const { s.sum += other.sum; }
  __device__ float lse(const State&) const { return 0; }
  __device__ float loss(const State& s, int32_t) const { return s.sum; }
};

template <class Loss> __device__ void merge(const Loss& loss, State& s, const State& other) {
  loss.merge(s, other);
  if (other.best >= 0 && (s.best < 0 || other.best_logit > s.best_logit || (other.best_logit == s.best_logit && other.best < s.best))) {
    s.best_logit = other.best_logit;
    s.best = other.best;
  }
}

// states (splits, B)
template <class Loss> __global__ void __launch_bounds__(kBlock)
row_states(State* states, Features f, const float* log_temperature, const int32_t* group, Grid grid, Loss loss) {
  SIMT_SHARED(float, a, [kDepth][kRows + kPad]);
  SIMT_SHARED(float, b, [kDepth][kCols + kPad]);
  const float scale = expf(*log_temperature);
  const int64_t row = grid.row();
  State state[kMyRows];
  for (int64_t panel = grid.first_panel(); panel < grid.end_panel(); ++panel) {
    float x[kMyRows][kMyCols];
    dot_tile(x, a, b, f, row, panel * kCols);
    int32_t answers[kMyCols];
    uint32_t valid = 0;
    SIMT_UNROLL
    for (int j = 0; j < kMyCols; ++j) {
      const int64_t col = panel * kCols + my_col(j);
      valid |= uint32_t(col < f.B) << j;
      answers[j] = col < f.B ? group[col] : -1;
    }
    SIMT_UNROLL
    for (int i = 0; i < kMyRows; ++i) {
      const int32_t own = row + my_row(i) < f.B ? group[row + my_row(i)] : -2;
      uint32_t right = 0;
      SIMT_UNROLL
      for (int j = 0; j < kMyCols; ++j) {
        x[i][j] *= scale;
        right |= uint32_t(answers[j] == own) << j;
        if ((valid >> j & 1) && (x[i][j] > state[i].best_logit || (Loss::kFirstIsBest && state[i].best < 0))) {
          state[i].best_logit = x[i][j];
          state[i].best = int32_t(panel * kCols + my_col(j));
        }
      }
      loss.add(state[i], x[i], valid, right);
    }
  }
  SIMT_UNROLL
  for (int i = 0; i < kMyRows; ++i) {
    State s = state[i];
    for (int k = 8; k; k >>= 1) {  // over the sixteen threads that share the row
      State other;
      other.top = __shfl_xor_sync(~0u, s.top, k);
      other.sum = __shfl_xor_sync(~0u, s.sum, k);
      other.positive = __shfl_xor_sync(~0u, s.positive, k);
      other.best_logit = __shfl_xor_sync(~0u, s.best_logit, k);
      other.best = __shfl_xor_sync(~0u, s.best, k);
      merge(loss, s, other);
    }
    if (threadIdx.x % 16 == 0 && row + my_row(i) < f.B) { states[grid.split() * f.B + row + my_row(i)] = s; }
  }
}

template <class Loss> __global__ void __launch_bounds__(kBlock)
finish_rows(float* lse, float* row_loss, uint8_t* hit, const State* states, const int32_t* group, const int32_t* members, int64_t B, int64_t splits,
            Loss loss) {
  const int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x;
  if (i >= B) { return; }
  State s = states[i];
  for (int64_t split = 1; split < splits; ++split) { merge(loss, s, states[split * B + i]); }
  if (lse) { lse[i] = loss.lse(s); }
  row_loss[i] = loss.loss(s, members[i]);
  hit[i] = s.best >= 0 && group[s.best] == group[i];
}

// One block: row_loss (n), hit (2, B).
__global__ void __launch_bounds__(simt::kSumBlock)
finish_loss(float* loss, int64_t* hits, const float* row_loss, const uint8_t* hit, int64_t n, int64_t B) {
  const double total = simt::sum_in_order(n, [=](int64_t i) { return row_loss[i]; });
  const double first = simt::sum_in_order(B, [=](int64_t i) { return hit[i]; });
  const double second = simt::sum_in_order(B, [=](int64_t i) { return hit[B + i]; });
  if (threadIdx.x == 0) {
    *loss = float(total / double(n));
    hits[0] = int64_t(first);
    hits[1] = int64_t(second);
  }
}

// The rows of both sides; `sides` of them count for the loss. lse (2, B), or null.
template <class Loss> void both_sides(const View& loss_out, const View& hits, float* lse, const View& image, const View& text,
                                      const View& log_temperature, const ContrastiveTargets& targets, int64_t B, int64_t C, int sides, Loss loss) {
  const float* features[2] = {image.as<float>(), text.as<float>()};
  const int32_t *group = targets.group.as<int32_t>(), *members = targets.members.as<int32_t>();
  const Grid grid(B, 64);
  const simt::DeviceScratch<State> states(grid.splits * B);
  const simt::DeviceScratch<float> row_loss(2 * B);
  const simt::DeviceScratch<uint8_t> hit(2 * B);
  for (int side = 0; side < 2; ++side) {
    const Features f{features[side], features[1 - side], B, C, C % 4 == 0 && simt::aligned16(features[0], features[1])};
    simt::launch<row_states<Loss>>({.grid = grid.blocks(), .block = kBlock}, states.get(), f, log_temperature.as<float>(), group, grid, loss);
    simt::launch<finish_rows<Loss>>({.grid = simt::blocks_for(B, kBlock), .block = kBlock}, lse ? lse + side * B : nullptr, row_loss.get() + side * B,
                                    hit.get() + side * B, states.get(), group, members, B, grid.splits, loss);
  }
  simt::launch<finish_loss>({.grid = 1, .block = simt::kSumBlock}, loss_out.as<float>(), hits.as<int64_t>(), row_loss.get(), hit.get(), sides * B, B);
}

// ---- backward: g_ij = dloss / dlogits_ij = dy * over * gradient(row i, logit, j) ----

struct SoftmaxGradient {
  static constexpr bool kWantsRowSums = false;
  const float *dy, *row_lse, *col_lse;
  const int32_t *group, *members;
  float over;  // 1 / 2B
  struct Row { float lse, target; int32_t own; };
  struct Col { float lse; int32_t group; };
  __device__ Row row(int64_t i) const { return {row_lse[i], 2 / float(members[i]), group[i]}; }
  __device__ Col col(int64_t j) const { return {col_lse[j], group[j]}; }
  __device__ float operator()(const Row& r, float x, const Col& c) const {
    return expf(x - r.lse) + expf(x - c.lse) - (c.group == r.own ? r.target : 0.0f);
  }
};
struct SigmoidGradient {
  static constexpr bool kWantsRowSums = true;  // for the bias
  const float *dy, *bias;
  const int32_t* group;
  float over;  // 1 / B
  struct Row { int32_t own; };
  struct Col { int32_t group; float bias; };
  __device__ Row row(int64_t i) const { return {group[i]}; }
  __device__ Col col(int64_t j) const { return {group[j], *bias}; }
  __device__ float operator()(const Row& r, float x, const Col& c) const { return simt::sigmoid(x + c.bias) - (c.group == r.own ? 1.0f : 0.0f); }
};

// to[0 .. 4) = v (+ what was there)
__device__ __forceinline__ void store_four(float* to, const float (&v)[kMyCols], int from, bool add) {
  simt::Vector<float, 4> sum{{v[from], v[from + 1], v[from + 2], v[from + 3]}};
  if (add) {
    const auto before = simt::load_vector<4>(to);
    SIMT_UNROLL
    for (int j = 0; j < 4; ++j) { sum.v[j] += before.v[j]; }
  }
  simt::store_vector(to, sum);
}

// drows (splits, B, C) = exp(t) * sum_j(g_ij * cols_j) and, unless null, row_sum (splits, B) = sum_j(g_ij), each over the split's columns.
template <class Gradient> __global__ void __launch_bounds__(kBlock, 1)
row_gradients(float* drows, float* row_sum, Features f, const float* log_temperature, Grid grid, Gradient gradient) {
  SIMT_SHARED(float, a, [kDepth][kRows + kPad]);
  SIMT_SHARED(float, b, [kDepth][kCols + kPad]);
  SIMT_SHARED(float, g, [kCols][kRows + kPad]);  // g[j][i]: 35 KiB
  const int64_t row = grid.row();
  const int rows = int(min(f.B - row, int64_t(kRows))), first_panel = int(grid.first_panel()), end_panel = int(grid.end_panel());
  drows += (grid.split() * f.B + row + my_row(0)) * f.C;  // of this thread's first row
  float sums[kMyRows] = {};
  for (int panel = first_panel; panel < end_panel; ++panel) {
    float x[kMyRows][kMyCols];
    dot_tile(x, a, b, f, row, int64_t(panel) * kCols);
    const float scale = expf(*log_temperature), dloss = *gradient.dy * gradient.over;
    typename Gradient::Row mine[kMyRows];
    SIMT_UNROLL
    for (int i = 0; i < kMyRows; ++i) { mine[i] = gradient.row(my_row(i) < rows ? row + my_row(i) : 0); }
    SIMT_UNROLL
    for (int j = 0; j < kMyCols; ++j) {  // a column's numbers are read once for the four rows
      const int64_t col = int64_t(panel) * kCols + my_col(j);
      const auto theirs = gradient.col(col < f.B ? col : 0);
      simt::Vector<float, 4> of_column;
      SIMT_UNROLL
      for (int i = 0; i < kMyRows; ++i) {
        const float v = my_row(i) < rows && col < f.B ? dloss * gradient(mine[i], x[i][j] * scale, theirs) : 0.0f;
        if (Gradient::kWantsRowSums) { sums[i] += v; }
        of_column.v[i] = v * scale;
      }
      simt::store_vector(&g[my_col(j)][my_row(0)], of_column);  // the previous panel's readers are behind the barriers of dot_tile
    }
    for (int64_t c0 = 0; c0 < f.C; c0 += kCols) {
      float out[kMyRows][kMyCols] = {};
      for (int k0 = 0; k0 < kCols && int64_t(panel) * kCols + k0 < f.B; k0 += kDepth) {
        __syncthreads();  // g is written; the readers of b are done
        load_straight(b, f.cols, int64_t(panel) * kCols + k0, c0, f);
        __syncthreads();
        if (my_row(0) < rows && c0 + my_col(0) < f.C) { multiply(out, &g[k0], b); }
      }
      const int width = int(min(f.C - c0, int64_t(kCols)));
      float* to = drows + c0;
      SIMT_UNROLL
      for (int i = 0; i < kMyRows; ++i, to += f.C) {
        if (my_row(i) >= rows) { continue; }
        if (f.vectors) {
          SIMT_UNROLL
          for (int j = 0; j < kMyCols; j += 4) {
            if (my_col(j) < width) { store_four(to + my_col(j), out[i], j, panel != first_panel); }
          }
          continue;
        }
        SIMT_UNROLL
        for (int j = 0; j < kMyCols; ++j) {
          if (my_col(j) < width) { to[my_col(j)] = panel == first_panel ? out[i][j] : to[my_col(j)] + out[i][j]; }
        }
      }
    }
  }
  SIMT_UNROLL
  for (int i = 0; Gradient::kWantsRowSums && row_sum && i < kMyRows; ++i) {
    float sum = sums[i];
    for (int k = 8; k; k >>= 1) { sum += __shfl_xor_sync(~0u, sum, k); }
    if (threadIdx.x % 16 == 0 && my_row(i) < rows) { row_sum[grid.split() * f.B + row + my_row(i)] = sum; }
  }
}

__global__ void __launch_bounds__(kBlock) add_splits(float* y, const float* parts, int64_t n, int64_t splits) {
  for (int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x; i < n; i += int64_t(gridDim.x) * kBlock) {
    float sum = parts[i];
    for (int64_t split = 1; split < splits; ++split) { sum += parts[split * n + i]; }
    y[i] = sum;
  }
}

// A warp per row: <x_i, dx_i>. Their sum is dt, because logits_ij = exp(t) * <image_i, text_j>.
template <class Team> __global__ void __launch_bounds__(Team::kBlock) row_dots(float* dots, const float* x, const float* dx, int64_t B, int64_t C) {
  const int64_t i = Team::number();
  if (i >= B) { return; }
  const simt::Row<float, Team> x_row(x + i * C, C), dx_row(dx + i * C, C);
  const float dot = simt::row_sum(C, [](int64_t, float a, float b) { return a * b; }, x_row, dx_row);
  if (threadIdx.x % 32 == 0) { dots[i] = dot; }
}

// gradient_of(side) gives the Gradient of a side's rows. dlog_temperature and dbias may be absent.
template <class Args, class F>
void gradients(const Args& a, const View& dbias, const F& gradient_of) {
  const float* features[2] = {a.image.template as<float>(), a.text.template as<float>()};
  float* out[2] = {a.dimage.template as<float>(), a.dtext.template as<float>()};
  const int64_t B = a.batch, C = a.width;
  const Grid grid(B, 8);
  const simt::DeviceScratch<float> parts(grid.splits > 1 ? grid.splits * B * C : 0), row_sum(dbias ? grid.splits * B : 0), dots(B);
  for (int side = 0; side < 2; ++side) {
    if (!out[side]) { continue; }
    float *drows = grid.splits > 1 ? parts.get() : out[side], *sums = side == 0 && dbias ? row_sum.get() : nullptr;
    const Features f{features[side], features[1 - side], B, C, C % 4 == 0 && simt::aligned16(features[0], features[1], drows)};
    auto gradient = gradient_of(side);
    simt::launch<row_gradients<decltype(gradient)>>({.grid = grid.blocks(), .block = kBlock}, drows, sums, f, a.log_temperature.template as<float>(),
                                                    grid, gradient);
    if (grid.splits > 1) {
      simt::launch<add_splits>({.grid = simt::blocks_for(B * C, kBlock, 4096), .block = kBlock}, out[side], parts.get(), B * C, grid.splits);
    }
  }
  if (a.dlog_temperature) {
    using Team = simt::RowTeam<1, 32, 0>;
    simt::launch<row_dots<Team>>(Team::cover(B), dots.get(), features[0], out[0], B, C);
    simt::write_sum(a.dlog_temperature.template as<float>(), dots.get(), B);
  }
  if (dbias) { simt::write_sum(dbias.as<float>(), row_sum.get(), grid.splits * B); }
}

void require_f32(const View& x) {
  if (x.dtype != DType::f32) { simt::dtype_has_no_kernel(x.dtype); }
}

}  // namespace

void contrastive_fwd(const ContrastiveFwd& a) {
  require_f32(a.image);
  both_sides(a.loss, a.hits, a.lse.as<float>(), a.image, a.text, a.log_temperature, a.targets, a.batch, a.width, 2, Softmax{});
}

void contrastive_bwd(const ContrastiveBwd& a) {
  require_f32(a.image);
  gradients(a, View{}, [&](int side) {
    const float* lse = a.lse.as<float>();
    return SoftmaxGradient{a.dy.as<float>(), lse + side * a.batch, lse + (1 - side) * a.batch, a.targets.group.as<int32_t>(),
                           a.targets.members.as<int32_t>(), 1 / float(2 * a.batch)};
  });
}

void sigmoid_contrastive_fwd(const SigmoidContrastiveFwd& a) {
  require_f32(a.image);
  both_sides(a.loss, a.hits, nullptr, a.image, a.text, a.log_temperature, a.targets, a.batch, a.width, 1, Sigmoid{a.bias.as<float>()});
}

void sigmoid_contrastive_bwd(const SigmoidContrastiveBwd& a) {
  require_f32(a.image);
  gradients(a, a.dbias, [&](int) {
    return SigmoidGradient{a.dy.as<float>(), a.bias.as<float>(), a.targets.group.as<int32_t>(), 1 / float(a.batch)};
  });
}

}  // namespace pumice::cuda
