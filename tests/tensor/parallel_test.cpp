#include "pumice/tensor/parallel.h"

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "pumice/tensor/rng.h"
#include "../message_of.h"

namespace pumice {
namespace {

class Parallel : public ::testing::Test {
 protected:
  void TearDown() override { set_thread_count(before_); }
  int before_ = thread_count();
};

TEST_F(Parallel, BlocksAreTheSameWhateverTheThreads) {
  for (int threads : {1, 2, 3, 8}) {
    set_thread_count(threads);
    EXPECT_EQ(thread_count(), threads);
    std::mutex mutex;
    std::set<std::pair<int64_t, int64_t>> blocks;
    parallel_for(1000, 64, [&](int64_t begin, int64_t end) {
      std::lock_guard lock(mutex);
      EXPECT_TRUE(blocks.insert({begin, end}).second) << "a block ran twice";
    });
    EXPECT_EQ(blocks.size(), 16u);
    for (auto& [begin, end] : blocks) {
      EXPECT_EQ(begin % 64, 0);
      EXPECT_EQ(end, std::min<int64_t>(begin + 64, 1000));
    }
  }
}

TEST_F(Parallel, EmptyRangesRunNothing) {
  parallel_for(0, 16, [](int64_t, int64_t) { ADD_FAILURE(); });
  parallel_blocks(-3, [](int64_t) { ADD_FAILURE(); });
}

TEST_F(Parallel, AnExceptionReachesTheCallerAndThePoolGoesOn) {
  for (int threads : {1, 4}) {
    set_thread_count(threads);
    for (int round = 0; round < 50; ++round) {
      std::string text = testing::message_of<std::runtime_error>([&] {
        parallel_blocks(100, [&](int64_t i) {
          if (i % 7 == 3) { throw std::runtime_error("block failed"); }
        });
      });
      EXPECT_EQ(text, "block failed");
      std::atomic<int> ran{0};
      parallel_blocks(20, [&](int64_t) { ran.fetch_add(1); });
      EXPECT_EQ(ran.load(), 20);
    }
  }
}

TEST_F(Parallel, NestedCallsRunOnTheirCaller) {
  set_thread_count(4);
  std::atomic<int> ran{0};
  parallel_blocks(8, [&](int64_t) {
    std::thread::id self = std::this_thread::get_id();
    parallel_blocks(10, [&](int64_t) {
      EXPECT_EQ(std::this_thread::get_id(), self);
      ran.fetch_add(1);
    });
  });
  EXPECT_EQ(ran.load(), 80);
}

TEST_F(Parallel, SeveralThreadsMayCallAtOnce) {
  set_thread_count(3);
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(4);
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < 200; ++round) {
        std::vector<int64_t> partial(16);
        parallel_for(1000, 64, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) { partial[begin / 64] += i; }
        });
        for (int64_t p : partial) { sums[caller] += p; }
      }
    });
  }
  for (std::thread& t : callers) { t.join(); }
  for (int64_t sum : sums) { EXPECT_EQ(sum, 200 * 499500); }
}

TEST_F(Parallel, WorkersWakeAfterTheyHaveParked) {
  set_thread_count(4);
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> ran{0};
    parallel_blocks(64, [&](int64_t) { ran.fetch_add(1); });
    EXPECT_EQ(ran.load(), 64);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

TEST_F(Parallel, BitsDoNotDependOnTheThreads) {
  std::vector<std::vector<float>> runs;
  for (int threads : {1, 2, 5}) {
    set_thread_count(threads);
    Tensor x = random_normal_tensor({20011}, 0, 1, {.seed = 4});
    add_into(x, random_uniform_tensor({20011}, -1, 1, {.seed = 5}));
    runs.push_back(x.to_vector<float>());
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_EQ(runs[0], runs[2]);
}

TEST_F(Parallel, AtLeastOneThreadIsRequired) {
  EXPECT_EQ(testing::message_of<UsageError>([] { set_thread_count(0); }), "[parallel] at least one thread is required, got 0");
  EXPECT_EQ(thread_count(), before_);
}

}  // namespace
}  // namespace pumice
