// NVIDIA's libraries, loaded at first use, so that a program of ours starts where they are missing. What is declared here of their C interface is what
// we call, with the values of NVIDIA's headers (cuda_libraries.cpp compares them where a header is found): no header is needed to build.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

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

// The cuBLASLt in use, or null. The first call looks for it, as PUMICE_CUBLASLT says: by its usual names where there is a card (never under the
// emulator), in a file, or not at all. Throws UsageError if that file cannot be used. What it returns stays valid.
const CublasLt* cublaslt();

// Uses the library in `file` from now on, or none if it is empty. Throws UsageError if it cannot be used; then nothing has changed.
void use_cublaslt(const std::string& file);

std::string describe();  // one line for `pumice doctor`

}  // namespace pumice::cuda_libraries
