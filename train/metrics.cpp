#include "pumice/train/metrics.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "pumice/tensor/error.h"

namespace pumice {
namespace {

using Json = nlohmann::ordered_json;

Json number(double x) {
  if (std::isnan(x)) { return "nan"; }
  if (std::isinf(x)) { return x > 0 ? "inf" : "-inf"; }
  return x;
}

}  // namespace

std::string metrics_line(const StepMetrics& m, const NamedValues& values) {
  Json j;
  j["step"] = m.step;
  j["epoch"] = number(m.epoch);
  j["loss"] = number(m.loss);
  j["aux"] = number(m.aux);
  j["chance"] = number(m.chance);
  j["lr"] = number(m.learning_rate);
  j["gradient_norm"] = number(m.gradient_norm);
  for (const auto& [name, value] : values) { j[name] = number(value); }
  for (const LayerReport& layer : m.layers) {
    const std::string prefix = layer.tower + (layer.tower.empty() ? "block" : "_block") + std::to_string(layer.block) + "/";
    for (const auto& [name, value] : layer.losses) { j[prefix + "loss/" + name] = number(value); }
    for (const auto& [name, value] : layer.stats.values()) { j[prefix + name] = number(value); }
  }
  return j.dump() + "\n";
}

std::string message_line(const std::string& text) { return Json{{"message", text}}.dump(-1, ' ', false, Json::error_handler_t::replace); }

MetricsFile::MetricsFile(const std::string& path, int64_t keep_bytes) : path_(path) {
  fd_ = open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
  REQUIRE(IoError, fd_ >= 0, "[metrics] ", path, " cannot be opened: ", std::strerror(errno));
  struct stat info;
  bool known = fstat(fd_, &info) == 0;
  REQUIRE(FormatError, known && info.st_size >= keep_bytes, "[metrics] ", path, " has ", info.st_size,
          " bytes but the checkpoint was saved when it had ", keep_bytes, ": it is not the file of this run");
  REQUIRE(IoError, ftruncate(fd_, keep_bytes) == 0, "[metrics] ", path, " cannot be cut back: ", std::strerror(errno));
  bytes_ = keep_bytes;
}

MetricsFile::~MetricsFile() { close(fd_); }

void MetricsFile::write(const std::string& line) {
  size_t done = 0;
  while (done < line.size()) {
    ssize_t n = ::write(fd_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) { continue; }
    REQUIRE(IoError, n > 0, "[metrics] ", path_, " cannot be written: ", std::strerror(errno));
    done += size_t(n);
  }
  bytes_ += int64_t(line.size());
}

}  // namespace pumice
