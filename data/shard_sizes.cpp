#include "pumice/data/shard_sizes.h"

#include <nlohmann/json.hpp>

#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"

namespace pumice {

std::map<std::string, int64_t> parse_shard_sizes(std::string_view text, const std::string& name) {
  nlohmann::json json;
  const std::string problem = parse_strict_json(text, 8, json);
  REQUIRE(FormatError, problem.empty(), "[webdataset] ", name, " ", problem);
  REQUIRE(FormatError, json.is_object(), "[webdataset] ", name,
          " must be an object of shard names and numbers of samples, such as {\"000000.tar\": 1000}");
  std::map<std::string, int64_t> sizes;
  for (const auto& [shard, count] : json.items()) {
    REQUIRE(FormatError, count.is_number_integer() && count.get<int64_t>() >= 0, "[webdataset] ", name, ": the number of samples of '", shard,
            "' must be a whole number, got ", count.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    sizes[shard] = count.get<int64_t>();
  }
  return sizes;
}

}  // namespace pumice
