// View: what a kernel sees of a tensor. Trivially copyable, so that argument structs travel to any device; free of STL.
#pragma once
#include "pumice/tensor/dtype.h"

namespace pumice {

inline constexpr int kMaxRank = 8;

struct View {
  void* data = nullptr;          // first element; null when the tensor is undefined (an optional operand that is absent)
  DType dtype = DType::f32;
  int32_t rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t stride[kMaxRank] = {};  // in elements; 0 along an expanded axis

  template <class T> PUMICE_INLINE T* as() const { return static_cast<T*>(data); }
  PUMICE_INLINE explicit operator bool() const { return data != nullptr; }
  PUMICE_INLINE int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) { n *= shape[i]; }
    return n;
  }
};

}  // namespace pumice
