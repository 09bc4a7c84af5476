// Sets to evaluate on: labelled pictures for zero-shot classification, and pictures with captions for retrieval.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

struct EvalFiles {
  std::string image_column, caption_column, label_column;  // of a CSV; empty: the usual names
  std::string image_folder;                                // where relative pictures lie; empty: beside the file
};

struct LabelledSample {
  std::string image;  // encoded bytes
  std::string name;
  int label = 0;      // index into classnames
};
struct LabelledSet {
  std::vector<std::string> classnames, templates;  // templates hold "{}" or "{c}"
  int64_t count = 0;
  std::function<LabelledSample(int64_t)> read;
  int64_t size() const { return count; }
  LabelledSample sample(int64_t i) const { return read(i); }
};

// `path` is one of
//   a CLIP_benchmark directory   classnames.txt, zeroshot_classification_templates.txt, SPLIT/nshards.txt, SPLIT/0.tar with .cls
//   a folder per class           its name is the class name, '_' read as a space; SPLIT/ below `path` if there is such a folder
//   an IDX folder                t10k-images-idx3-ubyte[.gz] and its labels (MNIST's family), classnames.txt optional
//   webdataset shards with .cls  and classnames.txt beside them, templates.txt optional
//   a CSV or TSV file            a column of pictures and one of labels, see open_pairs(); rows without a label are left out
// Throws IoError or FormatError saying what was looked for.
LabelledSet open_labelled_set(const std::string& path, const std::string& split, const EvalFiles& options = {});
// Whether `path` also holds a "train" split in the layout above.
bool has_train_side(const std::string& path);

struct RetrievalSample {
  std::string image, name;
  std::vector<std::string> captions;  // at least one
};
struct RetrievalSet {
  int64_t count = 0;
  std::function<RetrievalSample(int64_t)> read;
  int64_t size() const { return count; }
  RetrievalSample sample(int64_t i) const { return read(i); }
};

// `path` is a CSV (several rows of one picture are its captions), a COCO captions JSON or Karpathy's (its test split), webdataset shards
// (captions from "captions" of .json, else .txt, one per line), or a CLIP_benchmark directory with test/nshards.txt.
RetrievalSet open_retrieval_set(const std::string& path, const EvalFiles& options = {});

// CLIP_benchmark's layout: DIR/SPLIT/nshards.txt holds n, the shards are DIR/SPLIT/0.tar to n-1.tar, given as a brace specification.
bool is_benchmark_directory(const std::string& path, const std::string& split);
std::string benchmark_shards(const std::string& directory, const std::string& split);

}  // namespace pumice
