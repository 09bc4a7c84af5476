// CPU kernels of contrastive_loss. Images against texts and texts against images are one computation with the sides swapped, so
// each pass runs twice: `rows` are the side whose statistics or gradients are wanted, `cols` the other one. A block of rows walks
// the columns in panels of 128 in a fixed order and keeps a running log-sum-exp per row (or adds to its own rows of the
// gradient): nothing is shared between blocks, so the bits depend on neither thread count nor schedule. Recomputing the
// logits for each side costs one more product than combining both in one pass would, and saves all partial column statistics.
#include "pumice/ops/log_sum_exp.h"
#include "pumice/ops/loss/contrastive_kernels.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {
namespace {

#if defined(PUMICE_ISA_IS_avx512)
constexpr int kVectorBytes = 64, kRows = 8;  // 8 rows x 2 vectors of accumulators, of 32 registers
#elif defined(PUMICE_ISA_IS_avx2)
constexpr int kVectorBytes = 32, kRows = 4;  // 4 x 2 of 16
#else
constexpr int kVectorBytes = 16, kRows = 4;
#endif
constexpr int64_t kPanel = kContrastivePanel, kRowBlock = 64;

template <class A> struct Simd {
  // Alignment of one element: rows of C floats start anywhere.
  typedef A Vector __attribute__((vector_size(kVectorBytes), aligned(alignof(A)), may_alias));
  static constexpr int kHalf = kVectorBytes / int(sizeof(A)), kWidth = 2 * kHalf;
};

// out[r][j] += sum_{k < n} a[r][k] * b[k * b_row + j] for r < kRows, j < kWidth, with the sums in registers.
template <class A> PUMICE_INLINE void multiply_add(A* const* out, const A* const* a, const A* b, int64_t b_row, int64_t n) {
  using V = typename Simd<A>::Vector;
  constexpr int kHalf = Simd<A>::kHalf;
  V sum[kRows][2];
  for (int r = 0; r < kRows; ++r) {
    sum[r][0] = *reinterpret_cast<const V*>(out[r]);
    sum[r][1] = *reinterpret_cast<const V*>(out[r] + kHalf);
  }
  for (int64_t k = 0; k < n; ++k) {
    const V b0 = *reinterpret_cast<const V*>(b + k * b_row), b1 = *reinterpret_cast<const V*>(b + k * b_row + kHalf);
    for (int r = 0; r < kRows; ++r) {
      sum[r][0] += a[r][k] * b0;
      sum[r][1] += a[r][k] * b1;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    *reinterpret_cast<V*>(out[r]) = sum[r][0];
    *reinterpret_cast<V*>(out[r] + kHalf) = sum[r][1];
  }
}

template <class A> struct Sides {
  const A *rows, *cols;  // (B, C)
  A* panels;             // cols as (B / kPanel, C, kPanel), the last one filled up with zeros
  int64_t batch, width;
  A scale;               // exp(log_temperature)
};

template <class A> void pack_panels(const Sides<A>& s) {
  parallel_blocks((s.batch + kPanel - 1) / kPanel, [&](int64_t p) {
    A* panel = s.panels + p * kPanel * s.width;
    for (int64_t j = 0; j < kPanel; ++j) {
      const bool filled = p * kPanel + j < s.batch;
      const A* col = s.cols + (p * kPanel + j) * s.width;
      for (int64_t c = 0; c < s.width; ++c) { panel[c * kPanel + j] = filled ? col[c] : A(0); }
    }
  });
}

// Calls visit(row, rows, col, cols, tile) for the logits of rows [begin, end) against all columns, panel by panel: tile[r][j] is
// the logit of `row + r` and `col + j`. kRows rows are computed even where fewer are left; the spare ones repeat the last.
template <class A, class F> PUMICE_INLINE void for_each_tile(const Sides<A>& s, int64_t begin, int64_t end, const F& visit) {
  A tile[kRows][kPanel];
  for (int64_t col = 0; col < s.batch; col += kPanel) {
    const int64_t cols = s.batch - col < kPanel ? s.batch - col : kPanel;
    const A* panel = s.panels + col * s.width;
    for (int64_t row = begin; row < end; row += kRows) {
      const A* a[kRows];
      for (int r = 0; r < kRows; ++r) { a[r] = s.rows + (row + r < end ? row + r : end - 1) * s.width; }
      for (int64_t j = 0; j < cols; j += Simd<A>::kWidth) {
        A* out[kRows];
        for (int r = 0; r < kRows; ++r) {
          out[r] = tile[r] + j;
          for (int i = 0; i < Simd<A>::kWidth; ++i) { out[r][i] = 0; }
        }
        multiply_add(out, a, panel + j, kPanel, s.width);
      }
      for (int r = 0; r < kRows; ++r) {
        for (int64_t j = 0; j < cols; ++j) { tile[r][j] *= s.scale; }
      }
      visit(row, end - row < kRows ? int(end - row) : kRows, col, cols, tile);
    }
  }
}

template <class A> struct RowState {
  RunningLogSumExp<A> lse;
  A positive = 0;     // sum of the logits of right answers
  int64_t best = -1;  // the first column with the largest logit
};

// Log-sum-exp, loss and hit of every row of one side.
template <class A>
void rows_forward(const Sides<A>& s, const ContrastiveTargets& targets, A* lse, A* row_loss, uint8_t* hit) {
  const int32_t *group = targets.group.as<int32_t>(), *members = targets.members.as<int32_t>();
  pack_panels(s);
  parallel_for(s.batch, kRowBlock, [&](int64_t begin, int64_t end) {
    RowState<A> states[kRowBlock];
    for_each_tile(s, begin, end, [&](int64_t row, int rows, int64_t col, int64_t cols, const A (*tile)[kPanel]) {
      for (int r = 0; r < rows; ++r) {
        RowState<A>& state = states[row + r - begin];
        const A* x = tile[r];
        const int32_t own = group[row + r];
        const A top = state.lse.top;
        state.lse.add(cols, [=](int64_t j) { return x[j]; });
        if (state.lse.top > top) {
          int64_t j = 0;
          while (x[j] != state.lse.top) { ++j; }
          state.best = col + j;
        }
        state.positive += lane_sum<A>(cols, [=](int64_t j) { return group[col + j] == own ? x[j] : A(0); });
      }
    });
    for (int64_t i = begin; i < end; ++i) {
      const RowState<A>& state = states[i - begin];
      lse[i] = state.lse.value();
      row_loss[i] = lse[i] - state.positive / A(members[i]);
      hit[i] = state.best >= 0 && group[state.best] == group[i];
    }
  });
}

// out[r][c] += sum_{j < cols} g[r][j] * b[j][c] for r < rows, c < C. Rows beyond `rows` repeat the last one and write what it writes.
template <class A> PUMICE_INLINE void add_products(const A* const* g, A* const* out, int rows, const A* b, int64_t C, int64_t cols) {
  const int64_t whole = C / Simd<A>::kWidth * Simd<A>::kWidth;
  for (int64_t c = 0; c < whole; c += Simd<A>::kWidth) {
    A* at[kRows];
    for (int r = 0; r < kRows; ++r) { at[r] = out[r] + c; }
    multiply_add(at, g, b + c, C, cols);
  }
  for (int r = 0; r < rows && whole < C; ++r) {
    for (int64_t j = 0; j < cols; ++j) {
      for (int64_t c = whole; c < C; ++c) { out[r][c] += g[r][j] * b[j * C + c]; }
    }
  }
}

// drows of one side; `factor` is dy / 2B.
template <class A>
void rows_backward(const Sides<A>& s, const ContrastiveTargets& targets, const A* row_lse, const A* col_lse, A factor, A* drows) {
  const int32_t *group = targets.group.as<int32_t>(), *members = targets.members.as<int32_t>();
  const int64_t C = s.width;
  pack_panels(s);
  parallel_for(s.batch, kRowBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * C; i < end * C; ++i) { drows[i] = 0; }
    for_each_tile(s, begin, end, [&](int64_t row, int rows, int64_t col, int64_t cols, A (*tile)[kPanel]) {
      const A* g[kRows];
      A* out[kRows];
      for (int r = 0; r < kRows; ++r) {  // spare rows repeat the last one, and write what it writes
        const int64_t i = row + (r < rows ? r : rows - 1);
        A* x = tile[r];
        const A lse = row_lse[i], target = A(2) / A(members[i]), weight = factor * s.scale;
        const int32_t own = group[i];
        for (int64_t j = 0; j < cols; ++j) {
          x[j] = weight * (exp_of(x[j] - lse) + exp_of(x[j] - col_lse[col + j]) - (group[col + j] == own ? target : A(0)));
        }
        g[r] = x;
        out[r] = drows + i * C;
      }
      add_products(g, out, rows, s.cols + col * C, C, cols);
    });
  });
}

