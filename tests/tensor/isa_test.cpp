#include "pumice/tensor/isa.h"

#include "../message_of.h"
#include "in_child.h"

namespace pumice {
namespace {

using testing::message_of;

TEST(Isa, PortableIsAlwaysThere) {
  EXPECT_TRUE(built_for(Isa::portable));
  EXPECT_TRUE(machine_has(Isa::portable));
}

TEST(Isa, EveryLevelEitherBecomesActiveOrSaysWhyNot) {
  const Isa best = active_isa();
  EXPECT_TRUE(built_for(best) && machine_has(best));
  for (Isa isa : kAllIsas) {
    if (!built_for(isa)) {
      EXPECT_EQ(message_of<UsageError>([&] { set_active_isa(isa); }),
                concat_text("[isa] this build has no ", name(isa), " kernels; PUMICE_ISA_LEVELS chooses them at build time"));
    } else if (!machine_has(isa)) {
      EXPECT_EQ(message_of<UsageError>([&] { set_active_isa(isa); }),
                concat_text("[isa] this CPU does not support ", name(isa), "; unset PUMICE_ISA to use the best level it has"));
    } else {
      set_active_isa(isa);
      EXPECT_EQ(active_isa(), isa);
      if (isa <= Isa::avx512) { EXPECT_LE(int(isa), int(best)) << "the best usable level is chosen"; }  // those behind it by what is known of them
    }
  }
  set_active_isa(best);
}

TEST(IsaDeathTest, EnvironmentForcesALevel) {
  testing::in_child("PUMICE_ISA", "portable", [] { return std::string(name(active_isa())); }, "^portable");
}

TEST(IsaDeathTest, AnUnknownLevelIsNamed) {
  testing::in_child("PUMICE_ISA", "sse9", [] { return std::string(name(active_isa())); },
                    "UsageError: \\[isa\\] PUMICE_ISA must be portable, avx2, avx512, avx512_bf16, amx or amx_emulated, got 'sse9'");
}

}  // namespace
}  // namespace pumice
