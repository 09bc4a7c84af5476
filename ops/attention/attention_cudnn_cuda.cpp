// cuDNN sees a packing as N padded sequences, (N, H, longest, D), of which sequence n begins at a place of its own ("ragged offsets", in elements) and has a
// length of its own. A small kernel makes these of our offsets, on the device (attention_cudnn_lists_cuda.cu). One operation of cuDNN's computes the output and
// the log of the sums. What it chose for a shape is kept.
#include <algorithm>
#include <climits>
#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "pumice/ops/attention/attention_cudnn_cuda.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/cuda_libraries.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/simt/device_scratch.h"

namespace pumice::cuda {
namespace {

using cuda_libraries::Cudnn;

constexpr size_t kMostPlans = 1024;             // then all are made anew
constexpr int64_t kMostWorkspace = int64_t(256) << 20;
constexpr int64_t kCandidates = 8;              // of cuDNN's, tried in the order of its guess

void require_done(const Cudnn& dnn, int status, const char* what) {
  REQUIRE(DeviceError, status == 0, "[cuda] ", what, " by cuDNN (", dnn.file, ") failed: ", dnn.status_text(status),
          ". PUMICE_CUDNN=off uses our own kernels instead");
}

// An object of cuDNN's. Those that refer to it must not outlive it.
class Object {
 public:
  Object(const Cudnn& dnn, Cudnn::Kind kind) : dnn_(dnn) { require_done(dnn, dnn.object_create(kind, &object_), "describing attention"); }
  ~Object() { dnn_.object_destroy(object_); }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  Cudnn::Object get() const { return object_; }
  void set(Cudnn::Attribute attribute, const Object& other) { put(attribute, Cudnn::kObject, 1, &other.object_); }
  template <class T> void set(Cudnn::Attribute attribute, Cudnn::Type type, const T& value) { put(attribute, type, 1, &value); }
  template <class T> void set(Cudnn::Attribute attribute, Cudnn::Type type, const std::vector<T>& values) {
    put(attribute, type, int64_t(values.size()), values.data());
  }
  int finish() { return dnn_.object_finish(object_); }
  void require_finished() { require_done(dnn_, finish(), "describing attention"); }

 private:
  void put(Cudnn::Attribute attribute, Cudnn::Type type, int64_t count, const void* values) {
    require_done(dnn_, dnn_.object_set(object_, attribute, type, count, values), "describing attention");
  }
  const Cudnn& dnn_;
  Cudnn::Object object_ = nullptr;
};

// What decides how a call is computed; strides in elements.
struct Problem {
  int64_t sequences, longest, heads, kv_heads, D;
  struct Layout {
    int64_t token, head;
    auto operator<=>(const Layout&) const = default;
  } q, k, v, out;
  auto operator<=>(const Problem&) const = default;
};

// Names of the tensors, as cuDNN wants them: numbers. The places of p are kIdOfPlaces + p.
enum Id : int64_t { kIdQ = 1, kIdK, kIdV, kIdOut, kIdLse, kIdScale, kIdQueryCounts, kIdKeyCounts, kIdOfPlaces };

class Plan {
 public:
  Plan(const Cudnn& dnn, std::shared_ptr<void> handle, const Problem& p) : dnn_(dnn), handle_(std::move(handle)) {
    Object &operation = object(Cudnn::kAttentionForward), &graph = object(Cudnn::kGraph), &guess = object(Cudnn::kHeuristics);
    operation.set(Cudnn::kQ, rows(kIdQ, p, p.heads, p.q, kPlaceQ));
    operation.set(Cudnn::kK, rows(kIdK, p, p.kv_heads, p.k, kPlaceK));
    operation.set(Cudnn::kV, rows(kIdV, p, p.kv_heads, p.v, kPlaceV));
    operation.set(Cudnn::kOut, rows(kIdOut, p, p.heads, p.out, kPlaceOut));
    const Object& lse_places = places(p, kPlaceLse);
    operation.set(Cudnn::kLse, tensor(kIdLse, Cudnn::kF32, 4, {p.sequences, p.heads, p.longest, 1}, {p.longest * p.heads, 1, p.heads, 1}, &lse_places));
    operation.set(Cudnn::kScale, tensor(kIdScale, Cudnn::kF32, 4, {1, 1, 1, 1}, {1, 1, 1, 1}, nullptr, true));
    operation.set(Cudnn::kLengthsQ, tensor(kIdQueryCounts, Cudnn::kI32, 4, {p.sequences, 1, 1, 1}, {1, 1, 1, 1}));
    operation.set(Cudnn::kLengthsK, tensor(kIdKeyCounts, Cudnn::kI32, 4, {p.sequences, 1, 1, 1}, {1, 1, 1, 1}));
    operation.require_finished();
    graph.set(Cudnn::kGraphHandle, Cudnn::kHandle, handle_.get());
    graph.set(Cudnn::kGraphOperations, operation);
    graph.require_finished();
    guess.set(Cudnn::kHeuristicsGraph, graph);
    guess.set(Cudnn::kHeuristicsModeOf, Cudnn::kHeuristicsMode, Cudnn::kBestGuess);
    if (guess.finish() == 0) { choose(guess); }
  }

