#include "pumice/train/image_text_steps.h"

#include <cmath>
#include <cstddef>
#include <cstring>

#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"

namespace pumice {
namespace {

constexpr int64_t kMostLaunched = 4;  // steps whose numbers are on their way; with so many the host pauses until the oldest have arrived

}  // namespace

// What a step leaves on the device for the host.
struct ImageTextSteps::Found {
  double task, aux;
  int64_t hits[2];
  StepState state;
  float log_temperature, unused;
};

ImageTextSteps::ImageTextSteps(ImageTextModel& model, const ImageTextTraining& training, TrainingRun& run)
    : model_(model), t_(training), run_(run), upload_(model.parameters().device()),
      found_(zeros({int64_t(sizeof(Found))}, DType::u8, model.parameters().device())),
      pinned_(static_cast<Found*>(cuda_device::allocate_pinned((kMostLaunched + 1) * sizeof(Found)))), finished_(std::chrono::steady_clock::now()) {
  REQUIRE(OutOfMemory, pinned_, "[train] there is no pinned memory for what steps report");
}

ImageTextSteps::~ImageTextSteps() {
  try {
    for (const Launched& step : launched_) { step.arrived.wait(); }
  } catch (const DeviceError&) {}  // nothing arrives from a device that has failed
  cuda_device::release_pinned(pinned_);
}

void ImageTextSteps::prepare(Batch batch) {
  next_ = {std::move(batch), {}, empty({int64_t(sizeof(StepNumbers))}, DType::u8)};
  const StepNumbers numbers = run_.numbers();
  std::memcpy(next_.numbers.raw(), &numbers, sizeof numbers);
  next_.input = step_input(model_, next_.batch, t_.accum_freq, true, true);
  std::vector<Tensor> tensors = next_.input.tensors();
  tensors.insert(tensors.begin(), next_.numbers);  // first, so that they always arrive at one address
  upload_.start(std::move(tensors));
}

// Only launches, and only on what has arrived: recorded once, it is replayed with other batches, rates and random numbers.
void ImageTextSteps::work(const StepInput& input, bool reports) {
  Found* found = reinterpret_cast<Found*>(found_.data<uint8_t>());  // on the device: offsets alone are used here
  auto place = [&](size_t offset, const Shape& shape, DType dtype) { return tensor_in(found_, int64_t(offset), shape, dtype); };
  RandomKey random = run_.randomness();
  random.step_at = &numbers_->step;
  const RandomScope scope(random);
  ParameterStore& parameters = model_.parameters();
  parameters.changed();  // compute copies are made by every step
  parameters.zero_gradients();
  LossTensors losses = launch_gradients(model_, input, {.dtype = t_.precision, .training = true, .recompute = t_.recompute, .reports = reports});
  const Tensor pair = place(offsetof(Found, task), {2}, DType::f64);
  copy_into(pair.slice(0, 0, 1), losses.task.reshape({1}));
  if (losses.aux.defined()) { copy_into(pair.slice(0, 1, 2), losses.aux.reshape({1})); }
  copy_into(place(offsetof(Found, hits), {2}, DType::i64), losses.hits);
  run_.launch_update(pair, {numbers_, &found->state}, &found->state);
  copy_into(place(offsetof(Found, log_temperature), {1}, DType::f32), model_.log_temperature().detach().reshape({1}));
  layers_ = std::move(losses.layers);
}

void ImageTextSteps::launch() {
  if (int64_t(launched_.size()) == kMostLaunched) { launched_.front().arrived.wait(); }
  upload_.arrive();
  if (upload_.moves() != upload_moves_) { graphs_.forget(); }
  upload_moves_ = upload_.moves();
  numbers_ = reinterpret_cast<const StepNumbers*>(to_device(next_.numbers, found_.device()).data<uint8_t>());
  const RandomKey random = run_.randomness();
  const bool reports = run_.logs_next();
  if (flags::cuda_graphs()) {
    graphs_.run(next_.input.shape(), !reports, [&] { work(next_.input, reports); });
  } else {
    work(next_.input, reports);
  }

  Found* found = pinned_ + count_++ % (kMostLaunched + 1);  // that of the oldest may not have been read
  launched_.push_back({{}, std::move(next_), random, {}, found});
  Launched& step = launched_.back();
  cuda_device::download(found, found_.raw(), sizeof(Found));
  step.arrived.record(cuda_device::Stream::work);
  step.metrics.epoch = step.step.batch.epoch;
  step.metrics.layers = std::exchange(layers_, {});
  run_.count_update(step.metrics, step.step.batch.position);
}

void ImageTextSteps::finish(bool wait, const std::function<void(ImageTextMetrics&)>& done) {
  size_t arrived = 0;
  for (; arrived < launched_.size(); ++arrived) {
    if (wait) { launched_[arrived].arrived.wait(); }
    else if (!launched_[arrived].arrived.reached()) { break; }
  }
  if (!arrived) { return; }
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - std::exchange(finished_, now)).count() / double(arrived);
  const double pairs = double(t_.batch_size);
  for (; arrived > 0; --arrived) {
    Launched step = std::move(launched_.front());
    launched_.pop_front();
    const Found& f = *step.found;
    ImageTextMetrics& m = step.metrics;
    m.task = f.task;
    m.aux = f.aux;
    m.loss = f.task + f.aux;
    m.gradient_norm = f.state.gradient_norm;
    m.image_to_text = double(f.hits[0]) / pairs;
    m.text_to_image = double(f.hits[1]) / pairs;
    m.temperature = std::exp(double(f.log_temperature));
    run_.finish_update(m, seconds, [&] {
      const RandomScope scope(step.random);
      accumulate_gradients(model_, step.step.batch, t_.accum_freq, {.dtype = t_.precision, .training = true, .recompute = t_.recompute});
    });
    m.pairs_per_second = pairs / m.seconds;
    done(m);
  }
}

}  // namespace pumice
