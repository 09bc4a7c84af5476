// webdataset shards: tar archives in which consecutive entries of one key make a sample ("0001.png", "0001.txt").
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

// Whether a source names shards: .tar, .tar.gz or .tgz.
bool names_shards(const std::string& path);

// Every sample of every shard, by index. Plain shards are mapped; gzip-compressed ones (whatever their names) are decompressed once and held in
// memory. The headers of a shard are enough to count it; where sizes.json stands beside shards its counts are compared.
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
  const std::vector<std::string>& warnings() const;             // shards without an end, or of another size than sizes.json says

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pumice
