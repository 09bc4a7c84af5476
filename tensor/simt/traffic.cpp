#include "pumice/tensor/simt/traffic.h"

#include <algorithm>
#include <unordered_map>

#include "pumice/tensor/error.h"
#include "pumice/tensor/simt/emulator.h"

namespace pumice::simt {
namespace emu {
namespace {

// The lanes of one warp that have run instruction `place` for the `number`th time in this block, until all have or the block ends.
struct Instruction {
  uint32_t place, warp, number;
  bool operator==(const Instruction&) const = default;
};
struct HashInstruction {
  size_t operator()(const Instruction& i) const { return (size_t(i.place) * 31 + i.warp) * 0x9E3779B97F4A7C15u + i.number; }
};
struct Lanes {
  uint64_t address[32];
  uint32_t mask = 0;
  int bytes = 0;
  bool store = false, shared = false;
};

Traffic total;
std::unordered_map<Instruction, Lanes, HashInstruction> open;
std::unordered_map<uint64_t, uint32_t> times;  // (thread, place): how often it ran
bool counting = false;

void add_global(const Lanes& lanes) {
  uint64_t sorted[32];
  int count = 0;
  for (int i = 0; i < 32; ++i) {
    if (lanes.mask >> i & 1) { sorted[count++] = lanes.address[i]; }
  }
  std::sort(sorted, sorted + count);
  uint64_t end = 0, sector_end = 0;  // of what is counted already
  int64_t bytes = 0, sectors = 0;
  for (int i = 0; i < count; ++i) {
    const uint64_t first = std::max(sorted[i], end), last = sorted[i] + uint64_t(lanes.bytes);
    bytes += last > first ? int64_t(last - first) : 0;
    end = std::max(end, last);
    const uint64_t first_sector = std::max(sorted[i] / 32, sector_end), last_sector = (last + 31) / 32;
    sectors += last_sector > first_sector ? int64_t(last_sector - first_sector) : 0;
    sector_end = std::max(sector_end, last_sector);
  }
  (lanes.store ? total.stored : total.loaded) += bytes;
  (lanes.store ? total.stored_sectors : total.loaded_sectors) += sectors;
}

// Lanes are served in groups that ask for 128 bytes at most; a group takes as many passes as the busiest bank has different words.
void add_shared(const Lanes& lanes) {
  const int group = std::clamp(128 / std::max(lanes.bytes, 4), 1, 32);
  for (int begin = 0; begin < 32; begin += group) {
    uint64_t words[32][64];
    int in_bank[32] = {}, passes = 0;
    for (int i = begin; i < begin + group; ++i) {
      if (!(lanes.mask >> i & 1)) { continue; }
      for (uint64_t w = lanes.address[i] / 4; w <= (lanes.address[i] + uint64_t(lanes.bytes) - 1) / 4; ++w) {
        uint64_t* bank = words[w % 32];
        int& n = in_bank[w % 32];
        if (std::find(bank, bank + n, w) == bank + n && n < 64) { bank[n++] = w; }
        passes = std::max(passes, n);
      }
    }
    total.shared_accesses += passes > 0;
    total.bank_conflicts += std::max(0, passes - 1);
  }
}

void add(const Lanes& lanes) {
  if (lanes.shared) { add_shared(lanes); }
  else { add_global(lanes); }
}

}  // namespace

void traffic_access(const Processor& p, const void* address, size_t bytes, Access access, uint32_t place, bool in_shared) {
  if (!counting) { return; }
  for (size_t at = 0; at < bytes; at += 16) {  // more than 16 bytes are several instructions
    const int thread = p.current();
    const uint32_t number = times[uint64_t(place) << 16 | uint64_t(thread)]++;
    Lanes& lanes = open[{place, uint32_t(thread / 32), number}];
    lanes.address[thread % 32] = reinterpret_cast<uint64_t>(address) + at;
    lanes.mask |= 1u << thread % 32;
    lanes.bytes = int(std::min<size_t>(16, bytes - at));
    lanes.store = access == Access::write;
    lanes.shared = in_shared;
    if (lanes.mask == ~0u) {
      add(lanes);
      open.erase({place, uint32_t(thread / 32), number});
    }
  }
}

void traffic_end_block() {
  if (!counting) { return; }
  for (auto& [key, lanes] : open) { add(lanes); }
  open.clear();
  times.clear();
}

void traffic_barrier(int barriers) { total.barriers += counting ? barriers : 0; }
void traffic_launch() { total.launches += counting; }

}  // namespace emu

bool can_count_traffic() { return emu::kChecks; }

void start_counting_traffic() {
  REQUIRE(UsageError, can_count_traffic(), "[traffic] only the emulator counts, in builds with -DPUMICE_CUDA=emulate -DPUMICE_SIMT_CHECK=ON");
  emu::total = {};
  emu::counting = true;
}

Traffic stop_counting_traffic() {
  emu::counting = false;
  return emu::total;
}

}  // namespace pumice::simt