// Loss and hit of every row of one side under the sigmoid loss; no losses when row_loss is null.
template <class A> void sigmoid_rows_forward(const Sides<A>& s, const ContrastiveTargets& targets, A bias, A* row_loss, uint8_t* hit) {
  const int32_t* group = targets.group.as<int32_t>();
  pack_panels(s);
  parallel_for(s.batch, kRowBlock, [&](int64_t begin, int64_t end) {
    A loss[kRowBlock], top[kRowBlock];
    int64_t best[kRowBlock];
    for (int64_t i = 0; i < end - begin; ++i) {
      loss[i] = 0;
      best[i] = -1;
    }
    for_each_tile(s, begin, end, [&](int64_t row, int rows, int64_t col, int64_t cols, const A (*tile)[kPanel]) {
      for (int r = 0; r < rows; ++r) {
        const int64_t i = row + r - begin;
        const A* x = tile[r];
        const int32_t own = group[row + r];
        for (int64_t j = 0; j < cols; ++j) {
          if (best[i] < 0 || x[j] > top[i]) {
            top[i] = x[j];
            best[i] = col + j;
          }
        }
        if (row_loss) { loss[i] += lane_sum<A>(cols, [=](int64_t j) { return softplus_of(group[col + j] == own ? -(x[j] + bias) : x[j] + bias); }); }
      }
    });
    for (int64_t i = begin; i < end; ++i) {
      if (row_loss) { row_loss[i] = loss[i - begin]; }
      hit[i] = group[best[i - begin]] == group[i];
    }
  });
}

