// cuBLASLt stores matrices by columns, we by rows: what we call c (M, N) = a b, it calls the N x M matrix D = A B with A = b^T and B = a^T, of the same
// numbers in memory. A product of shapes and strides that has been seen costs one lookup.
#include <algorithm>
#include <climits>
#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "pumice/ops/matmul/gemm_cublaslt_cuda.h"
#include "pumice/tensor/basic_kernels.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/cuda_libraries.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/simt/device_scratch.h"

namespace pumice::cuda {
namespace {

using cuda_libraries::CublasLt;

constexpr size_t kWorkspace = size_t(32) << 20;  // what NVIDIA recommends for a Hopper card
constexpr size_t kMostPlans = 4096;              // then all are made anew

// A matrix as the library sees it: `columns` columns of `rows` numbers that lie side by side, `leading` apart, of it or of its transpose.
struct Stored {
  bool transposed = false;
  int64_t rows = 0, columns = 0, leading = 0, batch_stride = 0;
  auto operator<=>(const Stored&) const = default;
};

struct Problem {
  Stored a, b, d;  // named as in cuBLASLt
  int64_t batches = 1;
  DType in = DType::f32, out = DType::f32;
  bool bias = false;
  int alignment_a = 0, alignment_b = 0, alignment_d = 0;  // bytes
  auto operator<=>(const Problem&) const = default;
};

std::optional<Stored> stored(int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride, int64_t batch_stride) {
  if (row_stride == 1 || rows == 1) {
    const int64_t leading = columns == 1 ? rows : column_stride;
    if (leading >= rows) { return Stored{false, rows, columns, leading, batch_stride}; }
  }
  if (column_stride == 1 || columns == 1) {
    const int64_t leading = rows == 1 ? columns : row_stride;
    if (leading >= columns) { return Stored{true, columns, rows, leading, batch_stride}; }
  }
  return std::nullopt;
}

// All batch axes as one: its length and strides. Nothing if the axes do not follow each other at even distances.
struct Batches { int64_t count = 1, a = 0, b = 0, c = 0; };
std::optional<Batches> batches_of(const GemmArgs& g) {
  Batches all;
  for (int i = g.c.rank - 3; i >= 0; --i) {
    const int64_t n = g.c.shape[i];
    if (n == 1) { continue; }
    if (all.count == 1) { all = {1, g.a.stride[i], g.b.stride[i], g.c.stride[i]}; }
    if (g.a.stride[i] != all.count * all.a || g.b.stride[i] != all.count * all.b || g.c.stride[i] != all.count * all.c) { return std::nullopt; }
    all.count *= n;
  }
  return all;
}

int alignment_of(const View& v, int64_t batch_stride) {
  const uint64_t bits = reinterpret_cast<uintptr_t>(v.data) | uint64_t(batch_stride * int64_t(size_of(v.dtype))) | 256;
  return int(bits & (~bits + 1));
}

struct Call { Problem problem; const void *a, *b; };

// a (M, K), b (K, N), c (M, N): D = b^T a^T by columns, or D = a b if c itself is stored by columns.
std::optional<Call> call_of(const GemmArgs& g) {
  const int r = g.c.rank;
  const int64_t m = g.c.shape[r - 2], n = g.c.shape[r - 1], k = g.a.shape[r - 1];
  const bool types = (g.a.dtype == DType::bf16 || g.a.dtype == DType::f32) && (g.c.dtype == g.a.dtype || g.c.dtype == DType::f32);
  const auto batches = batches_of(g);
  if (!types || !batches || m == 0 || n == 0 || k == 0 || std::max({m, n, k, batches->count}) > INT_MAX) { return std::nullopt; }
  const int64_t am = g.a.stride[r - 2], ak = g.a.stride[r - 1], bk = g.b.stride[r - 2], bn = g.b.stride[r - 1], cm = g.c.stride[r - 2], cn = g.c.stride[r - 1];
  Call call{.a = g.b.data, .b = g.a.data};
  std::optional<Stored> a = stored(n, k, bn, bk, batches->b), b = stored(k, m, ak, am, batches->a), d = stored(n, m, cn, cm, batches->c);
  int first = alignment_of(g.b, batches->b), second = alignment_of(g.a, batches->a);
  if (d && d->transposed && !g.bias) {
    a = stored(m, k, am, ak, batches->a);
    b = stored(k, n, bk, bn, batches->b);
    d = stored(m, n, cm, cn, batches->c);
    std::swap(call.a, call.b);
    std::swap(first, second);
  }
  if (!a || !b || !d || d->transposed) { return std::nullopt; }
  call.problem = {*a, *b, *d, batches->count, g.a.dtype, g.c.dtype, bool(g.bias), first, second, alignment_of(g.c, batches->c)};
  return call;
}

int type_of(DType dtype) { return dtype == DType::bf16 ? CublasLt::kBf16 : CublasLt::kF32; }

void require_done(const CublasLt& lt, int status, const char* what) {
  REQUIRE(DeviceError, status == 0, "[cuda] ", what, " by cuBLASLt (", lt.file, ") failed: ", lt.status_text(status),
          ". PUMICE_CUBLASLT=off uses our own kernels instead");
}

// What the library needs to be told of a problem, and the algorithm that it chose.
class Plan {
 public:
  Plan(const CublasLt& lt, std::shared_ptr<void> handle, const Problem& p) : lt_(lt), handle_(std::move(handle)) {
    require_done(lt, lt.product_create(&product_, CublasLt::kCompute32F, CublasLt::kF32), "describing a product");
    set_product(CublasLt::kTransA, p.a.transposed ? CublasLt::kTransposed : CublasLt::kPlain);
    set_product(CublasLt::kTransB, p.b.transposed ? CublasLt::kTransposed : CublasLt::kPlain);
    if (p.bias) {
      set_product(CublasLt::kEpilogue, CublasLt::kEpilogueBias);
      set_product(CublasLt::kBiasType, type_of(p.out));
      set_bias(reinterpret_cast<const void*>(uintptr_t(256)));  // the library wants to see one before it chooses
    }
    a_ = matrix(p.a, p.in, p.batches);
    b_ = matrix(p.b, p.in, p.batches);
    d_ = matrix(p.d, p.out, p.batches);
    choose(p);
  }
  ~Plan() {
    if (product_) { lt_.product_destroy(product_); }
    for (CublasLt::Object m : {a_, b_, d_}) {
      if (m) { lt_.matrix_destroy(m); }
    }
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  bool usable() const { return usable_; }

  void run(const void* a, const void* b, void* d, const void* bias, float beta, void* workspace, void* stream) const {
    const float alpha = 1;
    if (bias) { set_bias(bias); }
    require_done(lt_, lt_.multiply(handle_.get(), product_, &alpha, a, a_, b, b_, &beta, d, d_, d, d_, &choice_.algorithm, workspace, choice_.workspace, stream), "a product");
  }

 private:
  template <class T> void set_product(int attribute, T value) const {
    require_done(lt_, lt_.product_set(product_, attribute, &value, sizeof value), "describing a product");
  }
  void set_bias(const void* bias) const { set_product(CublasLt::kBiasPointer, bias); }
  CublasLt::Object matrix(const Stored& s, DType dtype, int64_t batches) const {
    CublasLt::Object made = nullptr;
    require_done(lt_, lt_.matrix_create(&made, type_of(dtype), uint64_t(s.rows), uint64_t(s.columns), s.leading), "describing a matrix");
    if (batches > 1) {
      const int32_t count = int32_t(batches);
      require_done(lt_, lt_.matrix_set(made, CublasLt::kBatchCount, &count, sizeof count), "describing a matrix");
      require_done(lt_, lt_.matrix_set(made, CublasLt::kBatchStride, &s.batch_stride, sizeof s.batch_stride), "describing a matrix");
    }
    return made;
  }
  // Parts of a sum may be added in f32 only.
  void choose(const Problem& p) {
    CublasLt::Object wish = nullptr;
    require_done(lt_, lt_.preference_create(&wish), "choosing a kernel");
    auto set = [&](int attribute, auto value) { return lt_.preference_set(wish, attribute, &value, sizeof value); };
    int status = set(CublasLt::kMostWorkspace, uint64_t(kWorkspace));
    for (auto [attribute, value] : {std::pair<int, int>{CublasLt::kReductions, CublasLt::kReductionInComputeType}, {CublasLt::kAlignmentA, p.alignment_a},
                                    {CublasLt::kAlignmentB, p.alignment_b}, {CublasLt::kAlignmentC, p.alignment_d}, {CublasLt::kAlignmentD, p.alignment_d}}) {
      if (status == 0) { status = set(attribute, uint32_t(value)); }
    }
    int found = 0;
    if (status == 0) {
      const int answer = lt_.choose(handle_.get(), product_, a_, b_, d_, d_, wish, 1, &choice_, &found);
      usable_ = answer == 0 && found == 1 && choice_.state == 0;
    }
    lt_.preference_destroy(wish);
    require_done(lt_, status, "choosing a kernel");
  }

  const CublasLt& lt_;
  std::shared_ptr<void> handle_;
  CublasLt::Object product_ = nullptr, a_ = nullptr, b_ = nullptr, d_ = nullptr;
  CublasLt::Choice choice_{};
  bool usable_ = false;
};

// The plans made so far, with one library's handle and workspace. Never destroyed: the library may be gone by then.
struct Plans {
  const CublasLt* library = nullptr;
  std::shared_ptr<void> handle;
  void* workspace = nullptr;  // one, for products follow each other in one stream
  std::map<Problem, std::shared_ptr<Plan>> made;

