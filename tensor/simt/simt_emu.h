// CUDA's device language for a plain C++20 compiler: what our kernels use of it, no more. Every block runs on one OS thread; its threads run
// one after another on one fiber until one has to wait, and only then get fibers of their own. Stricter than the hardware where that
// finds faults: a bare __shared__ does not compile, and barriers must be reached by all threads at one place.
#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#define PUMICE_SIMT_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define SIMT_UNROLL  // the device compiler unrolls; here it would only cost compile time
#define SIMT_UNROLL_BY(n)
#define SIMT_SHARED(type, name, dims)                               \
  using name##_simt_t = type dims;                                  \
  static const char name##_simt_key = 0;                            \
  name##_simt_t& name = *static_cast<name##_simt_t*>(               \
      ::pumice::simt::emu::shared(&name##_simt_key, sizeof(name##_simt_t), #name))
#define SIMT_DYN_SHARED(type, name) type* name = static_cast<type*>(::pumice::simt::emu::dynamic_shared())

// ---- types ----
struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- the running thread ----
inline constinit thread_local uint3 threadIdx{}, blockIdx{};
inline constinit thread_local dim3 blockDim{}, gridDim{};

namespace pumice::simt::emu {

struct Loc {  // std::source_location, which clang 14 lacks; as a default argument it names the caller
  const char* file = "?";
  int line = 0;
  static constexpr Loc current(const char* f = __builtin_FILE(), int l = __builtin_LINE()) { return {f, l}; }
};
enum class Kind : uint8_t { syncwarp, shfl, ballot, match, reduce, mma, ldmatrix };
struct Meeting {  // one warp-wide operation in flight: lanes deposit, the last to arrive combines, all read
  uint32_t mask, arrived, left;
  Kind kind;
  Loc loc;
  Meeting* next;
  alignas(64) unsigned char slot[32][64];
};
void* shared(const void* key, size_t bytes, const char* name);
void* dynamic_shared();
void barrier(Loc);
int barrier_count(bool predicate, Loc);
unsigned lane();
Meeting* arrive(Kind, uint32_t mask, Loc);  // the caller's slot may be written until wait()
bool last(const Meeting*);                  // true for the lane that completes it: combine now, then wait()
void wait(Meeting*);                        // returns when all of the mask have arrived (and combined)
void leave(Meeting*);                       // the caller has read what it wants
[[noreturn]] void fail(const char* what);   // inside a kernel: ends the launch with a KernelError
uint32_t load_for_atomic(uint32_t*);
uint64_t load_for_atomic(uint64_t*);
bool compare_exchange(uint32_t*, uint32_t& old, uint32_t want);
bool compare_exchange(uint64_t*, uint64_t& old, uint64_t want);
struct Mma { float d[4]; uint32_t a[4], b[2]; };
struct LdMatrix { const void* row; uint32_t r[4]; };
void mma_combine(Meeting*);
void ldmatrix_combine(Meeting*, bool transposed);
void ldmatrix_check(const void* row, Loc);
void cp_async(void* dst, const void* src, int bytes, Loc);
void cp_commit();
void cp_wait(int keep);

using Body = void (*)(void*);
struct Config { dim3 grid, block; size_t smem; const char* name; Loc loc; };
void run(const Config&, Body, void* args);
void check_pointer(const void* p, int argument, const Config&);
void count_launch();
bool recording();  // launches are recorded in place of being run
void record(const Config&, Body, std::shared_ptr<void> args);

template <class T, class Combine>
inline T collective(Kind kind, uint32_t mask, T v, Loc loc, Combine combine, unsigned from) {
  static_assert(sizeof(T) <= 64 && std::is_trivially_copyable_v<T>);
  Meeting* m = arrive(kind, mask, loc);
  std::memcpy(m->slot[lane()], &v, sizeof(T));
  if (last(m)) { combine(m); }
  wait(m);
  T r;
  std::memcpy(&r, m->slot[from], sizeof(T));
  leave(m);
  return r;
}
template <class T> inline T from_lane(uint32_t mask, T v, unsigned from, Loc loc) {
  return collective(Kind::shfl, mask, v, loc, [](Meeting*) {}, from);
}
template <class T, class F> inline T read_modify_write(T* p, F f) {
  using U = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  U old = load_for_atomic(reinterpret_cast<U*>(p)), want;
  do { want = std::bit_cast<U>(T(f(std::bit_cast<T>(old)))); } while (!compare_exchange(reinterpret_cast<U*>(p), old, want));
  return std::bit_cast<T>(old);
}

}  // namespace pumice::simt::emu

// ---- synchronisation and warp operations ----
#define SIMT_LOC ::pumice::simt::emu::Loc loc = ::pumice::simt::emu::Loc::current()
#define SIMT_AND_LOC , SIMT_LOC
inline void __syncthreads(SIMT_LOC) { pumice::simt::emu::barrier(loc); }
inline int __syncthreads_count(int p, SIMT_LOC) { return pumice::simt::emu::barrier_count(p != 0, loc); }
inline int __syncthreads_or(int p, SIMT_LOC) { return pumice::simt::emu::barrier_count(p != 0, loc) != 0; }
inline void __syncwarp(unsigned mask = ~0u, SIMT_LOC) {
  using namespace pumice::simt::emu;
  Meeting* m = arrive(Kind::syncwarp, mask, loc);
  wait(m);
  leave(m);
}
template <class T> inline T __shfl_sync(unsigned mask, T v, int source, SIMT_LOC) {
  return pumice::simt::emu::from_lane(mask, v, unsigned(source) & 31, loc);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T v, int bits, SIMT_LOC) {
  return pumice::simt::emu::from_lane(mask, v, pumice::simt::emu::lane() ^ unsigned(bits), loc);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T v, unsigned d, SIMT_LOC) {
  const unsigned l = pumice::simt::emu::lane();
  return pumice::simt::emu::from_lane(mask, v, l >= d ? l - d : l, loc);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T v, unsigned d, SIMT_LOC) {
  const unsigned l = pumice::simt::emu::lane();
  return pumice::simt::emu::from_lane(mask, v, l + d < 32 ? l + d : l, loc);
}
inline unsigned __ballot_sync(unsigned mask, int p, SIMT_LOC) {
  using namespace pumice::simt::emu;
  return collective(Kind::ballot, mask, unsigned(p != 0), loc, [](Meeting* m) {
    unsigned bits = 0, v;
    for (int i = 0; i < 32; ++i) {
      if (m->mask >> i & 1) { std::memcpy(&v, m->slot[i], 4); bits |= v << i; }
    }
    for (auto& slot : m->slot) { std::memcpy(slot, &bits, 4); }
  }, lane());
}
inline int __any_sync(unsigned mask, int p, SIMT_LOC) { return __ballot_sync(mask, p, loc) != 0; }
inline int __all_sync(unsigned mask, int p, SIMT_LOC) { return __ballot_sync(mask, p, loc) == mask; }
template <class T> inline unsigned __match_any_sync(unsigned mask, T v, SIMT_LOC) {
  using namespace pumice::simt::emu;
  struct Pair { T v; unsigned peers; };
  return collective(Kind::match, mask, Pair{v, 0}, loc, [](Meeting* m) {
    Pair all[32];
    for (int i = 0; i < 32; ++i) { std::memcpy(&all[i], m->slot[i], sizeof(Pair)); }
    for (int i = 0; i < 32; ++i) {
      for (int j = 0; j < 32; ++j) {
        if ((m->mask >> i & 1) && (m->mask >> j & 1) && all[j].v == all[i].v) { all[i].peers |= 1u << j; }
      }
      std::memcpy(m->slot[i], &all[i], sizeof(Pair));
    }
  }, lane()).peers;
}
[[noreturn]] inline void __trap() { pumice::simt::emu::fail("__trap()"); }

// ---- atomics: blocks run on several OS threads, so these are real ones ----
template <class T> inline T atomicAdd(T* p, std::type_identity_t<T> v) {
  return pumice::simt::emu::read_modify_write(p, [=](T old) { return T(old + v); });
}
template <class T> inline T atomicMax(T* p, std::type_identity_t<T> v) {
  return pumice::simt::emu::read_modify_write(p, [=](T old) { return old > v ? old : v; });
}
template <class T> inline T atomicExch(T* p, std::type_identity_t<T> v) {
  return pumice::simt::emu::read_modify_write(p, [=](T) { return v; });
}

// ---- maths ----
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(unsigned(x)); }
inline int __ffs(int x) { return x ? std::countr_zero(unsigned(x)) + 1 : 0; }
template <class T> inline T __ldg(const T* p) { return *p; }
template <class A, class B> inline auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(a) < T(b) ? T(a) : T(b);
}
template <class A, class B> inline auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(a) > T(b) ? T(a) : T(b);
}

