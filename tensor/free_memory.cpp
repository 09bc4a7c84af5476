#include "pumice/tensor/free_memory.h"

#include <sys/sysinfo.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "pumice/tensor/cuda_device.h"

namespace pumice {
namespace {

// The number in a file that holds nothing else; false where there is none ("max" is no limit).
bool number_in(const char* path, uint64_t& value) {
  std::ifstream file(path);
  return bool(file >> value);
}

uint64_t available() {
  std::ifstream file("/proc/meminfo");
  for (std::string name, rest; file >> name; std::getline(file, rest)) {
    if (uint64_t kilobytes = 0; name == "MemAvailable:" && file >> kilobytes) { return kilobytes << 10; }
  }
  struct sysinfo memory = {};
  sysinfo(&memory);
  return uint64_t(memory.freeram) * memory.mem_unit;
}

}  // namespace

uint64_t free_memory(Device device) {
  if (device.kind == Device::kCuda) { return cuda_device::free_memory(); }
  uint64_t limit = 0, used = 0;
  const bool limited = number_in("/sys/fs/cgroup/memory.max", limit) && number_in("/sys/fs/cgroup/memory.current", used);
  return limited ? std::min(available(), limit - std::min(limit, used)) : available();
}

}  // namespace pumice