// drows of one side, and the sum of each row's g_ij; `factor` is dy / B.
template <class A>
void sigmoid_rows_backward(const Sides<A>& s, const ContrastiveTargets& targets, A bias, A factor, A* drows, A* row_sum) {
  const int32_t* group = targets.group.as<int32_t>();
  const int64_t C = s.width;
  pack_panels(s);
  parallel_for(s.batch, kRowBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * C; i < end * C; ++i) { drows[i] = 0; }
    for (int64_t i = begin; i < end; ++i) { row_sum[i] = 0; }
    for_each_tile(s, begin, end, [&](int64_t row, int rows, int64_t col, int64_t cols, A (*tile)[kPanel]) {
      const A* g[kRows];
      A* out[kRows];
      for (int r = 0; r < kRows; ++r) {  // spare rows repeat the last one, and write what it writes
        const int64_t i = row + (r < rows ? r : rows - 1);
        A* x = tile[r];
        const int32_t own = group[i];
        for (int64_t j = 0; j < cols; ++j) { x[j] = factor * (sigmoid_of(x[j] + bias) - (group[col + j] == own ? A(1) : A(0))); }
        if (r < rows) { row_sum[i] += lane_sum<A>(cols, [=](int64_t j) { return x[j]; }); }
        for (int64_t j = 0; j < cols; ++j) { x[j] *= s.scale; }
        g[r] = x;
        out[r] = drows + i * C;
      }
      add_products(g, out, rows, s.cols + col * C, C, cols);
    });
  });
}

template <class F> PUMICE_INLINE void dispatch_wide(DType d, F&& f) {
  if (d == DType::f64) { return f.template operator()<double>(); }
  return f.template operator()<float>();
}

}  // namespace

void contrastive_fwd(const ContrastiveFwd& a) {
  dispatch_wide(a.image.dtype, [&]<class A>() {
    const A* sides[2] = {a.image.as<A>(), a.text.as<A>()};
    const int64_t B = a.batch;
    double total = 0;
    for (int side = 0; side < 2; ++side) {
      Sides<A> s{sides[side], sides[1 - side], a.panels.as<A>(), B, a.width, exp_of(*a.log_temperature.as<A>())};
      rows_forward(s, a.targets, a.lse.as<A>() + side * B, a.row_loss.as<A>(), a.hit.as<uint8_t>());
      a.hits.as<int64_t>()[side] = 0;
      for (int64_t i = 0; i < B; ++i) {
        total += a.row_loss.as<A>()[i];
        a.hits.as<int64_t>()[side] += a.hit.as<uint8_t>()[i];
      }
    }
    *a.loss.as<A>() = A(total / double(2 * B));
  });
}

