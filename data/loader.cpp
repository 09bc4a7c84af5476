#include "pumice/data/loader.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "pumice/data/image.h"
#include "pumice/data/order.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

std::vector<int32_t> encode_caption(const Tokenizer& tokenizer, const std::string& caption, int64_t length) {
  std::vector<int32_t> ids = tokenizer.prefix();
  for (int32_t id : tokenizer.encode(caption)) { ids.push_back(id); }
  if (int64_t(ids.size()) > length - 1) { ids.resize(length - 1); }
  ids.push_back(tokenizer.eos_id());
  return ids;
}

int64_t caption_id(const std::string& caption) { return int64_t(hash_of(caption)); }

class Loader::Impl {
 public:
  Impl(const PairSource& source, const Tokenizer& tokenizer, const LoaderOptions& options)
      : source_(source), tokenizer_(tokenizer), options_(options), position_(options.position) {
    options.augmentation.validate();
    samples_ = options.limit ? std::min(options.limit, source.size()) : source.size();
    REQUIRE(UsageError, options.batch_size > 0 && options.image_size > 0 && options.text_length > 1,
            "[loader] batch size and image size must be positive and text length at least 2, got ", options.batch_size, ", ",
            options.image_size, " and ", options.text_length);
    REQUIRE(UsageError, samples_ >= options.batch_size, "[loader] the data has ", samples_, " samples, fewer than the batch size ",
            options.batch_size, ". Lower --batch-size");
    if (options.prefetch > 0) { worker_ = std::thread([this] { work(); }); }
  }

  ~Impl() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    if (worker_.joinable()) { worker_.join(); }
  }

  Batch next() {
    if (options_.prefetch <= 0) { return make_batch(); }
    auto start = Clock::now();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !ready_.empty() || error_; });
    waited_ += std::chrono::duration<double>(Clock::now() - start).count();
    if (ready_.empty()) { std::rethrow_exception(error_); }
    Batch batch = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    return batch;
  }

  LoaderReport report() const {
    std::lock_guard lock(mutex_);
    return report_;
  }
  double seconds_waited() const {
    std::lock_guard lock(mutex_);
    return waited_;
  }

 private:
  void work() {
    // Beside the compute threads, not before them.
    setpriority(PRIO_PROCESS, id_t(syscall(SYS_gettid)), 5);
    try {
      for (;;) {
        Batch batch = make_batch();
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || int64_t(ready_.size()) < options_.prefetch; });
        if (stop_) { return; }
        ready_.push_back(std::move(batch));
        changed_.notify_all();
      }
    } catch (...) {
      std::lock_guard lock(mutex_);
      error_ = std::current_exception();
      changed_.notify_all();
    }
  }

  int64_t sample_at(int64_t position) {
    int64_t epoch = position / samples_;
    if (!options_.shuffle) { return position % samples_; }
    if (epoch != epoch_) {
      order_ = permutation(samples_, options_.seed, epoch);
      epoch_ = epoch;
    }
    return order_[position % samples_];
  }

  void note_problem(const std::string& message) {
    if (first_problem_.empty()) { first_problem_ = message; }
    std::lock_guard lock(mutex_);
    ++report_.corrupt;
    if (report_.first_problems.size() < 5) { report_.first_problems.push_back(message); }
  }

  Batch make_batch() {
    const int64_t B = options_.batch_size, S = options_.image_size, bytes = S * S * 3;
    Batch batch;
    batch.pixels = empty({B, S, S, 3}, DType::u8);
    std::vector<int32_t> tokens, offsets = {0};
    std::vector<int64_t> ids;
    std::vector<uint64_t> pictures;  // hashes of the files, if they must be distinct
    std::vector<int32_t> labels;
    for (int64_t filled = 0, tried = 0; filled < B; ++position_) {
      // A whole epoch without enough readable images cannot fill a batch.
      REQUIRE(FormatError, tried++ < samples_ + B, "[loader] a pass over all ", samples_, " samples filled only ", filled, " places of a batch of ",
              B, first_problem_.empty() ? ": there are too few different captions or pictures for --dedupe-batch. Lower --batch-size or leave it out"
                                        : "; the first problem: ", first_problem_);
      const int64_t sample = sample_at(position_);
      std::string text = source_.caption(sample);
      const int64_t id = caption_id(text);
      if (options_.distinct && std::find(ids.begin(), ids.end(), id) != ids.end()) { continue; }
      Image image;
      try {
        const std::string file = source_.image(sample);
        if (options_.distinct) {
          const uint64_t picture = hash_of(file);
          if (std::find(pictures.begin(), pictures.end(), picture) != pictures.end()) { continue; }
          pictures.push_back(picture);
        }
        image = augment(decode_image(file, source_.name(sample), options_.decoding), int(S), options_.augmentation, options_.seed,
                        position_ / samples_, sample);
      } catch (const Error& e) {
        note_problem(e.what());
        continue;
      }
      std::memcpy(batch.pixels.data<uint8_t>() + filled * bytes, image.rgb.data(), size_t(bytes));
      std::vector<int32_t> caption = encode_caption(tokenizer_, text, options_.text_length);
      tokens.insert(tokens.end(), caption.begin(), caption.end());
      offsets.push_back(int32_t(tokens.size()));
      ids.push_back(id);
      labels.push_back(source_.label(sample));
      batch.captions.push_back(std::move(text));
      ++filled;
    }
    batch.tokens = from_values<int32_t>({int64_t(tokens.size())}, tokens);
    batch.text_offsets = from_values<int32_t>({B + 1}, offsets);
    batch.caption_ids = from_values<int64_t>({B}, ids);
    batch.labels = from_values<int32_t>({B}, labels);
    batch.position = position_;
    batch.epoch = double(position_) / double(samples_);
    return batch;
  }

  const PairSource& source_;
  const Tokenizer& tokenizer_;
  LoaderOptions options_;
  int64_t samples_ = 0, position_ = 0;  // position_ belongs to whoever makes batches
  int64_t epoch_ = -1;
  std::vector<int64_t> order_;
  std::string first_problem_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  LoaderReport report_;
  double waited_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
  std::thread worker_;
};

Loader::Loader(const PairSource& source, const Tokenizer& tokenizer, const LoaderOptions& options)
    : impl_(std::make_unique<Impl>(source, tokenizer, options)) {}
Loader::~Loader() = default;
Batch Loader::next() { return impl_->next(); }
LoaderReport Loader::report() const { return impl_->report(); }
double Loader::seconds_waited() const { return impl_->seconds_waited(); }

}  // namespace pumice
