#include "pumice/tensor/json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace pumice {
namespace {

TEST(Json, StrictRefusesWhatTheParserWouldLetPass) {
  nlohmann::json j;
  EXPECT_EQ(parse_strict_json(R"({"a": {"b": 1}, "c": {"b": 2}})", 4, j), "");  // one key in two objects
  EXPECT_EQ(j["c"]["b"], 2);
  EXPECT_EQ(parse_strict_json(R"({"a": 1, "b": {"a": 2, "a": 3}})", 4, j), "has the key 'a' twice in one object");
  EXPECT_EQ(parse_strict_json(R"({"a": 1, "\u0061": 2})", 4, j), "has the key 'a' twice in one object");
  EXPECT_EQ(parse_strict_json("[[[[1]]]]", 4, j), "");
  EXPECT_EQ(parse_strict_json("[[[[[1]]]]]", 4, j), "nests deeper than 4 levels");
  EXPECT_EQ(parse_strict_json(std::string(200'000, '['), 4, j).find("is not valid JSON: "), 0u);  // and no stack overflow
  EXPECT_EQ(parse_strict_json(R"({"a": )", 4, j).find("is not valid JSON: "), 0u);
}

}  // namespace
}  // namespace pumice
