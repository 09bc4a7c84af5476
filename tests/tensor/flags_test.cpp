#include "pumice/tensor/flags.h"

#include "pumice/tensor/parallel.h"
#include "in_child.h"

namespace pumice {
namespace {

TEST(Flags, EveryFlagHasNameDefaultAndHelp) {
  EXPECT_GE(flags::all().size(), 5u);
  for (const flags::Flag& flag : flags::all()) {
    EXPECT_EQ(std::string(flag.name).rfind("PUMICE_", 0), 0u) << flag.name;
    EXPECT_GT(std::string(flag.help).size(), 10u) << flag.name;
  }
}

TEST(Flags, AnEmptyVariableIsTheDefault) {
  const flags::Flag flag{"PUMICE_TEST_ONLY", "7", "a variable that only this test reads"};
  EXPECT_EQ(flags::value_of(flag), "7");
  setenv("PUMICE_TEST_ONLY", "", 1);
  EXPECT_EQ(flags::value_of(flag), "7");
  setenv("PUMICE_TEST_ONLY", "9", 1);
  EXPECT_EQ(flags::value_of(flag), "9");
  unsetenv("PUMICE_TEST_ONLY");
}

std::string count_threads() { return concat_text(thread_count(), " threads"); }

TEST(FlagsDeathTest, ThreadsSetsTheSizeOfThePool) { testing::in_child("PUMICE_THREADS", "3", count_threads, "^3 threads"); }

TEST(FlagsDeathTest, ValuesThatAreNoNumberAreNamed) {
  for (const char* bad : {"two", "-1", "3x", "1025", "99999999999999999999"}) {
    testing::in_child("PUMICE_THREADS", bad, count_threads,
                      concat_text("UsageError: \\[flags\\] PUMICE_THREADS must be an integer from 0 to 1024, got '", bad,
                                  "' \\(compute threads; 0 = one per core\\)"));
  }
}

TEST(FlagsDeathTest, DebugIsALadderOfFour) {
  testing::in_child("PUMICE_DEBUG", "5", [] { return std::to_string(flags::debug()); },
                    "UsageError: \\[flags\\] PUMICE_DEBUG must be an integer from 0 to 4, got '5'");
}

}  // namespace
}  // namespace pumice
