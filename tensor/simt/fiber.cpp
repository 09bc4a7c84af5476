#include "pumice/tensor/simt/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define PUMICE_SIMT_ASAN 1
#endif

namespace pumice::simt {
namespace {

constexpr size_t kStack = size_t(256) << 10, kGuard = 4096;

#if !PUMICE_SIMT_UCONTEXT
// Saves the six registers that a function keeps, and the stack pointer; loads another's. Ends in a jump instead of a return, because
// the return predictor would miss every time.
__attribute__((naked, noinline)) void swap_stacks(void** /*save*/, void* /*load*/) {
  asm("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
      "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
      "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
      "popq %rcx\n jmp *%rcx");
}
#endif

[[maybe_unused]] thread_local Fiber* switched_from = nullptr;

}  // namespace

Fiber::~Fiber() {
  if (!stack_) { return; }
#if PUMICE_SIMT_ASAN
  __asan_unpoison_memory_region(bottom_, size_);  // the next mapping at this address, a file say, is not a stack
#endif
  munmap(stack_, kStack);
}

void Fiber::prepare(void (*entry)()) {
  if (!stack_) {
    void* p = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) { throw std::bad_alloc(); }
    stack_ = static_cast<char*>(p);
    mprotect(stack_, kGuard, PROT_NONE);
    bottom_ = stack_ + kGuard;
    size_ = kStack - kGuard;
  }
  fake_stack_ = nullptr;
#if PUMICE_SIMT_UCONTEXT
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_ + kGuard;
  context_.uc_stack.ss_size = size_;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#else
  // Tops are staggered: stacks that start in the same cache set evict each other.
  const size_t stagger = (reinterpret_cast<uintptr_t>(stack_) / kStack * 17 & 63) * 64;
  void** top = reinterpret_cast<void**>(stack_ + kStack - 64 - stagger);
  *--top = nullptr;  // the return address of `entry`; keeps the stack aligned to 16 bytes
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) { *--top = nullptr; }
  stack_pointer_ = top;
#endif
}

void Fiber::switch_to(Fiber& to, [[maybe_unused]] bool ends) {
#if PUMICE_SIMT_ASAN
  __sanitizer_start_switch_fiber(ends ? nullptr : &fake_stack_, to.bottom_, to.size_);
  switched_from = this;
#endif
#if PUMICE_SIMT_UCONTEXT
  swapcontext(&context_, &to.context_);
#else
  swap_stacks(&stack_pointer_, to.stack_pointer_);
#endif
#if PUMICE_SIMT_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::arrive() {
#if PUMICE_SIMT_ASAN
  const void* bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (!switched_from->bottom_) {  // a stack that we did not make tells its bounds when it is first left
    switched_from->bottom_ = bottom;
    switched_from->size_ = size;
  }
#endif
}

void Fiber::abandon() {
#if PUMICE_SIMT_ASAN
  __asan_unpoison_memory_region(bottom_, size_);
#endif
}

}  // namespace pumice::simt
