#include "pumice/data/tokenizer/sentencepiece.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "pumice/data/text.h"
#include "pumice/data/tokenizer/added_tokens.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/normalizer.h"
#include "pumice/data/tokenizer/sentencepiece_abi.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/json.h"
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

// What SentencePiece says after the place in its source: "Internal: ./src/trainer_interface.cc(660) [(a) == (b)] Vocabulary size too high".
std::string reason_in(const std::string& error) {
  const size_t place = error.find("] ");
  return place == std::string::npos || place + 2 == error.size() ? error : error.substr(place + 2);
}

void append(void* context, const char* text, size_t bytes) { static_cast<std::string*>(context)->append(text, bytes); }

class SentencePieceTokenizer final : public Tokenizer::Impl {
 public:
  SentencePieceTokenizer(const std::string& bytes, const std::string& source, const std::map<int64_t, std::string>& added_tokens, bool legacy_spaces)
      : plugin_(functions()) {
    legacy = legacy_spaces;
    model_ = read(bytes, source);
    // A field that comes again overrules the first: normalizer_spec (3) {add_dummy_prefix (3): false}.
    if (!legacy) { bare_ = read(bytes + std::string("\x1a\x02\x18\0", 4), source); }
    model_text_ = bytes;
    size_ = plugin_.size(model_.get());
    for (int32_t id = 0; id < size_; ++id) { ids_.emplace(own_piece(id), id); }
    if (const int32_t id = plugin_.eos(model_.get()); id >= 0) { eos_ = id; }
    if (!added_tokens.empty()) { add(added_tokens, source); }
  }

