// The checked build. Kernels are compiled with -fsanitize=thread but linked against the hooks at the end of this file, never against
// libtsan: every load and store of a kernel passes through touch(), which knows what each byte of device memory may be used for and who
// used it last. That is memcheck, initcheck and racecheck in one, with the source lines of both accesses.
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <sstream>

#include "pumice/tensor/simt/emulator.h"

#if PUMICE_SIMT_RACE
#include <sys/mman.h>

#include <map>
#include <new>
#endif

namespace pumice::simt::emu {

// ---- report text ----

std::string text_of(uint3 v) {
  std::ostringstream o;
  o << '(' << v.x << ',' << v.y << ',' << v.z << ')';
  return o.str();
}
std::string text_of(Loc l) {
  const char* slash = std::strrchr(l.file, '/');
  return std::string(slash ? slash + 1 : l.file) + ':' + std::to_string(l.line);
}
bool same(Loc a, Loc b) { return a.line == b.line && (a.file == b.file || !std::strcmp(a.file, b.file)); }

const char* name_of(Kind k) {
  constexpr const char* names[] = {"__syncwarp", "__shfl_sync", "__ballot_sync", "__match_any_sync", "warp_reduce", "mma", "ldmatrix"};
  return names[int(k)];
}

std::string launch_text(const Config& c) {
  std::string kernel = c.name;  // "... [with auto K = pumice::cuda::scale<256>]"
  if (const size_t at = kernel.find("K = "); at != kernel.npos) { kernel = kernel.substr(at + 4); }
  if (!kernel.empty() && kernel.back() == ']') { kernel.pop_back(); }
  if (!kernel.empty() && kernel.front() == '&') { kernel.erase(0, 1); }
  return "\n  kernel " + kernel + "\n  launched at " + text_of(c.loc);
}

std::string place_text() {
  return "\n  in block " + text_of(blockIdx) + ", thread " + text_of(threadIdx) + launch_text(*processor->config);
}

#if !PUMICE_SIMT_RACE

void check_access(const void*, size_t, Access, Loc) {}
void shadow_mark(const void*, size_t, Shadow) {}
void shadow_begin_launch() {}
void shadow_begin_block(Processor&) {}
char* shadowed_memory(size_t, size_t) { return nullptr; }
void release_shadowed_memory(char*, size_t) {}

}  // namespace pumice::simt::emu

#else

namespace {

// Per byte: the last writer and up to two readers that nothing has ordered since, each as a segment and the place of the access. A writer
// below kFirstSegment is a Shadow.
struct Cell { uint32_t writer, reader, reader2, writer_at, reader_at, reader2_at; };
struct Segment { uint32_t block, barrier_epoch; uint16_t thread, warp_epoch; };  // a stretch of one thread between two barriers

constexpr size_t kReserve = size_t(4) << 30;  // of addresses; pages are taken when touched
constexpr uint32_t kAtomic = 0x80000000u, kFirstSegment = 16, kSite = 0x80000000u;

char* base = nullptr;
size_t top = 0;
Cell* cells = nullptr;
std::vector<Segment> segments;  // of this launch
uint32_t first_segment = kFirstSegment;
std::multimap<size_t, char*> released;
std::vector<Loc> sites;  // kSite + index: the place of an emulated operation, which has no program counter
size_t last_dynamic = 0;

void* reserve(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) { throw std::bad_alloc(); }
  return p;
}

std::string source_of(uint32_t place) {
  if (place & kSite) { return text_of(sites[place & ~kSite]); }
  char command[128], line[512];
  std::snprintf(command, sizeof command, "addr2line -s -e /proc/%d/exe 0x%x 2>/dev/null", getpid(), place - 1);
  std::string text;
  if (FILE* f = popen(command, "r")) {
    while (std::fgets(line, sizeof line, f)) { text += line; }
    pclose(f);
  }
  return text.substr(0, text.find_first_of(" \n"));
}

std::string object_of(const Processor& p, const char* at) {
  auto text = [&](const char* start, const std::string& name, size_t bytes) {
    return name + " (" + std::to_string(bytes) + " bytes) at byte " + std::to_string(at - start);
  };
  for (int i = 0; i < p.array_count; ++i) {
    const SharedArray& a = p.arrays[i];
    if (at >= a.data - 32 && at < a.data + a.bytes + kGap / 2) { return text(a.data, std::string("shared ") + a.name, a.bytes); }
  }
  if (p.in_shared_memory(at)) { return text(p.arena + kDynamicAt, "dynamic shared memory", p.config->smem); }
  const Allocation a = allocation_of(at, 1);
  return a.data ? text(a.data, "global memory", a.bytes) : "global memory outside every allocation";
}

