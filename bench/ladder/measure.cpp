#include <algorithm>
#include <chrono>
#include <cmath>

#include "ladder.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"

namespace pumice::ladder {

Tensor values(const Shape& shape, DType dtype, uint32_t site) {
  return to_device(to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 20260601, .site = site}), dtype), Device::cuda());
}

Reference::Reference(const Ladder& l) : all_(l.rows), columns_(l.columns) {
  const int64_t rows = l.rows <= 512 ? l.rows : 64;
  for (int64_t i = 0; i < rows; ++i) {
    row_.push_back(rows == l.rows ? i : i * (l.rows - 1) / (rows - 1));
    for (const double x : l.reference(row_.back())) {
      want_.push_back(x);
      largest_ = std::max(largest_, std::abs(x));
    }
  }
}

double Reference::error_of(const Tensor& result) const {
  REQUIRE(ShapeError, result.size() == all_ * columns_, "[ladder] a rung must give ", all_, " x ", columns_, " numbers, got ", result.shape());
  const std::vector<float> got = result.to_vector<float>();
  double worst = 0;
  for (size_t i = 0; i < want_.size(); ++i) {
    const int64_t row = row_[i / size_t(columns_)], column = int64_t(i) % columns_;
    worst = std::max(worst, std::abs(double(got[size_t(row * columns_ + column)]) - want_[i]));
  }
  const bool finite = std::all_of(got.begin(), got.end(), [](float x) { return std::isfinite(x); });
  return finite ? worst / largest_ : NAN;
}

double seconds_of(const std::function<void()>& run) {
  using Clock = std::chrono::steady_clock;
  auto seconds = [&](int64_t calls) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < calls; ++i) { run(); }
    cuda_device::synchronize();
    return std::chrono::duration<double>(Clock::now() - start).count() / double(calls);
  };
  seconds(1);  // the first call allocates
  const int64_t calls = std::clamp<int64_t>(int64_t(0.05 / seconds(2)), 1, 1000);  // long enough that starting and waiting do not count
  double best = INFINITY;
  for (int round = 0; round < 5; ++round) { best = std::min(best, seconds(calls)); }
  return best;
}

}  // namespace pumice::ladder
