// Small working data sets in each layout that open_pairs() reads, and of conversations, to copy from.
#pragma once
#include <string>
#include <vector>

namespace pumice {

// csv, coco, karpathy, folder, idx, webdataset, clip-benchmark, llava
const std::vector<std::string>& template_kinds();
// Writes 24 pictures of coloured shapes with captions into `directory`, of llava three conversations, and returns what to pass as --train-data.
// Throws UsageError for another kind or when the directory exists.
std::string write_template(const std::string& kind, const std::string& directory);

}  // namespace pumice