void contrastive_bwd(const ContrastiveBwd& a) {
  dispatch_wide(a.image.dtype, [&]<class A>() {
    const A* sides[2] = {a.image.as<A>(), a.text.as<A>()};
    A* gradients[2] = {a.dimage.as<A>(), a.dtext.as<A>()};
    const int64_t B = a.batch, C = a.width;
    const A factor = *a.dy.as<A>() / A(2 * B);
    for (int side = 0; side < 2; ++side) {
      if (!gradients[side]) { continue; }
      Sides<A> s{sides[side], sides[1 - side], a.panels.as<A>(), B, C, exp_of(*a.log_temperature.as<A>())};
      rows_backward(s, a.targets, a.lse.as<A>() + side * B, a.lse.as<A>() + (1 - side) * B, factor, gradients[side]);
    }
    if (!a.dlog_temperature) { return; }
    // sum_ij(g_ij * logits_ij) = sum_i <image_i, dimage_i>, because logits_ij = exp(t) * <image_i, text_j>
    double dt = 0;
    for (int64_t i = 0; i < B; ++i) {
      const A *x = sides[0] + i * C, *dx = gradients[0] + i * C;
      dt += lane_sum<A>(C, [=](int64_t c) { return x[c] * dx[c]; });
    }
    *a.dlog_temperature.as<A>() = A(dt);
  });
}

void sigmoid_contrastive_fwd(const SigmoidContrastiveFwd& a) {
  dispatch_wide(a.image.dtype, [&]<class A>() {
    const A* sides[2] = {a.image.as<A>(), a.text.as<A>()};
    const int64_t B = a.batch;
    for (int side = 0; side < 2; ++side) {
      Sides<A> s{sides[side], sides[1 - side], a.panels.as<A>(), B, a.width, exp_of(*a.log_temperature.as<A>())};
      sigmoid_rows_forward(s, a.targets, *a.bias.as<A>(), side == 0 ? a.row_loss.as<A>() : nullptr, a.hit.as<uint8_t>());
      a.hits.as<int64_t>()[side] = 0;
      for (int64_t i = 0; i < B; ++i) { a.hits.as<int64_t>()[side] += a.hit.as<uint8_t>()[i]; }
    }
    double total = 0;
    for (int64_t i = 0; i < B; ++i) { total += a.row_loss.as<A>()[i]; }
    *a.loss.as<A>() = A(total / double(B));
  });
}

void sigmoid_contrastive_bwd(const SigmoidContrastiveBwd& a) {
  dispatch_wide(a.image.dtype, [&]<class A>() {
    const A* sides[2] = {a.image.as<A>(), a.text.as<A>()};
    A* gradients[2] = {a.dimage.as<A>(), a.dtext.as<A>()};
    const int64_t B = a.batch, C = a.width;
    double dt = 0, dbias = 0;
    for (int side = 0; side < 2; ++side) {
      if (!gradients[side]) { continue; }
      Sides<A> s{sides[side], sides[1 - side], a.panels.as<A>(), B, C, exp_of(*a.log_temperature.as<A>())};
      sigmoid_rows_backward(s, a.targets, *a.bias.as<A>(), *a.dy.as<A>() / A(B), gradients[side], a.row_sum.as<A>());
      for (int64_t i = 0; side == 0 && i < B; ++i) {
        const A *x = sides[0] + i * C, *dx = gradients[0] + i * C;
        dt += lane_sum<A>(C, [=](int64_t c) { return x[c] * dx[c]; });
        dbias += a.row_sum.as<A>()[i];
      }
    }
    if (a.dlog_temperature) { *a.dlog_temperature.as<A>() = A(dt); }
    if (a.dbias) { *a.dbias.as<A>() = A(dbias); }
  });
}

}  // namespace pumice::PUMICE_ISA
