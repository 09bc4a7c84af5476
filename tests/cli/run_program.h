// Runs the `pumice` program as a user types it.
#pragma once
#include <sys/wait.h>

#include <cstdio>
#include <string>

namespace pumice::testing {

struct Outcome {
  int code;
  std::string text;  // stdout and stderr together
};

// `before` is shell text in front, such as "printf 'hello' | ".
inline Outcome run(const std::string& arguments, const std::string& before = "") {
  FILE* pipe = popen((before + "'" PUMICE_PROGRAM "' " + arguments + " 2>&1").c_str(), "r");
  std::string text;
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) { text.append(buffer, n); }
  int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

inline bool holds(const Outcome& o, const std::string& part) { return o.text.find(part) != std::string::npos; }

}  // namespace pumice::testing
