#include <atomic>
#include <cstdlib>
#include <mutex>
#include <sstream>

#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/simt/emulator.h"

#if PUMICE_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace pumice::simt::emu {

constinit thread_local Processor* processor = nullptr;

namespace {
thread_local std::unique_ptr<Processor> own_processor;

Order order_asked_for() {
  const std::string s = flags::simt_order();
  REQUIRE(UsageError, s == "ascending" || s == "descending" || s == "random",
          "[simt] PUMICE_SIMT_ORDER must be ascending, descending or random, got '", s, "'");
  return s[0] == 'a' ? Order::ascending : s[0] == 'd' ? Order::descending : Order::random;
}

// Its own frame: an abandoned fiber runs no destructors.
std::string stall_report(Processor& p) {
  struct Group { std::string what; int threads; uint3 first; };
  std::vector<Group> groups;
  for (int i = 0; i < p.count; ++i) {
    const Thread& t = p.threads[size_t(i)];
    std::string what = t.state == State::returned     ? "have returned"
                       : t.state == State::at_barrier ? "wait at __syncthreads, " + text_of(t.loc)
                                                      : std::string("wait at ") + name_of(t.meeting->kind) + ", " + text_of(t.loc);
    auto it = groups.begin();
    while (it != groups.end() && it->what != what) { ++it; }
    if (it == groups.end()) { groups.push_back({what, 1, t.index}); }
    else { ++it->threads; }
  }
  std::ostringstream o;
  o << "deadlock: not all threads reach the same synchronisation, block " << text_of(blockIdx);
  for (const Group& g : groups) { o << "\n  " << g.threads << " threads (first " << text_of(g.first) << ") " << g.what; }
  return o.str() + launch_text(*p.config);
}

#if PUMICE_SIMT_ASAN
void say_where() {  // after a sanitizer's report
  if (processor && processor->running_thread) { std::fprintf(stderr, "simt: that was%s\n", place_text().c_str()); }
}
#endif

}  // namespace

// ---- threads of a block ----

// What every fiber runs: one emulated thread after another, as long as the next one is fresh.
void fiber_main() {
  Fiber::arrive();
  for (;;) {
    Processor& p = *processor;
    try {
      p.body(p.args);
    } catch (const std::exception& e) {
      p.error = e.what();
    }
    if (!p.error.empty()) {
      p.error += place_text();
      p.give_up();
    }
    Thread* t = p.running_thread;
    t->state = State::returned;
    t->fiber = nullptr;
    ++p.returned;
    const int i = p.current();
    p.exited[i / 32] |= 1u << i % 32;
    Thread* next = p.next();
    if (next && !next->fiber) {  // the common case of a kernel that never waits: a plain loop
      next->fiber = p.running_;
      p.set(next);
      continue;
    }
    if (!next && p.returned != p.count) { p.stalled(); }
    p.free_fibers_.push_back(p.running_);
    if (next) { p.set(next); }
    p.jump(next ? next->fiber : &p.main_, true);
  }
}

Processor::Processor() : order_(order_asked_for()) {}

Processor::~Processor() {
  for (Meeting* m = free_meetings; m;) {
    Meeting* gone = m;
    m = m->next;
    delete gone;
  }
#if PUMICE_SIMT_ASAN
  if (arena) { __asan_unpoison_memory_region(arena, kArena); }
#endif
  if (!kChecks) { std::free(arena); }
}

Fiber* Processor::take_fiber() {
  if (free_fibers_.empty()) { free_fibers_.push_back(&fibers_.emplace_back()); }
  Fiber* f = free_fibers_.back();
  free_fibers_.pop_back();
  f->prepare(fiber_main);
  return f;
}

void Processor::jump(Fiber* to, bool ends) {
  Fiber* from = running_;
  running_ = to;
  from->switch_to(*to, ends);
}

int Processor::pick(uint32_t lanes) {
  if (order_ == Order::descending) { return 31 - std::countl_zero(lanes); }
  if (order_ == Order::ascending) { return std::countr_zero(lanes); }
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  const int from = int(random_ >> 27);  // the first one at or after a random place
  return (std::countr_zero(std::rotr(lanes, from)) + from) & 31;
}

Thread* Processor::next() {
  if (!ready_warps_) { return nullptr; }
  if (!(ready_warps_ >> warp_ & 1) || order_ == Order::random) {
    const uint32_t later = ready_warps_ & (~0u << warp_);
    warp_ = pick(order_ == Order::ascending && later ? later : ready_warps_);
  }
  const int lane = pick(ready_[warp_]);
  ready_[warp_] &= ~(1u << lane);
  if (!ready_[warp_]) { ready_warps_ &= ~(1u << warp_); }
  return &threads[size_t(warp_) * 32 + size_t(lane)];
}