  // Null where the device has no room for a workspace.
  std::shared_ptr<Plan> of(const CublasLt& lt, const Problem& p) {
    if (library != &lt) {
      made.clear();
      CublasLt::Object made_handle = nullptr;
      require_done(lt, lt.create(&made_handle), "its start");
      handle = {made_handle, lt.destroy};
      library = &lt;
    }
    if (!workspace) {
      workspace = cuda_device::allocate(kWorkspace);
      if (!workspace) { return nullptr; }
    }
    if (made.size() >= kMostPlans) { made.clear(); }
    std::shared_ptr<Plan>& plan = made[p];
    if (!plan) { plan = std::make_shared<Plan>(lt, handle, p); }
    return plan;
  }
};

}  // namespace

bool multiply_by_cublaslt(const GemmArgs& g) {
  const CublasLt* lt = cuda_libraries::cublaslt();
  if (!lt || g.c.rank < 2) { return false; }
  const std::optional<Call> call = call_of(g);
  if (!call) { return false; }
  static std::mutex mutex;
  static Plans* plans = new Plans;
  std::shared_ptr<Plan> plan;
  {
    std::lock_guard lock(mutex);
    plan = plans->of(*lt, call->problem);
  }
  if (!plan || !plan->usable()) { return false; }
  std::optional<simt::DeviceScratch<bf16>> rounded;
  View bias = g.bias;
  if (g.bias && g.c.dtype == DType::bf16) {
    bias.data = rounded.emplace(g.bias.size()).get();
    bias.dtype = DType::bf16;
    bias.stride[0] = 1;
    copy_kernel({bias, g.bias});
  }
  cuda_device::in_stream([plan, a = call->a, b = call->b, d = g.c.data, bias = bias.data, beta = float(g.beta), workspace = plans->workspace](void* stream) {
    std::lock_guard lock(mutex);
    plan->run(a, b, d, bias, beta, workspace, stream);
  });
  return true;
}

}  // namespace pumice::cuda
