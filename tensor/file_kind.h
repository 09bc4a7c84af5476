// What a file is that was taken for something else, in words, from its first bytes.
#pragma once
#include <string>
#include <string_view>

namespace pumice {

// "a git-lfs pointer, not the file itself: run git lfs pull", "a zip archive", ...; "" when the bytes are of no kind known here.
std::string kind_of_file(std::string_view bytes);

}  // namespace pumice
