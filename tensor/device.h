// Where a tensor lives. `cpu` is the default; `cuda` devices are numbered. Free of heavy headers: kernels include it.
#pragma once
#include <cstdint>
#include <iosfwd>

namespace pumice {

struct Device {
  enum Kind : uint8_t { kCpu, kCuda } kind = kCpu;
  int8_t index = 0;
  static Device cpu() { return {}; }
  static Device cuda(int index = 0) { return {kCuda, int8_t(index)}; }
  bool operator==(const Device& other) const { return kind == other.kind && index == other.index; }
};
std::ostream& operator<<(std::ostream& out, Device d);  // "cpu", "cuda:0"

}  // namespace pumice
