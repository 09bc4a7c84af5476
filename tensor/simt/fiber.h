// Fibers: stacks that one OS thread switches between, for the emulated threads of a block. x86-64 has a switch of a dozen instructions;
// other processors, and PUMICE_SIMT_UCONTEXT, use ucontext, which is portable and about fifty times slower.
#pragma once
#include <cstddef>

#if !defined(__x86_64__) && !defined(PUMICE_SIMT_UCONTEXT)
#define PUMICE_SIMT_UCONTEXT 1
#endif
#if PUMICE_SIMT_UCONTEXT
#include <ucontext.h>
#endif

namespace pumice::simt {

class Fiber {
 public:
  Fiber() = default;  // the stack that is running now
  ~Fiber();
  Fiber(const Fiber&) = delete;

  // Gives it a stack (once) and makes the next switch to it call `entry`, which must never return. Throws std::bad_alloc.
  void prepare(void (*entry)());
  // Runs `to` from where it stopped; returns when something switches back. `ends`: this fiber will not be resumed.
  void switch_to(Fiber& to, bool ends = false);
  // Frames that were left without returning are forgotten, so that the stack can be used again.
  void abandon();
  // What `entry` calls first.
  static void arrive();

 private:
  char* stack_ = nullptr;
  const void* bottom_ = nullptr;  // for AddressSanitizer
  size_t size_ = 0;
  void* fake_stack_ = nullptr;
#if PUMICE_SIMT_UCONTEXT
  ucontext_t context_;
#else
  void* stack_pointer_ = nullptr;
#endif
};

}  // namespace pumice::simt