void Processor::wake(int warp, uint32_t lanes) {
  if (lanes) {
    ready_[warp] |= lanes;
    ready_warps_ |= 1u << warp;
  }
}

void Processor::set(Thread* t) {
  running_thread = t;
  t->state = State::running;
  threadIdx = t->index;
}

void Processor::yield() {
  Thread* t = next();
  if (!t) { stalled(); }
  if (!t->fiber) { t->fiber = take_fiber(); }
  set(t);
  jump(t->fiber);
}

void Processor::stalled() {
  error = stall_report(*this);
  give_up();
}

void Processor::give_up() {
  jump(&main_);
  __builtin_unreachable();
}

// ---- blocks ----

void Processor::begin_block() {
  if (shape_.x != blockDim.x || shape_.y != blockDim.y || shape_.z != blockDim.z) {
    shape_ = blockDim;
    count = int(blockDim.x * blockDim.y * blockDim.z);
    warps = (count + 31) / 32;
    if (threads.size() < size_t(count)) { threads.resize(size_t(count)); }
    for (unsigned i = 0; i < unsigned(count); ++i) {
      threads[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    }
  }
  for (int i = 0; i < count; ++i) {
    Thread& t = threads[size_t(i)];
    t.fiber = nullptr;
    t.state = State::fresh;
    t.segment = t.warp_epoch = 0;
    t.copies.clear();
    t.groups.clear();
  }
  for (int w = 0; w < warps; ++w) {
    ready_[w] = exists[w] = count - w * 32 >= 32 ? ~0u : (1u << (count - w * 32)) - 1;
    exited[w] = in_barrier[w] = 0;
  }
  ready_warps_ = warps == 32 ? ~0u : (1u << warps) - 1;
  returned = at_barrier = predicate_sum = warp_ = 0;
  static_used = 0;
  ++barrier_epoch;
  if (!arena) { arena = kChecks ? shadowed_memory(kArena, 4096) : static_cast<char*>(std::aligned_alloc(4096, kArena)); }
#if PUMICE_SIMT_ASAN
  __asan_poison_memory_region(arena, kArena);
#endif
  shadow_begin_block(*this);
  array_count = 0;
  used = kDynamicAt + config->smem + kGap;
  if (config->smem) {  // dynamic memory first, exactly as long as asked for
    char* p = arena + kDynamicAt;
#if PUMICE_SIMT_ASAN
    __asan_unpoison_memory_region(p, config->smem);
#endif
    shadow_mark(p, config->smem, Shadow::uninitialised);
    std::memset(p, 0xff, config->smem);  // NaN in every floating-point format
  }
}

void Processor::run_block(const Config& launch, Body kernel, void* arguments, uint64_t b) {
  config = &launch;
  body = kernel;
  args = arguments;
  blockDim = launch.block;
  gridDim = launch.grid;
  blockIdx = {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y), unsigned(b / gridDim.x / gridDim.y)};
  block = uint32_t(b);
  begin_block();
  Thread* first = next();
  first->fiber = take_fiber();
  set(first);
  running_ = &main_;
  jump(first->fiber);
  if (!error.empty()) { forget_fibers(); }
  running_thread = nullptr;
  traffic_end_block();
}

void Processor::forget_fibers() {
  free_fibers_.clear();
  for (Fiber& f : fibers_) {
    f.abandon();
    free_fibers_.push_back(&f);
  }
  for (Meeting*& list : meetings) {
    while (list) {
      Meeting* m = list;
      list = m->next;
      m->next = free_meetings;
      free_meetings = m;
    }
  }
}

// ---- shared memory and barriers, called by kernels ----

void* shared(const void* key, size_t bytes, const char* name) {
  Processor& p = *processor;
  for (int i = 0; i < p.array_count; ++i) {
    if (p.arrays[i].key == key) { return p.arrays[i].data; }
  }
  if ((p.static_used += bytes) > kMaxStaticShared) { fail("more than 48 KiB of static shared memory"); }
  if (p.static_used + p.config->smem > kMaxShared) { fail("more than 227 KiB of shared memory in a block"); }
  if (p.array_count == 32) { fail("more than 32 shared arrays in a kernel"); }
  char* data = p.arena + (p.used + 15) / 16 * 16;
  p.used = size_t(data - p.arena) + bytes + kGap;
#if PUMICE_SIMT_ASAN
  __asan_unpoison_memory_region(data, bytes);
#endif
  shadow_mark(data, bytes, Shadow::uninitialised);
  std::memset(data, 0xff, bytes);
  p.arrays[p.array_count++] = {key, data, bytes, name};
  return data;
}

