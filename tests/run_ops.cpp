// run_ops [test|cuda|perf|cuda-perf|list] [substring]
// run_ops dump|compare FILE [substring]
//   test   forward against the f64 reference in f64, f32 and bf16 at every instruction-set level of this machine; numeric
//          gradcheck in f64; gradients of every element type and level against the f64 gradients; offset, transposed and expanded
//          inputs; one and two threads give the same bits; no tensor leaks
//   cuda   the same op on the CUDA device, a card or the SIMT emulator, f32 and bf16: forward, gradients, layouts. Cases
//          that need a kernel defined without a CUDA form (PUMICE_DEFINE_CPU_KERNEL) are left out and counted
//   dump   writes what the CUDA device gives, in f32 and bf16: outputs and gradients. compare runs the same cases and holds their results against
//          such a file, for example the emulator's against a card's: where bits differ, by no more than the tolerance of the case
//   perf   time per call, GB/s and GFLOP/s of the forward pass in f32; cuda-perf the same on the CUDA device, in f32 and bf16
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>

#include "pumice/autograd/autograd.h"
#include "pumice/autograd/gradcheck.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/rng.h"
#include "op_case.h"
#include "op_results.h"

namespace pumice::testing {

std::vector<OpCase>& op_cases() {
  static std::vector<OpCase> all;
  return all;
}

Tolerance tolerance_of(DType dtype) {
  switch (dtype) {
    case DType::f64: return {1e-11, 1e-10};
    case DType::bf16: return {1e-2, 1.6e-2};
    default: return {1e-5, 1e-5};
  }
}

namespace {

Tolerance case_tolerance(const OpCase& c, DType dtype) {
  if (c.exact) { return {0, 0}; }
  const Tolerance t = tolerance_of(dtype);
  return {t.atol * c.widen, t.rtol * c.widen};
}

constexpr uint64_t kSeed = 20260601;
// Elements of each input that the numeric gradcheck moves. A sanitizer looks at memory, which they all touch alike.
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kGradcheckElements = 16;
#else
constexpr int64_t kGradcheckElements = GradcheckOptions{}.max_elements;
#endif

// The type that input i has when the op runs in `dtype`.
DType dtype_in(const Input& input, DType dtype) {
  if (input.dtype != DType::f64) { return input.dtype; }
  return input.parameter && dtype == DType::bf16 ? DType::f32 : dtype;
}

Tensor make(const Input& input, size_t index) {
  if (!input.values.empty()) { return to_dtype(from_values<double>(input.shape, input.values), input.dtype); }
  RandomKey key{.seed = kSeed, .site = uint32_t(index)};
  if (is_float(input.dtype)) { return to_dtype(random_uniform_tensor(input.shape, input.low, input.high, key), input.dtype); }
  Tensor t = random_uniform_tensor(input.shape, input.low, input.high, key);
  std::vector<double> v = t.to_vector<double>();
  for (double& x : v) { x = std::floor(x); }
  return to_dtype(from_values<double>(input.shape, v), input.dtype);
}

// Rounds through `dtype` and back, so that the reference sees what the op sees.
std::vector<Tensor> rounded(const OpCase& c, const std::vector<Tensor>& inputs, DType dtype) {
  std::vector<Tensor> out;
  for (size_t i = 0; i < inputs.size(); ++i) { out.push_back(to_dtype(to_dtype(inputs[i], dtype_in(c.inputs[i], dtype)), inputs[i].dtype())); }
  return out;
}

std::vector<Tensor> converted(const OpCase& c, const std::vector<Tensor>& inputs, DType dtype) {
  std::vector<Tensor> out;
  for (size_t i = 0; i < inputs.size(); ++i) { out.push_back(to_dtype(inputs[i], dtype_in(c.inputs[i], dtype))); }
  return out;
}

std::string compare(const std::vector<double>& got, const std::vector<double>& want, Tolerance t) {
  if (got.size() != want.size()) { return concat_text("has ", got.size(), " elements, the reference ", want.size()); }
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) { continue; }  // infinities included
    double excess = std::abs(got[i] - want[i]) / (t.atol + t.rtol * std::abs(want[i]) + 1e-300);
    if (!(excess <= worst)) {
      worst = std::isnan(excess) ? INFINITY : excess;
      at = i;
    }
  }
  if (worst <= 1) { return ""; }
  return concat_text("element ", at, " is ", got[at], ", want ", want[at], " (", worst, " times the tolerance)");
}