  void encode(std::string_view text, std::vector<int32_t>& out) const override {
    auto ordinary = [&](size_t begin, size_t end) {
      const std::string_view part = text.substr(begin, end - begin);
      if (legacy || begin == 0) { encode_with(model_, part, out); }
      else { encode_behind(part, out); }
    };
    tokens_.cut(text, false, ordinary, [&](const AddedToken& t) { out.push_back(t.id); });
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {  // the model's control tokens are no text
    std::string text;
    std::vector<int32_t> run;
    bool begins = true;  // no token before the run
    for (const int32_t id : ids) {
      const AddedToken* token = tokens_.find(id);
      if (!token && id >= 0 && id < size_) { run.push_back(id); }
      if (!token) { continue; }
      decode_ordinary(run, begins, text);
      begins = false;
      run.clear();
      if (!skip_special || !token->special) { text += token->content; }
    }
    decode_ordinary(run, begins, text);
    return text;
  }

  // The space that SentencePiece drops at the beginning is dropped within `id`, which has text. Bytes in a row are read as UTF-8 together: one that
  // begins a character of several says nothing without those behind it, while any other leaves nothing open.
  bool cuts_after(int32_t id) const override {
    const std::string text = piece(id);
    const bool byte = text.size() == 6 && text.starts_with("<0x") && text[5] == '>';
    return !byte || text[3] < 'C';
  }

  int32_t vocab_size() const override {
    int32_t size = size_;
    for (const AddedToken& token : tokens_.all()) { size = std::max(size, token.id + 1); }
    return size;
  }
  std::optional<int32_t> id_of(const std::string& token) const override {
    if (const AddedToken* t = tokens_.find(token)) { return t->id; }
    auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  std::string piece(int32_t id) const override {
    const AddedToken* token = tokens_.find(id);
    return token ? token->content : own_piece(id);
  }
  std::optional<int32_t> own_eos() const override { return eos_; }
  bool is_special(int32_t id) const override {
    const AddedToken* token = tokens_.find(id);
    return (token && token->special) || (id >= 0 && id < size_ && plugin_.is_control(model_.get(), id) != 0);
  }
  std::string kind() const override { return "SentencePiece"; }
  uint64_t fingerprint() const override { return hash_of(model_text_); }
  std::string file() const override { return model_text_; }
  std::string file_name() const override { return "tokenizer.model"; }

 private:
  void add(const std::map<int64_t, std::string>& added_tokens, const std::string& source) {
    nlohmann::json list = nlohmann::json::array(), by_id;
    for (const auto& [id, text] : added_tokens) {
      nlohmann::json token = parse_json(text);
      const std::string content = token["content"], own = id < size_ ? own_piece(int32_t(id)) : content;
      REQUIRE(FormatError, own == content, "[tokenizer] ", source, ": the files beside it give the id ", id, " to '", content,
              "', the model to '", own, "'. Tokenizers that number a model's pieces anew (as XLM-R's does) are not supported");
      token["normalized"] = false;  // there is no normalizer before the model's own
      list.push_back(token);
      by_id[std::to_string(id)] = token;
    }
    added = by_id.dump();
    tokens_ = AddedTokens::parse(JsonPart(list, source, "the added tokens beside it"), Normalizer());
  }

  using Model = std::unique_ptr<void, decltype(pumice_sentencepiece::release)>;

  Model read(const std::string& bytes, const std::string& source) const {
    std::string error;
    void* model = nullptr;
    const bool done = plugin_.load(bytes.data(), bytes.size(), &model, &error, append) == 0;
    Model owned{model, plugin_.release};
    REQUIRE(FormatError, done, "[tokenizer] ", source, " is no SentencePiece model: it was cut short, or is of another kind. Copy it again, or ",
            "use the model's tokenizer.json");
    return owned;
  }

  // Behind a token and not legacy: as it stands. SentencePiece may drop a space at the beginning, so something goes before it and out again, as
  // Transformers does it.
  void encode_behind(std::string_view text, std::vector<int32_t>& out) const {
    if (text.empty() || text[0] != ' ') { return encode_with(bare_, text, out); }
    std::vector<int32_t> guard, both;
    encode_with(bare_, "<unk>", guard);
    encode_with(bare_, "<unk>" + std::string(text), both);
    out.insert(out.end(), both.begin() + long(std::min(guard.size(), both.size())), both.end());
  }

  void encode_with(const Model& model, std::string_view text, std::vector<int32_t>& out) const {
    struct Context { std::string error; std::vector<int32_t>& out; } context{"", out};
    auto id = [](void* c, int32_t one) { static_cast<Context*>(c)->out.push_back(one); };
    auto failed = [](void* c, const char* why, size_t bytes) { static_cast<Context*>(c)->error.append(why, bytes); };
    REQUIRE(FormatError, plugin_.encode(model.get(), text.data(), text.size(), &context, id, failed) == 0,
            "[tokenizer] SentencePiece cannot encode this text: ", context.error);
  }

  // Appends to `text`.
  void decode_ordinary(const std::vector<int32_t>& ids, bool begins, std::string& text) const {
    std::string part;
    REQUIRE(FormatError, plugin_.decode((legacy || begins ? model_ : bare_).get(), ids.data(), ids.size(), &part, append, append) == 0,
            "[tokenizer] SentencePiece cannot decode these ids: ", part);
    text += part;
  }

  std::string own_piece(int32_t id) const {
    std::string text;
    if (id >= 0 && id < size_) { plugin_.piece(model_.get(), id, &text, append); }
    return text;
  }

  const pumice_sentencepiece& plugin_;
  Model model_{nullptr, nullptr}, bare_{nullptr, nullptr};  // bare_: without the space in front; only where not legacy
  std::string model_text_;  // as the file holds it
  int32_t size_ = 0;  // of the model alone
  AddedTokens tokens_;
  std::unordered_map<std::string, int32_t> ids_;
  std::optional<int32_t> eos_;
};

}  // namespace

std::shared_ptr<Tokenizer::Impl> load_sentencepiece(const std::string& model, const std::string& source,
                                                    const std::map<int64_t, std::string>& added, bool legacy) {
  return std::make_shared<SentencePieceTokenizer>(model, source, added, legacy);
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
          "[tokenizer] SentencePiece could not learn ", vocab_size, " pieces from ", texts.size(), " texts: ", reason_in(result.error));
  return result.model;
}

}  // namespace pumice
