// libpumice_sentencepiece.so: the only thing that links SentencePiece. See data/tokenizer/sentencepiece_abi.h.
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <exception>
#include <string>
#include <unordered_map>
#include <vector>

#include "pumice/data/tokenizer/sentencepiece_abi.h"

namespace {

using sentencepiece::SentencePieceProcessor;
using sentencepiece::util::Status;

SentencePieceProcessor& processor(void* model) { return *static_cast<SentencePieceProcessor*>(model); }

void say(void* context, pumice_text_sink sink, const std::string& text) { sink(context, text.data(), text.size()); }

// Runs `work`, which gives a Status; no exception leaves the library.
template <class F> int guarded(void* context, pumice_text_sink error, const F& work) {
  try {
    const Status status = work();
    if (status.ok()) { return 0; }
    say(context, error, status.ToString());
  } catch (const std::exception& e) {
    say(context, error, e.what());
  }
  return 1;
}

int load(const char* bytes, size_t size, void** model, void* context, pumice_text_sink error) {
  auto* loaded = new SentencePieceProcessor;
  const int failed = guarded(context, error, [&] { return loaded->LoadFromSerializedProto(absl::string_view(bytes, size)); });
  if (failed) { delete loaded; }
  else { *model = loaded; }
  return failed;
}

void release(void* model) { delete &processor(model); }
int32_t size(void* model) { return processor(model).GetPieceSize(); }
int32_t eos(void* model) { return processor(model).eos_id(); }
int is_control(void* model, int32_t id) { return processor(model).IsControl(id); }
void piece(void* model, int32_t id, void* context, pumice_text_sink text) { say(context, text, processor(model).IdToPiece(id)); }

int encode(void* model, const char* text, size_t bytes, void* context, pumice_id_sink id, pumice_text_sink error) {
  return guarded(context, error, [&] {
    std::vector<int> ids;
    Status status = processor(model).Encode(absl::string_view(text, bytes), &ids);
    for (int one : ids) { id(context, one); }
    return status;
  });
}

int decode(void* model, const int32_t* ids, size_t count, void* context, pumice_text_sink text, pumice_text_sink error) {
  return guarded(context, error, [&] {
    std::string out;
    Status status = processor(model).Decode(std::vector<int>(ids, ids + count), &out);
    say(context, text, out);
    return status;
  });
}

class Texts : public sentencepiece::SentenceIterator {
 public:
  Texts(const char* const* texts, const size_t* bytes, size_t count) : texts_(texts), bytes_(bytes), count_(count) { take(); }
  bool done() const override { return at_ >= count_; }
  void Next() override {
    ++at_;
    take();
  }
  const std::string& value() const override { return value_; }
  Status status() const override { return Status(); }

 private:
  void take() {
    if (!done()) { value_.assign(texts_[at_], bytes_[at_]); }
  }
  const char* const* texts_;
  const size_t* bytes_;
  size_t count_, at_ = 0;
  std::string value_;
};

int train(const char* const* texts, const size_t* bytes, size_t count, const char* type, int32_t vocab_size, void* context, pumice_text_sink model,
          pumice_text_sink error) {
  return guarded(context, error, [&] {
    Texts iterator(texts, bytes, count);
    std::string out;
    const std::unordered_map<std::string, std::string> options = {
        {"model_type", type}, {"vocab_size", std::to_string(vocab_size)}, {"byte_fallback", "true"}, {"num_threads", "1"}, {"minloglevel", "2"}};
    Status status = sentencepiece::SentencePieceTrainer::Train(options, &iterator, &out);
    if (status.ok()) { say(context, model, out); }
    return status;
  });
}

constexpr pumice_sentencepiece kFunctions = {load, release, size, eos, is_control, piece, encode, decode, train};

}  // namespace

extern "C" __attribute__((visibility("default"))) const pumice_sentencepiece* pumice_sentencepiece_functions(int version) {
  return version == PUMICE_SENTENCEPIECE_ABI ? &kFunctions : nullptr;
}