struct Run {
  std::vector<std::vector<double>> outputs, gradients;  // gradients: one per input, empty where there is none
  std::string error;
};

// Few significant bits, so that it is the same number in every element type.
Tensor cotangent(const Tensor& y, size_t index) {
  Tensor few_bits = to_dtype(random_uniform_tensor(y.shape(), -1, 1, {.seed = kSeed + 1, .site = uint32_t(index)}), DType::bf16);
  return to_device(to_dtype(few_bits, y.dtype()), y.device());
}

Run run(const OpCase& c, const std::vector<Tensor>& inputs) {
  Run r;
  std::vector<Tensor> leaves;
  for (size_t i = 0; i < inputs.size(); ++i) {
    bool leaf = c.gradient && is_float(inputs[i].dtype()) && c.inputs[i].differentiable;
    leaves.push_back(leaf ? requires_grad(inputs[i]) : inputs[i]);
  }
  std::vector<Tensor> y = c.run(leaves), used, dy;
  for (size_t k = 0; k < y.size(); ++k) {
    r.outputs.push_back(y[k].to_vector<double>());
    if (c.gradient && is_float(y[k].dtype()) && needs_grad(y[k])) {
      used.push_back(y[k]);
      dy.push_back(cotangent(y[k], k));
    }
  }
  y.clear();
  if (!c.gradient) { return r; }
  if (used.empty()) { r.error = "no output has a graph although the op has a gradient"; return r; }
  backward(used, dy);
  for (const Tensor& x : leaves) {
    if (!needs_grad(x)) { r.gradients.emplace_back(); continue; }
    if (!grad(x).defined()) { r.error = concat_text("input ", r.gradients.size(), " got no gradient"); return r; }
    r.gradients.push_back(grad(x).to_vector<double>());
  }
  return r;
}

std::string compare_runs(const Run& got, const std::vector<std::vector<double>>& want, const std::vector<std::vector<double>>& want_gradients,
                         Tolerance t) {
  if (!got.error.empty()) { return got.error; }
  if (got.outputs.size() != want.size()) { return concat_text("returns ", got.outputs.size(), " outputs, the reference ", want.size()); }
  for (size_t k = 0; k < want.size(); ++k) {
    std::string e = compare(got.outputs[k], want[k], t);
    if (!e.empty()) { return concat_text("output ", k, " ", e); }
  }
  for (size_t k = 0; k < want_gradients.size(); ++k) {
    std::string e = compare(got.gradients[k], want_gradients[k], t);
    if (!e.empty()) { return concat_text("gradient of input ", k, " ", e); }
  }
  return "";
}

// The same values at an odd offset of a larger array, with the last two axes stored transposed, or expanded from length 1.
Tensor offset_copy(const Tensor& t) {
  Tensor big = zeros({t.size() + 3}, t.dtype(), t.device());
  Tensor view = big.as_strided(t.shape(), contiguous_strides(t.shape()), 3);
  copy_into(view, t);
  return view;
}
Tensor transposed_copy(const Tensor& t) {
  if (t.rank() < 2) { return t; }
  Tensor stored = packed(t.transpose(-1, -2));
  return stored.transpose(-1, -2);
}
Tensor strided_copy(const Tensor& t) {  // every second element of the last axis of a wider array
  if (t.rank() < 1) { return t; }
  Shape wide = t.shape();
  wide[t.rank() - 1] *= 2;
  Tensor big = zeros(wide, t.dtype(), t.device());
  Shape strides = big.strides();
  strides[t.rank() - 1] = 2;
  Tensor view = big.as_strided(t.shape(), strides, 0);
  copy_into(view, t);
  return view;
}

std::vector<Isa> levels() {
  std::vector<Isa> out;
  for (Isa isa : kAllIsas) {
    const bool asked = isa != Isa::amx || flags::isa() == "amx";  // until it has been proved on such a CPU
    if (asked && built_for(isa) && machine_has(isa)) { out.push_back(isa); }
  }
  return out;
}

std::string check_layouts(const OpCase& c, const std::vector<Tensor>& inputs, const Run& plain, Tolerance t) {
  using Layout = Tensor (*)(const Tensor&);
  const std::pair<const char*, Layout> layouts[] = {{"offset", offset_copy}, {"transposed", transposed_copy}, {"strided", strided_copy}};
  for (auto& [what, layout] : layouts) {
    if (!c.strided_inputs && layout != offset_copy) { continue; }
    std::vector<Tensor> view;
    for (const Tensor& x : inputs) { view.push_back(layout(x)); }
    std::string e = compare_runs(run(c, view), plain.outputs, plain.gradients, t);
    if (!e.empty()) { return concat_text(what, " inputs: ", e); }
  }
  return "";
}

