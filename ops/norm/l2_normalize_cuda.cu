// l2_normalize on CUDA: a team per row, which is read once where registers hold it.
#include "pumice/ops/norm/l2_normalize_kernels.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::cuda {
namespace {

template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
l2_normalize_rows(T* y, float* norm_out, const T* x, int64_t rows, int64_t cols, float eps) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const simt::Row<T, Team> row(x + r * cols, cols);
  const float norm = sqrtf(simt::row_sum(cols, [](int64_t, float v) { return v * v; }, row)), scale = 1 / (norm + eps);
  simt::row_store(y + r * cols, cols, [=](int64_t, float v) { return v * scale; }, row);
  if (threadIdx.x % (Team::kBlock / Team::kTeams) == 0) { norm_out[r] = norm; }
}

template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
l2_normalize_rows_bwd(T* dx, const T* dy, const T* x, const float* norm_in, int64_t rows, int64_t cols, float eps) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const simt::Row<T, Team> dy_row(dy + r * cols, cols), x_row(x + r * cols, cols);
  const float norm = norm_in[r], scale = 1 / (norm + eps);
  const float dot = simt::row_sum(cols, [=](int64_t, float g, float v) { return g * (v * scale); }, dy_row, x_row);  // scaled first: x may be tiny
  const float along = norm > 0 ? dot / norm : 0;
  simt::row_store(dx + r * cols, cols, [=](int64_t, float g, float v) { return (g - v * along) * scale; }, dy_row, x_row);
}

}  // namespace

void l2_normalize_fwd(const L2NormalizeFwd& a) {
  if (!a.rows) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::with_row_team<T>(a.cols, simt::aligned16(a.x.data, a.y.data), [&]<class Team>() {
      simt::launch<l2_normalize_rows<T, Team>>(Team::cover(a.rows), a.y.as<T>(), a.norm.as<float>(), a.x.as<T>(), a.rows, a.cols, float(a.eps));
    });
  });
}

void l2_normalize_bwd(const L2NormalizeBwd& a) {
  if (!a.rows) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::with_row_team<T>(a.cols, simt::aligned16(a.x.data, a.dy.data, a.dx.data), [&]<class Team>() {
      simt::launch<l2_normalize_rows_bwd<T, Team>>(Team::cover(a.rows), a.dx.as<T>(), a.dy.as<T>(), a.x.as<T>(), a.norm.as<float>(), a.rows, a.cols,
                                                   float(a.eps));
    });
  });
}

}  // namespace pumice::cuda
