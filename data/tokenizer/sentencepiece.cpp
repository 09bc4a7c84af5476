#include "pumice/data/tokenizer/sentencepiece.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <unordered_map>

#include "pumice/data/text.h"
#include "pumice/data/tokenizer/sentencepiece_abi.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/suggest.h"

#ifndef PUMICE_LIBRARY_FOLDER
#define PUMICE_LIBRARY_FOLDER "lib"  // of an installation, beside its bin
#endif

namespace pumice {
namespace {

constexpr const char* kFile = "libpumice_sentencepiece.so";

struct Plugin {
  const pumice_sentencepiece* functions = nullptr;
  std::string path;
  std::vector<std::string> tried;  // "path: why not"
};

std::vector<std::string> places() {
  if (std::string set = flags::sentencepiece(); !set.empty()) { return {set}; }
  std::error_code ignored;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  return {program / kFile, (program.parent_path() / PUMICE_LIBRARY_FOLDER / kFile).string(), kFile};
}

Plugin find_plugin() {
  Plugin plugin;
  for (const std::string& place : places()) {
    void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays loaded: models live as long as the program wants
    if (!library) {
      const char* why = dlerror();
      plugin.tried.push_back(why ? why : place);
      continue;
    }
    auto entry = reinterpret_cast<decltype(&pumice_sentencepiece_functions)>(dlsym(library, "pumice_sentencepiece_functions"));
    plugin.functions = entry ? entry(PUMICE_SENTENCEPIECE_ABI) : nullptr;
    plugin.path = place;
    if (plugin.functions) { return plugin; }
    plugin.tried.push_back(place + ": is of another version of Pumice");
    dlclose(library);
  }
  return plugin;
}

// Found once; a failure is looked up again, so that a program may set the variable after one.
const pumice_sentencepiece& functions() {
  static Plugin found;
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  if (!found.functions) { found = find_plugin(); }
  REQUIRE(UsageError, found.functions, "[tokenizer] SentencePiece models need the plug-in ", kFile, ", which could not be loaded:\n  ",
          join(found.tried, "\n  "),
          "\nIt is built when libsentencepiece-dev is installed (-DPUMICE_SENTENCEPIECE=ON); PUMICE_SENTENCEPIECE=FILE says "
          "where it is. Without it, use the model's tokenizer.json");
  return *found.functions;
}

void append(void* context, const char* text, size_t bytes) { static_cast<std::string*>(context)->append(text, bytes); }

class SentencePieceTokenizer final : public Tokenizer::Impl {
 public:
  SentencePieceTokenizer(const std::string& bytes, const std::string& source) : plugin_(functions()) {
    std::string error;
    REQUIRE(FormatError, plugin_.load(bytes.data(), bytes.size(), &model_, &error, append) == 0, "[tokenizer] ", source,
        " is no SentencePiece model: ", error);
    file = bytes;
    for (int32_t id = 0; id < plugin_.size(model_); ++id) { ids_.emplace(piece(id), id); }
    if (const int32_t id = plugin_.eos(model_); id >= 0) { eos_ = id; }
  }
  ~SentencePieceTokenizer() override {
    if (model_) { plugin_.release(model_); }
  }
  SentencePieceTokenizer(const SentencePieceTokenizer&) = delete;

  void encode(std::string_view text, std::vector<int32_t>& out) const override {
    struct Context { std::string error; std::vector<int32_t>& out; } context{"", out};
    auto id = [](void* c, int32_t one) { static_cast<Context*>(c)->out.push_back(one); };
    auto failed = [](void* c, const char* why, size_t bytes) { static_cast<Context*>(c)->error.append(why, bytes); };
    REQUIRE(FormatError, plugin_.encode(model_, text.data(), text.size(), &context, id, failed) == 0,
        "[tokenizer] SentencePiece cannot encode this text: ", context.error);
  }

  std::string decode(std::span<const int32_t> ids, bool) const override {  // control tokens are no text
    std::vector<int32_t> known;
    std::copy_if(ids.begin(), ids.end(), std::back_inserter(known), [&](int32_t id) { return id >= 0 && id < vocab_size(); });
    std::string text;
    REQUIRE(FormatError, plugin_.decode(model_, known.data(), known.size(), &text, append, append) == 0,
        "[tokenizer] SentencePiece cannot decode these ids: ", text);
    return text;
  }

  int32_t vocab_size() const override { return int32_t(ids_.size()); }
  std::optional<int32_t> id_of(const std::string& token) const override {
    auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  std::string piece(int32_t id) const override {
    std::string text;
    if (id >= 0 && id < plugin_.size(model_)) { plugin_.piece(model_, id, &text, append); }
    return text;
  }
  std::optional<int32_t> own_eos() const override { return eos_; }
  bool is_special(int32_t id) const override { return id >= 0 && id < vocab_size() && plugin_.is_control(model_, id) != 0; }
  std::string kind() const override { return "SentencePiece"; }
  uint64_t fingerprint() const override { return hash_of(file); }
  std::string file_name() const override { return "tokenizer.model"; }

 private:
  const pumice_sentencepiece& plugin_;
  void* model_ = nullptr;
  std::unordered_map<std::string, int32_t> ids_;
  std::optional<int32_t> eos_;
};

}  // namespace

std::shared_ptr<Tokenizer::Impl> load_sentencepiece(const std::string& model, const std::string& source) {
  return std::make_shared<SentencePieceTokenizer>(model, source);
}

std::string train_sentencepiece(const std::vector<std::string>& texts, SentencePieceKind kind, int vocab_size) {
  const pumice_sentencepiece& plugin = functions();
  const char* type = kind == SentencePieceKind::bpe ? "bpe" : "unigram";
  std::vector<const char*> begins;
  std::vector<size_t> sizes;
  for (const std::string& text : texts) {
    begins.push_back(text.data());
    sizes.push_back(text.size());
  }
  struct Result { std::string model, error; } result;
  auto model = [](void* r, const char* bytes, size_t n) { static_cast<Result*>(r)->model.append(bytes, n); };
  auto error = [](void* r, const char* why, size_t n) { static_cast<Result*>(r)->error.append(why, n); };
  REQUIRE(UsageError, plugin.train(begins.data(), sizes.data(), texts.size(), type, vocab_size, &result, model, error) == 0,
          "[tokenizer] SentencePiece could not learn ", vocab_size, " pieces from ", texts.size(), " texts: ", result.error);
  return result.model;
}

}  // namespace pumice