bool expands(const Tensor& x) { return x.rank() > 0 && x.dim(0) > 1 && is_float(x.dtype()); }

// Inputs expanded from length 1 along their first axis, each in turn or all at once: equal to packed tensors of the repeated values.
std::string check_expanded(const OpCase& c, const std::vector<Tensor>& inputs, bool all_at_once, Tolerance t) {
  if (!c.strided_inputs) { return ""; }
  std::vector<Tensor> view = inputs, copy = inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!expands(inputs[i])) { continue; }
    view[i] = inputs[i].slice(0, 0, 1).expand(inputs[i].shape());
    copy[i] = packed(view[i]);
    if (all_at_once && std::any_of(inputs.begin() + long(i) + 1, inputs.end(), expands)) { continue; }
    Run want = run(c, copy);
    std::string e = compare_runs(run(c, view), want.outputs, want.gradients, t);
    if (!e.empty()) { return concat_text(all_at_once ? "all inputs up to " : "input ", i, " expanded: ", e); }
    if (!all_at_once) { view[i] = copy[i] = inputs[i]; }
  }
  return "";
}

std::string test(const OpCase& c) {
  if (!c.reference) { return "has no reference"; }
  if (c.widen != 1 && c.why_widened.empty()) { return "widens the tolerance without saying why"; }
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < c.inputs.size(); ++i) { inputs.push_back(make(c.inputs[i], i)); }

  if (c.gradient) {
    auto differentiable = [&](const std::vector<Tensor>& x) {
      std::vector<Tensor> mixed = x;
      for (size_t i = 0; i < x.size(); ++i) { if (!c.inputs[i].differentiable) { mixed[i] = inputs[i]; } }
      return c.run(mixed);
    };
    std::vector<Tensor> checked(inputs.size());  // copies, because gradcheck moves elements in place
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!c.inputs[i].differentiable || !is_float(inputs[i].dtype())) { continue; }
      checked[i] = empty_like(inputs[i]);
      copy_into(checked[i], inputs[i]);
    }
    GradcheckResult g = gradcheck(differentiable, checked, {.tolerance = c.gradcheck_tolerance, .max_elements = kGradcheckElements});
    if (!g.ok) { return concat_text("gradcheck off by ", g.worst, ": ", g.message); }
  }

  std::vector<DType> dtypes = {DType::f64, DType::f32};
  if (c.bf16) { dtypes.push_back(DType::bf16); }
  const Isa best = active_isa();
  for (DType dtype : dtypes) {
    const Tolerance t = case_tolerance(c, dtype);
    std::vector<Tensor> seen = rounded(c, inputs, dtype), given = converted(c, inputs, dtype);
    std::vector<std::vector<double>> want = c.reference(seen);
    Run exact = run(c, seen);  // f64 gradients, themselves checked numerically above
    if (!exact.error.empty()) { return exact.error; }
    for (Isa isa : levels()) {
      set_active_isa(isa);
      Run got = run(c, given);
      std::string e = compare_runs(got, want, exact.gradients, t);
      if (e.empty()) { e = check_layouts(c, given, got, t); }
      if (e.empty()) { e = check_expanded(c, given, false, t); }
      if (e.empty() && thread_count() == 1) {
        set_thread_count(2);
        Run threaded = run(c, given);
        set_thread_count(1);
        e = compare_runs(threaded, got.outputs, got.gradients, {0, 0});
        if (!e.empty()) { e = "two threads give other bits than one: " + e; }
      }
      set_active_isa(best);
      if (!e.empty()) { return concat_text(name(dtype), " ", name(isa), ": ", e); }
    }
  }
  return "";
}

// What the case gives on the CUDA device from the inputs that every run of it has.
OpResult result_of(const OpCase& c, DType dtype) {
  std::vector<Tensor> inputs, given;
  for (size_t i = 0; i < c.inputs.size(); ++i) { inputs.push_back(make(c.inputs[i], i)); }
  for (const Tensor& x : converted(c, inputs, dtype)) { given.push_back(to_device(x, Device::cuda())); }
  Run r = run(c, given);
  REQUIRE(Error, r.error.empty(), r.error);
  OpResult result{c.name, dtype, std::move(r.outputs)};
  result.arrays.insert(result.arrays.end(), r.gradients.begin(), r.gradients.end());
  return result;
}

