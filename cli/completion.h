#pragma once
#include "pumice/cli/command.h"

namespace pumice {

// What may stand in place of the last of `words` (those after `pumice`; the last may be empty or begun), each on its own. Empty where a
// file name is expected, or nothing is known.
std::vector<std::string> complete(const std::vector<std::unique_ptr<Command>>& commands, const std::vector<std::string>& words);

}  // namespace pumice
