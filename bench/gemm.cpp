// Matrix products as a linear layer makes them, beside what the arithmetic units of this machine can do: y = x w^T, dx = dy w, dw = dy^T x.
//   bench_gemm [f32|bf16] [M,K,N ...]      M rows of x, from K to N features
// Prints one JSON object: the roofs (multiply-adds of registers, of all threads at once) and, of each shape and product, the median GFLOP/s. Operands of
// successive calls are others, more than the caches hold.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/tensor/rng.h"
#include "roofs.h"

namespace {

using namespace pumice;
using namespace bench;

double gflops(DType dtype, const Shape& a_shape, const Shape& b_shape, bool transpose_a, bool transpose_b, double flops) {
  std::vector<Tensor> a, b;
  int64_t bytes = 0;
  for (int i = 0; bytes < (int64_t(1) << 28) && i < 32; ++i) {
    a.push_back(to_dtype(random_uniform_tensor(a_shape, -1, 1, {.seed = uint64_t(i)}), dtype));
    b.push_back(to_dtype(random_uniform_tensor(b_shape, -1, 1, {.seed = uint64_t(i + 100)}), dtype));
    bytes += a.back().bytes() + b.back().bytes();
  }
  NoGrad no_grad;
  std::vector<double> times;
  double spent = 0;
  for (size_t i = 0; times.size() < 7 || spent < 0.3; ++i) {
    const auto start = Clock::now();
    const Tensor c = matmul(a[i % a.size()], b[i % b.size()], transpose_a, transpose_b);
    times.push_back(seconds_since(start));
    spent += times.back();
  }
  std::sort(times.begin(), times.end());
  return flops / times[times.size() / 2] / 1e9;
}

void measure(int argc, char** argv) {
  DType dtype = DType::f32;
  std::vector<std::string> shapes;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "f32" || word == "bf16") { dtype = word == "bf16" ? DType::bf16 : DType::f32; }
    else { shapes.push_back(word); }
  }
  if (shapes.empty()) { shapes = {"9472,128,512", "9472,512,128", "9472,384,1536", "2048,256,768", "1024,1024,1024", "256,1024,256"}; }
  std::printf("{\"isa\": \"%s\", \"threads\": %d, \"precision\": \"%s\", \"roof_f32\": %.0f, \"roof\": %.0f, \"shapes\": [", name(active_isa()), thread_count(),
              dtype == DType::bf16 ? "bf16" : "f32", multiply_roof(DType::f32), multiply_roof(dtype));
  for (size_t i = 0; i < shapes.size(); ++i) {
    long long M = 0, K = 0, N = 0;
    if (std::sscanf(shapes[i].c_str(), "%lld,%lld,%lld", &M, &K, &N) != 3 || M < 1 || K < 1 || N < 1) {
      throw std::runtime_error("a shape is M,K,N, got " + shapes[i]);
    }
    const double flops = 2.0 * double(M) * double(K) * double(N);
    std::printf("%s{\"shape\": \"%s\", \"y\": %.1f, \"dx\": %.1f, \"dw\": %.1f}", i ? ", " : "", shapes[i].c_str(),
                gflops(dtype, {M, K}, {N, K}, false, true, flops), gflops(dtype, {M, N}, {N, K}, false, false, flops),
                gflops(dtype, {M, N}, {M, K}, true, false, flops));
    std::fflush(stdout);
  }
  std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    measure(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
