#include "pumice/tensor/mapped_tensor.h"

#include <cstring>

namespace pumice {

Tensor mapped_tensor(const std::shared_ptr<MappedFile>& file, uint64_t begin, const Shape& shape, DType dtype) {
  if (shape.elements() == 0) { return empty(shape, dtype); }
  char* data = const_cast<char*>(file->bytes().data()) + begin;
  if (reinterpret_cast<uintptr_t>(data) % uintptr_t(size_of(dtype)) == 0) { return wrap_external(data, shape, dtype, file); }
  Tensor t = empty(shape, dtype);
  std::memcpy(t.raw(), data, size_t(t.bytes()));
  return t;
}

}  // namespace pumice
