#include "pumice/ops/image/patchify.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

const PixelScale scale = {{0.48f, 0.45f, 0.4f}, {0.26f, 0.25f, 0.5f}};

// The second input only tells the op which element type to write.
OpCase patchify_case(int64_t B, int64_t H, int64_t W, int p) {
  Shape pixels = {B, H, W, 3};
  double n = double(pixels.elements());
  auto reference = [=](const std::vector<Tensor>& in) {
    const uint8_t* x = in[0].data<uint8_t>();
    std::vector<double> y;
    for (int64_t b = 0; b < B; ++b) {
      for (int64_t i = 0; i < H / p; ++i) {
        for (int64_t j = 0; j < W / p; ++j) {
          for (int64_t py = 0; py < p; ++py) {
            for (int64_t px = 0; px < p; ++px) {
              for (int64_t c = 0; c < 3; ++c) {
                y.push_back((x[((b * H + i * p + py) * W + j * p + px) * 3 + c] / 255.0 - scale.mean[c]) / scale.std[c]);
              }
            }
          }
        }
      }
    }
    return std::vector<std::vector<double>>{y};
  };
  return {.name = concat_text("patchify ", pixels, " p=", p),
          .inputs = {Input::integers(pixels, 0, 256, DType::u8), {.shape = {1}, .differentiable = false}},
          .run = [p](const std::vector<Tensor>& in) { return std::vector{patchify(in[0], p, scale, in[1].dtype())}; },
          .reference = reference, .bytes = 5 * n, .flops = 2 * n, .gradient = false};
}

// single pixels, odd patches, below, at and above the 48-byte run (5 -> 15, 14 -> 42, 16 -> 48, 17 -> 51), no images, many
// rows
AddCases cases({patchify_case(1, 3, 2, 1), patchify_case(2, 10, 15, 5), patchify_case(2, 28, 14, 14),
                patchify_case(2, 32, 48, 16), patchify_case(1, 34, 17, 17), patchify_case(1, 64, 32, 32),
                patchify_case(0, 16, 16, 16), patchify_case(3, 224, 224, 14), patchify_case(4, 224, 224, 32)});

}  // namespace
}  // namespace pumice::testing
