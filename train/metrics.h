// metrics.jsonl: one JSON object per logged step, appended and flushed. A resumed run cuts the file back to its checkpoint first,
// so the file reads as if the run had never been stopped.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "pumice/train/run.h"

namespace pumice {

class MetricsFile {
 public:
  // Opens `path`, cut to `keep_bytes` (0 starts afresh). Throws IoError, or FormatError if the file is shorter than that.
  MetricsFile(const std::string& path, int64_t keep_bytes);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;
  void write(const std::string& line);  // with its line end
  int64_t bytes() const { return bytes_; }

 private:
  std::string path_;
  int fd_ = -1;
  int64_t bytes_ = 0;
};

// A line with the values given, those of every training and the layers' statistics. NaN and infinities are written as the strings "nan", "inf"
// and "-inf": JSON has no numbers for them.
using NamedValues = std::vector<std::pair<std::string, double>>;
std::string metrics_line(const StepMetrics& metrics, const NamedValues& values);
// {"message": text}, without a line end.
std::string message_line(const std::string& text);

}  // namespace pumice
