#include "pumice/tensor/shape.h"

#include <algorithm>
#include <ostream>

#include "pumice/tensor/error.h"

namespace pumice {

Shape::Shape(const int64_t* dims, int rank) : rank_(rank) {
  REQUIRE(ShapeError, rank <= kMaxRank, "[shape] a tensor has at most ", kMaxRank, " axes, got ", rank);
  std::copy(dims, dims + rank, dims_);
}

int64_t Shape::at(int axis) const { return dims_[normalize_axis("shape", axis, rank_)]; }

int64_t Shape::elements() const {
  int64_t n = 1;
  for (int64_t d : *this) { n *= d; }
  return n;
}

void Shape::push_back(int64_t dim) {
  REQUIRE(ShapeError, rank_ < kMaxRank, "[shape] a tensor has at most ", kMaxRank, " axes");
  dims_[rank_++] = dim;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::ostream& operator<<(std::ostream& out, const Shape& s) {
  out << "(";
  for (int i = 0; i < s.rank(); ++i) { out << (i ? ", " : "") << s[i]; }
  return out << ")";
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  int rank = std::max(a.rank(), b.rank());
  int64_t dims[kMaxRank];
  for (int i = 0; i < rank; ++i) {
    int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
    int64_t da = ia < 0 ? 1 : a[ia], db = ib < 0 ? 1 : b[ib];
    REQUIRE(ShapeError, da == db || da == 1 || db == 1, "[", op, "] shapes must broadcast: lengths equal or 1 on each axis, got ",
            a, " and ", b, ", which differ on axis ", i, " (", da, " and ", db, ")");
    dims[i] = da == 1 ? db : da;
  }
  return Shape(dims, rank);
}

int normalize_axis(const char* op, int axis, int rank) {
  REQUIRE(ShapeError, axis >= -rank && axis < rank, "[", op, "] axis must be in [", -rank, ", ", rank, "), got ", axis);
  return axis < 0 ? axis + rank : axis;
}

}  // namespace pumice