// ---- launching ----
namespace pumice::simt {

// N bytes that one instruction moves: integers, because the compiler takes small structures apart.
template <int N> struct WordOf;
template <> struct WordOf<1> { typedef uint8_t type; };
template <> struct WordOf<2> { typedef uint16_t type __attribute__((may_alias)); };
template <> struct WordOf<4> { typedef uint32_t type __attribute__((may_alias)); };
template <> struct WordOf<8> { typedef uint64_t type __attribute__((may_alias)); };
template <> struct WordOf<16> { __extension__ typedef unsigned __int128 type __attribute__((may_alias)); };

struct Launch {
  dim3 grid{1}, block{1};
  size_t smem = 0;  // bytes of dynamic shared memory
  emu::Loc loc = emu::Loc::current();
};
namespace emu {
template <auto K, class T, size_t... I> void call(void* args, std::index_sequence<I...>) { K(std::get<I>(*static_cast<T*>(args))...); }
template <auto K, class T, class I> void kernel_body(void* args) { call<K, T>(args, I{}); }
template <auto K> constexpr const char* kernel_name() { return __PRETTY_FUNCTION__; }
template <auto K, class... P> void launch(const Launch& c, void (*)(P...), std::type_identity_t<P>... a) {
  static_assert((std::is_trivially_copyable_v<P> && ...), "kernel arguments are copied bytewise");
  const Config config{c.grid, c.block, c.smem, kernel_name<K>(), c.loc};
  int i = 0;
  ([&] { if constexpr (std::is_pointer_v<P>) { check_pointer(a, i, config); } ++i; }(), ...);
  const Body body = kernel_body<K, std::tuple<P...>, std::make_index_sequence<sizeof...(P)>>;
  count_launch();
  if (recording()) {
    record(config, body, std::make_shared<std::tuple<P...>>(a...));
    return;
  }
  std::tuple<P...> args(a...);
  run(config, body, &args);
}
}  // namespace emu
template <auto K, class... A> void launch(const Launch& c, A&&... a) { emu::launch<K>(c, K, std::forward<A>(a)...); }

// ---- tensor cores and asynchronous copies, as in simt_cuda.h ----
inline void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SIMT_LOC) {
  emu::Mma s;
  std::memcpy(s.d, d, 16);
  std::memcpy(s.a, a, 16);
  std::memcpy(s.b, b, 8);
  s = emu::collective(emu::Kind::mma, ~0u, s, loc, emu::mma_combine, emu::lane());
  std::memcpy(d, s.d, 16);
}
template <bool Transposed> inline void ldmatrix_x4_as(uint32_t (&r)[4], const void* row, emu::Loc loc) {
  emu::ldmatrix_check(row, loc);
  emu::LdMatrix s = emu::collective(emu::Kind::ldmatrix, ~0u, emu::LdMatrix{row, {}}, loc,
                                    [](emu::Meeting* m) { emu::ldmatrix_combine(m, Transposed); }, emu::lane());
  std::memcpy(r, s.r, 16);
}
inline void ldmatrix_x4(uint32_t (&r)[4], const void* row, SIMT_LOC) { ldmatrix_x4_as<false>(r, row, loc); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, SIMT_LOC) { ldmatrix_x4_as<true>(r, row, loc); }
inline void cp_async16(void* dst, const void* src, int src_bytes = 16, SIMT_LOC) { emu::cp_async(dst, src, src_bytes, loc); }
inline void cp_async_commit() { emu::cp_commit(); }
template <int N> inline void cp_async_wait() { emu::cp_wait(N); }

}  // namespace pumice::simt
