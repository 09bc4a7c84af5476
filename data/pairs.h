// A source of image-caption pairs, by index. The loader and the trainer know nothing of where pairs come from.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pumice {

class PairSource {
 public:
  virtual ~PairSource() = default;
  virtual int64_t size() const = 0;
  // May be called from another thread. image() throws IoError for a file that has gone since the source was opened.
  virtual std::string image(int64_t index) const = 0;    // encoded bytes
  virtual std::string caption(int64_t index) const = 0;  // without blanks around it, never empty
  virtual std::string name(int64_t index) const = 0;     // "shard.tar: key", "train.csv line 7", for messages
  virtual int label(int64_t) const { return -1; }        // into classnames(); -1 where the source has none
  virtual std::vector<std::string> classnames() const { return {}; }
  virtual std::string fingerprint() const = 0;            // changes when the files do; a checkpoint refuses to resume on other data
  virtual std::string report() const = 0;                 // what was left out and why, one line; empty if nothing
  virtual std::vector<std::string> problems() const { return {}; }  // the first of them, with their places
};

struct PairOptions {
  std::string image_column, caption_column, label_column;  // of a CSV; empty: the usual names
  std::string image_folder;                  // where relative pictures of CSV and JSON files lie; empty: beside the file
  std::string split = "train";               // of CLIP_benchmark directories, Karpathy's JSON and class folders with splits
  std::vector<double> upsampling;            // one factor per source of the mix; empty: every sample once
};

// `spec` is one of these, or several joined by "::".
//   webdataset shards      train-{000000..000019}.tar, .tar.gz; captions from .txt, or the class's name from .cls and classnames.txt
//   a CSV or TSV file      a column of pictures and one of captions (filepath, image, path, file_name; title, caption, text), or of labels (label,
//                          class): names, or line numbers from 0 of a classnames.txt beside the file
//   a COCO captions JSON   "images" and "annotations", a pair per caption; or Karpathy's dataset_coco.json
//   a folder per class     captions are "a photo of a NAME."
//   an IDX folder          train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz] (MNIST and its family), classnames.txt if it is there
//   CLIP_benchmark         classnames.txt and SPLIT/nshards.txt
// Pairs whose picture is missing or whose caption is empty are left out and counted. With upsampling factors a pass over the mix holds
// every sample of source k factor_k / min(factors) times; a fractional part repeats evenly spaced samples.
// Throws IoError or FormatError naming the file and place, also when no complete pair is found, and UsageError when the spec is not
// understood.
std::unique_ptr<PairSource> open_pairs(const std::string& spec, const PairOptions& options = {});

// Share of the examples of a random batch whose caption another example of the batch has as well (expected value).
double duplicate_share(const PairSource& source, int64_t batch_size);
// The same of pictures (equal files), estimated from the files of at most `sample` pairs, drawn by a fixed seed. Unreadable files count as different.
double duplicate_picture_share(const PairSource& source, int64_t batch_size, int64_t sample = 512);

}  // namespace pumice