const char* name_of(Access a) { return a == Access::read ? "read" : a == Access::write ? "write" : "atomic"; }

struct Fault { const char* what; const char* at; size_t bytes; Access access; uint32_t place, other, other_place; const char* other_access; };

// Its own frame: an abandoned fiber runs no destructors.
void describe(Processor& p, const Fault& f) {
  std::ostringstream o;
  o << f.what << ": " << object_of(p, f.at) << "\n  " << name_of(f.access) << " of " << f.bytes << " bytes by block " << text_of(blockIdx) << " thread "
    << text_of(threadIdx) << " at " << source_of(f.place);
  if (f.other >= first_segment) {
    const Segment& s = segments[f.other - first_segment];
    o << "\n  earlier " << f.other_access << " by block " << s.block << " thread " << text_of(p.threads[s.thread].index) << " at "
      << source_of(f.other_place);
  }
  p.error = o.str() + launch_text(*p.config);
}
[[noreturn]] void report(Processor& p, const Fault& f) {
  describe(p, f);
  p.give_up();
}

// Whether nothing orders the running thread after the segment `id`.
bool unordered(const Processor& p, uint32_t id, uint32_t me, bool in_shared) {
  id &= ~kAtomic;
  if (id < first_segment || id == me) { return false; }
  const Segment& s = segments[id - first_segment];
  if (s.block != p.block) { return !in_shared; }
  const int self = p.current();
  if (s.thread == self || s.barrier_epoch < p.barrier_epoch) { return false; }
  return !(s.thread / 32 == self / 32 && s.warp_epoch < uint16_t(p.running_thread->warp_epoch));
}

uint32_t segment_of(Processor& p) {
  Thread& t = *p.running_thread;
  if (!t.segment) {
    t.segment = uint32_t(first_segment + segments.size());
    segments.push_back({p.block, p.barrier_epoch, uint16_t(p.current()), uint16_t(t.warp_epoch)});
  }
  return t.segment;
}

void touch(const void* address, size_t bytes, size_t align, Access access, uint32_t place) {
  const size_t offset = size_t(static_cast<const char*>(address) - base);
  if (!base || offset >= kReserve || !processor || !processor->running_thread) { return; }
  Processor& p = *processor;
  const uint32_t me = segment_of(p);
  const bool in_shared = p.in_shared_memory(address);
  if (reinterpret_cast<uintptr_t>(address) & (align - 1)) {
    report(p, {"misaligned access", static_cast<const char*>(address), bytes, access, place, 0, 0, ""});
  }
  traffic_access(p, address, bytes, access, place, in_shared);
  Cell before{}, after{};  // of the last byte: most often those of the next one too
  for (size_t i = 0; i < bytes; ++i) {
    Cell& c = cells[offset + i];
    if (i && !std::memcmp(&c, &before, sizeof c)) {
      c = after;
      continue;
    }
    before = after = c;
    const char* at = static_cast<const char*>(address) + i;
    auto fault = [&](const char* what, uint32_t other = 0, uint32_t other_place = 0, const char* other_access = "") {
      report(p, {what, at, bytes, access, place, other, other_place, other_access});
    };
    auto race_with_writer = [&] { fault("race", c.writer & ~kAtomic, c.writer_at, c.writer & kAtomic ? "atomic" : "write"); };
    if (c.writer == uint32_t(Shadow::outside)) { fault("out of bounds"); }
    if (access == Access::read) {
      if (c.reader == me || c.reader2 == me || c.writer == me) { continue; }
      if (c.writer == uint32_t(Shadow::uninitialised)) { fault("read of uninitialised memory"); }
      if (unordered(p, c.writer, me, in_shared)) { race_with_writer(); }
      if (unordered(p, c.reader, me, in_shared)) {
        c.reader2 = me;
        c.reader2_at = place;
      } else {
        c.reader = me;
        c.reader_at = place;
      }
      after = c;
    } else {
      const bool atomic = access == Access::atomic;
      if (atomic && c.writer == uint32_t(Shadow::uninitialised)) { fault("atomic operation on uninitialised memory"); }
      if (!(atomic && c.writer & kAtomic) && unordered(p, c.writer, me, in_shared)) { race_with_writer(); }
      if (unordered(p, c.reader, me, in_shared)) { fault("race", c.reader, c.reader_at, "read"); }
      if (unordered(p, c.reader2, me, in_shared)) { fault("race", c.reader2, c.reader2_at, "read"); }
      c = after = {atomic ? me | kAtomic : me, 0, 0, place, 0, 0};
    }
  }
}

uint32_t place_of(void* program_counter) {
  extern char start asm("__executable_start");
  return uint32_t(static_cast<char*>(program_counter) - &start);
}

}  // namespace

