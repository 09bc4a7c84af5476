#include "pumice/tensor/profile.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <vector>

#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/kernel.h"

namespace pumice {
namespace {

using Clock = std::chrono::steady_clock;
struct Row { int64_t calls = 0; double seconds = 0; };
std::mutex mutex;
std::map<std::string, Row>& rows() {
  static auto* r = new std::map<std::string, Row>;
  return *r;
}
thread_local Clock::time_point started;

}  // namespace

void kernel_begin(const char*) {
  if (flags::profile()) { started = Clock::now(); }
}

void kernel_end(const char* op) {
  if (!flags::profile()) { return; }
  double seconds = std::chrono::duration<double>(Clock::now() - started).count();
  std::lock_guard lock(mutex);
  Row& row = rows()[op];
  row.calls += 1;
  row.seconds += seconds;
}

void kernel_missing(const char* op, Device device) {
  throw KernelMissing(concat_text("[", op, "] there is no kernel for ", device, " in this build; move the inputs to cpu"), op);
}

std::string profile_table() {
  std::lock_guard lock(mutex);
  std::vector<std::pair<std::string, Row>> sorted(rows().begin(), rows().end());
  std::stable_sort(sorted.begin(), sorted.end(), [](auto& a, auto& b) { return a.second.seconds > b.second.seconds; });
  double total = 0;
  for (auto& [op, row] : sorted) { total += row.seconds; }
  std::string text;
  char line[160];
  for (auto& [op, row] : sorted) {
    std::snprintf(line, sizeof line, "%10lld calls %12.2f ms %5.1f %%  %s\n", static_cast<long long>(row.calls), row.seconds * 1e3,
                  100 * row.seconds / total, op.c_str());
    text += line;
  }
  return text;
}

void reset_profile() {
  std::lock_guard lock(mutex);
  rows().clear();
}

}  // namespace pumice
