// Shape: up to eight axis lengths, stored inline.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <iosfwd>

#include "pumice/tensor/view.h"

namespace pumice {

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(dims.begin(), int(dims.size())) {}
  Shape(const int64_t* dims, int rank);  // throws ShapeError beyond eight axes

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[axis]; }
  int64_t& operator[](int axis) { return dims_[axis]; }
  int64_t at(int axis) const;  // negative axes count from the end; throws ShapeError outside
  const int64_t* begin() const { return dims_; }
  const int64_t* end() const { return dims_ + rank_; }
  int64_t back() const { return at(-1); }
  int64_t elements() const;  // product of the lengths; 1 for a scalar
  void push_back(int64_t dim);
  bool operator==(const Shape& other) const;

 private:
  int64_t dims_[kMaxRank] = {};
  int rank_ = 0;
};
std::ostream& operator<<(std::ostream& out, const Shape& s);  // "(2, 3)"

Shape contiguous_strides(const Shape& shape);
// The shape both broadcast to under NumPy's rules; throws ShapeError naming `op` and both shapes.
Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b);
// 0 <= axis < rank for axis in [-rank, rank); throws ShapeError naming `op`.
int normalize_axis(const char* op, int axis, int rank);

}  // namespace pumice
