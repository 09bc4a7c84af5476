// Brace expansion of shard specifications, as a shell does it.
#pragma once
#include <string>
#include <vector>

namespace pumice {

// "train-{000..002}.tar" -> three names; comma lists and nesting too; ranges keep zero padding; "a::b" joins specifications.
// Throws UsageError for an unbalanced brace, more than a million names or one of more than 4096 bytes.
std::vector<std::string> expand_braces(const std::string& spec);

}  // namespace pumice
