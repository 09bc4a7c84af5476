#include <chrono>
#include <cmath>
#include <cstdio>

#include "pumice/autograd/node.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"

namespace pumice {
namespace {

thread_local bool checking = false;

struct Range { double low = INFINITY, high = -INFINITY, sum = 0; int64_t bad = -1; };

Range range_of(const Tensor& t) {
  Range r;
  std::vector<double> values = t.to_vector<double>();
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      if (r.bad < 0) { r.bad = int64_t(i); }
      continue;
    }
    r.low = std::min(r.low, values[i]);
    r.high = std::max(r.high, values[i]);
    r.sum += values[i];
  }
  return r;
}

std::string index_text(int64_t flat, const Shape& shape) {
  Shape index = shape;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    index[i] = flat % shape[i];
    flat /= shape[i];
  }
  return concat_text(index);
}

}  // namespace

ValueCheck::ValueCheck() : previous_(checking) { checking = true; }
ValueCheck::~ValueCheck() { checking = previous_; }
bool value_check_enabled() { return checking; }

void require_finite(const char* op, const char* what, const Tensor& t, const std::vector<Tensor>& inputs) {
  if (!t.defined() || !is_float(t.dtype())) { return; }
  Range r = range_of(t);
  if (r.bad < 0) { return; }
  std::ostringstream ranges;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined() || !is_float(inputs[i].dtype())) { continue; }
    Range in = range_of(inputs[i]);
    ranges << "; input " << i << " " << inputs[i].shape() << " lies in [" << in.low << ", " << in.high << "]" << (in.bad >= 0 ? " and is not finite itself" : "");
  }
  throw NumericError(concat_text("[", op, "] ", what, " made ", t.to_vector<double>()[r.bad], " at ", index_text(r.bad, t.shape()),
                                 " of ", t.shape(), ranges.str()));
}

void debug_op(const char* op, const std::vector<Tensor>& outputs) {
  static thread_local auto last = std::chrono::steady_clock::now();
  auto now = std::chrono::steady_clock::now();
  double us = std::chrono::duration<double, std::micro>(now - last).count();
  std::ostringstream line;
  line << "[" << op << "]";
  for (const Tensor& y : outputs) {
    if (flags::debug() >= 2) { line << " " << name(y.dtype()) << " " << y.shape(); }
    if (flags::debug() >= 3 && is_float(y.dtype()) && y.size()) {
      Range r = range_of(y);
      line << " in [" << r.low << ", " << r.high << "] mean " << r.sum / double(y.size()) << (r.bad >= 0 ? " NOT FINITE" : "");
    }
  }
  if (flags::debug() >= 2) { line << " " << int64_t(us) << " us"; }
  std::fprintf(stderr, "%s\n", line.str().c_str());
  last = std::chrono::steady_clock::now();
}

}  // namespace pumice
