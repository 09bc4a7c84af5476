// Inside the SIMT emulator: what scheduler.cpp, collectives.cpp, checker.cpp and device_memory.cpp share. Kernels never see it.
//
//   scheduler     one Processor per OS thread runs blocks of a launch, one after another; threads of a block are fibers made when needed
//   collectives   warp operations, tensor cores, cp.async, atomics
//   checker       shadow memory: bounds, initialisation, races (PUMICE_SIMT_RACE; otherwise its functions do nothing)
//   traffic       bytes, sectors and bank conflicts, from what the checker sees
//   device_memory the allocations that kernels may touch, and copies to and from them
#pragma once
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "pumice/tensor/simt/fiber.h"
#include "pumice/tensor/simt/simt_emu.h"

#if defined(__SANITIZE_ADDRESS__)
#define PUMICE_SIMT_ASAN 1
#endif

namespace pumice::simt::emu {

inline constexpr size_t kMaxShared = 227 << 10, kMaxStaticShared = 48 << 10;  // per block, of sm_90
inline constexpr size_t kArena = 1 << 20, kDynamicAt = 1024, kGap = 64;       // a block's shared memory, with gaps between arrays

struct Copy { void* dst; const void* src; int bytes; Loc loc; };  // a cp.async on its way
enum class State : uint8_t { fresh, running, at_barrier, in_warp_operation, returned };
struct Thread {
  Fiber* fiber = nullptr;
  uint3 index{};
  State state = State::fresh;
  Meeting* meeting = nullptr;
  Loc loc;
  uint32_t segment = 0;    // of the checker: a stretch between barriers, 0 until it touches memory
  uint32_t warp_epoch = 0;  // __syncwarp()s passed
  std::vector<Copy> copies;
  std::vector<size_t> groups;  // ends of committed groups, in `copies`
};
struct SharedArray { const void* key; char* data; size_t bytes; const char* name; };

enum class Order : uint8_t { ascending, descending, random };  // in which threads that can run do so

struct Processor {
  Processor();
  ~Processor();
  // Runs block `b` of the launch; a fault leaves its report in `error`.
  void run_block(const Config& launch, Body kernel, void* arguments, uint64_t b);
  void yield();                  // the running thread waits; another one goes on
  void wake(int warp, uint32_t lanes);
  [[noreturn]] void give_up();   // `error` is set; nothing on this stack will be destroyed
  int current() const { return int(running_thread - threads.data()); }
  bool in_shared_memory(const void* p) const { return p >= arena && p < arena + kArena; }

  const Config* config = nullptr;
  Body body = nullptr;
  void* args = nullptr;
  std::vector<Thread> threads;
  Thread* running_thread = nullptr;
  int count = 0, warps = 0, returned = 0;  // threads of the block, its warps, threads that have returned
  uint32_t exists[32]{}, exited[32]{}, in_barrier[32]{};
  int at_barrier = 0, predicate_sum = 0, predicate_result = 0;
  Loc barrier_loc;
  uint32_t block = 0, barrier_epoch = 1;
  Meeting *meetings[32]{}, *free_meetings = nullptr;
  char* arena = nullptr;
  size_t used = 0, static_used = 0;
  SharedArray arrays[32]{};
  int array_count = 0;
  std::string error;

 private:
  friend void fiber_main();
  Fiber* take_fiber();
  Thread* next();
  int pick(uint32_t lanes);
  void set(Thread*);
  void jump(Fiber* to, bool ends = false);
  void begin_block();
  void forget_fibers();
  [[noreturn]] void stalled();

  const Order order_;
  dim3 shape_{0, 0, 0};
  uint32_t ready_[32]{}, ready_warps_ = 0, random_ = 12345;
  int warp_ = 0;
  std::deque<Fiber> fibers_;
  std::vector<Fiber*> free_fibers_;
  Fiber main_;
  Fiber* running_ = nullptr;
};
extern constinit thread_local Processor* processor;  // non-null while a kernel runs on this OS thread

// Report text.
std::string text_of(Loc);
std::string text_of(uint3);
std::string launch_text(const Config&);  // the kernel and where it was launched
std::string place_text();                // block, thread and launch of the running thread
bool same(Loc a, Loc b);
const char* name_of(Kind);

enum class Access : uint8_t { read, write, atomic };
enum class Shadow : uint32_t { outside = 0, uninitialised = 1, initialised = 2 };
#if PUMICE_SIMT_RACE
inline constexpr bool kChecks = true;
#else
inline constexpr bool kChecks = false;
#endif
void check_access(const void* p, size_t bytes, Access, Loc);  // an access that no instrumented instruction makes
void shadow_mark(const void* p, size_t bytes, Shadow);
void shadow_begin_launch();
void shadow_begin_block(Processor&);
char* shadowed_memory(size_t bytes, size_t align);            // checked builds: memory that has a shadow
void release_shadowed_memory(char* p, size_t bytes);

// Counting (traffic.h); nothing is counted unless the build checks accesses.
void traffic_access(const Processor&, const void* address, size_t bytes, Access, uint32_t place, bool in_shared);
void traffic_barrier(int barriers);
void traffic_launch();
void traffic_end_block();

// The live device allocation that holds [p, p + bytes), or {nullptr, 0}.
struct Allocation { char* data; size_t bytes; };
Allocation allocation_of(const void* p, size_t bytes);
void device_memory_in_use(bool begin);  // AddressSanitizer: device memory may be read only between true and false

}  // namespace pumice::simt::emu
