// ladder [--list] [--time] [--small | --large] [substring]: naive to shipping versions of matmul, attention, layer norm, the MoE path and the order of claims. Every rung is
// compared with plain loops in f64, then measured: on a card by time, beside what the card reaches in a copy and in multiplications; under the emulator
// by what it asks of memory, which is the same on every machine. Exits with 1 if a rung is wrong, with 77 without a device.
//   --list        the rungs and what each changes
//   --time        times under the emulator too, which says nothing about a card
//   --small       the emulator's shapes, --large those of a card; the default follows the device
//   substring     of the names of ladders
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "ladder.h"
#include "pumice/autograd/autograd.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/simt/traffic.h"

namespace pumice::ladder {
namespace {

struct Options {
  bool list = false, time = false, large = false;
  std::string pick;
};

#ifdef PUMICE_LADDER_EMULATED
constexpr bool kEmulated = true;
bool can_count() { return simt::can_count_traffic(); }
std::string counts(const Ladder& l, const Rung& r) {
  simt::start_counting_traffic();
  r.run();
  const simt::Traffic t = simt::stop_counting_traffic();
  const auto whole = [](int64_t n) { return static_cast<long long>(n); };
  char line[256];
  std::snprintf(line, sizeof line, " %.1f | %.0f %% | %lld | %.2f | %lld | %lld |", 32 * double(t.loaded_sectors + t.stored_sectors) / l.bytes,
                100 * t.sector_use(), whole(t.shared_accesses + t.bank_conflicts),
                t.shared_accesses ? double(t.bank_conflicts) / double(t.shared_accesses) : 0.0, whole(t.barriers), whole(t.launches));
  return line;
}
#else
constexpr bool kEmulated = false;
bool can_count() { return false; }
std::string counts(const Ladder&, const Rung&) { return ""; }
#endif

std::string times(const Ladder& l, const Rung& r, const Roofs& roofs) {
  const double s = seconds_of([&] { r.run(); });
  const double roof = std::max(l.bytes / roofs.copy, l.flops / (l.multiplies == DType::bf16 ? roofs.multiply_bf16 : roofs.multiply_f32));
  char line[256];
  std::snprintf(line, sizeof line, " %.3f | %.0f | %.0f | %.1f %% |", s * 1e3, l.bytes / s / 1e9, l.flops / s / 1e9, 100 * roof / s);
  return line;
}

// Fills nothing in for a rung that is wrong: what it costs is of no interest.
bool climb(const Ladder& l, const Options& o, const Roofs& roofs) {
  std::printf("\n%s: at least %.4g MB of global memory, %.4g GFLOP\n\n", l.name.c_str(), l.bytes / 1e6, l.flops / 1e9);
  std::printf("| rung | worst error |");
  if (o.time) { std::printf(" ms | GB/s | GFLOP/s | of the roof |"); }
  if (can_count()) { std::printf(" moved / least | of it used | shared passes | conflicts / pass | barriers | launches |"); }
  std::printf("\n|---|---|%s%s\n", o.time ? "---|---|---|---|" : "", can_count() ? "---|---|---|---|---|---|" : "");
  const Reference reference(l);
  bool good = true;
  for (const Rung& r : l.rungs) {
    try {
      fill(l.out, NAN);
      const double error = reference.error_of(r.run());
      const bool right = error <= l.bound;
      good &= right;
      std::printf("| %s | %.1e |", r.name, error);
      if (right && o.time) { std::printf("%s", times(l, r, roofs).c_str()); }
      if (right && can_count()) { std::printf("%s", counts(l, r).c_str()); }
      std::printf("%s\n", right ? "" : "  <- wrong");
    } catch (const Error& e) {  // the checker's, or the card's
      good = false;
      std::printf("| %s | failed: %s\n", r.name, e.what());
    }
    std::fflush(stdout);
  }
  if (reference.rows() < l.rows) { std::printf("\n%d of %d rows were compared\n", int(reference.rows()), int(l.rows)); }
  return good;
}

int run_program(const Options& o) {
  using Make = Ladder (*)(bool);
  Roofs roofs{};
  if (o.time && !o.list) {
    roofs = measure_roofs(o.large);
    std::printf("%s\nroofs: copy %.0f GB/s, f32 multiply-adds %.1f TFLOP/s, bf16 mma.sync %.1f TFLOP/s\n", cuda_device::describe().c_str(),
                roofs.copy / 1e9, roofs.multiply_f32 / 1e12, roofs.multiply_bf16 / 1e12);
  }
  bool good = true, any = false;
  for (const Make make : {matmul_f32, matmul_bf16, attention_bf16, layer_norm_f32, moe_f32, order_f32}) {
    if (o.list) {
      const Ladder l = make(false);
      if (l.name.find(o.pick) == std::string::npos) { continue; }
      std::printf("%s\n", l.name.c_str());
      for (const Rung& r : l.rungs) { std::printf("  %-26s %s\n", r.name, r.change); }
      any = true;
      continue;
    }
    const Ladder l = make(o.large);
    if (l.name.find(o.pick) == std::string::npos) { continue; }
    good &= climb(l, o, roofs);
    any = true;
  }
  if (!any) { std::fprintf(stderr, "no ladder has '%s' in its name; see ladder --list\n", o.pick.c_str()); }
  return any ? !good : 2;
}

int parse_and_run(int argc, char** argv) {
  Options o{.time = !kEmulated, .large = !kEmulated};
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--list")) { o.list = true; }
    else if (!std::strcmp(argv[i], "--time")) { o.time = true; }
    else if (!std::strcmp(argv[i], "--small")) { o.large = false; }
    else if (!std::strcmp(argv[i], "--large")) { o.large = true; }
    else if (argv[i][0] == '-' || !o.pick.empty()) {
      std::fprintf(stderr, "usage: ladder [--list] [--time] [--small | --large] [substring]\n");
      return 2;
    } else { o.pick = argv[i]; }
  }
  if (cuda_device::count() == 0) {
    std::printf("no CUDA device (%s): nothing was run\n", cuda_device::describe().c_str());
    return 77;  // CTest's SKIP_RETURN_CODE
  }
  NoGrad no_grad;
  return run_program(o);
}

}  // namespace
}  // namespace pumice::ladder

int main(int argc, char** argv) {
  try {
    return pumice::ladder::parse_and_run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}
