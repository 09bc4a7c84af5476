// Element i of two views of one shape, in row-major order: for CUDA kernels that take any strides. Neighbouring axes that are dense in both are
// merged on the host, so that a packed pair is one axis and costs no division.
#pragma once
#include "pumice/tensor/simt/simt.h"
#include "pumice/tensor/view.h"

namespace pumice::simt {

struct Walk2 {
  int64_t size = 1;
  int rank = 0;
  int64_t shape[kMaxRank] = {}, dst_stride[kMaxRank] = {}, src_stride[kMaxRank] = {};

  Walk2(const View& dst, const View& src) {
    for (int i = 0; i < dst.rank; ++i) {
      size *= dst.shape[i];
      if (dst.shape[i] == 1) { continue; }
      const int last = rank - 1;
      if (rank && dst_stride[last] == dst.stride[i] * dst.shape[i] && src_stride[last] == src.stride[i] * dst.shape[i]) {
        shape[last] *= dst.shape[i];
        dst_stride[last] = dst.stride[i];
        src_stride[last] = src.stride[i];
      } else {
        shape[rank] = dst.shape[i];
        dst_stride[rank] = dst.stride[i];
        src_stride[rank++] = src.stride[i];
      }
    }
  }

  __device__ __forceinline__ void offsets(int64_t i, int64_t& d, int64_t& s) const {
    d = s = 0;
    for (int a = rank - 1; a > 0; --a) {
      const int64_t index = i % shape[a];
      i /= shape[a];
      d += index * dst_stride[a];
      s += index * src_stride[a];
    }
    d += i * dst_stride[0];
    s += i * src_stride[0];
  }
};

}  // namespace pumice::simt
