// What the program prints: plain lines into files and pipes, one refreshed line on a terminal. NO_COLOR is respected by never
// using colour.
#pragma once
#include <cstdint>
#include <string>

namespace pumice {

// A line that stays.
void print_line(const std::string& line);
// A status line: refreshed in place on a terminal, printed at most every `seconds` elsewhere. clear_status() removes it.
void print_status(const std::string& line, double seconds = 30);
void clear_status();

std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));
std::string human_count(double n);     // 1234567 -> "1.23M"
std::string human_bytes(double bytes); // "1.5 GiB"
std::string human_time(double seconds);  // "1:02:03", "2:03"
std::string percent(double fraction);  // "12.3 %", "-" for NaN

// SIGINT and SIGTERM set a flag that trainers poll; a second SIGINT ends the program at once.
void catch_stop_signals();
bool stop_requested();
void clear_stop_request();  // what Ctrl-C was to stop has ended; SIGTERM stays
int stop_exit_code();  // 130 after SIGINT, 0 after SIGTERM

}  // namespace pumice
