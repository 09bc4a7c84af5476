#include "pumice/data/webdataset.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include "pumice/data/braces.h"
#include "pumice/data/gzip.h"
#include "pumice/data/shard_sizes.h"
#include "pumice/data/tar.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

struct Part { std::string extension; uint64_t offset, size; };
struct Sample { uint32_t shard; std::string key; std::vector<Part> parts; };
struct Shard {
  std::string path, inflated;  // inflated: the archive of a .tar.gz
  std::unique_ptr<MappedFile> mapped;
  std::string_view bytes() const { return mapped ? mapped->bytes() : std::string_view(inflated); }
};

// Splits "dir/key.seg.PNG" into "dir/key" and "seg.png" at the first dot of the base name; false for names that are no sample's.
bool split_name(const std::string& name, std::string& key, std::string& extension) {
  size_t base = name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1, dot = name.find('.', base);
  if (dot == std::string::npos || dot == base) { return false; }
  size_t under = name.find("__");  // __name__ marks metadata
  if (under == 0 || (under != std::string::npos && name[under - 1] == '/')) {
    size_t close = name.find("__", under + 2);
    if (close != std::string::npos && (close + 2 == name.size() || name[close + 2] == '/')) { return false; }
  }
  key = name.substr(0, dot);
  extension = ascii_lower(name.substr(dot + 1));
  return true;
}

}  // namespace

bool names_shards(const std::string& path) { return path.ends_with(".tar") || path.ends_with(".tar.gz") || path.ends_with(".tgz"); }

struct WebDataset::Impl {
  std::vector<Shard> shards;
  std::vector<Sample> samples;
  std::vector<std::string> warnings;
  std::map<std::string, std::map<std::string, int64_t>> sizes;  // of each folder's sizes.json
  uint64_t hash = 14695981039346656037ull;

  void add_shard(const std::string& path) {
    Shard shard{path, "", std::make_unique<MappedFile>(path)};
    if (shard.mapped->bytes().substr(0, 2) == "\x1f\x8b") {
      shard.inflated = gunzip(shard.mapped->bytes(), path);
      shard.mapped.reset();
    }
    shards.push_back(std::move(shard));
    const size_t before = samples.size();
    const TarIndex index = read_tar_index(shards.back().bytes(), path);
    if (!index.ended) {
      warnings.push_back("[webdataset] " + path + " has no end-of-archive block: it may have been cut short between two files. Copy it again");
    }
    bool open = false;  // whether the last sample is of this shard: a sample never crosses its end
    for (const TarEntry& entry : index.entries) {
      std::string key, extension;
      if (!split_name(entry.name, key, extension)) { continue; }
      if (!open || samples.back().key != key) { samples.push_back({uint32_t(shards.size() - 1), key, {}}); }
      open = true;
      for (const Part& part : samples.back().parts) {
        REQUIRE(FormatError, part.extension != extension, "[webdataset] ", path, " at byte ", entry.offset, ": the sample '", key,
                "' has two entries '.", extension, "'; consecutive files of one key make one sample");
      }
      samples.back().parts.push_back({extension, entry.offset, entry.size});
      hash = hash_of(std::to_string(entry.size), hash_of(entry.name, hash));
    }
    compare_with_sizes(path, int64_t(samples.size() - before));
  }

  // Against sizes.json in the shard's folder, which is read once.
  void compare_with_sizes(const std::string& path, int64_t found) {
    const std::filesystem::path file = std::filesystem::path(path).parent_path() / "sizes.json";
    auto known = sizes.find(file.string());
    if (known == sizes.end()) {
      const bool there = std::filesystem::exists(file);
      known =
          sizes.emplace(file.string(), there ? parse_shard_sizes(read_file(file.string()), file.string()) : std::map<std::string, int64_t>()).first;
    }
    auto promised = known->second.find(std::filesystem::path(path).filename().string());
    if (promised != known->second.end() && promised->second != found) {
      warnings.push_back(
          concat_text("[webdataset] ", file.string(), " promises ", promised->second, " samples in ", promised->first, ", which holds ", found));
    }
  }
};

WebDataset::WebDataset(const std::string& spec) : impl_(std::make_unique<Impl>()) {
  std::vector<std::string> paths = expand_braces(spec);
  auto missing = [](const std::string& p) { return !std::filesystem::exists(p); };
  size_t absent = size_t(std::count_if(paths.begin(), paths.end(), missing));
  REQUIRE(IoError, absent == 0, "[webdataset] ", *std::find_if(paths.begin(), paths.end(), missing), " does not exist (", paths.size() - absent,
          " of ", paths.size(), " shards of '", spec, "' are there). ",
          spec.find('*') == std::string::npos ? "Check the path and the range in braces, and quote the braces in a shell"
                                              : "A '*' stands for itself here: name shards by a range, such as train-{000000..000019}.tar");
  for (const std::string& path : paths) { impl_->add_shard(path); }
}
WebDataset::~WebDataset() = default;
WebDataset::WebDataset(WebDataset&&) noexcept = default;

const std::vector<std::string>& WebDataset::warnings() const { return impl_->warnings; }

int64_t WebDataset::size() const { return int64_t(impl_->samples.size()); }

std::string WebDataset::name(int64_t sample) const {
  const Sample& s = impl_->samples[size_t(sample)];
  return impl_->shards[s.shard].path + ": " + s.key;
}

std::optional<std::string_view> WebDataset::find(int64_t sample, std::string_view extension) const {
  const Sample& s = impl_->samples[size_t(sample)];
  for (const Part& part : s.parts) {
    if (part.extension == extension) { return impl_->shards[s.shard].bytes().substr(part.offset, part.size); }
  }
  return std::nullopt;
}

std::optional<std::string_view> WebDataset::image(int64_t sample) const {
  for (const char* extension : {"png", "jpg", "jpeg", "webp"}) {
    if (auto bytes = find(sample, extension)) { return bytes; }
  }
  return std::nullopt;
}

std::string WebDataset::fingerprint() const {
  char text[40];
  std::snprintf(text, sizeof text, "%lld-%016llx", static_cast<long long>(size()), static_cast<unsigned long long>(impl_->hash));
  return text;
}

}  // namespace pumice