void check_access(const void* p, size_t bytes, Access access, Loc loc) {
  size_t i = 0;
  while (i < sites.size() && !same(sites[i], loc)) { ++i; }
  if (i == sites.size()) { sites.push_back(loc); }
  touch(p, bytes, 1, access, kSite | uint32_t(i));  // what must be aligned says so itself
}

void shadow_mark(const void* p, size_t bytes, Shadow state) {
  Cell* c = cells + (static_cast<const char*>(p) - base);
  for (size_t i = 0; i < bytes; ++i) { c[i] = {uint32_t(state), 0, 0, 0, 0, 0}; }
}

void shadow_begin_launch() {
  first_segment += uint32_t(segments.size());
  segments.clear();
  if (first_segment > kAtomic / 2) {  // old numbers would be taken for new ones
    Cell* end = cells + top;
    for (Cell* c = cells; c != end; ++c) {
      if ((c->writer & ~kAtomic) >= kFirstSegment) { *c = {uint32_t(Shadow::initialised), 0, 0, 0, 0, 0}; }
    }
    first_segment = kFirstSegment;
  }
}

void shadow_begin_block(Processor& p) {  // shared arrays of the last block are out of bounds again
  for (int i = 0; i < p.array_count; ++i) { shadow_mark(p.arrays[i].data, p.arrays[i].bytes, Shadow::outside); }
  if (last_dynamic) { shadow_mark(p.arena + kDynamicAt, last_dynamic, Shadow::outside); }
  last_dynamic = p.config->smem;
}

char* shadowed_memory(size_t bytes, size_t align) {
  if (!base) {
    base = static_cast<char*>(reserve(kReserve));
    cells = static_cast<Cell*>(reserve(kReserve * sizeof(Cell)));
  }
  bytes = (bytes + 255) / 256 * 256;
  if (auto it = released.find(bytes); it != released.end()) {
    char* p = it->second;
    released.erase(it);
    return p;
  }
  top = (top + 256 + align - 1) / align * align;  // a gap before each
  char* p = base + top;
  top += bytes;
  if (top > kReserve) { throw std::bad_alloc(); }
  return p;
}

void release_shadowed_memory(char* p, size_t bytes) {
  shadow_mark(p, bytes, Shadow::outside);
  released.insert({(bytes + 255) / 256 * 256, p});
}

}  // namespace pumice::simt::emu

// ---- what -fsanitize=thread calls in the kernels ----
// The compiler calls an access unaligned whose type asks for no alignment. A card loads and stores the others whole: a float4 only at multiples of 16.
#define PUMICE_TOUCH(p, n, align, access) \
  pumice::simt::emu::touch(p, n, align, pumice::simt::emu::Access::access, pumice::simt::emu::place_of(__builtin_return_address(0)))
#define PUMICE_HOOKS(n)                                                                                          \
  void __tsan_read##n(void* p) { PUMICE_TOUCH(p, n, n, read); }                                                  \
  void __tsan_write##n(void* p) { PUMICE_TOUCH(p, n, n, write); }                                                \
  void __tsan_unaligned_read##n(void* p) { PUMICE_TOUCH(p, n, 1, read); }                                        \
  void __tsan_unaligned_write##n(void* p) { PUMICE_TOUCH(p, n, 1, write); }                                      \
  void __tsan_volatile_read##n(void* p) { PUMICE_TOUCH(p, n, n, read); }                                         \
  void __tsan_volatile_write##n(void* p) { PUMICE_TOUCH(p, n, n, write); }
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
#endif
extern "C" {
PUMICE_HOOKS(1) PUMICE_HOOKS(2) PUMICE_HOOKS(4) PUMICE_HOOKS(8) PUMICE_HOOKS(16)
void __tsan_read_range(void* p, size_t n) { PUMICE_TOUCH(p, n, 1, read); }
void __tsan_write_range(void* p, size_t n) { PUMICE_TOUCH(p, n, 1, write); }
void* __tsan_memcpy(void* d, const void* s, size_t n) {
  PUMICE_TOUCH(s, n, 1, read);
  PUMICE_TOUCH(d, n, 1, write);
  return std::memcpy(d, s, n);
}
void* __tsan_memset(void* d, int c, size_t n) {
  PUMICE_TOUCH(d, n, 1, write);
  return std::memset(d, c, n);
}
// Host code that stands beside kernels counts references (std::shared_ptr). Kernels have atomicAdd, which is checked.
int __tsan_atomic32_fetch_add(volatile int* p, int v, int) {
  if (pumice::simt::emu::processor) { pumice::simt::emu::fail("an atomic operation of the host's, not CUDA's"); }
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
#endif
