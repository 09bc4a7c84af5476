// Attention by cuDNN as far as a machine without a card can tell: what we say of our packings is right, by a stand-in for the library (cudnn_stand_in.cpp)
// that computes what it is told and asks the real one, where it is installed, whether it accepts it; and what the library does not take runs on our kernels.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/attention/attention.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/cuda_libraries.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/rng.h"
#include "../../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

class Cudnn : public ::testing::Test {
 protected:
  void SetUp() override {
    cuda_libraries::use_cudnn(PUMICE_CUDNN_STAND_IN);
    library_ = dlopen(PUMICE_CUDNN_STAND_IN, RTLD_NOW);
  }
  void TearDown() override { cuda_libraries::use_cudnn(""); }

  int ask(const char* function) { return reinterpret_cast<int (*)()>(dlsym(library_, function))(); }
  // How often the library computed while f ran.
  template <class F> int attentions(const F& f) {
    const int before = ask("stand_in_attentions");
    f();
    return ask("stand_in_attentions") - before;
  }
  void fail_next() { reinterpret_cast<void (*)()>(dlsym(library_, "stand_in_fail_next"))(); }

 private:
  void* library_ = nullptr;
};

Tensor random(const Shape& shape, uint32_t site, DType dtype = DType::bf16) {
  return to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 1, .site = site}), dtype);
}
Tensor on_cuda(const Tensor& t) { return to_device(t, Device::cuda()); }
Tensor offsets_of(const std::vector<int32_t>& offsets) { return from_values<int32_t>({int64_t(offsets.size())}, offsets); }

void expect_near(const Tensor& got, const Tensor& expected, double bound = 0.02) {
  const std::vector<float> a = got.to_vector<float>(), b = expected.to_vector<float>();
  ASSERT_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < b.size(); ++i) { most = std::max(most, std::isnan(a[i]) ? INFINITY : double(std::abs(a[i] - b[i]))); }
  EXPECT_LT(most, bound);
}

TEST_F(Cudnn, ComputesAPackingAndItsGradients) {
  const Tensor offsets = offsets_of({0, 5, 6, 6, 40});  // one of a single token, one that is empty
  struct Result { Tensor out, d; };
  const auto run = [&](Device device) {
    Tensor qkv = requires_grad(to_device(random({40, 3, 2, 16}, 1), device)), dout = to_device(random({40, 2, 16}, 2), device);
    Tensor out = attention_qkv(qkv, to_device(offsets, device), {.longest = 40});
    backward({&out, 1}, {&dout, 1});
    return Result{out, grad(qkv)};
  };
  Result ours;
  EXPECT_EQ(attentions([&] { ours = run(Device::cuda()); }), 1);
  const Result on_cpu = run(Device::cpu());
  expect_near(ours.out, on_cpu.out);
  expect_near(ours.d, on_cpu.d, 0.05);  // our backward pass reads the log of the sums that the library wrote
  EXPECT_TRUE(ask("stand_in_descriptions_accepted_by_cudnn") != 0);
}

TEST_F(Cudnn, SharesHeadsOfKeysAndCrosses) {
  const Tensor q = random({7, 4, 24}, 1), k = random({9, 2, 24}, 2), v = random({9, 2, 24}, 3), of_q = offsets_of({0, 3, 7}), of_k = offsets_of({0, 8, 9});
  Tensor out;
  EXPECT_EQ(attentions([&] { out = cross_attention(on_cuda(q), on_cuda(k), on_cuda(v), on_cuda(of_q), on_cuda(of_k), {.scale = 0.5, .longest = 8}); }), 1);
  expect_near(out, cross_attention(q, k, v, of_q, of_k, {.scale = 0.5}));
}

TEST_F(Cudnn, CountsTheLongestWhereTheHostSeesOffsets) {
  const Tensor x = on_cuda(random({6, 1, 8}, 1));
  EXPECT_EQ(attentions([&] { attention(x, x, x, offsets_of({0, 2, 6})); }), 1);
  EXPECT_EQ(attentions([&] { attention(x, x, x, on_cuda(offsets_of({0, 2, 6}))); }), 0) << "nobody says how long a sequence may be";
}

