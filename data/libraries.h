// Which libraries this build reads pictures and text with, for `pumice doctor`.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace pumice {

// (name, version at run time), "not in this build" for an optional one that is missing.
std::vector<std::pair<std::string, std::string>> data_libraries();

}  // namespace pumice
