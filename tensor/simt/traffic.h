// What kernels ask of memory, counted by the SIMT emulator in checked builds (PUMICE_SIMT_CHECK): the same on every run and every machine. A warp
// instruction is one load or store by the lanes of a warp; lanes are matched by how often each has run that instruction.
#pragma once
#include <cstdint>

namespace pumice::simt {

struct Traffic {
  int64_t launches = 0, barriers = 0;            // barriers: of all blocks
  int64_t loaded = 0, stored = 0;                // bytes of global memory; what several lanes of an instruction ask for counts once
  int64_t loaded_sectors = 0, stored_sectors = 0;  // of 32 bytes, touched by those instructions: what a card moves between L2 and a multiprocessor
  int64_t shared_accesses = 0;                   // warp instructions on shared memory, in passes of 128 bytes
  int64_t bank_conflicts = 0;                    // passes more than that, because lanes wanted different words of one of the 32 banks

  double sector_use() const { return double(loaded + stored) / (32.0 * double(loaded_sectors + stored_sectors)); }
};

bool can_count_traffic();
// Counts from now on. One at a time, from one thread. Throws UsageError where can_count_traffic() is false.
void start_counting_traffic();
Traffic stop_counting_traffic();

}  // namespace pumice::simt
