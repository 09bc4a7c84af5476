#include "pumice/tensor/simt/emulator.h"

#if PUMICE_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace pumice::simt::emu {
namespace {

// what() makes the text here, because an abandoned fiber destroys nothing: temporaries of the caller would leak.
template <class F> [[noreturn]] void fail_with(const F& what) {
  processor->error = what() + place_text();
  processor->give_up();
}

// AddressSanitizer does not see what the emulator itself touches on a kernel's behalf.
void check_poison([[maybe_unused]] const void* p, [[maybe_unused]] size_t n, [[maybe_unused]] const char* what) {
#if PUMICE_SIMT_ASAN
  if (n && __asan_region_is_poisoned(const_cast<void*>(p), n)) { fail(what); }
#endif
}

}  // namespace

unsigned lane() { return unsigned(processor->current()) & 31; }

// ---- warp operations ----

Meeting* arrive(Kind kind, uint32_t mask, Loc loc) {
  Processor& p = *processor;
  const int i = p.current(), warp = i / 32;
  const uint32_t bit = 1u << i % 32;
  if (!(mask & bit)) { fail("a lane called a warp operation whose mask leaves it out"); }
  if (mask & ~p.exists[warp]) {
    fail(mask == ~0u ? "a full-mask warp operation in a partial warp: make blockDim a multiple of 32"
                     : "a warp operation's mask names lanes that do not exist");
  }
  if (mask & p.exited[warp]) {
    fail_with([&] { return std::string("a warp operation's mask names lanes that have returned: ") + name_of(kind) + " at " + text_of(loc); });
  }
  Meeting* m = p.meetings[warp];
  while (m && m->mask != mask) { m = m->next; }
  if (!m) {
    if (p.free_meetings) {
      m = p.free_meetings;
      p.free_meetings = m->next;
    } else {
      m = new Meeting;
    }
    m->mask = mask;
    m->arrived = 0;
    m->left = uint32_t(std::popcount(mask));
    m->kind = kind;
    m->loc = loc;
    m->next = p.meetings[warp];
    p.meetings[warp] = m;
  } else if (m->kind != kind || (kind != Kind::syncwarp && !same(m->loc, loc))) {
    fail_with([&] {
      return std::string("lanes of one warp in different warp operations: ") + name_of(m->kind) + " at " + text_of(m->loc) + " and " + name_of(kind) +
             " at " + text_of(loc);
    });
  }
  m->arrived |= bit;
  p.running_thread->loc = loc;
  return m;
}

bool last(const Meeting* m) { return m->arrived == m->mask; }

void wait(Meeting* m) {
  Processor& p = *processor;
  const int i = p.current(), warp = i / 32;
  if (last(m)) {
    Meeting** at = &p.meetings[warp];
    while (*at != m) { at = &(*at)->next; }
    *at = m->next;
    p.wake(warp, m->mask & ~(1u << i % 32));
    return;
  }
  p.running_thread->state = State::in_warp_operation;
  p.running_thread->meeting = m;
  p.yield();
}

void leave(Meeting* m) {
  Thread& t = *processor->running_thread;
  if (m->kind == Kind::syncwarp) {  // orders memory; a shuffle does not
    t.segment = 0;
    ++t.warp_epoch;
  }
  if (--m->left == 0) {
    m->next = processor->free_meetings;
    processor->free_meetings = m;
  }
}

// ---- tensor cores: the fragment layouts of the PTX ISA, sections mma.m16n8k16 and ldmatrix ----

// Touches slots and its own arrays only, at indices that no kernel chooses; sanitized, it would take a fifth of the time of attention.
#define UNSANITIZED __attribute__((no_sanitize("address", "undefined")))
UNSANITIZED void mma_combine(Meeting* m) {
  auto low = [](uint32_t v) UNSANITIZED { return __builtin_bit_cast(float, v << 16); };
  auto high = [](uint32_t v) UNSANITIZED { return __builtin_bit_cast(float, v & 0xffff0000u); };
  float a[16][16], b[16][8], d[16][8];
  for (int l = 0; l < 32; ++l) {
    Mma s;
    std::memcpy(&s, m->slot[l], sizeof s);
    const int group = l >> 2, pair = (l & 3) * 2;
    for (int i = 0; i < 4; ++i) {
      const int row = group + (i & 1) * 8, column = pair + (i >> 1) * 8;
      a[row][column] = low(s.a[i]);
      a[row][column + 1] = high(s.a[i]);
      d[group + (i >> 1) * 8][pair + (i & 1)] = s.d[i];
    }
    for (int i = 0; i < 2; ++i) {
      b[pair + i * 8][group] = low(s.b[i]);
      b[pair + i * 8 + 1][group] = high(s.b[i]);
    }
  }
  for (int i = 0; i < 16; ++i) {
    for (int k = 0; k < 16; ++k) {
      for (int j = 0; j < 8; ++j) { d[i][j] += a[i][k] * b[k][j]; }
    }
  }
  for (int l = 0; l < 32; ++l) {
    const int group = l >> 2, pair = (l & 3) * 2;
    const float out[4] = {d[group][pair], d[group][pair + 1], d[group + 8][pair], d[group + 8][pair + 1]};
    std::memcpy(m->slot[l], out, sizeof out);
  }
}

