// Caption annotations as JSON: COCO's captions_*.json, and dataset_coco.json with Karpathy's splits.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

struct CaptionedFile {
  std::string file;                   // relative to the picture folder
  std::vector<std::string> captions;  // at least one, none empty
};

// COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}; pictures without captions are left out.
// Karpathy: {"images": [{"filename", "filepath", "split", "sentences": [{"raw"}]}]}: the pictures of `split`, where "train" includes
// "restval". Throws FormatError naming the file, the element and what is wrong with it.
std::vector<CaptionedFile> parse_caption_json(std::string_view text, const std::string& name, const std::string& split);

}  // namespace pumice