void* dynamic_shared() {
  if (!processor->config->smem) { fail("dynamic shared memory is used but the launch gave none"); }
  return processor->arena + kDynamicAt;
}

void fail(const char* what) {
  if (!processor || !processor->running_thread) { throw KernelError(what, __FILE__, __LINE__); }
  processor->error = what;
  processor->error += place_text();
  processor->give_up();
}

void barrier(Loc loc) {
  Processor& p = *processor;
  const int i = p.current();
  if (!p.at_barrier) { p.barrier_loc = loc; }
  else if (!same(p.barrier_loc, loc)) {
    p.error = "threads of one block wait at different __syncthreads: " + text_of(p.barrier_loc) + " and " + text_of(loc) + place_text();
    p.give_up();
  }
  if (++p.at_barrier == p.count) {
    for (int w = 0; w < p.warps; ++w) {
      p.wake(w, p.in_barrier[w]);
      p.in_barrier[w] = 0;
    }
    p.at_barrier = 0;
    p.predicate_result = p.predicate_sum;
    p.predicate_sum = 0;
    ++p.barrier_epoch;
    traffic_barrier(1);
    for (int t = 0; t < p.count; ++t) { p.threads[size_t(t)].segment = 0; }
    return;
  }
  p.running_thread->state = State::at_barrier;
  p.running_thread->loc = loc;
  p.in_barrier[i / 32] |= 1u << i % 32;
  p.yield();
}

int barrier_count(bool predicate, Loc loc) {
  processor->predicate_sum += predicate;
  barrier(loc);
  const int result = processor->predicate_result;  // a second barrier keeps the next count from overwriting it
  barrier(loc);
  if (processor->current() == 0) { traffic_barrier(-1); }  // a card needs one
  return result;
}

// ---- launches ----

void check_pointer(const void* p, int argument, const Config& c) {
  REQUIRE(KernelError, !p || allocation_of(p, 0).data, "[simt] kernel argument ", argument, " is not a device pointer", launch_text(c));
}

void run(const Config& c, Body body, void* args) {
  const uint64_t threads = uint64_t(c.block.x) * c.block.y * c.block.z, blocks = uint64_t(c.grid.x) * c.grid.y * c.grid.z;
  REQUIRE(KernelError, threads > 0 && threads <= 1024 && c.block.z <= 64, "[simt] a block must have 1 to 1024 threads, got ", c.block.x, " x ", c.block.y,
          " x ", c.block.z, launch_text(c));
  REQUIRE(KernelError, blocks > 0 && c.grid.x <= 0x7fffffffu && c.grid.y <= 65535 && c.grid.z <= 65535, "[simt] a grid of ", c.grid.x, " x ", c.grid.y,
          " x ", c.grid.z, " blocks cannot be launched", launch_text(c));
  REQUIRE(KernelError, c.smem <= kMaxShared, "[simt] a block has 227 KiB of shared memory, the launch asks for ", c.smem, " bytes", launch_text(c));
  shadow_begin_launch();
  traffic_launch();
  device_memory_in_use(true);
#if PUMICE_SIMT_ASAN
  __sanitizer_set_death_callback(say_where);
#endif
  std::mutex mutex;
  std::string error;
  std::atomic<bool> failed{false};
  auto run_one = [&](int64_t b) {
    if (failed.load(std::memory_order_relaxed)) { return; }
    if (!own_processor) { own_processor = std::make_unique<Processor>(); }
    Processor* outer = processor;
    processor = own_processor.get();
    processor->error.clear();
    processor->run_block(c, body, args, uint64_t(b));
    if (!processor->error.empty()) {
      std::lock_guard lock(mutex);
      if (!failed.exchange(true)) { error = processor->error; }
    }
    processor = outer;
  };
  if (kChecks) {  // the shadow is not made for two OS threads
    for (int64_t b = 0; b < int64_t(blocks); ++b) { run_one(b); }
  } else {
    parallel_blocks(int64_t(blocks), run_one);
  }
  device_memory_in_use(false);
  REQUIRE(KernelError, !failed, "[simt] ", error);
}

}  // namespace pumice::simt::emu
