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
#if __has_include(<cudnn.h>)
#include <cudnn.h>
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

#if __has_include(<cudnn.h>) && CUDNN_VERSION >= 91500
static_assert(CUDNN_STATUS_SUCCESS == 0 && CUDNN_HEUR_MODE_A == Cudnn::kBestGuess);
static_assert(Cudnn::kF32 == CUDNN_DATA_FLOAT && Cudnn::kI32 == CUDNN_DATA_INT32 && Cudnn::kBf16 == CUDNN_DATA_BFLOAT16);
static_assert(int(Cudnn::kEngineConfig) == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR && int(Cudnn::kHeuristics) == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR &&
              int(Cudnn::kPlan) == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR && int(Cudnn::kGraph) == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR &&
              int(Cudnn::kValues) == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR && int(Cudnn::kTensor) == CUDNN_BACKEND_TENSOR_DESCRIPTOR &&
              int(Cudnn::kAttentionForward) == CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
static_assert(int(Cudnn::kHandle) == CUDNN_TYPE_HANDLE && int(Cudnn::kDataType) == CUDNN_TYPE_DATA_TYPE && int(Cudnn::kBoolean) == CUDNN_TYPE_BOOLEAN &&
              int(Cudnn::kInt64) == CUDNN_TYPE_INT64 && int(Cudnn::kPointer) == CUDNN_TYPE_VOID_PTR &&
              int(Cudnn::kHeuristicsMode) == CUDNN_TYPE_HEUR_MODE && int(Cudnn::kObject) == CUDNN_TYPE_BACKEND_DESCRIPTOR);
static_assert(int(Cudnn::kHeuristicsModeOf) == CUDNN_ATTR_ENGINEHEUR_MODE && int(Cudnn::kHeuristicsGraph) == CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH &&
              int(Cudnn::kHeuristicsResults) == CUDNN_ATTR_ENGINEHEUR_RESULTS && int(Cudnn::kPlanHandle) == CUDNN_ATTR_EXECUTION_PLAN_HANDLE &&
              int(Cudnn::kPlanConfig) == CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG && int(Cudnn::kPlanWorkspace) == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE &&
              int(Cudnn::kGraphHandle) == CUDNN_ATTR_OPERATIONGRAPH_HANDLE && int(Cudnn::kGraphOperations) == CUDNN_ATTR_OPERATIONGRAPH_OPS);
static_assert(int(Cudnn::kAlignment) == CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT && int(Cudnn::kElementType) == CUDNN_ATTR_TENSOR_DATA_TYPE &&
              int(Cudnn::kDimensions) == CUDNN_ATTR_TENSOR_DIMENSIONS && int(Cudnn::kStrides) == CUDNN_ATTR_TENSOR_STRIDES &&
              int(Cudnn::kUniqueId) == CUDNN_ATTR_TENSOR_UNIQUE_ID && int(Cudnn::kByValue) == CUDNN_ATTR_TENSOR_IS_BY_VALUE &&
              int(Cudnn::kRaggedOffsets) == CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC && int(Cudnn::kValuesIds) == CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS &&
              int(Cudnn::kValuesPointers) == CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS && int(Cudnn::kValuesWorkspace) == CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
static_assert(int(Cudnn::kQ) == CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC && int(Cudnn::kK) == CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC &&
              int(Cudnn::kV) == CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC && int(Cudnn::kOut) == CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC &&
              int(Cudnn::kLse) == CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC && int(Cudnn::kScale) == CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC &&
              int(Cudnn::kLengthsQ) == CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC && int(Cudnn::kLengthsK) == CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC);
#endif

// What is different from library to library.
template <class Library> struct About;
template <> struct About<CublasLt> {
  static constexpr const char* kName = "cuBLASLt";
  static constexpr const char* kWhich = "cuBLASLt 12 or 13";
  static constexpr const char* kFlag = "PUMICE_CUBLASLT is a file like libcublasLt.so.13, or off for our own kernels";
  static constexpr const char* kWithout = "products run on our own kernels";
  static constexpr const char* kUsualNames[] = {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.12"};
  static constexpr bool kByDefault = true;
  static constexpr size_t kOldest = 0;
  static std::string asked() { return flags::cublaslt(); }
  template <class F> static void find(CublasLt& l, const F& find) {
    find(l.create, "cublasLtCreate");
    find(l.destroy, "cublasLtDestroy");
    find(l.product_create, "cublasLtMatmulDescCreate");
    find(l.product_destroy, "cublasLtMatmulDescDestroy");
    find(l.product_set, "cublasLtMatmulDescSetAttribute");
    find(l.matrix_create, "cublasLtMatrixLayoutCreate");
    find(l.matrix_destroy, "cublasLtMatrixLayoutDestroy");
    find(l.matrix_set, "cublasLtMatrixLayoutSetAttribute");
    find(l.preference_create, "cublasLtMatmulPreferenceCreate");
    find(l.preference_destroy, "cublasLtMatmulPreferenceDestroy");
    find(l.preference_set, "cublasLtMatmulPreferenceSetAttribute");
    find(l.choose, "cublasLtMatmulAlgoGetHeuristic");
    find(l.multiply, "cublasLtMatmul");
    find(l.status_text, "cublasLtGetStatusString");
    find(l.version, "cublasLtGetVersion");
  }
};
template <> struct About<Cudnn> {
  static constexpr const char* kName = "cuDNN";
  static constexpr const char* kWhich = "cuDNN 9.15 or later";
  static constexpr const char* kFlag = "PUMICE_CUDNN is on, off or a file like libcudnn.so.9; empty is off, attention by our own kernels";
  static constexpr const char* kWithout = "attention runs on our own kernels (PUMICE_CUDNN)";
  static constexpr const char* kUsualNames[] = {"libcudnn.so.9", "/usr/local/cuda/lib64/libcudnn.so.9"};
  static constexpr bool kByDefault = false;
  static constexpr size_t kOldest = Cudnn::kOldest;
  static std::string asked() { return flags::cudnn(); }
  template <class F> static void find(Cudnn& l, const F& find) {
    find(l.create, "cudnnCreate");
    find(l.destroy, "cudnnDestroy");
    find(l.use_stream, "cudnnSetStream");
    find(l.object_create, "cudnnBackendCreateDescriptor");
    find(l.object_destroy, "cudnnBackendDestroyDescriptor");
    find(l.object_set, "cudnnBackendSetAttribute");
    find(l.object_get, "cudnnBackendGetAttribute");
    find(l.object_finish, "cudnnBackendFinalize");
    find(l.execute, "cudnnBackendExecute");
    find(l.status_text, "cudnnGetErrorString");
    find(l.version, "cudnnGetVersion");
  }
};

std::string version_text(size_t v) { return concat_text(v / 10000, ".", v / 100 % 100, ".", v % 100); }

// Null, and why, if the file is not that library. A library stays loaded once it is used.
template <class Library> std::unique_ptr<Library> load(const std::string& file, std::string& why) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* said = dlerror();
    why = said ? said : "it cannot be loaded";
    return nullptr;
  }
  auto made = std::make_unique<Library>();
  made->file = file;
  const char* missing = nullptr;
  About<Library>::find(*made, [&]<class F>(F& function, const char* name) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (!function && !missing) { missing = name; }
  });
  if (!missing && made->version() >= About<Library>::kOldest) { return made; }
  why = missing ? concat_text(file, " has no function ", missing, " and is not ", About<Library>::kWhich)
                : concat_text(file, " is ", version_text(made->version()), " and not ", About<Library>::kWhich);
  dlclose(library);
  return nullptr;
}

