// A library with the functions of cuDNN that Pumice calls, for machines without a card: it computes the one operation that we describe with plain loops on the
// memory of the emulated device, refuses what NVIDIA's documentation does not allow, and counts. It shows that our numbers mean what we think.
// Where the real library is installed, every description is repeated to it, and what it refuses is refused: it needs no card for that.
#include <dlfcn.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

namespace {

enum { kSuccess = 0, kInvalid = 2000, kUnsupported = 3000 };
enum Kind { kConfig = 3, kHeuristics = 4, kPlan = 5, kGraph = 15, kValues = 16, kTensor = 17, kAttention = 41 };
enum Type { kHandle = 0, kDataType = 1, kBoolean = 2, kInt64 = 3, kPointer = 6, kMode = 8, kObject = 15 };

int launched = 0, described = 0;
bool fail_next = false;

// A run that is meant to come here and does not must not pass.
struct Expectation {
  ~Expectation() {
    if (std::getenv("STAND_IN_EXPECTS_CALLS") && launched == 0) {
      std::fprintf(stderr, "the stand-in was not asked for attention once\n");
      std::_Exit(1);
    }
  }
} expectation;

// The real library's functions for descriptions, if it is here. Never closed.
struct Real {
  int (*create)(int, void**) = nullptr;
  int (*destroy)(void*) = nullptr;
  int (*set)(void*, int, int, int64_t, const void*) = nullptr;
  int (*finish)(void*) = nullptr;
  Real() {
    void* library = nullptr;
    for (const char* name : {"libcudnn.so.9", "/usr/local/cuda/lib64/libcudnn.so.9"}) {
      if (!library) { library = dlopen(name, RTLD_NOW | RTLD_LOCAL); }
    }
    if (!library) { return; }
    create = reinterpret_cast<int (*)(int, void**)>(dlsym(library, "cudnnBackendCreateDescriptor"));
    destroy = reinterpret_cast<int (*)(void*)>(dlsym(library, "cudnnBackendDestroyDescriptor"));
    set = reinterpret_cast<int (*)(void*, int, int, int64_t, const void*)>(dlsym(library, "cudnnBackendSetAttribute"));
    finish = reinterpret_cast<int (*)(void*)>(dlsym(library, "cudnnBackendFinalize"));
  }
};
const Real& real() {
  static const Real r;
  return r;
}

struct Attribute { int type; int64_t count; std::vector<unsigned char> bytes; };
struct Description;
using Shared = std::shared_ptr<Description>;
struct Description {
  int kind;
  bool finished = false;
  std::map<int, Attribute> attributes;
  std::map<int, std::vector<Shared>> objects;  // what it refers to: the caller may destroy its own
  void* mirror = nullptr;
  ~Description() {
    if (mirror) { real().destroy(mirror); }
  }