  ~Plan() {
    while (!objects_.empty()) { objects_.pop_back(); }  // newest first
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  bool usable() const { return plan_ != nullptr; }
  int64_t workspace() const { return workspace_; }

  void run(const std::vector<int64_t>& ids, const std::vector<const void*>& pointers, void* workspace, void* stream) const {
    Object values(dnn_, Cudnn::kValues);
    values.set(Cudnn::kValuesIds, Cudnn::kInt64, ids);
    values.set(Cudnn::kValuesPointers, Cudnn::kPointer, pointers);
    values.set(Cudnn::kValuesWorkspace, Cudnn::kPointer, workspace);
    values.require_finished();
    require_done(dnn_, dnn_.use_stream(handle_.get(), stream), "attention");
    require_done(dnn_, dnn_.execute(handle_.get(), plan_->get(), values.get()), "attention");
  }

 private:
  Object& object(Cudnn::Kind kind) { return *objects_.emplace_back(std::make_unique<Object>(dnn_, kind)); }
  Object& tensor(int64_t id, int type, int64_t alignment, std::vector<int64_t> dimensions, std::vector<int64_t> strides,
                 const Object* places = nullptr, bool by_value = false) {
    Object& t = object(Cudnn::kTensor);
    t.set(Cudnn::kElementType, Cudnn::kDataType, type);
    t.set(Cudnn::kDimensions, Cudnn::kInt64, dimensions);
    t.set(Cudnn::kStrides, Cudnn::kInt64, strides);
    t.set(Cudnn::kUniqueId, Cudnn::kInt64, id);
    t.set(Cudnn::kAlignment, Cudnn::kInt64, alignment);
    if (by_value) { t.set(Cudnn::kByValue, Cudnn::kBoolean, true); }
    if (places) { t.set(Cudnn::kRaggedOffsets, *places); }
    t.require_finished();
    return t;
  }
  Object& places(const Problem& p, Place place) {
    return tensor(kIdOfPlaces + int64_t(place), Cudnn::kI32, 4, {p.sequences + 1, 1, 1, 1}, {1, 1, 1, 1});
  }
  Object& rows(int64_t id, const Problem& p, int64_t heads, const Problem::Layout& layout, Place place) {
    return tensor(id, Cudnn::kBf16, 16, {p.sequences, heads, p.longest, p.D}, {p.longest * layout.token, layout.head, layout.token, 1}, &places(p, place));
  }

  // The first of cuDNN's candidates that it has a kernel for and that is content with our memory.
  void choose(const Object& guess) {
    std::vector<Object*> configs;
    std::vector<Cudnn::Object> wanted;
    for (int64_t i = 0; i < kCandidates; ++i) { wanted.push_back(configs.emplace_back(&object(Cudnn::kEngineConfig))->get()); }
    int64_t found = 0;
    if (dnn_.object_get(guess.get(), Cudnn::kHeuristicsResults, Cudnn::kObject, kCandidates, &found, wanted.data())) { return; }
    for (int64_t i = 0; i < found && !plan_; ++i) {
      Object& plan = object(Cudnn::kPlan);
      plan.set(Cudnn::kPlanHandle, Cudnn::kHandle, handle_.get());
      plan.set(Cudnn::kPlanConfig, *configs[i]);
      int64_t one = 0;
      if (plan.finish() == 0 && dnn_.object_get(plan.get(), Cudnn::kPlanWorkspace, Cudnn::kInt64, 1, &one, &workspace_) == 0 && workspace_ <= kMostWorkspace) {
        plan_ = &plan;
      }
    }
  }

  const Cudnn& dnn_;
  std::shared_ptr<void> handle_;
  std::vector<std::unique_ptr<Object>> objects_;  // all of the description
  Object* plan_ = nullptr;
  int64_t workspace_ = 0;
};

// The plans made so far, with one library's handle. Never destroyed: the library may be gone by then.
struct Plans {
  std::mutex mutex;  // of the handle as well
  const Cudnn* library = nullptr;
  std::shared_ptr<void> handle;
  std::map<Problem, std::shared_ptr<Plan>> made;