class Comparison {  // of this device's results with those of a file
 public:
  explicit Comparison(const std::vector<OpResult>& others) {
    for (const OpResult& r : others) { others_[{r.name, r.dtype}] = &r; }
  }
  // Empty, or what is wrong.
  std::string add(const OpCase& c, const OpResult& mine) {
    const auto found = others_.find({c.name, mine.dtype});
    if (found == others_.end()) { return "is not in the file"; }
    const auto& theirs = found->second->arrays;
    if (theirs.size() != mine.arrays.size()) { return concat_text("gives ", mine.arrays.size(), " tensors, in the file are ", theirs.size()); }
    const Tolerance t = case_tolerance(c, mine.dtype);
    bool same = true;
    for (size_t k = 0; k < theirs.size(); ++k) {
      const std::string e = compare(mine.arrays[k], theirs[k], t);
      if (!e.empty()) { return concat_text("tensor ", k, " ", e); }
      same &= mine.arrays[k] == theirs[k];
    }
    ++(same ? same_ : close_);
    return "";
  }
  void print() const { std::printf("%d results have the bits of the file, %d are within the tolerance of their case\n", same_, close_); }

 private:
  std::map<std::pair<std::string, DType>, const OpResult*> others_;
  int same_ = 0, close_ = 0;
};

// On the CUDA device, a card or the emulator: forward against the reference, gradients against those of the CPU in f64.
std::string test_on_cuda(const OpCase& c) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < c.inputs.size(); ++i) { inputs.push_back(make(c.inputs[i], i)); }
  for (DType dtype : {DType::f32, DType::bf16}) {
    if (dtype == DType::bf16 && !c.bf16) { continue; }
    const Tolerance t = case_tolerance(c, dtype);
    std::vector<Tensor> seen = rounded(c, inputs, dtype), given;
    for (const Tensor& x : converted(c, inputs, dtype)) { given.push_back(to_device(x, Device::cuda())); }
    Run got = run(c, given);
    std::string e = compare_runs(got, c.reference(seen), run(c, seen).gradients, t);
    if (e.empty()) { e = check_layouts(c, given, got, t); }
    if (e.empty()) { e = check_expanded(c, given, true, t); }  // each in turn on the CPU, where a run costs less
    if (!e.empty()) { return concat_text(name(dtype), " cuda: ", e); }
  }
  return "";
}

// A fault of a kernel ends the use of a card by the process.
bool device_is_lost() {
  try {
    cuda_device::synchronize();
    return false;
  } catch (const DeviceError&) {
    return true;
  }
}

// The bytes of a case are those of f32: in bf16, half of them, as if everything were bf16.
void perf(const OpCase& c, Device device, DType dtype) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    inputs.push_back(to_device(to_dtype(make(c.inputs[i], i), dtype_in(c.inputs[i], dtype)), device));
  }
  NoGrad no_grad;
  using Clock = std::chrono::steady_clock;
  auto seconds = [&](int64_t calls) {
    auto start = Clock::now();
    for (int64_t i = 0; i < calls; ++i) { c.run(inputs); }
    cuda_device::synchronize();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  double once = seconds(3) / 3;
  int64_t calls = std::max<int64_t>(1, int64_t(0.05 / std::max(once, 1e-7)));
  double s = INFINITY;
  for (int round = 0; round < 5; ++round) { s = std::min(s, seconds(calls) / double(calls)); }
  const double bytes = dtype == DType::bf16 ? c.bytes / 2 : c.bytes;
  std::printf("%-48s %-4s %10.2f us %8.2f GB/s %8.2f GFLOP/s\n", c.name.c_str(), name(dtype), s * 1e6, bytes / s / 1e9, c.flops / s / 1e9);
}

struct Totals {
  int ran = 0, failed = 0, left_out = 0;
  std::set<std::string> missing;  // kernels that are defined without a CUDA form
};

