// Typed errors. Every misuse of the library ends in one of these; nothing aborts, exits or prints.
//
//   REQUIRE(ShapeError, w.dim(0) == c, "[layer_norm] w must be (C) = (", c, "), got w ", w.shape(), ": pass the module's own weight");
//
// The text reads "[where] what is required, what was given, what to do". The message is built only on failure.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace pumice {

struct Error : std::runtime_error {
  Error(const std::string& message, const char* file, int line) : std::runtime_error(message), file(file), line(line) {}
  explicit Error(const std::string& message) : Error(message, "", 0) {}
  const char* file;  // where in Pumice the check stands; shown with --verbose
  int line;
};
struct ShapeError : Error { using Error::Error; };     // sizes that do not fit together
struct DTypeError : Error { using Error::Error; };     // an element type the op does not take
struct DeviceError : Error { using Error::Error; };    // operands on different devices, or a device that is not there
struct KernelMissing : DeviceError {                     // an op that a device has no kernel for
  KernelMissing(const std::string& message, const char* kernel) : DeviceError(message), kernel(kernel) {}
  const char* kernel;
};
struct OutOfMemory : Error { using Error::Error; };    // carries a table of who holds what
struct KernelError : Error { using Error::Error; };     // a device kernel broke a rule: a race, an access out of bounds, a lost barrier
struct NumericError : Error { using Error::Error; };   // NaN or infinity where a finite number is required
struct AutogradError : Error { using Error::Error; };  // a graph used in a way it cannot be
struct IoError : Error { using Error::Error; };        // the operating system said no: missing, unreadable, full
struct FormatError : Error { using Error::Error; };    // a file or value that breaks its format
struct UsageError : Error { using Error::Error; };     // a flag, name or option that does not exist or does not fit

// "a, b and 3 more" style concatenation of anything with operator<<.
template <class... Parts>
std::string concat_text(const Parts&... parts) {
  std::ostringstream s;
  (s << ... << parts);
  return s.str();
}

}  // namespace pumice

#define REQUIRE(ErrorType, condition, ...)                                                                        \
  do {                                                                                                            \
    if (!(condition)) { throw ::pumice::ErrorType(::pumice::concat_text(__VA_ARGS__), __FILE__, __LINE__); }      \
  } while (false)
