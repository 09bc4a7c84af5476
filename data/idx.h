// IDX files: the format of MNIST, Fashion-MNIST and their family (yann.lecun.com/exdb/mnist), plain or .gz.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

struct IdxImages {
  int64_t count = 0, height = 0, width = 0;
  std::vector<uint8_t> pixels;  // (count, height, width), grey
};
// Throw FormatError naming `name`, what was found and what was expected. Compressed bytes are recognised.
IdxImages parse_idx_images(std::string_view bytes, const std::string& name);
std::vector<uint8_t> parse_idx_labels(std::string_view bytes, const std::string& name);

// One picture as an 8-bit RGB PNG.
std::string idx_picture(const IdxImages& images, int64_t index);

// The images and labels of one split ("train" or "test") of a folder in MNIST's naming.
struct IdxSet {
  IdxImages images;
  std::vector<uint8_t> labels;
  std::vector<std::string> classnames;  // of classnames.txt, else "0", "1", ...
};
bool has_idx_split(const std::string& directory, const std::string& split);
bool is_idx_folder(const std::string& directory);  // of either split
// Throws IoError, and FormatError also when counts differ or a label has no class.
IdxSet read_idx_set(const std::string& directory, const std::string& split);

}  // namespace pumice
