#include "pumice/ops/reduce/segment_mean.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/reduce/segment_mean_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(segment_mean_fwd, SegmentMeanFwd);
PUMICE_DEFINE_KERNEL(segment_mean_bwd, SegmentMeanBwd);

namespace {

// On CUDA the kernels check: reading offsets here would wait for the device.
void require_segments(const Tensor& offsets, int64_t T) {
  const int64_t N = offsets.dim(0) - 1;
  const int32_t* o = offsets.data<int32_t>();
  REQUIRE(ShapeError, o[0] == 0 && o[N] == T, "[segment_mean] offsets must run from 0 to T = ", T, ", got ", o[0], " to ", o[N]);
  for (int64_t n = 0; n < N; ++n) {
    REQUIRE(ShapeError, o[n] < o[n + 1], "[segment_mean] every segment needs a row; segment ", n, " is [", o[n], ", ", o[n + 1], ")");
  }
}

}  // namespace

Tensor segment_mean(const Tensor& input, const Tensor& segment_offsets) {
  require_float("segment_mean", "x", input);
  require_dtype("segment_mean", "offsets", segment_offsets, DType::i32);
  REQUIRE(ShapeError, input.rank() == 2 && segment_offsets.rank() == 1 && segment_offsets.dim(0) >= 1,
          "[segment_mean] x (T, C) and offsets (N + 1) are required, got ", input.shape(), " and ", segment_offsets.shape());
  Tensor offsets = packed(segment_offsets), x = packed(input);
  const int64_t N = offsets.dim(0) - 1;
  if (offsets.device() == Device::cpu()) { require_segments(offsets, x.dim(0)); }
  offsets = to_device(offsets, x.device());
  Tensor y = empty({N, x.dim(1)}, x.dtype(), x.device());
  segment_mean_fwd(x.device(), {y, x, offsets});

  // dx[r] = dy[n] / length of n, for the segment n that holds r
  return record("segment_mean", y, {input}, [offsets, shape = x.shape()](const Tensor& dy, std::span<GradSink> dx) {
    Tensor d = empty(shape, dy.dtype(), dy.device());
    segment_mean_bwd(dy.device(), {d, packed(dy), offsets});
    dx[0].put(d);
  });
}

}  // namespace pumice
