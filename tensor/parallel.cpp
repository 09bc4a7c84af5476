#include "pumice/tensor/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define PUMICE_PAUSE() _mm_pause()
#else
#define PUMICE_PAUSE() std::this_thread::yield()
#endif

namespace pumice {
namespace {

constexpr int kSpins = 20000;  // about 50 us at one pause each; then the worker sleeps

struct Job {
  void (*block)(void*, int64_t) = nullptr;
  void* context = nullptr;
  int64_t blocks = 0;
  std::atomic<int64_t> next{0};
  std::atomic<int> failed{0};
  std::exception_ptr error;
};

thread_local bool inside_block = false;

void run_share(Job& job) {
  inside_block = true;
  for (;;) {
    int64_t i = job.next.fetch_add(1, std::memory_order_relaxed);
    if (i >= job.blocks) { break; }
    try {
      job.block(job.context, i);
    } catch (...) {
      if (job.failed.fetch_add(1) == 0) { job.error = std::current_exception(); }
      job.next.store(job.blocks, std::memory_order_relaxed);
    }
  }
  inside_block = false;
}

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) { workers_.emplace_back([this] { work(); }); }
  }
  ~Pool() {
    stop_.store(true);
    publish();
    for (std::thread& t : workers_) { t.join(); }
  }
  int threads() const { return threads_; }

  bool try_run(int64_t blocks, void (*block)(void*, int64_t), void* context) {
    std::unique_lock lock(in_use_, std::try_to_lock);
    if (!lock) { return false; }
    job_.block = block;
    job_.context = context;
    job_.blocks = blocks;
    job_.next.store(0, std::memory_order_relaxed);
    job_.failed.store(0, std::memory_order_relaxed);
    pending_.store(threads_ - 1, std::memory_order_relaxed);
    publish();
    run_share(job_);
    while (pending_.load(std::memory_order_acquire) != 0) { PUMICE_PAUSE(); }
    if (job_.failed.load()) {
      std::exception_ptr error = std::move(job_.error);
      std::rethrow_exception(error);
    }
    return true;
  }

 private:
  void publish() {
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard lock(sleep_);
      wake_.notify_all();
    }
  }

  void work() {
    uint64_t seen = 0;
    for (;;) {
      int spins = 0;
      while (epoch_.load(std::memory_order_acquire) == seen) {
        if (++spins < kSpins) {
          PUMICE_PAUSE();
          continue;
        }
        std::unique_lock lock(sleep_);
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        wake_.wait(lock, [&] { return epoch_.load(std::memory_order_seq_cst) != seen; });
        sleepers_.fetch_sub(1, std::memory_order_seq_cst);
      }
      ++seen;
      if (stop_.load()) { return; }
      run_share(job_);
      pending_.fetch_sub(1, std::memory_order_release);
    }
  }

  int threads_;
  std::vector<std::thread> workers_;
  Job job_;
  std::mutex in_use_, sleep_;
  std::condition_variable wake_;
  std::atomic<uint64_t> epoch_{0};
  std::atomic<int> pending_{0}, sleepers_{0};
  std::atomic<bool> stop_{false};
};

std::unique_ptr<Pool>& pool() {
  static std::unique_ptr<Pool> p = std::make_unique<Pool>(
      flags::threads() ? int(flags::threads()) : std::max(1, int(std::thread::hardware_concurrency())));
  return p;
}

}  // namespace

int thread_count() { return pool()->threads(); }
void set_thread_count(int n) {
  REQUIRE(UsageError, n > 0, "[parallel] at least one thread is required, got ", n);
  pool().reset();
  pool() = std::make_unique<Pool>(n);
}

void run_blocks(int64_t blocks, void (*block)(void*, int64_t), void* context) {
  if (blocks > 1 && !inside_block && pool()->threads() > 1 && pool()->try_run(blocks, block, context)) { return; }
  for (int64_t i = 0; i < blocks; ++i) { block(context, i); }
}

}  // namespace pumice
