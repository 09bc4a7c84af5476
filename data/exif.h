// How a picture is to be turned before it is looked at, from the EXIF data that cameras write (CIPA DC-008, tag 0x0112).
#pragma once
#include <string_view>

#include "pumice/data/image.h"

namespace pumice {

// 1 to 8: where the first row and column of the pixels belong. Of a JPEG's APP1, a PNG's eXIf or a WebP's EXIF; 1 (as it stands) when there is
// none or it makes no sense. XMP, which Pillow asks last, is not read.
int exif_orientation(std::string_view picture);

// PIL.ImageOps.exif_transpose for an orientation: mirrored, turned, or both; 5 to 8 exchange width and height.
Image oriented(const Image& image, int orientation);

}  // namespace pumice