template <class Library> [[noreturn]] void refuse(const std::string& why) {
  throw UsageError(concat_text("[cuda] ", About<Library>::kName, " cannot be used: ", why, ". ", About<Library>::kFlag));
}

template <class Library> std::unique_ptr<Library> load_or_throw(const std::string& file) {
  std::string why;
  auto made = load<Library>(file, why);
  if (!made) { refuse<Library>(why); }
  return made;
}

template <class Library> std::unique_ptr<Library> look() {
  const std::string asked = About<Library>::asked();
  const bool wanted = asked == "on";
  if (asked == "off" || (asked.empty() && !About<Library>::kByDefault)) { return nullptr; }
  if (!asked.empty() && !wanted) { return load_or_throw<Library>(asked); }
  if (cuda_device::count() == 0 || cuda_device::emulated()) {
    if (wanted) { refuse<Library>("there is no card"); }
    return nullptr;
  }
  std::string why, first;
  for (const char* name : About<Library>::kUsualNames) {
    if (auto made = load<Library>(name, why)) { return made; }
    if (first.empty()) { first = why; }
  }
  if (wanted) { refuse<Library>(first); }
  return nullptr;
}

template <class Library> struct Slot {
  std::mutex mutex;
  std::atomic<bool> looked{false};
  std::atomic<const Library*> in_use{nullptr};
  std::vector<std::unique_ptr<Library>> kept;  // plans made with one that was in use before still point to it

  void use(std::unique_ptr<Library> library) {
    in_use = library.get();
    kept.push_back(std::move(library));
    looked = true;
  }
};
template <class Library> Slot<Library>& slot() {
  static Slot<Library> s;
  return s;
}

template <class Library> const Library* in_use() {
  Slot<Library>& s = slot<Library>();
  if (!s.looked) {
    std::lock_guard lock(s.mutex);
    if (!s.looked) { s.use(look<Library>()); }
  }
  return s.in_use;
}

template <class Library> void use(const std::string& file) {
  auto library = file.empty() ? nullptr : load_or_throw<Library>(file);
  Slot<Library>& s = slot<Library>();
  std::lock_guard lock(s.mutex);
  s.use(std::move(library));
}

template <class Library> std::string line() {
  try {
    const Library* l = in_use<Library>();
    return l ? concat_text(About<Library>::kName, " ", version_text(l->version()), " from ", l->file)
             : concat_text(About<Library>::kName, " not loaded: ", About<Library>::kWithout);
  } catch (const UsageError& e) {  // whoever asks wants to know
    return e.what();
  }
}

}  // namespace

const CublasLt* cublaslt() { return in_use<CublasLt>(); }
const Cudnn* cudnn() { return in_use<Cudnn>(); }
void use_cublaslt(const std::string& file) { use<CublasLt>(file); }
void use_cudnn(const std::string& file) { use<Cudnn>(file); }

std::vector<std::string> describe() { return {line<CublasLt>(), line<Cudnn>()}; }

}  // namespace pumice::cuda_libraries
