#include "pumice/data/image_formats.h"
#include "pumice/tensor/error.h"

#if PUMICE_WEBP
#include <webp/decode.h>
#include <webp/demux.h>
#endif

namespace pumice {

#if PUMICE_WEBP

bool reads_webp() { return true; }

// The first frame, on a canvas of transparent black where it does not cover it: what Pillow's open(...) shows.
Image decode_webp(std::string_view bytes, const std::string& name, const DecodeOptions& options) {
  struct Demuxer {
    WebPDemuxer* demuxer;
    WebPIterator frame = {};
    explicit Demuxer(const WebPData& data) : demuxer(WebPDemux(&data)) {}
    ~Demuxer() {
      WebPDemuxReleaseIterator(&frame);
      WebPDemuxDelete(demuxer);
    }
  } file(WebPData{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  if (!file.demuxer) { broken_image(name, "WebP", "it was cut short, or its chunks do not fit together"); }
  const int64_t width = WebPDemuxGetI(file.demuxer, WEBP_FF_CANVAS_WIDTH), height = WebPDemuxGetI(file.demuxer, WEBP_FF_CANVAS_HEIGHT);
  require_image_size(name, width, height, options);
  if (!WebPDemuxGetFrame(file.demuxer, 1, &file.frame)) { broken_image(name, "WebP", "it holds no picture"); }
  const WebPIterator& frame = file.frame;
  if (frame.x_offset + frame.width > width || frame.y_offset + frame.height > height) {
    broken_image(name, "WebP", "its first frame does not fit its canvas");
  }
  Image image{int(width), int(height), std::vector<uint8_t>(size_t(width * height * 3))};
  const size_t stride = size_t(width) * 3, begin = size_t(frame.y_offset) * stride + size_t(frame.x_offset) * 3;
  if (!WebPDecodeRGBInto(frame.fragment.bytes, frame.fragment.size, image.rgb.data() + begin, image.rgb.size() - begin, int(stride))) {
    broken_image(name, "WebP", "its pixels are damaged or cut short");
  }
  return image;
}

#else

bool reads_webp() { return false; }

Image decode_webp(std::string_view, const std::string& name, const DecodeOptions&) {
  throw FormatError(concat_text("[image] ", name, " is a WebP picture, and this build has no libwebp. Install libwebp-dev and build again with "
                                "-DPUMICE_WEBP=ON, or convert the picture to PNG"), __FILE__, __LINE__);
}

#endif

}  // namespace pumice
