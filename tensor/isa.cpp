#include "pumice/tensor/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>

#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"

namespace pumice {
namespace {

void require_usable(Isa isa) {
  REQUIRE(UsageError, built_for(isa), "[isa] this build has no ", name(isa), " kernels; PUMICE_ISA_LEVELS chooses them at build time");
  REQUIRE(UsageError, machine_has(isa), "[isa] this CPU does not support ", name(isa), "; unset PUMICE_ISA to use the best level it has");
}

#if defined(__x86_64__)
// AMX with bf16, and an operating system that lets this process have the tile registers.
bool has_matrix_units() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kBf16) == 0 || (d & kTile) == 0) { return false; }
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}
#endif

bool worthwhile(Isa isa) {
#if defined(__x86_64__)
  return isa <= Isa::avx512 || (isa == Isa::avx512_bf16 && __builtin_cpu_is("amd"));
#else
  return true;
#endif
}

Isa choose() {
  std::string wanted = flags::isa();
  for (Isa isa : kAllIsas) {
    if (wanted == name(isa)) {
      require_usable(isa);
      return isa;
    }
  }
  REQUIRE(UsageError, wanted.empty(), "[isa] PUMICE_ISA must be portable, avx2, avx512, avx512_bf16, amx or amx_emulated, got '", wanted, "'");
  Isa best = Isa::portable;
  for (Isa isa : kAllIsas) {
    if (built_for(isa) && machine_has(isa) && worthwhile(isa)) { best = isa; }
  }
  return best;
}

std::atomic<int> active{-1};

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::portable: return "portable";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512_bf16: return "avx512_bf16";
    case Isa::amx: return "amx";
    case Isa::amx_emulated: return "amx_emulated";
  }
  return "?";
}

bool built_for(Isa isa) {
  switch (isa) {
#ifdef PUMICE_HAVE_AVX2
    case Isa::avx2: return true;
#endif
#ifdef PUMICE_HAVE_AVX512
    case Isa::avx512: case Isa::avx512_bf16: case Isa::amx: case Isa::amx_emulated: return true;
#endif
    default: return isa == Isa::portable;
  }
}

bool machine_has(Isa isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == Isa::amx) { return has_matrix_units() && machine_has(Isa::avx512); }
  if (isa == Isa::amx_emulated) { return machine_has(Isa::avx512); }
  if (isa == Isa::avx512_bf16) { return __builtin_cpu_supports("avx512bf16") && machine_has(Isa::avx512); }
  if (isa == Isa::avx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && machine_has(Isa::avx2);
  }
  if (isa == Isa::avx2) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"); }
#endif
  return isa == Isa::portable;
}

Isa active_isa() {
  int isa = active.load(std::memory_order_relaxed);
  if (isa < 0) {
    isa = int(choose());
    active.store(isa, std::memory_order_relaxed);
  }
  return Isa(isa);
}

void set_active_isa(Isa isa) {
  require_usable(isa);
  active.store(int(isa), std::memory_order_relaxed);
}

}  // namespace pumice
