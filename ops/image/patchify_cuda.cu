// patchify on CUDA: a thread per V neighbouring bytes of an image row. Reads are contiguous; writes are runs of 3p elements, one row of a patch.
#include "pumice/ops/image/patchify_kernels.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

struct Scale { float gain[3], bias[3]; };

template <class T, int V> __global__ void __launch_bounds__(kBlock)
scale_into_patches(T* y, const uint8_t* pixels, int64_t image_rows, int64_t row_bytes, int64_t patch, int64_t across, Scale s) {
  const int64_t vectors = row_bytes / V, patch_row = patch * 3;
  for (int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x; i < image_rows * vectors; i += int64_t(gridDim.x) * kBlock) {
    const int64_t r = i / vectors, byte = (i - r * vectors) * V;  // r = (image, row): patches tile images, so r / patch counts rows of patches
    const int64_t p = byte / patch_row, inside = byte - p * patch_row;
    const simt::Vector<uint8_t, V> x = simt::load_vector<V>(pixels + r * row_bytes + byte);
    simt::Vector<T, V> out;
    const int channel = int(inside % 3);
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) {
      const int c = (channel + j) % 3;
      out.v[j] = T(float(x.v[j]) * (c == 0 ? s.gain[0] : c == 1 ? s.gain[1] : s.gain[2]) + (c == 0 ? s.bias[0] : c == 1 ? s.bias[1] : s.bias[2]));
    }
    simt::store_vector(y + ((r / patch * across + p) * patch + r % patch) * patch_row + inside, out);
  }
}

}  // namespace

void patchify_fwd(const PatchifyFwd& a) {
  const int64_t rows = a.batch * a.height, row_bytes = a.width * 3;
  if (!rows || !row_bytes) { return; }
  Scale s;
  for (int c = 0; c < 3; ++c) {
    s.gain[c] = float(a.gain[c]);
    s.bias[c] = float(a.bias[c]);
  }
  simt::launch_typed(a.y.dtype, [&]<class T>() {
    const auto run = [&]<int V>() {
      simt::launch<scale_into_patches<T, V>>({.grid = simt::blocks_for(rows * row_bytes / V, kBlock, 65536), .block = kBlock}, a.y.as<T>(),
                                             a.pixels.as<uint8_t>(), rows, row_bytes, a.patch, a.width / a.patch, s);
    };
    if (a.patch % 4 == 0 && simt::aligned16(a.y.data, a.pixels.data)) { run.template operator()<4>(); }
    else { run.template operator()<1>(); }
  });
}

}  // namespace pumice::cuda
