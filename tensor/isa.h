// Instruction-set levels of CPU kernels. The level is chosen once, from the CPU's feature bits and PUMICE_ISA; there is no
// inline code here, so nothing compiled for one level can run on another.
#pragma once

namespace pumice {

// The levels behind avx512 have its kernels and differ in matrix products of bf16: of pairs (avx512_bf16), by Intel's matrix units (amx), or by plain
// loops that do what those would (amx_emulated: slow, for tests).
enum class Isa : unsigned char { portable, avx2, avx512, avx512_bf16, amx, amx_emulated };
inline constexpr Isa kAllIsas[] = {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx, Isa::amx_emulated};
const char* name(Isa isa);

bool built_for(Isa isa);       // compiled into this library
bool machine_has(Isa isa);
// The best level that this CPU has, but avx512_bf16 only on AMD's: Intel's cores take four times as long for a pair product as for an f32 one. amx has
// never met such a CPU and is used only where PUMICE_ISA asks for it.
Isa active_isa();              // throws UsageError if PUMICE_ISA names a level that is unknown, not built or not supported here
void set_active_isa(Isa isa);  // for tests and benchmarks; same errors

}  // namespace pumice
