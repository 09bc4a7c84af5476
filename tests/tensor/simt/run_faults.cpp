// run_faults: what this build of the emulator says of each planted fault, as rows of the table in docs/cuda.md. Every fault runs in a process of its
// own, `run_faults NAME`, because a sanitizer ends it.
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "faults.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/tensor.h"

namespace pumice::testing {
namespace {

constexpr std::array kFaults = {
    "divergent_barrier", "early_return", "half_shuffle", "partial_warp", "misaligned_copy", "too_many_threads", "empty_grid", "too_much_shared_memory",
    "host_pointer", "misaligned_vector", "write_out_of_bounds", "read_out_of_bounds", "uninitialised_global", "shared_overrun", "dynamic_overrun", "uninitialised_shared",
    "no_barrier", "no_syncwarp", "no_second_barrier", "sum_without_atomic", "wrong_wait", "host_reads_device"};

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

void run_one(const std::string& name) {
  const Device cuda = Device::cuda();
  Tensor x = to_device(full({128}, 1), cuda), y = name == "uninitialised_global" ? empty({256}, DType::f32, cuda) : to_device(zeros({256}), cuda);
  try {
    if (name == "host_pointer") {
      std::vector<float> host(256);
      launch_fault("right: barrier", host.data(), x.data<float>(), nullptr, nullptr, nullptr);
    } else if (name == "host_reads_device") {
      volatile float v = *y.data<float>();
      (void)v;
    } else {
      launch_fault(name, y.data<float>(), x.data<float>(), nullptr, nullptr, nullptr);
    }
    bool nan = false;
    for (const float v : y.to_vector<float>()) { nan |= std::isnan(v); }
    std::printf("%s\n", nan ? "not caught; leaves NaN" : "not caught");
  } catch (const Error& e) {
    std::printf("%s\n", first_line(e.what()).c_str());
  }
}

// The first line that says what happened: our own, or a sanitizer's.
std::string outcome(const std::string& program, const char* name) {
  std::FILE* child = popen((program + " " + name + " 2>&1").c_str(), "r");
  if (!child) { return "could not be run"; }
  std::string text, found;
  std::array<char, 512> line{};
  while (std::fgets(line.data(), line.size(), child)) {
    text = first_line(line.data());
    const size_t sanitizer = text.find("AddressSanitizer:"), behaviour = text.find("runtime error:");
    const size_t begin = sanitizer != std::string::npos ? sanitizer : behaviour != std::string::npos ? behaviour : 0;
    if (found.empty() && (begin || text[0] == '[' || text[0] == 'n')) { found = text.substr(begin, text.find(" on ") - begin); }
  }
  const int status = pclose(child);
  return found.empty() ? concat_text("ended with status ", status) : found;
}

}  // namespace
}  // namespace pumice::testing

int main(int argc, char** argv) {
  using namespace pumice::testing;
  if (argc > 1) {
    run_one(argv[1]);
    return 0;
  }
  for (const char* name : kFaults) { std::printf("| %s | %s |\n", name, outcome(argv[0], name).c_str()); }
}
