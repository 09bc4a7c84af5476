#include "pumice/data/libraries.h"

#include <cstdio>  // jpeglib.h needs it

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jpeglib.h>
#include <pcre2.h>
#include <png.h>
#include <utf8proc.h>
#include <zlib.h>
#if PUMICE_WEBP
#include <webp/decode.h>
#endif
#if PUMICE_FREETYPE
#include <ft2build.h>
#include FT_FREETYPE_H
#endif

namespace pumice {
namespace {

#define PUMICE_TEXT_OF(x) #x
#define PUMICE_TEXT(x) PUMICE_TEXT_OF(x)
#ifdef LIBJPEG_TURBO_VERSION
constexpr const char* kJpeg = "libjpeg-turbo", *kJpegVersion = PUMICE_TEXT(LIBJPEG_TURBO_VERSION);
#else
constexpr const char* kJpeg = "libjpeg", *kJpegVersion = PUMICE_TEXT(JPEG_LIB_VERSION);  // decodes, but not to Pillow's bits
#endif

std::string pcre2_version() {
  char text[64] = "";
  pcre2_config(PCRE2_CONFIG_VERSION, text);
  return text;
}

std::string webp_version() {
#if PUMICE_WEBP
  const int v = WebPGetDecoderVersion();
  return std::to_string(v >> 16) + "." + std::to_string(v >> 8 & 255) + "." + std::to_string(v & 255);
#else
  return "not in this build: WebP pictures are refused";
#endif
}

std::string freetype_version() {
#if PUMICE_FREETYPE
  FT_Library library;
  if (FT_Init_FreeType(&library) != 0) { return "does not start"; }
  int major, minor, patch;
  FT_Library_Version(library, &major, &minor, &patch);
  FT_Done_FreeType(library);
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
#else
  return "not in this build: scenes are drawn with procedural shapes";
#endif
}

}  // namespace

std::vector<std::pair<std::string, std::string>> data_libraries() {
  return {{kJpeg, kJpegVersion}, {"libpng", png_get_libpng_ver(nullptr)}, {"libwebp", webp_version()}, {"zlib", zlibVersion()},
          {"PCRE2", pcre2_version()}, {"utf8proc", utf8proc_version()}, {"FreeType", freetype_version()}};
}

}  // namespace pumice
