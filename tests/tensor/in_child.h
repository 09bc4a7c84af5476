// Environment variables are read once per process: in_child() runs f in a fresh process with one of them set and matches what f
// returns, or the error that it throws, with a POSIX regular expression. For test suites named ...DeathTest.
#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "pumice/tensor/error.h"

namespace pumice::testing {

template <class F> void in_child(const char* variable, const char* value, const F& f, const std::string& pattern) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // re-executes the program instead of forking with its threads and statics
  setenv(variable, value, 1);
  auto say = [&] {
    try {
      std::cerr << f();
    } catch (const UsageError& e) {
      std::cerr << "UsageError: " << e.what();
    } catch (const OutOfMemory& e) {
      std::cerr << "OutOfMemory: " << e.what();
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(say(), ::testing::ExitedWithCode(0), pattern);
  unsetenv(variable);
}

}  // namespace pumice::testing
