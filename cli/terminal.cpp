#include "pumice/cli/terminal.h"

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdarg>
#include <cstdio>

namespace pumice {
namespace {

bool status_shown = false;
volatile std::sig_atomic_t stop_signal = 0;

void on_signal(int signal) {
  if (stop_signal == SIGINT && signal == SIGINT) { _exit(130); }
  stop_signal = signal;
}

}  // namespace

void clear_status() {
  if (status_shown) { std::fputs("\r\033[K", stdout); }
  status_shown = false;
}

void print_line(const std::string& line) {
  clear_status();
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

void print_status(const std::string& line, double seconds) {
  using Clock = std::chrono::steady_clock;
  static Clock::time_point last;
  const bool terminal = isatty(STDOUT_FILENO);
  auto now = Clock::now();
  double wait = terminal ? 0.1 : seconds;
  if (last != Clock::time_point() && std::chrono::duration<double>(now - last).count() < wait) { return; }
  last = now;
  if (!terminal) {
    print_line(line);
    return;
  }
  std::fputs(("\r\033[K" + line).c_str(), stdout);
  std::fflush(stdout);
  status_shown = true;
}

std::string format(const char* pattern, ...) {
  char buffer[1024];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(buffer, sizeof buffer, pattern, arguments);
  va_end(arguments);
  return buffer;
}

std::string human_count(double n) {
  const char* units[] = {"", "k", "M", "G", "T", "P"};
  int unit = 0;
  while (n >= 1000 && unit < 5) {
    n /= 1000;
    ++unit;
  }
  return unit ? format("%.*f%s", n < 10 ? 2 : n < 100 ? 1 : 0, n, units[unit]) : format("%.0f", n);
}

std::string human_bytes(double bytes) {
  if (bytes >= double(1 << 30)) { return format("%.1f GiB", bytes / double(1 << 30)); }
  if (bytes >= double(1 << 20)) { return format("%.0f MiB", bytes / double(1 << 20)); }
  return bytes >= 1024 ? format("%.0f KiB", bytes / 1024) : format("%.0f B", bytes);
}

std::string human_time(double seconds) {
  if (!std::isfinite(seconds)) { return "-"; }
  long s = std::lround(seconds);
  return s >= 3600 ? format("%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60) : format("%ld:%02ld", s / 60, s % 60);
}

std::string percent(double fraction) { return std::isfinite(fraction) ? format("%.1f %%", 100 * fraction) : "-"; }

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}
bool stop_requested() { return stop_signal != 0; }
void clear_stop_request() {
  if (stop_signal == SIGINT) { stop_signal = 0; }
}
int stop_exit_code() { return stop_signal == SIGINT ? 130 : 0; }

}  // namespace pumice