  bool mirrored() const { return kind == kTensor || kind == kAttention || kind == kGraph; }
  bool has(int attribute) const { return attributes.count(attribute) || objects.count(attribute); }
  const Description* one(int attribute) const {
    auto at = objects.find(attribute);
    return at == objects.end() || at->second.size() != 1 ? nullptr : at->second[0].get();
  }
  template <class T> std::vector<T> values(int attribute, int type) const {
    auto at = attributes.find(attribute);
    if (at == attributes.end() || at->second.type != type) { return {}; }
    std::vector<T> v(size_t(at->second.count));
    std::memcpy(v.data(), at->second.bytes.data(), at->second.bytes.size());
    return v;
  }
  template <class T> T value(int attribute, int type, T otherwise) const {
    const auto v = values<T>(attribute, type);
    return v.size() == 1 ? v[0] : otherwise;
  }
};
Shared& as(void* p) { return *static_cast<Shared*>(p); }

size_t size_of(int type) {
  switch (type) {
    case kDataType: case kMode: return sizeof(int);
    case kBoolean: return 1;
    default: return 8;
  }
}

struct Tensor {
  int64_t id, alignment;
  int type;
  std::vector<int64_t> dimensions, strides;
  bool by_value;
  const Description* ragged;
  explicit Tensor(const Description& d)
      : id(d.value<int64_t>(906, kInt64, -1)), alignment(d.value<int64_t>(900, kInt64, 0)), type(d.value<int>(901, kDataType, -1)),
        dimensions(d.values<int64_t>(902, kInt64)), strides(d.values<int64_t>(903, kInt64)), by_value(d.value<uint8_t>(908, kBoolean, 0) != 0), ragged(d.one(913)) {}
};

bool is_tensor(const Description* d) { return d && d->kind == kTensor && d->finished; }

// What NVIDIA's documentation asks of the operation, and that nothing is left out that we rely on.
bool fits(const Description& op) {
  for (int a : {2800, 2801, 2802, 2803, 2804, 2805, 2809, 2810}) {
    if (!is_tensor(op.one(a))) { return false; }
  }
  const Tensor q(*op.one(2800)), k(*op.one(2801)), v(*op.one(2802)), o(*op.one(2803)), lse(*op.one(2804)), scale(*op.one(2805)), nq(*op.one(2809)), nk(*op.one(2810));
  const auto& d = q.dimensions;
  if (d.size() != 4 || k.dimensions.size() != 4 || k.dimensions[1] < 1 || d[1] % k.dimensions[1]) { return false; }
  bool good = d[3] % 8 == 0 && d[3] <= 256 && k.dimensions[0] == d[0] && k.dimensions[3] == d[3] && v.dimensions == k.dimensions && o.dimensions == d &&
              lse.dimensions == std::vector<int64_t>{d[0], d[1], d[2], 1} && lse.type == 0 && scale.type == 0 && scale.by_value;
  for (const Tensor* t : {&q, &k, &v, &o}) {
    good = good && t->type == 9 && t->alignment % 16 == 0 && t->strides[3] == 1 && t->ragged && t->strides[1] % 8 == 0 && t->strides[2] % 8 == 0;
  }
  for (const Tensor* t : {&nq, &nk}) { good = good && t->type == 4 && t->dimensions == std::vector<int64_t>{d[0], 1, 1, 1}; }
  for (const Tensor* t : {&q, &k, &v, &o, &lse}) {
    if (!is_tensor(t->ragged)) { return false; }
    const Tensor places(*t->ragged);
    good = good && places.type == 4 && places.dimensions == std::vector<int64_t>{d[0] + 1, 1, 1, 1};
  }
  return good;
}

float of_bf16(const uint16_t* p) {
  const uint32_t bits = uint32_t(*p) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
uint16_t to_bf16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (f != f) { return 0x7fc0; }
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

int compute(const Description& op, const std::map<int64_t, void*>& memory) {
  const Tensor q(*op.one(2800)), k(*op.one(2801)), v(*op.one(2802)), o(*op.one(2803)), lse(*op.one(2804)), scale(*op.one(2805)), nq(*op.one(2809)), nk(*op.one(2810));
  const auto at = [&](const Tensor& t) { return memory.count(t.id) ? memory.at(t.id) : nullptr; };
  for (const Tensor* t : {&q, &k, &v, &o, &lse, &scale, &nq, &nk}) {
    const bool missing = !at(*t) || reinterpret_cast<uintptr_t>(at(*t)) % uint64_t(t->alignment) || (t->ragged && !at(Tensor(*t->ragged)));
    if (missing) { return kInvalid; }
  }
  const auto place = [&](const Tensor& t, int64_t n, int64_t h, int64_t s) {
    return static_cast<const int32_t*>(at(Tensor(*t.ragged)))[n] + h * t.strides[1] + s * t.strides[2];
  };
  const auto row = [&](const Tensor& t, int64_t n, int64_t h, int64_t s) { return static_cast<uint16_t*>(at(t)) + place(t, n, h, s); };
  const float times = *static_cast<const float*>(at(scale));
  const int64_t N = q.dimensions[0], H = q.dimensions[1], D = q.dimensions[3], group = H / k.dimensions[1];
  for (int64_t n = 0; n < N; ++n) {
    const int64_t queries = static_cast<const int32_t*>(at(nq))[n], keys = static_cast<const int32_t*>(at(nk))[n];
    if (queries > q.dimensions[2] || keys > k.dimensions[2]) { return kInvalid; }
    for (int64_t h = 0; h < H; ++h) {
      for (int64_t i = 0; i < queries; ++i) {
        std::vector<double> p(size_t(keys), 0), sum(size_t(D), 0);
        double most = -INFINITY, all = 0;
        for (int64_t j = 0; j < keys; ++j) {
          for (int64_t d = 0; d < D; ++d) { p[j] += double(of_bf16(row(q, n, h, i) + d)) * of_bf16(row(k, n, h / group, j) + d); }
          p[j] *= times;
          most = std::max(most, p[j]);
        }
        for (int64_t j = 0; j < keys; ++j) {
          p[j] = std::exp(p[j] - most);
          all += p[j];
          for (int64_t d = 0; d < D; ++d) { sum[d] += p[j] * of_bf16(row(v, n, h / group, j) + d); }
        }
        for (int64_t d = 0; d < D; ++d) { row(o, n, h, i)[d] = to_bf16(float(sum[d] / all)); }
        static_cast<float*>(at(lse))[place(lse, n, h, i)] = float(most + std::log(all));
      }
    }
  }
  return kSuccess;
}

}  // namespace

extern "C" {

int stand_in_attentions() { return launched; }
int stand_in_descriptions_accepted_by_cudnn() { return described; }  // -1: it is not installed
void stand_in_fail_next() { fail_next = true; }

int cudnnCreate(void** handle) { *handle = new void*(nullptr); return kSuccess; }
int cudnnDestroy(void* handle) { delete static_cast<void**>(handle); return kSuccess; }
int cudnnSetStream(void* handle, void* stream) { *static_cast<void**>(handle) = stream; return kSuccess; }
size_t cudnnGetVersion() { return 91900; }
const char* cudnnGetErrorString(int status) { return status == kUnsupported ? "CUDNN_STATUS_NOT_SUPPORTED" : "CUDNN_STATUS_BAD_PARAM"; }

int cudnnBackendCreateDescriptor(int kind, void** made) {
  auto d = std::make_shared<Description>();
  d->kind = kind;
  if (!real().create) { described = -1; }
  else if (d->mirrored() && real().create(kind, &d->mirror)) { return kUnsupported; }
  *made = new Shared(d);
  return kSuccess;
}
int cudnnBackendDestroyDescriptor(void* object) { delete static_cast<Shared*>(object); return kSuccess; }

int cudnnBackendSetAttribute(void* object, int attribute, int type, int64_t count, const void* values) {
  Description& d = *as(object);
  if (d.finished || count < 1 || !values) { return kInvalid; }
  std::vector<void*> mirrors;
  if (type == kObject) {
    for (int64_t i = 0; i < count; ++i) {
      const Shared& other = as(static_cast<void* const*>(values)[i]);
      if (!other->finished) { return kInvalid; }
      d.objects[attribute].push_back(other);
      mirrors.push_back(other->mirror);
    }
  } else {
    const auto* bytes = static_cast<const unsigned char*>(values);
    d.attributes[attribute] = {type, count, {bytes, bytes + size_t(count) * size_of(type)}};
  }
  if (!d.mirror || type == kHandle) { return kSuccess; }  // its handle needs a card
  return real().set(d.mirror, attribute, type, count, type == kObject ? static_cast<const void*>(mirrors.data()) : values);
}

int cudnnBackendFinalize(void* object) {
  Description& d = *as(object);
  bool good = !d.finished;
  if (d.kind == kTensor) {
    const Tensor t(d);
    good = good && t.id > 0 && t.type >= 0 && t.alignment > 0 && t.dimensions.size() == 4 && t.strides.size() == 4;
  }
  if (d.kind == kAttention) { good = good && fits(d); }
  if (d.kind == kGraph) { good = good && d.has(800) && d.one(801) && d.one(801)->kind == kAttention; }
  if (d.kind == kHeuristics) { good = good && d.one(201) && d.one(201)->kind == kGraph && d.value<int>(200, kMode, -1) == 3; }
  if (d.kind == kPlan) { good = good && d.has(400) && d.one(401) && d.one(401)->kind == kConfig; }
  if (d.kind == kValues) { good = good && d.values<int64_t>(1000, kInt64).size() == d.values<void*>(1001, kPointer).size() && d.has(1003); }
  if (!good) { return kInvalid; }
  if (d.mirror) {
    const int status = real().finish(d.mirror);
    if (status) { return status; }
    ++described;
  }
  // Its first candidate needs more than it has, as some of the real library's do: ours must take the next.
  if (d.kind == kPlan && d.one(401)->value<int64_t>(-1, kInt64, 0) == 0) { return kUnsupported; }
  d.finished = true;
  return kSuccess;
}

int cudnnBackendGetAttribute(void* object, int attribute, int type, int64_t asked, int64_t* count, void* values) {
  const Shared& d = as(object);
  if (!d->finished) { return kInvalid; }
  if (d->kind == kHeuristics && attribute == 202 && type == kObject) {
    *count = 0;
    if (Tensor(*d->one(201)->one(801)->one(2800)).dimensions[3] > 128) { return kSuccess; }  // no kernel of its own for wide heads
    for (int64_t i = 0; i < std::min<int64_t>(asked, 2); ++i) {
      Description& config = *as(static_cast<void**>(values)[i]);
      if (config.kind != kConfig) { return kInvalid; }
      config.objects[-2] = {d->one(201)->objects.at(801)};
      Attribute number{kInt64, 1, std::vector<unsigned char>(8)};
      std::memcpy(number.bytes.data(), &i, 8);
      config.attributes[-1] = number;
      config.finished = true;
      ++*count;
    }
    return kSuccess;
  }
  if (d->kind == kPlan && attribute == 402 && type == kInt64 && asked == 1) {
    *count = 1;
    *static_cast<int64_t*>(values) = 1000;
    return kSuccess;
  }
  return kInvalid;
}

int cudnnBackendExecute(void* handle, void* plan, void* values) {
  if (fail_next) {
    fail_next = false;
    return kUnsupported;
  }
  const Description &p = *as(plan), &v = *as(values);
  if (!handle || p.kind != kPlan || !p.finished || v.kind != kValues || !v.finished) { return kInvalid; }
  const auto ids = v.values<int64_t>(1000, kInt64);
  const auto pointers = v.values<void*>(1001, kPointer);
  std::map<int64_t, void*> memory;
  for (size_t i = 0; i < ids.size(); ++i) { memory[ids[i]] = pointers[i]; }
  std::memset(v.value<void*>(1003, kPointer, nullptr), 0x5a, 1000);  // its workspace
  const int status = compute(*p.one(401)->one(-2), memory);
  launched += status == kSuccess;
  return status;
}

}  // extern "C"
