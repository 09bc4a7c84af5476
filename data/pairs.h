// A source of image-caption pairs, by index. The loader and the trainer know nothing of where pairs come from.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace pumice {

struct Pair {
  std::string_view image;  // encoded bytes (PNG, JPEG); valid while the source lives
  std::string caption;
  std::string name;        // "shard.tar: key", for messages
};

class PairSource {
 public:
  virtual ~PairSource() = default;
  virtual int64_t size() const = 0;
  virtual Pair pair(int64_t index) const = 0;      // may be called from another thread
  virtual std::string fingerprint() const = 0;      // changes when the files do; a checkpoint refuses to resume on other data
  virtual std::string report() const = 0;           // what was left out and why, one line; empty if nothing
};

// `spec` is a webdataset brace spec of .tar or .tar.gz shards ("train-{000000..000019}.tar"), several joined by "::". Throws
// IoError or FormatError naming the file, and UsageError when no complete pair is found.
std::unique_ptr<PairSource> open_pairs(const std::string& spec);

}  // namespace pumice
