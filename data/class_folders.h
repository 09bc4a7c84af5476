// A folder per class: the layout that needs no file beside the pictures.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pumice {

struct ClassFolders {
  std::vector<std::string> classnames;              // names of the folders in order, '_' read as a space
  std::vector<std::pair<std::string, int>> files;   // path and class, in order
};
// Reads path/split if that is a folder, else `path`. Folders without pictures are no classes. Throws IoError.
ClassFolders read_class_folders(const std::string& path, const std::string& split);

// Whether the name ends as those of pictures do: .png, .jpg, .jpeg, .webp, in any case.
bool is_picture_name(const std::string& name);

// Lines without line ends and empty lines.
std::vector<std::string> lines_of(std::string_view text);
std::vector<std::string> read_lines(const std::string& path);  // of a file; throws IoError

}  // namespace pumice