void ldmatrix_combine(Meeting* m, bool transposed) {
  const unsigned char* row[32];
  for (int l = 0; l < 32; ++l) { std::memcpy(&row[l], m->slot[l], sizeof row[l]); }
  for (int l = 0; l < 32; ++l) {
    LdMatrix s{};
    for (int i = 0; i < 4; ++i) {
      if (!transposed) {
        std::memcpy(&s.r[i], row[i * 8 + l / 4] + l % 4 * 4, 4);
      } else {
        uint16_t pair[2];
        for (int k = 0; k < 2; ++k) { std::memcpy(&pair[k], row[i * 8 + l % 4 * 2 + k] + l / 4 * 2, 2); }
        s.r[i] = pair[0] | uint32_t(pair[1]) << 16;
      }
    }
    std::memcpy(m->slot[l], &s, sizeof s);
  }
}

void ldmatrix_check(const void* row, Loc loc) {  // each lane answers for the row it names
  if (reinterpret_cast<uintptr_t>(row) & 15) { fail_with([&] { return "ldmatrix: the row's address is not 16-byte aligned, at " + text_of(loc); }); }
  if (!processor->in_shared_memory(row)) { fail_with([&] { return "ldmatrix: the row is not in shared memory, at " + text_of(loc); }); }
  check_poison(row, 16, "ldmatrix reads out of bounds");
  check_access(row, 16, Access::read, loc);
}

// ---- atomics ----

uint32_t load_for_atomic(uint32_t* p) {
  check_poison(p, 4, "an atomic operation out of bounds");
  check_access(p, 4, Access::atomic, {});
  return __atomic_load_n(p, __ATOMIC_RELAXED);
}
uint64_t load_for_atomic(uint64_t* p) {
  check_poison(p, 8, "an atomic operation out of bounds");
  check_access(p, 8, Access::atomic, {});
  return __atomic_load_n(p, __ATOMIC_RELAXED);
}
bool compare_exchange(uint32_t* p, uint32_t& old, uint32_t want) {
  return __atomic_compare_exchange_n(p, &old, want, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}
bool compare_exchange(uint64_t* p, uint64_t& old, uint64_t want) {
  return __atomic_compare_exchange_n(p, &old, want, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

// ---- asynchronous copies: the data lands only at the wait, so that a missing one leaves NaN behind on every run ----

void cp_async(void* dst, const void* src, int bytes, Loc loc) {
  if ((reinterpret_cast<uintptr_t>(dst) | reinterpret_cast<uintptr_t>(src)) & 15) {  // src of an empty copy as well
    fail_with([&] { return "cp.async: an address is not 16-byte aligned, at " + text_of(loc); });
  }
  if (!processor->in_shared_memory(dst)) { fail_with([&] { return "cp.async: the destination is not shared memory, at " + text_of(loc); }); }
  check_poison(src, size_t(bytes), "cp.async reads out of bounds");
  check_poison(dst, 16, "cp.async writes outside its shared array");
  processor->running_thread->copies.push_back({dst, src, bytes, loc});
}

void cp_commit() { processor->running_thread->groups.push_back(processor->running_thread->copies.size()); }

void cp_wait(int keep) {
  Thread& t = *processor->running_thread;
  if (int(t.groups.size()) <= keep) { return; }
  const size_t done = t.groups.size() - size_t(keep), end = t.groups[done - 1];
  for (size_t i = 0; i < end; ++i) {
    const Copy c = t.copies[i];
    check_access(c.src, size_t(c.bytes), Access::read, c.loc);
    check_access(c.dst, 16, Access::write, c.loc);
    std::memcpy(c.dst, c.src, size_t(c.bytes));
    std::memset(static_cast<char*>(c.dst) + c.bytes, 0, size_t(16 - c.bytes));
  }
  t.copies.erase(t.copies.begin(), t.copies.begin() + long(end));
  t.groups.erase(t.groups.begin(), t.groups.begin() + long(done));
  for (size_t& e : t.groups) { e -= end; }
}

}  // namespace pumice::simt::emu
