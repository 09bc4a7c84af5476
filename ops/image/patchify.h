#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

struct PixelScale {
  float mean[3] = {0.5f, 0.5f, 0.5f}, std[3] = {0.5f, 0.5f, 0.5f};  // per channel, of x / 255; the default maps to [-1, 1]
};

// Cuts images into square patches and normalises them, in one pass over the bytes.
//   pixels u8 (B, H, W, 3)   ->   y (B, (H/p)*(W/p), p*p*3) of `dtype`
//   y = (x / 255 - mean) / std; patches row by row, inside a patch in the order (py, px, channel): what a linear layer over
//   patches (Dosovitskiy et al. 2021, arXiv:2010.11929) reads. Bytes have no gradient.
// Throws ShapeError unless p divides H and W, DTypeError unless pixels are u8 and dtype is f32, bf16 or f64.
Tensor patchify(const Tensor& pixels, int patch, PixelScale scale, DType dtype);

}  // namespace pumice
