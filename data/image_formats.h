// The decoders behind decode_image(), one file for each library. All throw FormatError naming `name`.
#pragma once
#include <string>
#include <string_view>

#include "pumice/data/image.h"

namespace pumice {

Image decode_webp(std::string_view bytes, const std::string& name, const DecodeOptions& options);

// The file is damaged: `why` is the decoder's own message.
[[noreturn]] void broken_image(const std::string& name, const char* format, const std::string& why);
// Throws when a picture is empty or larger than the options allow.
void require_image_size(const std::string& name, int64_t width, int64_t height, const DecodeOptions& options);

}  // namespace pumice
