// webdataset shards: tar archives in which consecutive entries of one key make a sample ("0001.png", "0001.txt").
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

// Every sample of every shard, by index. Plain .tar shards are mapped; .tar.gz shards are decompressed once and held in memory.
class WebDataset {
 public:
  // `spec`: see expand_braces(). Throws IoError naming the first missing shard and how many are there, FormatError for a broken one.
  explicit WebDataset(const std::string& spec);
  ~WebDataset();
  WebDataset(WebDataset&&) noexcept;

  int64_t size() const;
  std::string name(int64_t sample) const;  // "shard.tar: key"
  // The bytes of the entry with this extension (all after the first dot of the file name, in lower case), valid while this lives.
  std::optional<std::string_view> find(int64_t sample, std::string_view extension) const;
  std::optional<std::string_view> image(int64_t sample) const;  // png, jpg, jpeg or webp
  std::string fingerprint() const;                              // of names, sizes and keys

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pumice
