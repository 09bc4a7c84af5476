// A library with the functions of cuBLASLt that Pumice calls, for machines without a card: it computes with plain loops on the memory of the emulated
// device, refuses what NVIDIA's documentation does not allow, and counts its products. It shows that we describe matrices as they lie in memory.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>


namespace {

enum { kSuccess = 0, kInvalid = 7, kUnsupported = 15 };
enum { kF32 = 0, kBf16 = 14 };

struct Product { int compute, scale; int trans_a = 0, trans_b = 0, epilogue = 1, bias_type = -1; const void* bias = nullptr; };
struct Matrix { int type; uint64_t rows, columns; int64_t leading; int32_t batches = 1; int64_t stride = 0; };
struct Wish { uint64_t workspace = 0; uint32_t reductions = 7, alignment[4] = {256, 256, 256, 256}; };

int products = 0;
bool fail_next = false;

// A run that is meant to come here and does not must not pass.
struct Expectation {
  ~Expectation() {
    if (std::getenv("STAND_IN_EXPECTS_CALLS") && products == 0) {
      std::fprintf(stderr, "the stand-in was not asked for a product once\n");
      std::_Exit(1);
    }
  }
} expectation;

template <class T> bool put(T& to, const void* value, size_t bytes) {
  if (!value || bytes != sizeof(T)) { return false; }
  std::memcpy(&to, value, bytes);
  return true;
}
template <class T> T& as(void* p) { return *static_cast<T*>(p); }

double number(const void* data, int type, int64_t i) {
  if (type == kF32) { return static_cast<const float*>(data)[i]; }
  const uint32_t bits = uint32_t(static_cast<const uint16_t*>(data)[i]) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
void store(void* data, int type, int64_t i, float f) {
  if (type == kF32) { static_cast<float*>(data)[i] = f; return; }
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (f != f) { bits = 0x7fc00000; }
  else { bits += 0x7fff + ((bits >> 16) & 1); }
  static_cast<uint16_t*>(data)[i] = uint16_t(bits >> 16);
}

// Rows and columns of op(m).
uint64_t rows_of(const Matrix& m, int trans) { return trans ? m.columns : m.rows; }
uint64_t columns_of(const Matrix& m, int trans) { return trans ? m.rows : m.columns; }

// What NVIDIA's documentation asks of a product.
bool fits(const Product& p, const Matrix& a, const Matrix& b, const Matrix& c, const Matrix& d) {
  const bool shapes = rows_of(a, p.trans_a) == d.rows && columns_of(b, p.trans_b) == d.columns && columns_of(a, p.trans_a) == rows_of(b, p.trans_b) &&
                      c.rows == d.rows && c.columns == d.columns && a.batches == d.batches && b.batches == d.batches && c.batches == d.batches;
  const bool types = a.type == b.type && c.type == d.type && (a.type == kF32 ? d.type == kF32 : a.type == kBf16 && (d.type == kF32 || d.type == kBf16));
  const bool epilogue = p.epilogue == 1 || (p.epilogue == 4 && p.bias && p.bias_type == d.type);
  return p.compute == 68 && p.scale == kF32 && shapes && types && epilogue;
}

}  // namespace

extern "C" {

int stand_in_products() { return products; }
void stand_in_fail_next() { fail_next = true; }

int cublasLtCreate(void** handle) { *handle = new int(0); return kSuccess; }
int cublasLtDestroy(void* handle) { delete static_cast<int*>(handle); return kSuccess; }
size_t cublasLtGetVersion() { return 130100; }
const char* cublasLtGetStatusString(int status) { return status == kUnsupported ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_INVALID_VALUE"; }

int cublasLtMatmulDescCreate(void** made, int compute, int scale) { *made = new Product{compute, scale}; return kSuccess; }
int cublasLtMatmulDescDestroy(void* p) { delete static_cast<Product*>(p); return kSuccess; }
int cublasLtMatmulDescSetAttribute(void* product, int attribute, const void* value, size_t bytes) {
  Product& p = as<Product>(product);
  switch (attribute) {
    case 3: return put(p.trans_a, value, bytes) && p.trans_a <= 1 ? kSuccess : kInvalid;
    case 4: return put(p.trans_b, value, bytes) && p.trans_b <= 1 ? kSuccess : kInvalid;
    case 7: return put(p.epilogue, value, bytes) ? kSuccess : kInvalid;
    case 8: return put(p.bias, value, bytes) ? kSuccess : kInvalid;
    case 26: return put(p.bias_type, value, bytes) ? kSuccess : kInvalid;
    default: return kInvalid;
  }
}

int cublasLtMatrixLayoutCreate(void** made, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  if (rows == 0 || columns == 0 || leading < int64_t(rows)) { return kInvalid; }
  *made = new Matrix{type, rows, columns, leading};
  return kSuccess;
}
int cublasLtMatrixLayoutDestroy(void* m) { delete static_cast<Matrix*>(m); return kSuccess; }
int cublasLtMatrixLayoutSetAttribute(void* matrix, int attribute, const void* value, size_t bytes) {
  Matrix& m = as<Matrix>(matrix);
  return (attribute == 5 && put(m.batches, value, bytes)) || (attribute == 6 && put(m.stride, value, bytes)) ? kSuccess : kInvalid;
}

int cublasLtMatmulPreferenceCreate(void** made) { *made = new Wish; return kSuccess; }
int cublasLtMatmulPreferenceDestroy(void* w) { delete static_cast<Wish*>(w); return kSuccess; }
int cublasLtMatmulPreferenceSetAttribute(void* wish, int attribute, const void* value, size_t bytes) {
  Wish& w = as<Wish>(wish);
  if (attribute == 1) { return put(w.workspace, value, bytes) ? kSuccess : kInvalid; }
  if (attribute == 3) { return put(w.reductions, value, bytes) ? kSuccess : kInvalid; }
  return attribute >= 5 && attribute <= 8 && put(w.alignment[attribute - 5], value, bytes) ? kSuccess : kInvalid;
}

struct Choice { uint64_t algorithm[8]; size_t workspace; int state; float waves; int reserved[4]; };

// Like the real one it has no kernel for some products: those whose operands are aligned to less than four bytes.
int cublasLtMatmulAlgoGetHeuristic(void*, void* product, void* a, void* b, void* c, void* d, void* wish, int asked, Choice* choices, int* found) {
  const Wish& w = as<Wish>(wish);
  *found = 0;
  if (asked < 1 || !fits(as<Product>(product), as<Matrix>(a), as<Matrix>(b), as<Matrix>(c), as<Matrix>(d))) { return kInvalid; }
  for (uint32_t bytes : w.alignment) {
    if (bytes < 4) { return kUnsupported; }
  }
  *found = 1;
  choices[0] = {};
  for (int i = 0; i < 4; ++i) { choices[0].algorithm[i] = w.alignment[i]; }
  choices[0].workspace = w.workspace;
  return kSuccess;
}

int cublasLtMatmul(void*, void* product, const void* alpha, const void* a, void* a_matrix, const void* b, void* b_matrix, const void* beta, const void* c,
                   void* c_matrix, void* d, void* d_matrix, const uint64_t* algorithm, void* workspace, size_t workspace_bytes, void*) {
  const Product& p = as<Product>(product);
  const Matrix &ma = as<Matrix>(a_matrix), &mb = as<Matrix>(b_matrix), &mc = as<Matrix>(c_matrix), &md = as<Matrix>(d_matrix);
  if (fail_next) {
    fail_next = false;
    return kUnsupported;
  }
  if (!fits(p, ma, mb, mc, md) || !a || !b || !d || (workspace_bytes && !workspace)) { return kInvalid; }
  const void* pointers[] = {a, b, c, d};
  const Matrix* matrices[] = {&ma, &mb, &mc, &md};
  for (int i = 0; i < 4; ++i) {  // what was promised of them when the kernel was chosen
    const uint64_t step = md.batches > 1 ? uint64_t(matrices[i]->stride) * (matrices[i]->type == kF32 ? 4 : 2) : 0;
    if (reinterpret_cast<uintptr_t>(pointers[i]) % algorithm[i] || step % algorithm[i]) { return kInvalid; }
  }
  std::memset(workspace, 0x5a, workspace_bytes);
  const float times = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  const int64_t depth = int64_t(columns_of(ma, p.trans_a));
  for (int64_t batch = 0; batch < md.batches; ++batch) {
    for (int64_t j = 0; j < int64_t(md.columns); ++j) {
      for (int64_t i = 0; i < int64_t(md.rows); ++i) {
        double sum = 0;
        for (int64_t k = 0; k < depth; ++k) {
          const int64_t at_a = batch * ma.stride + (p.trans_a ? k + i * ma.leading : i + k * ma.leading);
          const int64_t at_b = batch * mb.stride + (p.trans_b ? j + k * mb.leading : k + j * mb.leading);
          sum += number(a, ma.type, at_a) * number(b, mb.type, at_b);
        }
        sum *= times;
        if (keep != 0) { sum += keep * number(c, mc.type, batch * mc.stride + i + j * mc.leading); }
        if (p.epilogue == 4) { sum += number(p.bias, p.bias_type, i); }
        store(d, md.type, batch * md.stride + i + j * md.leading, float(sum));
      }
    }
  }
  ++products;
  return kSuccess;
}

}  // extern "C"
