// NVIDIA's libraries, loaded at first use, so that a program of ours starts where they are missing. What is declared here of their C interface is what
// we call, with the values of NVIDIA's headers (cuda_libraries.cpp compares them where a header is found): no header is needed to build.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pumice::cuda_libraries {

// cuBLASLt 12 and 13. Matrices are stored by columns: D = alpha op(A) op(B) + beta C, then the epilogue. Functions give 0 or a status.
struct CublasLt {
  using Object = void*;  // a handle, or a description of a product, a matrix, or what to look for
  struct Algorithm { uint64_t data[8]; };
  struct Choice {
    Algorithm algorithm;
    size_t workspace;  // bytes
    int state;         // 0: it can be used
    float waves;
    int reserved[4];
  };
  static constexpr int kF32 = 0, kBf16 = 14;
  static constexpr int kCompute32F = 68;  // f32 sums; f32 operands are not rounded to TF32
  static constexpr int kPlain = 0, kTransposed = 1;
  static constexpr int kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8, kBiasType = 26;  // attributes of a product
  static constexpr int kEpilogueBias = 4;                                                         // adds number i of a vector to row i of D
  static constexpr int kBatchCount = 5, kBatchStride = 6;                                         // attributes of a matrix
  static constexpr int kMostWorkspace = 1, kReductions = 3, kAlignmentA = 5, kAlignmentB = 6, kAlignmentC = 7, kAlignmentD = 8;  // of what to look for
  static constexpr int kReductionInComputeType = 2;

  int (*create)(Object* handle);
  int (*destroy)(Object handle);
  int (*product_create)(Object* product, int compute_type, int scale_type);
  int (*product_destroy)(Object product);
  int (*product_set)(Object product, int attribute, const void* value, size_t bytes);
  int (*matrix_create)(Object* matrix, int type, uint64_t rows, uint64_t columns, int64_t leading);
  int (*matrix_destroy)(Object matrix);
  int (*matrix_set)(Object matrix, int attribute, const void* value, size_t bytes);
  int (*preference_create)(Object* preference);
  int (*preference_destroy)(Object preference);
  int (*preference_set)(Object preference, int attribute, const void* value, size_t bytes);
  int (*choose)(Object handle, Object product, Object a, Object b, Object c, Object d, Object preference, int asked, Choice* choices, int* found);
  int (*multiply)(Object handle, Object product, const void* alpha, const void* a, Object a_matrix, const void* b, Object b_matrix, const void* beta,
                  const void* c, Object c_matrix, void* d, Object d_matrix, const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* stream);
  const char* (*status_text)(int status);
  size_t (*version)();  // 130100 is 13.1.0

  std::string file;
};

// cuDNN 9.15 and later, as far as attention needs it: an operation is described by objects with attributes, which are numbers with a type. Functions
// give 0 or a status.
struct Cudnn {
  using Object = void*;
  enum Kind { kEngineConfig = 3, kHeuristics = 4, kPlan = 5, kGraph = 15, kValues = 16, kTensor = 17, kAttentionForward = 41 };
  enum Type { kHandle = 0, kDataType = 1, kBoolean = 2, kInt64 = 3, kPointer = 6, kHeuristicsMode = 8, kObject = 15 };
  enum Attribute {
    kHeuristicsModeOf = 200, kHeuristicsGraph = 201, kHeuristicsResults = 202,  // of a kHeuristics
    kPlanHandle = 400, kPlanConfig = 401, kPlanWorkspace = 402,                 // of a kPlan
    kGraphHandle = 800, kGraphOperations = 801,                                 // of a kGraph
    kAlignment = 900, kElementType = 901, kDimensions = 902, kStrides = 903, kUniqueId = 906, kByValue = 908, kRaggedOffsets = 913,  // of a kTensor
    kValuesIds = 1000, kValuesPointers = 1001, kValuesWorkspace = 1003,         // of a kValues
    kQ = 2800, kK = 2801, kV = 2802, kOut = 2803, kLse = 2804, kScale = 2805, kLengthsQ = 2809, kLengthsK = 2810,  // of a kAttentionForward
  };
  static constexpr int kF32 = 0, kI32 = 4, kBf16 = 9;
  static constexpr int kBestGuess = 3;  // a mode of kHeuristics
  static constexpr size_t kOldest = 91500;  // the first with lengths of sequences in kAttentionForward

  int (*create)(Object* handle);
  int (*destroy)(Object handle);
  int (*use_stream)(Object handle, void* stream);
  int (*object_create)(int kind, Object* object);
  int (*object_destroy)(Object object);
  int (*object_set)(Object object, int attribute, int type, int64_t count, const void* values);
  int (*object_get)(Object object, int attribute, int type, int64_t asked, int64_t* count, void* values);
  int (*object_finish)(Object object);  // checks it; nothing can be set any more
  int (*execute)(Object handle, Object plan, Object values);
  const char* (*status_text)(int status);
  size_t (*version)();  // 91900 is 9.19.0

  std::string file;
};

// The library in use, or null. The first call looks for it, as PUMICE_CUBLASLT and PUMICE_CUDNN say: by its usual names where there is a card (never
// under the emulator), in a file, or not at all, which is what an empty PUMICE_CUDNN means. Throws UsageError if that file cannot be used, or nothing
// is found for PUMICE_CUDNN=on. What it returns stays valid.
const CublasLt* cublaslt();
const Cudnn* cudnn();

// Uses the library in `file` from now on, or none if it is empty. Throws UsageError if it cannot be used; then nothing has changed.
void use_cublaslt(const std::string& file);
void use_cudnn(const std::string& file);

std::vector<std::string> describe();  // one line for each, for `pumice doctor`

}  // namespace pumice::cuda_libraries
