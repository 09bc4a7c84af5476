#include "pumice/tensor/cuda_libraries.h"

#include <dlfcn.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#endif

namespace pumice::cuda_libraries {
namespace {

#if __has_include(<cublasLt.h>)
static_assert(sizeof(CublasLt::Algorithm) == sizeof(cublasLtMatmulAlgo_t) && sizeof(CublasLt::Choice) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(CublasLt::Choice, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
              offsetof(CublasLt::Choice, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(CUBLAS_STATUS_SUCCESS == 0);
static_assert(CublasLt::kF32 == CUDA_R_32F && CublasLt::kBf16 == CUDA_R_16BF && CublasLt::kCompute32F == CUBLAS_COMPUTE_32F);
static_assert(CublasLt::kPlain == CUBLAS_OP_N && CublasLt::kTransposed == CUBLAS_OP_T);
static_assert(CublasLt::kTransA == CUBLASLT_MATMUL_DESC_TRANSA && CublasLt::kTransB == CUBLASLT_MATMUL_DESC_TRANSB &&
              CublasLt::kEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE && CublasLt::kBiasPointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER &&
              CublasLt::kBiasType == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE && CublasLt::kEpilogueBias == CUBLASLT_EPILOGUE_BIAS);
static_assert(CublasLt::kBatchCount == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT && CublasLt::kBatchStride == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
static_assert(CublasLt::kMostWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && CublasLt::kReductions == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK &&
              CublasLt::kAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES && CublasLt::kAlignmentB == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES &&
              CublasLt::kAlignmentC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES && CublasLt::kAlignmentD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES &&
              CublasLt::kReductionInComputeType == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
#endif

constexpr const char* kUsualNames[] = {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.12"};

// Null, and why, if the file is no cuBLASLt. A library stays loaded once it is used.
std::unique_ptr<CublasLt> load(const std::string& file, std::string& why) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* said = dlerror();
    why = said ? said : "it cannot be loaded";
    return nullptr;
  }
  auto made = std::make_unique<CublasLt>();
  made->file = file;
  const char* missing = nullptr;
  auto find = [&]<class F>(F& function, const char* name) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (!function && !missing) { missing = name; }
  };
  find(made->create, "cublasLtCreate");
  find(made->destroy, "cublasLtDestroy");
  find(made->product_create, "cublasLtMatmulDescCreate");
  find(made->product_destroy, "cublasLtMatmulDescDestroy");
  find(made->product_set, "cublasLtMatmulDescSetAttribute");
  find(made->matrix_create, "cublasLtMatrixLayoutCreate");
  find(made->matrix_destroy, "cublasLtMatrixLayoutDestroy");
  find(made->matrix_set, "cublasLtMatrixLayoutSetAttribute");
  find(made->preference_create, "cublasLtMatmulPreferenceCreate");
  find(made->preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(made->preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(made->choose, "cublasLtMatmulAlgoGetHeuristic");
  find(made->multiply, "cublasLtMatmul");
  find(made->status_text, "cublasLtGetStatusString");
  find(made->version, "cublasLtGetVersion");
  if (!missing) { return made; }
  why = concat_text(file, " has no function ", missing, " and is not cuBLASLt 12 or 13");
  dlclose(library);
  return nullptr;
}

std::unique_ptr<CublasLt> load_or_throw(const std::string& file) {
  std::string why;
  auto made = load(file, why);
  REQUIRE(UsageError, made, "[cuda] cuBLASLt cannot be used: ", why, ". PUMICE_CUBLASLT is a file like libcublasLt.so.13, or off for our own kernels");
  return made;
}

std::unique_ptr<CublasLt> look() {
  const std::string asked = flags::cublaslt();
  if (asked == "off") { return nullptr; }
  if (!asked.empty()) { return load_or_throw(asked); }
  if (cuda_device::count() == 0 || cuda_device::emulated()) { return nullptr; }
  for (const char* name : kUsualNames) {
    std::string why;
    if (auto made = load(name, why)) { return made; }
  }
  return nullptr;
}

std::mutex mutex;
std::atomic<bool> looked{false};
std::atomic<const CublasLt*> in_use{nullptr};

void use(std::unique_ptr<CublasLt> library) {
  static std::vector<std::unique_ptr<CublasLt>> kept;  // plans made with one that was in use before still point to it
  in_use = library.get();
  kept.push_back(std::move(library));
  looked = true;
}

}  // namespace

const CublasLt* cublaslt() {
  if (!looked) {
    std::lock_guard lock(mutex);
    if (!looked) { use(look()); }
  }
  return in_use;
}

void use_cublaslt(const std::string& file) {
  auto library = file.empty() ? nullptr : load_or_throw(file);
  std::lock_guard lock(mutex);
  use(std::move(library));
}

std::string describe() {
  const CublasLt* lt = nullptr;
  try {
    lt = cublaslt();
  } catch (const UsageError& e) {  // whoever asks wants to know
    return e.what();
  }
  if (!lt) { return "cuBLASLt not loaded: products run on our own kernels"; }
  const size_t v = lt->version();
  return concat_text("cuBLASLt ", v / 10000, ".", v / 100 % 100, ".", v % 100, " from ", lt->file);
}

}  // namespace pumice::cuda_libraries
