// Where time goes: with PUMICE_PROFILE=1 every kernel call is timed and summed by kernel name.
#pragma once
#include <string>

namespace pumice {

std::string profile_table();  // "calls, total ms, share, kernel", slowest first; empty when nothing was recorded
void reset_profile();

}  // namespace pumice
