#include "pumice/data/idx.h"

#include <filesystem>

#include "pumice/data/class_folders.h"
#include "pumice/data/gzip.h"
#include "pumice/data/image.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/file_kind.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxBytes = uint64_t(1) << 32;

uint32_t big_endian(std::string_view bytes, size_t at) {
  auto byte = [&](size_t i) { return uint32_t(uint8_t(bytes[at + i])); };
  return byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
}

// The axes of an IDX file of bytes with `rank` axes, and the rest of the bytes.
std::vector<int64_t> read_header(std::string_view& bytes, std::string& inflated, const std::string& name, int rank) {
  if (bytes.substr(0, 2) == "\x1f\x8b") {
    inflated = gunzip(bytes, name, kMaxBytes);
    bytes = inflated;
  }
  const std::string kind = kind_of_file(bytes);
  REQUIRE(FormatError, kind.empty(), "[idx] ", name, " is ", kind, "; an IDX file, plain or .gz, is required");
  const uint32_t magic = 0x0800u | uint32_t(rank);
  REQUIRE(FormatError, bytes.size() >= 4 && big_endian(bytes, 0) == magic, "[idx] ", name, " is not an IDX file of unsigned bytes with ", rank,
          rank == 1 ? " axis" : " axes", ": it must begin with 00 00 08 0", rank, ". Are images and labels swapped?");
  REQUIRE(FormatError, bytes.size() >= 4 + 4 * size_t(rank), "[idx] ", name, " ends within its header, after ", bytes.size(), " bytes");
  std::vector<int64_t> axes;
  uint64_t product = 1;
  for (int i = 0; i < rank; ++i) {
    axes.push_back(big_endian(bytes, 4 + 4 * size_t(i)));
    product = axes.back() == 0 || product <= kMaxBytes / uint64_t(axes.back()) ? product * uint64_t(axes.back()) : kMaxBytes + 1;
  }
  bytes.remove_prefix(4 + 4 * size_t(rank));
  REQUIRE(FormatError, product == bytes.size(), "[idx] ", name, " promises ", product > kMaxBytes ? "more than 4 GiB of" : std::to_string(product),
          " values and holds ",
          bytes.size(), ". The file is damaged or cut short");
  return axes;
}

// directory/SPLIT-KIND, plain or compressed; "" if neither is there. Test files are called t10k or test.
std::string find_file(const std::string& directory, const std::string& split, const char* kind) {
  for (const std::string& stem : split == "train" ? std::vector<std::string>{"train"} : std::vector<std::string>{"t10k", "test"}) {
    for (const char* end : {"", ".gz"}) {
      fs::path path = fs::path(directory) / (stem + "-" + kind + end);
      if (fs::exists(path)) { return path.string(); }
    }
  }
  return "";
}

}  // namespace

IdxImages parse_idx_images(std::string_view bytes, const std::string& name) {
  std::string inflated;
  std::vector<int64_t> axes = read_header(bytes, inflated, name, 3);
  REQUIRE(FormatError, axes[0] == 0 || (axes[1] > 0 && axes[2] > 0), "[idx] ", name, " holds pictures of ", axes[1], " x ", axes[2], " pixels");
  return {axes[0], axes[1], axes[2], std::vector<uint8_t>(bytes.begin(), bytes.end())};
}

std::vector<uint8_t> parse_idx_labels(std::string_view bytes, const std::string& name) {
  std::string inflated;
  read_header(bytes, inflated, name, 1);
  return std::vector<uint8_t>(bytes.begin(), bytes.end());
}

std::string idx_picture(const IdxImages& images, int64_t index) {
  const size_t pixels = size_t(images.height * images.width);
  Image image{int(images.width), int(images.height), std::vector<uint8_t>(3 * pixels)};
  for (size_t i = 0; i < 3 * pixels; ++i) { image.rgb[i] = images.pixels[size_t(index) * pixels + i / 3]; }
  return encode_png(image);
}

bool has_idx_split(const std::string& directory, const std::string& split) { return !find_file(directory, split, "images-idx3-ubyte").empty(); }

bool is_idx_folder(const std::string& directory) {
  return has_idx_split(directory, "train") || has_idx_split(directory, "test");
}

IdxSet read_idx_set(const std::string& directory, const std::string& split) {
  const std::string images = find_file(directory, split, "images-idx3-ubyte"), labels = find_file(directory, split, "labels-idx1-ubyte");
  const char* stem = split == "train" ? "train" : "t10k";
  REQUIRE(IoError, !images.empty() && !labels.empty(), "[idx] ", directory, " needs ", stem, "-images-idx3-ubyte and ", stem,
          "-labels-idx1-ubyte, plain or .gz; ",
          images.empty() ? "the images" : "the labels", " are not there");
  IdxSet set{parse_idx_images(read_file(images), images), parse_idx_labels(read_file(labels), labels), {}};
  REQUIRE(FormatError, int64_t(set.labels.size()) == set.images.count, "[idx] ", images, " holds ", set.images.count, " pictures and ", labels, " ",
          set.labels.size(),
          " labels");
  const fs::path names = fs::path(directory) / "classnames.txt";
  if (fs::exists(names)) { set.classnames = read_lines(names.string()); }
  else {
    int classes = 0;
    for (uint8_t label : set.labels) { classes = std::max(classes, label + 1); }
    for (int i = 0; i < classes; ++i) { set.classnames.push_back(std::to_string(i)); }
  }
  for (size_t i = 0; i < set.labels.size(); ++i) {
    REQUIRE(FormatError, set.labels[i] < set.classnames.size(), "[idx] label ", i, " of ", labels, " is ", int(set.labels[i]), ", but ",
            names.string(), " names ",
            set.classnames.size(), " classes");
  }
  return set;
}

}  // namespace pumice
