// sizes.json, which webdataset tools write beside shards: how many samples each of them holds.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace pumice {

// {"000000.tar": 1000, ...}, by file name. Throws FormatError naming `name` and the entry.
std::map<std::string, int64_t> parse_shard_sizes(std::string_view text, const std::string& name);

}  // namespace pumice
