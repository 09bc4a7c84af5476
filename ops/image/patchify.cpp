#include "pumice/ops/image/patchify.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/image/patchify_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(patchify_fwd, PatchifyFwd);

Tensor patchify(const Tensor& input, int patch, PixelScale scale, DType dtype) {
  require_dtype("patchify", "pixels", input, DType::u8);
  REQUIRE(DTypeError, is_float(dtype), "[patchify] the result must be f32, bf16 or f64, got ", name(dtype));
  REQUIRE(ShapeError, input.rank() == 4 && input.dim(3) == 3, "[patchify] pixels must be (B, H, W, 3), got ", input.shape());
  const int64_t B = input.dim(0), H = input.dim(1), W = input.dim(2);
  REQUIRE(ShapeError, patch > 0 && H % patch == 0 && W % patch == 0, "[patchify] patches of ", patch, " x ", patch,
          " pixels must tile the images, got ", input.shape(), ": resize to a multiple of the patch size");
  PatchifyFwd args{.batch = B, .height = H, .width = W, .patch = patch};
  for (int c = 0; c < 3; ++c) {
    REQUIRE(UsageError, scale.std[c] > 0, "[patchify] std must be positive, got ", scale.std[c], " for channel ", c);
    args.gain[c] = 1 / (255 * double(scale.std[c]));
    args.bias[c] = -double(scale.mean[c]) / double(scale.std[c]);
  }
  Tensor pixels = packed(input), y = empty({B, (H / patch) * (W / patch), int64_t(patch) * patch * 3}, dtype, input.device());
  args.y = y;
  args.pixels = pixels;
  patchify_fwd(pixels.device(), args);
  return record_no_grad("patchify", y);
}

}  // namespace pumice
