// Brace expansion of shard specifications, as a shell does it.
#pragma once
#include <string>
#include <vector>

namespace pumice {

// "train-{000..002}.tar" -> three names; comma lists and nesting too; ranges keep zero padding; "a::b" joins specifications.
// Throws UsageError for an unbalanced brace or more than a million names.
std::vector<std::string> expand_braces(const std::string& spec);

}  // namespace pumice