TEST_F(Cudnn, WhatItDoesNotTakeRunsOnOurKernels) {
  const auto check = [&](const char* what, int64_t D, DType dtype, const AttentionOptions& options, int64_t from = 0) {
    const Tensor x = random({6, 1, D + from}, 1, dtype), offsets = offsets_of({0, 2, 6});
    const auto rows = [&](const Tensor& t) { return t.slice(2, from, from + D); };
    Tensor out;
    EXPECT_EQ(attentions([&] { out = attention(rows(on_cuda(x)), rows(on_cuda(x)), rows(on_cuda(x)), offsets, options); }), 0) << what;
    expect_near(out, attention(rows(x), rows(x), rows(x), offsets, options));
  };
  check("f32", 16, DType::f32, {});
  check("a causal mask", 16, DType::bf16, {.causal = true});
  check("a head of no multiple of 8", 12, DType::bf16, {});
  check("rows that are not aligned", 16, DType::bf16, {}, 4);
  check("a head that the library has no kernel for", 136, DType::bf16, {});
}

TEST_F(Cudnn, OffsetsThatDoNotFitEndTheLaunch) {
  const Tensor x = on_cuda(random({6, 1, 8}, 1));
  const auto run = [&](const std::vector<int32_t>& offsets) {
    return message_of<KernelError>([&] {
      attention(x, x, x, on_cuda(offsets_of(offsets)), {.longest = 4});
      cuda_device::synchronize();
    });
  };
  EXPECT_NE(run({0, 1, 6}).find("list_them"), std::string::npos) << "five tokens, four promised";
  EXPECT_NE(run({0, 4, 7}).find("list_them"), std::string::npos);
  EXPECT_EQ(message_of<ShapeError>([&] { attention(x, x, x, offsets_of({0, 1, 6}), {.longest = 4}); }),
            "[attention] a sequence has 5 tokens, and options.longest says at most 4");
}

TEST_F(Cudnn, ARecordedCallIsMadeAgain) {
  Tensor x = on_cuda(random({6, 1, 8}, 1)), offsets = on_cuda(offsets_of({0, 2, 6}));
  const Tensor other = random({6, 1, 8}, 2);
  attention(x, x, x, offsets, {.longest = 4});
  const StepMemory memory([] {});  // keeps what the recorded call uses
  const StepMemory::Use use(memory);
  cuda_device::begin_recording();
  Tensor out;
  EXPECT_EQ(attentions([&] { out = attention(x, x, x, offsets, {.longest = 4}); }), 0);
  auto graph = cuda_device::end_recording();
  copy_into(x, on_cuda(other));
  copy_into(offsets, on_cuda(offsets_of({0, 3, 6})));
  EXPECT_EQ(attentions([&] { graph->replay(); }), 1);
  expect_near(out, attention(other, other, other, offsets_of({0, 3, 6})));
}

TEST_F(Cudnn, AFailureIsADeviceErrorThatNamesTheWayOut) {
  const Tensor x = on_cuda(random({6, 1, 8}, 1)), offsets = offsets_of({0, 2, 6});
  fail_next();
  EXPECT_EQ(message_of<DeviceError>([&] { attention(x, x, x, offsets); }),
            "[cuda] attention by cuDNN (" PUMICE_CUDNN_STAND_IN ") failed: CUDNN_STATUS_NOT_SUPPORTED. PUMICE_CUDNN=off uses our own kernels instead");
  EXPECT_EQ(attentions([&] { attention(x, x, x, offsets); }), 1);  // and the process goes on
}

TEST_F(Cudnn, AFileThatIsNoCudnnIsRefusedAndChangesNothing) {
  EXPECT_EQ(message_of<UsageError>([] { cuda_libraries::use_cudnn("libz.so.1"); }),
            "[cuda] cuDNN cannot be used: libz.so.1 has no function cudnnCreate and is not cuDNN 9.15 or later. "
            "PUMICE_CUDNN is on, off or a file like libcudnn.so.9; empty is off, attention by our own kernels");
  EXPECT_EQ(cuda_libraries::describe()[1], "cuDNN 9.19.0 from " PUMICE_CUDNN_STAND_IN);
}

}  // namespace
}  // namespace pumice