// Runs `check` on every case whose name holds `pick`; it gives an error or nothing.
Totals check_all(const std::string& pick, bool on_cuda, const std::function<std::string(const OpCase&)>& check) {
  Totals totals;
  for (const OpCase& c : op_cases()) {
    if (c.name.find(pick) == std::string::npos) { continue; }
    const int64_t before = Tensor::live_count();
    std::string error;
    try {
      error = check(c);
    } catch (const KernelMissing& e) {
      totals.missing.insert(e.kernel);
      ++totals.left_out;
      continue;
    } catch (const std::exception& e) {
      error = concat_text("threw: ", e.what());
    }
    if (error.empty() && Tensor::live_count() != before) { error = concat_text("leaked ", Tensor::live_count() - before, " tensors"); }
    ++totals.ran;
    if (!error.empty()) {
      ++totals.failed;
      std::printf("FAIL %s: %s\n", c.name.c_str(), error.c_str());
    }
    if (on_cuda && device_is_lost()) {
      std::printf("the device is lost, so the cases after this one were not run\n");
      break;
    }
  }
  for (const std::string& n : totals.missing) { std::printf("no CUDA kernel: %s\n", n.c_str()); }
  if (totals.left_out) { std::printf("%d cases left out for want of a kernel\n", totals.left_out); }
  std::printf("%d passed, %d failed (seed %llu)\n", totals.ran - totals.failed, totals.failed, static_cast<unsigned long long>(kSeed));
  return totals;
}

void perf_all(const std::string& pick, Device device) {
  for (const OpCase& c : op_cases()) {
    if (c.name.find(pick) == std::string::npos) { continue; }
    try {
      perf(c, device, DType::f32);
      if (c.bf16 && device == Device::cuda()) { perf(c, device, DType::bf16); }
    } catch (const KernelMissing& e) {
      std::printf("%-48s no CUDA kernel: %s\n", c.name.c_str(), e.kernel);
    }
  }
}

// f(dtype) for f32, and for bf16 where the case has it; the first error.
std::string in_both_precisions(const OpCase& c, const std::function<std::string(DType)>& f) {
  std::string e = f(DType::f32);
  if (e.empty() && c.bf16) { e = f(DType::bf16); }
  return e;
}

Totals dump(const std::string& path, const std::string& pick) {
  ResultWriter file(path);
  return check_all(pick, true, [&](const OpCase& c) {
    return in_both_precisions(c, [&](DType dtype) {
      file.write(result_of(c, dtype));
      return std::string();
    });
  });
}

Totals compare_with(const std::string& path, const std::string& pick) {
  const std::vector<OpResult> others = read_results(path);
  Comparison comparison(others);
  const Totals totals = check_all(pick, true, [&](const OpCase& c) {
    return in_both_precisions(c, [&](DType dtype) {
      const std::string e = comparison.add(c, result_of(c, dtype));
      return e.empty() ? e : concat_text(name(dtype), ": ", e);
    });
  });
  comparison.print();
  return totals;
}

}  // namespace

int run_program(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "test";
  const bool with_file = mode == "dump" || mode == "compare";
  const std::set<std::string> modes = {"test", "list", "perf", "cuda", "cuda-perf", "dump", "compare"};
  if (!modes.count(mode) || (with_file && argc < 3)) {
    std::fprintf(stderr, "usage: run_ops [test|list|perf|cuda|cuda-perf] [part of a case's name], or run_ops dump|compare FILE [part], got %s\n", mode.c_str());
    return 2;
  }
  const std::string pick = argc > 2 + with_file ? argv[2 + with_file] : "";
  if ((mode.starts_with("cuda") || with_file) && cuda_device::count() == 0) {
    std::printf("no CUDA device (%s): nothing was run\n", cuda_device::describe().c_str());
    return 77;  // CTest's SKIP_RETURN_CODE
  }
  if (mode == "list") {
    for (const OpCase& c : op_cases()) {
      if (c.name.find(pick) != std::string::npos) { std::printf("%s\n", c.name.c_str()); }
    }
    return 0;
  }
  if (mode == "perf" || mode == "cuda-perf") {
    perf_all(pick, mode == "perf" ? Device::cpu() : Device::cuda());
    return 0;
  }
  Totals totals;
  if (mode == "test") {
    set_thread_count(1);
    totals = check_all(pick, false, test);
  } else if (mode == "cuda") {
    totals = check_all(pick, true, test_on_cuda);
  } else {
    totals = mode == "dump" ? dump(argv[2], pick) : compare_with(argv[2], pick);
  }
  return totals.failed != 0 || totals.ran == 0;
}

}  // namespace pumice::testing

int main(int argc, char** argv) {
  try {
    return pumice::testing::run_program(argc, argv);
  } catch (const pumice::Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
