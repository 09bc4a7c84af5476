#include "pumice/tensor/memory.h"

#include <cstring>
#include <thread>
#include <vector>

#include "pumice/tensor/tensor.h"
#include "in_child.h"

namespace pumice {
namespace {

constexpr size_t kMiB = size_t(1) << 20;

TEST(Memory, FreedBlocksAreHandedOutAgain) {
  void* first = allocate_bytes(5 * kMiB);
  free_bytes(first);
  MemoryStats before = memory_stats();
  void* second = allocate_bytes(5 * kMiB - 100);  // the same size class
  MemoryStats after = memory_stats();
  EXPECT_EQ(first, second);
  EXPECT_EQ(after.system_calls, before.system_calls);
  EXPECT_EQ(after.reserved, before.reserved);
  EXPECT_EQ(after.in_use - before.in_use, int64_t(5 * kMiB));
  free_bytes(second);
  EXPECT_EQ(memory_stats().in_use, before.in_use);
}

TEST(Memory, SizesAreRoundedToTheirClassAndAligned) {
  const std::pair<size_t, int64_t> classes[] = {{0, 64}, {1, 64}, {64, 64}, {65, 128}, {1000, 1024}, {1025, 1280}, {5000, 5120},
                                                {3 * kMiB, int64_t(3 * kMiB)}, {3 * kMiB + 1, int64_t(3 * kMiB + kMiB / 2)}};
  for (auto& [bytes, want] : classes) {
    int64_t before = memory_stats().in_use;
    void* p = allocate_bytes(bytes);
    EXPECT_EQ(memory_stats().in_use - before, want) << bytes;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u) << bytes;
    std::memset(p, 1, bytes);
    free_bytes(p);
  }
  free_bytes(nullptr);
}

TEST(Memory, PeakAndReserved) {
  release_cached_memory();
  EXPECT_EQ(memory_stats().reserved, memory_stats().in_use) << "nothing is cached now";
  reset_peak_memory();
  const int64_t base = memory_stats().in_use;
  void *a = allocate_bytes(2 * kMiB), *b = allocate_bytes(kMiB);
  free_bytes(a);
  free_bytes(b);
  MemoryStats s = memory_stats();
  EXPECT_EQ(s.peak - base, int64_t(3 * kMiB));
  EXPECT_EQ(s.in_use, base);
  EXPECT_EQ(s.reserved - base, int64_t(3 * kMiB));
  release_cached_memory();
  EXPECT_EQ(memory_stats().reserved, base);
}

TEST(Memory, TableNamesWhoHoldsWhatLargestFirst) {
  std::vector<Tensor> held;
  {
    MemoryTag tag("small holder");
    held.push_back(empty({int64_t(kMiB / 4)}));
    {
      MemoryTag inner("large holder");
      held.push_back(empty({int64_t(kMiB / 2)}));
      held.push_back(empty({int64_t(kMiB / 4)}));
    }
    held.push_back(empty({int64_t(kMiB / 8)}));
  }
  std::string table = memory_table();
  size_t large = table.find("         3.0 MiB in      2 blocks  large holder\n");
  size_t small = table.find("         1.5 MiB in      2 blocks  small holder\n");
  ASSERT_NE(large, std::string::npos) << table;
  ASSERT_NE(small, std::string::npos) << table;
  EXPECT_LT(large, small);
  held.clear();
  EXPECT_EQ(memory_table().find("holder"), std::string::npos);
}

TEST(Memory, ManyThreads) {
  const int64_t before = memory_stats().in_use;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 500; ++i) {
        size_t bytes = size_t(64 + (i * 37 + t * 101) % 5000);
        char* p = static_cast<char*>(allocate_bytes(bytes));
        std::memset(p, t, bytes);
        EXPECT_EQ(p[bytes - 1], t);
        free_bytes(p);
      }
    });
  }
  for (std::thread& t : threads) { t.join(); }
  EXPECT_EQ(memory_stats().in_use, before);
}

std::string exceed_limit() {
  MemoryTag tag("activations");
  std::vector<Tensor> held;
  for (int i = 0; i < 10; ++i) { held.push_back(empty({int64_t(kMiB)})); }
  return "no error";
}

TEST(MemoryDeathTest, BeyondTheLimitIsAnErrorWithTheTable) {
  testing::in_child("PUMICE_MEMORY_LIMIT", "9", exceed_limit,
                    "OutOfMemory: \\[memory\\] 4 MiB more are needed on cpu for activations; 8 MiB are in use of PUMICE_MEMORY_LIMIT=9 MiB\\. "
                    "Lower --batch-size or raise --accum-freq, or turn on --grad-checkpointing\\. In use:\n"
                    " +8\\.0 MiB in +2 blocks  activations");
}

std::string live_within_limit() {
  for (int i = 1; i <= 10; ++i) { empty({int64_t(kMiB) * i / 5}); }  // caches blocks of ten sizes, 44 MiB in all
  return concat_text("held ", memory_stats().reserved >> 20, " MiB");
}

TEST(MemoryDeathTest, CachedBlocksAreGivenBackBeforeTheLimitIsAnError) {
  testing::in_child("PUMICE_MEMORY_LIMIT", "9", live_within_limit, "^held [0-9] MiB");
}

}  // namespace
}  // namespace pumice