  std::shared_ptr<Plan> of(const Cudnn& dnn, const Problem& p) {
    std::lock_guard lock(mutex);
    if (library != &dnn) {
      made.clear();
      Cudnn::Object made_handle = nullptr;
      require_done(dnn, dnn.create(&made_handle), "its start");
      handle = {made_handle, dnn.destroy};
      library = &dnn;
    }
    if (made.size() >= kMostPlans) { made.clear(); }
    std::shared_ptr<Plan>& plan = made[p];
    if (!plan) { plan = std::make_shared<Plan>(dnn, handle, p); }
    return plan;
  }
};
Plans& plans() {
  static Plans* p = new Plans;
  return *p;
}

}  // namespace

bool attend_by_cudnn(const AttentionFwd& a) {
  const Cudnn* dnn = cuda_libraries::cudnn();
  if (!dnn || a.q.dtype != DType::bf16 || a.causal || a.longest == 0) { return false; }
  const int64_t N = a.q_offsets.shape[0] - 1, queries = a.q.shape[0], keys = a.k.shape[0], heads = a.q.shape[1], kv_heads = a.k.shape[1], D = a.q.shape[2];
  bool aligned = D % 8 == 0;
  for (const View* v : {&a.q, &a.k, &a.v, &a.out}) {
    aligned &= reinterpret_cast<uintptr_t>(v->data) % 16 == 0 && v->stride[0] % 8 == 0 && v->stride[1] % 8 == 0;
  }
  SequenceLists lists{.q_offsets = a.q_offsets.as<int32_t>(), .k_offsets = a.k_offsets.as<int32_t>(), .sequences = N, .queries = queries, .keys = keys,
                      .longest = a.longest, .steps = {a.q.stride[0], a.k.stride[0], a.v.stride[0], a.out.stride[0], heads}};
  const int64_t furthest = std::max(queries * std::max({a.q.stride[0], a.out.stride[0], heads}), keys * std::max(a.k.stride[0], a.v.stride[0]));
  if (!aligned || furthest > INT_MAX || N == 0 || keys == 0) { return false; }
  const auto layout = [](const View& v) { return Problem::Layout{v.stride[0], v.stride[1]}; };
  const std::shared_ptr<Plan> plan = plans().of(*dnn, {.sequences = N, .longest = a.longest, .heads = heads, .kv_heads = kv_heads, .D = D, .q = layout(a.q),
                                                       .k = layout(a.k), .v = layout(a.v), .out = layout(a.out)});
  if (!plan->usable()) { return false; }

  simt::DeviceScratch<int32_t> memory(kPlaces * (N + 1) + 2 * N);
  simt::DeviceScratch<char> workspace(plan->workspace() + 1);
  for (int p = 0; p < kPlaces; ++p) { lists.places[p] = memory.get() + p * (N + 1); }
  lists.query_counts = memory.get() + kPlaces * (N + 1);
  lists.key_counts = lists.query_counts + N;
  list_sequences(lists);
  std::vector<int64_t> ids = {kIdQ, kIdK, kIdV, kIdOut, kIdLse, kIdQueryCounts, kIdKeyCounts};
  std::vector<const void*> pointers = {a.q.data, a.k.data, a.v.data, a.out.data, a.lse.data, lists.query_counts, lists.key_counts};
  for (int p = 0; p < kPlaces; ++p) {
    ids.push_back(kIdOfPlaces + p);
    pointers.push_back(lists.places[p]);
  }
  ids.push_back(kIdScale);
  cuda_device::in_stream([plan, ids, pointers, scale = float(a.scale), room = workspace.get()](void* stream) {
    std::vector<const void*> all = pointers;
    all.push_back(&scale);  // a number of the host
    std::lock_guard lock(plans().mutex);
    plan->run(ids, all, room, stream);
  });
  return true;
}

}  // namespace pumice::cuda
