// message_of<ShapeError>([&] { softmax(x); }) is the text of the error that is thrown; a different error, or none, is a failure.
#pragma once
#include <gtest/gtest.h>

#include <string>

#include "pumice/tensor/error.h"

namespace pumice::testing {

template <class ErrorType, class F> std::string message_of(const F& f) {
  try {
    f();
  } catch (const ErrorType& e) {
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "threw another type of error: " << e.what();
    return "";
  }
  ADD_FAILURE() << "threw nothing";
  return "";
}

}  // namespace pumice::testing
