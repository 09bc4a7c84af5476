#include "pumice/tensor/file_kind.h"

namespace pumice {
namespace {

struct Kind {
  std::string_view begins;
  const char* words;
};
// Longer marks stand before shorter ones that they begin with.
constexpr Kind kKinds[] = {
    {"version https://git-lfs", "a git-lfs pointer, not the file itself: run git lfs pull"},
    {"\x89PNG\r\n\x1a\n", "a PNG picture"},
    {"\xff\xd8\xff", "a JPEG picture"},
    {"GIF8", "a GIF picture"},
    {std::string_view("II*\0", 4), "a TIFF picture"},
    {std::string_view("MM\0*", 4), "a TIFF picture"},
    {"<!", "a web page"},
    {"<html", "a web page"},
    {"<?xml", "an XML file"},
    {"<svg", "an SVG drawing"},
    {"\x1f\x8b", "gzip-compressed"},
    {"\x28\xb5\x2f\xfd", "zstd-compressed"},
    {std::string_view("\xfd" "7zXZ\0", 6), "xz-compressed"},
    {"BZh", "bzip2-compressed"},
    {"PK\x03\x04", "a zip archive (a PyTorch or NumPy .npz file is one too)"},
    {"\x80\x02", "a Python pickle"},
    {"\x80\x03", "a Python pickle"},
    {"\x80\x04", "a Python pickle"},
    {"\x80\x05", "a Python pickle"},
    {"\x93NUMPY", "a NumPy array"},
    {"PAR1", "a Parquet file"},
    {"ARROW1", "an Arrow file"},
    {"\x89HDF\r\n", "an HDF5 file"},
    {"SQLite format 3", "an SQLite database"},
    {"%PDF", "a PDF"},
    {"\xff\xfe", "UTF-16 text"},
    {"\xfe\xff", "UTF-16 text"},
};

}  // namespace

std::string kind_of_file(std::string_view bytes) {
  if (bytes.empty()) { return "an empty file"; }
  if (bytes.substr(0, 4) == "RIFF" && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") { return "a WebP picture"; }
  if (bytes.size() >= 12 && bytes.substr(4, 4) == "ftyp") { return "an AVIF, HEIC or MP4 file"; }
  if (bytes.size() >= 512 && bytes.substr(257, 5) == "ustar") { return "a tar archive"; }
  if (bytes.substr(0, 2) == "BM" && bytes.size() >= 14 && bytes.substr(6, 4) == std::string_view("\0\0\0\0", 4)) { return "a BMP picture"; }
  for (const Kind& kind : kKinds) {
    if (bytes.substr(0, kind.begins.size()) == kind.begins) { return kind.words; }
  }
  return "";
}

}  // namespace pumice
