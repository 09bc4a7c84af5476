// Tensors that are parts of a mapped file.
#pragma once
#include <memory>

#include "pumice/tensor/file.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

// The tensor whose packed elements begin at byte `begin` of the file, which the caller has checked to be inside. It shares the mapping
// and keeps it alive; writing to it changes a copy of the page, never the file. Where `begin` is not a multiple of the element's size (the
// formats do not promise it), the elements are copied.
Tensor mapped_tensor(const std::shared_ptr<MappedFile>& file, uint64_t begin, const Shape& shape, DType dtype);

}  // namespace pumice
