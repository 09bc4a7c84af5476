// Products by cuBLASLt as far as a machine without a card can tell: what we say of our matrices is right, by a stand-in for the library
// (cublaslt_stand_in.cpp) that computes what it is told; and what the library does not take runs on our own kernels.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/cuda_libraries.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"
#include "../../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

class CublasLt : public ::testing::Test {
 protected:
  void SetUp() override {
    cuda_libraries::use_cublaslt(PUMICE_CUBLASLT_STAND_IN);
    void* library = dlopen(PUMICE_CUBLASLT_STAND_IN, RTLD_NOW);
    count_ = reinterpret_cast<int (*)()>(dlsym(library, "stand_in_products"));
    fail_next = reinterpret_cast<void (*)()>(dlsym(library, "stand_in_fail_next"));
  }
  void TearDown() override { cuda_libraries::use_cublaslt(""); }

  // The products that the library made while f ran.
  template <class F> int products(const F& f) {
    const int before = count_();
    f();
    return count_() - before;
  }
  void (*fail_next)() = nullptr;

 private:
  int (*count_)() = nullptr;
};

Tensor random(const Shape& shape, uint32_t site, DType dtype = DType::f32) {
  return to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 1, .site = site}), dtype);
}
Tensor on_cuda(const Tensor& t) { return to_device(t, Device::cuda()); }

// How far `got` is from `expected`, of the largest number.
double distance(const Tensor& got, const Tensor& expected) {
  const std::vector<float> a = got.to_vector<float>(), b = expected.to_vector<float>();
  double most = 0, scale = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    most = std::max(most, std::isnan(a[i]) ? INFINITY : double(std::abs(a[i] - b[i])));
    scale = std::max(scale, double(std::abs(b[i])));
  }
  EXPECT_EQ(a.size(), b.size());
  return most / scale;
}
double bound(DType dtype) { return dtype == DType::bf16 ? 1.0 / 128 : 1e-5; }

TEST_F(CublasLt, MakesProductsOfEveryTranspose) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (int trans = 0; trans < 4; ++trans) {
      const bool ta = trans & 1, tb = trans & 2;
      const Tensor a = random(ta ? Shape{24, 18} : Shape{18, 24}, 1, dtype), b = random(tb ? Shape{10, 24} : Shape{24, 10}, 2, dtype);
      Tensor c;
      EXPECT_EQ(products([&] { c = matmul(on_cuda(a), on_cuda(b), ta, tb); }), 1);
      EXPECT_LT(distance(c, matmul(a, b, ta, tb)), bound(dtype)) << name(dtype) << " " << trans;
    }
  }
}

TEST_F(CublasLt, MakesBatchesInOneCall) {
  const Tensor a = random({3, 4, 6, 8}, 1), b = random({3, 4, 8, 10}, 2), shared = random({8, 10}, 3), of_three = random({3, 1, 8, 10}, 4);
  const auto check = [&](const Tensor& right, int calls) {
    Tensor c;
    EXPECT_EQ(products([&] { c = matmul(on_cuda(a), on_cuda(right)); }), calls);
    EXPECT_LT(distance(c, matmul(a, right)), bound(DType::f32));
  };
  check(b, 1);
  check(shared, 1);    // the same matrix for all: a distance of zero
  check(of_three, 0);  // two axes with distances that one cannot describe: our own kernel
}

TEST_F(CublasLt, WritesAResultThatIsStoredByColumns) {
  const Tensor a = random({6, 8}, 1), b = random({8, 10}, 2), memory = zeros({10, 7}, DType::f32, Device::cuda());
  const Tensor c = memory.slice(1, 0, 6).transpose(0, 1);
  for (int beta : {0, 1}) {
    EXPECT_EQ(products([&] { gemm_batch(Device::cuda(), {c, on_cuda(a), on_cuda(b), {}, beta}); }), 1);
  }
  const Tensor once = matmul(a, b), twice = zeros({6, 10});
  add_into(twice, once);
  add_into(twice, once);
  EXPECT_LT(distance(c, twice), bound(DType::f32));
  EXPECT_EQ(memory.slice(1, 6, 7).to_vector<float>(), std::vector<float>(10, 0.0f)) << "what lies between its columns";
}

