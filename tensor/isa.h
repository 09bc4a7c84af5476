// Instruction-set levels of CPU kernels. The level is chosen once, from the CPU's feature bits and PUMICE_ISA; there is no
// inline code here, so nothing compiled for one level can run on another.
#pragma once

namespace pumice {

enum class Isa : unsigned char { portable, avx2, avx512 };
const char* name(Isa isa);

bool built_for(Isa isa);       // compiled into this library
bool machine_has(Isa isa);
Isa active_isa();              // throws UsageError if PUMICE_ISA names a level that is unknown, not built or not supported here
void set_active_isa(Isa isa);  // for tests and benchmarks; same errors

}  // namespace pumice
