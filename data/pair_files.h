// Pairs that lie as files: what the readers of CSV, JSON, folders and IDX files find, before it becomes a PairSource.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "pumice/data/pairs.h"

namespace pumice {

struct PairFile {
  std::string image;    // path
  std::string caption;
  std::string place;    // "train.csv line 7"
  int label = -1;
};

// `origin` is what the user named. Entries without a picture or a caption are left out and counted.
std::unique_ptr<PairSource> pairs_of_files(std::vector<PairFile> files, std::vector<std::string> classnames, const std::string& origin);

// The readers that open_pairs() chooses from.
std::unique_ptr<PairSource> open_shard_pairs(const std::string& spec);
std::unique_ptr<PairSource> open_csv_pairs(const std::string& path, const PairOptions& options);
std::unique_ptr<PairSource> open_json_pairs(const std::string& path, const PairOptions& options);
std::unique_ptr<PairSource> open_folder_pairs(const std::string& path, const PairOptions& options);
std::unique_ptr<PairSource> open_idx_pairs(const std::string& path, const PairOptions& options);

}  // namespace pumice