TEST_F(CublasLt, MakesALinearLayerAndItsGradients) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    struct Result { Tensor y, dx, dw, db; };
    const auto run = [&](Device device) {
      Tensor x = requires_grad(to_device(random({20, 16}, 1, dtype), device)), w = requires_grad(to_device(random({12, 16}, 2, dtype), device));
      Tensor b = requires_grad(to_device(random({12}, 3), device)), dy = to_device(random({20, 12}, 4, dtype), device), y;
      for (int pass = 0; pass < 2; ++pass) {  // the second adds to the gradients of the first
        y = linear(x, w, b);
        backward({&y, 1}, {&dy, 1});
      }
      return Result{y, grad(x), grad(w), grad(b)};
    };
    Result ours;
    EXPECT_EQ(products([&] { ours = run(Device::cuda()); }), 6);
    const Result on_cpu = run(Device::cpu());
    EXPECT_LT(distance(ours.y, on_cpu.y), bound(dtype));
    EXPECT_LT(distance(ours.dx, on_cpu.dx), bound(dtype));
    EXPECT_LT(distance(ours.dw, on_cpu.dw), bound(dtype));
    EXPECT_LT(distance(ours.db, on_cpu.db), bound(dtype));
  }
}

TEST_F(CublasLt, WhatItDoesNotTakeRunsOnOurKernels) {
  const Tensor b = random({9, 6}, 2, DType::bf16);
  const auto check = [&](const Tensor& matrix, const auto& view, const char* what) {
    Tensor c;
    EXPECT_EQ(products([&] { c = matmul(view(on_cuda(matrix)), on_cuda(b)); }), 0) << what;
    EXPECT_LT(distance(c, matmul(view(matrix), b)), bound(DType::bf16)) << what;
  };
  const Tensor wide = random({7, 18}, 3, DType::bf16);
  check(wide, [](const Tensor& t) { return t.as_strided({7, 9}, {18, 2}, 0); }, "every second number");
  check(wide, [](const Tensor& t) { return t.slice(1, 1, 10); }, "two bytes of alignment, for which the library has no kernel");
  check(wide, [](const Tensor& t) { return t.slice(0, 0, 1).slice(1, 0, 9).expand({7, 9}); }, "one row for all");
}

TEST_F(CublasLt, ARecordedProductIsMadeAgain) {
  const Tensor b = on_cuda(random({8, 10}, 2)), bias = on_cuda(random({10}, 3));
  Tensor a = on_cuda(random({4, 8}, 1));
  const Tensor wanted = matmul(random({4, 8}, 5), to_device(b, Device::cpu()));
  matmul(a, b);
  cuda_device::begin_recording();
  Tensor c;
  EXPECT_EQ(products([&] { c = matmul(a, b); }), 0);
  auto graph = cuda_device::end_recording();
  copy_into(a, on_cuda(random({4, 8}, 5)));
  EXPECT_EQ(products([&] { graph->replay(); }), 1);
  EXPECT_LT(distance(c, wanted), bound(DType::f32));
}

TEST_F(CublasLt, AFailureIsADeviceErrorThatNamesTheWayOut) {
  const Tensor a = on_cuda(random({4, 8}, 1)), b = on_cuda(random({8, 10}, 2));
  matmul(a, b);
  fail_next();
  EXPECT_EQ(message_of<DeviceError>([&] { matmul(a, b); }), "[cuda] a product by cuBLASLt (" PUMICE_CUBLASLT_STAND_IN
            ") failed: CUBLAS_STATUS_NOT_SUPPORTED. PUMICE_CUBLASLT=off uses our own kernels instead");
  EXPECT_EQ(products([&] { matmul(a, b); }), 1);  // and the process goes on
}

TEST_F(CublasLt, AFileThatIsNoCublasLtIsRefusedAndChangesNothing) {
  EXPECT_NE(message_of<UsageError>([] { cuda_libraries::use_cublaslt("/nowhere/libcublasLt.so"); }).find("/nowhere/libcublasLt.so: cannot open"), std::string::npos);
  EXPECT_EQ(message_of<UsageError>([] { cuda_libraries::use_cublaslt("libz.so.1"); }),
            "[cuda] cuBLASLt cannot be used: libz.so.1 has no function cublasLtCreate and is not cuBLASLt 12 or 13. "
            "PUMICE_CUBLASLT is a file like libcublasLt.so.13, or off for our own kernels");
  EXPECT_EQ(cuda_libraries::describe()[0], "cuBLASLt 13.1.0 from " PUMICE_CUBLASLT_STAND_IN);
}

}  // namespace
}  // namespace pumice
