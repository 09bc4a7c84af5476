#include "pumice/tensor/torch_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/file_kind.h"
#include "pumice/tensor/mapped_tensor.h"
#include "pumice/tensor/pickle.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/tensor/suggest.h"
#include "pumice/tensor/zip.h"

namespace pumice {
namespace {

using Ref = Pickle::Ref;
using Kind = Pickle::Kind;

// All that may be called; the storages from kFirstStorage on are named, not called.
enum Callable : int64_t { kOrderedDict, kRebuild, kRebuildOld, kParameter, kFirstStorage };
constexpr std::string_view kCallables[] = {
    "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor", "torch._utils._rebuild_parameter",
    "torch.FloatStorage", "torch.HalfStorage", "torch.BFloat16Storage", "torch.DoubleStorage", "torch.LongStorage", "torch.IntStorage",
    "torch.ShortStorage", "torch.CharStorage", "torch.ByteStorage", "torch.BoolStorage"};
struct StorageType { const char* dtype; uint64_t size; };
constexpr StorageType kStorageTypes[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8},
                                         {"I32", 4}, {"I16", 2}, {"I8", 1}, {"U8", 1}, {"BOOL", 1}};

constexpr const char* kSaveAgain = "save it again: torch.save(model.state_dict(), FILE)";
// Keys that trainers keep a state dict under, the likelier first.
constexpr std::string_view kUsualKeys[] = {"state_dict", "model_state_dict", "model", "module", "net", "weights"};
constexpr int kMostKeys = 4;  // that lead to the state dict
constexpr std::string_view kLegacyMagic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
constexpr int64_t kLegacyProtocol = 1001;

// Where the bytes of each storage stand in the file.
struct Range { uint64_t begin, end; };
using Storages = std::map<std::string_view, Range>;

class Reader {
 public:
  Reader(std::string_view bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  TorchContent read() {
    if (bytes_.substr(0, 4) == "PK\x03\x04") { read_archive(); }
    else if (bytes_.substr(0, kLegacyMagic.size()) == kLegacyMagic) { read_legacy(); }
    else {
      const std::string kind = kind_of_file(bytes_);
      throw wrong("a file that torch.save writes is required, ", kind.empty() ? "this begins otherwise" : "this is " + kind);
    }
    std::vector<std::string> keys;
    add_tensors(state_dict(pickle_.root(), keys));
    content_.found_under = join(keys, ".");
    return std::move(content_);
  }

 private:
  template <class... Parts> FormatError wrong(const Parts&... parts) const {
    return FormatError(concat_text("[torch file] ", source_, ": ", parts...), __FILE__, __LINE__);
  }

  // NAME/data.pkl, NAME/byteorder (since 2.1), NAME/data/KEY for each storage.
  void read_archive() {
    const std::vector<ZipEntry> entries = parse_zip(bytes_, source_);
    const std::string_view pickle_name = "/data.pkl";
    std::string_view folder;
    const ZipEntry* pickle = nullptr;
    for (const ZipEntry& e : entries) {
      const size_t slash = e.name.find('/');
      if (slash == std::string_view::npos || e.name.substr(slash) != pickle_name) { continue; }
      if (pickle) { throw wrong("one data.pkl is required, the archive holds '", pickle->name, "' and '", e.name, "'"); }
      pickle = &e;
      folder = e.name.substr(0, slash);
    }
    if (!pickle) { throw wrong("a zip archive without a data.pkl in its folder is not of torch.save (", entries.size(), " entries)"); }
    if (const ZipEntry* order = find_zip_entry(entries, std::string(folder) + "/byteorder")) {
      const std::string_view text = bytes_.substr(order->begin, order->end - order->begin);
      if (text != "little") {
        throw wrong("numbers of byte order 'little' are read, got '", text.substr(0, 16), "'; ", kSaveAgain, " on a little-endian machine");
      }
    }
    const std::string data = std::string(folder) + "/data/";
    for (const ZipEntry& e : entries) {
      if (e.name.substr(0, data.size()) == data) { storages_[e.name.substr(data.size())] = {e.begin, e.end}; }
    }
    size_t at = 0;
    pickle_ = Pickle::parse(bytes_.substr(pickle->begin, pickle->end - pickle->begin), at, kCallables, source_);
  }

  // Pickles: magic number, protocol, facts about the system, the object, the keys of its storages in order. Then each storage: its
  // number of elements in an int64, and they.
  void read_legacy() {
    size_t at = kLegacyMagic.size();
    const Pickle protocol = Pickle::parse(bytes_, at, {}, source_);
    if (protocol.kind(protocol.root()) != Kind::integer || protocol.integer(protocol.root()) != kLegacyProtocol) {
      throw wrong("the second pickle must be the protocol number ", kLegacyProtocol, "; ", kSaveAgain);
    }
    require_little_endian(Pickle::parse(bytes_, at, {}, source_));
    pickle_ = Pickle::parse(bytes_, at, kCallables, source_);
    std::map<std::string_view, uint64_t> element_size;
    for (Ref r = 0; r < pickle_.size(); ++r) {
      if (pickle_.kind(r) == Kind::persistent) {
        const Storage s = storage(r);
        element_size[s.key] = s.type->size;
      }
    }
    const Pickle keys = Pickle::parse(bytes_, at, {}, source_);
    for (Ref r : keys.items(keys.root())) {
      const std::string_view key = keys.text(r);
      const auto known = element_size.find(key);
      if (known == element_size.end()) { throw wrong("storage '", key, "' is listed, but no tensor has it"); }
      int64_t elements = 0;
      if (bytes_.size() - at < 8) { throw wrong("storage '", key, "' is missing. Is the download complete?"); }
      std::memcpy(&elements, bytes_.data() + at, 8);
      at += 8;
      if (elements < 0 || uint64_t(elements) > (bytes_.size() - at) / known->second) {
        throw wrong("storage '", key, "' of ", elements, " elements of ", known->second, " bytes does not fit the ", bytes_.size() - at,
                    " bytes that are left. Is the download complete?");
      }
      storages_[key] = {at, at + uint64_t(elements) * known->second};
      at = storages_[key].end;
    }
  }
  void require_little_endian(const Pickle& system) const {
    const auto facts = system.items(system.root());
    for (size_t i = 0; i + 1 < facts.size(); i += 2) {
      if (system.text(facts[i]) == "little_endian" && !(system.kind(facts[i + 1]) == Kind::boolean && system.integer(facts[i + 1]))) {
        throw wrong("it was written on a big-endian machine; ", kSaveAgain, " on a little-endian one");
      }
    }
  }

  struct Item { Ref key, value; };
  struct Storage {
    std::string_view key;
    const StorageType* type;
    uint64_t elements;
  };
  // ("storage", type, key, device, elements); legacy files add a view of another storage or None.
  Storage storage(Ref persistent) const {
    const auto id = pickle_.items(pickle_.items(persistent)[0]);
    const bool five = id.size() == 5 || (id.size() == 6 && pickle_.kind(id[5]) == Kind::none);
    if (!five || pickle_.text(id[0]) != "storage" || pickle_.kind(id[1]) != Kind::global || pickle_.integer(id[1]) < kFirstStorage ||
        pickle_.kind(id[2]) != Kind::text || pickle_.kind(id[4]) != Kind::integer || pickle_.integer(id[4]) < 0) {
      throw wrong("a storage must be ('storage', type, key, device, elements), as PyTorch 0.4 and later write it; ", kSaveAgain);
    }
    return {pickle_.text(id[2]), &kStorageTypes[pickle_.integer(id[1]) - kFirstStorage], uint64_t(pickle_.integer(id[4]))};
  }

  bool is_tensor(Ref r) const { return pickle_.calls(r, kRebuild) || pickle_.calls(r, kRebuildOld) || pickle_.calls(r, kParameter); }
  bool is_dict_of_tensors(Ref r) {
    if (pickle_.kind(r) != Kind::dict || without_tensors_.count(r)) { return false; }
    const auto items = pickle_.items(r);
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      if (pickle_.kind(items[i]) == Kind::text && is_tensor(items[i + 1])) { return true; }
    }
    without_tensors_.insert(r);  // a short pickle may name one long dict many times
    return false;
  }

  // Where to look next from the dict `r`: a dict with tensors under a trainer's usual key (it may hold them one key deeper) ...
  std::optional<Item> usual_item(Ref r) {
    const auto items = pickle_.items(r);
    for (std::string_view usual : kUsualKeys) {
      for (size_t i = 0; i + 1 < items.size(); i += 2) {
        if (pickle_.text(items[i]) != usual || pickle_.kind(items[i + 1]) != Kind::dict) { continue; }
        if (is_dict_of_tensors(items[i + 1]) || !dicts_of_tensors(items[i + 1]).empty()) { return Item{items[i], items[i + 1]}; }
      }
    }
    return std::nullopt;
  }
  // ... or those under any key; at most a few of them.
  std::vector<Item> dicts_of_tensors(Ref r) {
    const auto items = pickle_.items(r);
    std::vector<Item> found;
    for (size_t i = 0; i + 1 < items.size() && found.size() < 9; i += 2) {
      if (pickle_.kind(items[i]) == Kind::text && is_dict_of_tensors(items[i + 1])) { found.push_back({items[i], items[i + 1]}); }
    }
    return found;
  }

  // The dict of tensors that the file is about, at `r` or below; sets the keys that lead to it.
  Ref state_dict(Ref r, std::vector<std::string>& keys) {
    while (pickle_.kind(r) == Kind::dict && int(keys.size()) <= kMostKeys) {
      std::optional<Item> next = usual_item(r);
      if (!next && is_dict_of_tensors(r)) { return r; }
      if (!next) {
        const std::vector<Item> all = dicts_of_tensors(r);
        if (all.empty()) { break; }
        std::vector<std::string> names;
        for (const Item& item : all) { names.emplace_back(pickle_.text(item.key)); }
        if (all.size() > 1) { throw wrong("dicts of tensors stand under several keys (", join(names), "): save one of them alone with torch.save"); }
        next = all[0];
      }
      keys.emplace_back(pickle_.text(next->key));
      r = next->value;
    }
    throw wrong("a dict of named tensors is required, it holds ", is_tensor(r) ? "one tensor"
                : pickle_.kind(r) == Kind::dict ? "a dict without tensors" : "no dict", "; ", kSaveAgain);
  }

  void add_tensors(Ref dict) {
    const auto items = pickle_.items(dict);
    std::set<std::string_view> names;
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      const std::string_view name = pickle_.text(items[i]);
      if (!is_tensor(items[i + 1])) {
        content_.others.emplace_back(name);
        continue;
      }
      if (pickle_.kind(items[i]) != Kind::text) { throw wrong("a tensor whose name is no text"); }
      if (!names.insert(name).second) { throw wrong("tensor '", name, "' stands twice in the state dict"); }
      content_.entries.push_back(tensor(std::string(name), items[i + 1]));
    }
  }

  // _rebuild_tensor_v2(storage, offset, shape, strides, ...), perhaps as the first argument of _rebuild_parameter.
  TorchEntry tensor(const std::string& name, Ref call) const {
    if (pickle_.calls(call, kParameter)) {
      const auto arguments = pickle_.arguments(call);
      if (arguments.empty() || !is_tensor(arguments[0]) || pickle_.calls(arguments[0], kParameter)) {
        throw wrong("parameter '", name, "' is made of no tensor");
      }
      call = arguments[0];
    }
    const auto a = pickle_.arguments(call);
    if (a.size() < 4 || pickle_.kind(a[0]) != Kind::persistent || pickle_.kind(a[1]) != Kind::integer || pickle_.kind(a[2]) != Kind::tuple ||
        pickle_.kind(a[3]) != Kind::tuple || pickle_.items(a[2]).size() != pickle_.items(a[3]).size()) {
      throw wrong("tensor '", name, "': (storage, offset, shape, strides) are required");
    }
    const Storage s = storage(a[0]);
    TorchEntry e;
    e.name = name;
    e.dtype = s.type->dtype;
    e.shape = lengths(name, a[2]);
    e.strides = lengths(name, a[3]);
    place(e, s, uint64_t(pickle_.integer(a[1])));
    return e;
  }
  Shape lengths(const std::string& name, Ref tuple) const {
    Shape shape;
    for (Ref r : pickle_.items(tuple)) {
      if (pickle_.kind(r) != Kind::integer || pickle_.integer(r) < 0) {
        throw wrong("tensor '", name, "': its shape and strides must be integers, not negative");
      }
      if (shape.rank() == kMaxRank) { throw wrong("tensor '", name, "' has more than ", kMaxRank, " axes"); }
      shape.push_back(pickle_.integer(r));
    }
    return shape;
  }

  // Sets begin and end, which lie inside the storage's bytes.
  void place(TorchEntry& e, const Storage& s, uint64_t offset) const {
    const auto found = storages_.find(s.key);
    if (found == storages_.end()) { throw wrong("tensor '", e.name, "' needs storage '", s.key, "', which the file lacks"); }
    const auto [begin, end] = found->second;
    const uint64_t available = (end - begin) / s.type->size;
    if (s.elements > available) {
      throw wrong("storage '", s.key, "' of tensor '", e.name, "' must hold ", s.elements, " elements of ", e.dtype,
                  ", the file has ", available, ". Is the download complete?");
    }
    uint64_t elements = 1, reach = offset, step = 0;  // reach: the last element, counted in the storage
    bool overflow = false;
    for (int i = 0; i < e.shape.rank(); ++i) {
      overflow |= __builtin_mul_overflow(elements, uint64_t(e.shape[i]), &elements);
      overflow |= e.shape[i] > 0 && __builtin_mul_overflow(uint64_t(e.shape[i] - 1), uint64_t(e.strides[i]), &step);
      overflow |= e.shape[i] > 0 && __builtin_add_overflow(reach, step, &reach);
    }
    if (elements == 0 && !overflow) {
      e.begin = e.end = begin;
      return;
    }
    if (overflow || reach >= s.elements) {
      throw wrong("tensor '", e.name, "' ", e.shape, " with strides ", e.strides, " at offset ", offset, " leaves its storage '",
                  s.key, "' of ", s.elements, " elements");
    }
    if (elements > bytes_.size() / s.type->size) {
      throw wrong("tensor '", e.name, "' ", e.shape, " repeats its elements (strides ", e.strides,
                  ") to more than the file's size; call contiguous() on it and ", kSaveAgain);
    }
    e.begin = begin + offset * s.type->size;
    e.end = begin + (reach + 1) * s.type->size;
  }

  std::string_view bytes_;
  const std::string& source_;
  Pickle pickle_;
  Storages storages_;
  std::set<Ref> without_tensors_;
  TorchContent content_;
};

}  // namespace

TorchContent parse_torch_file(std::string_view bytes, const std::string& source) { return Reader(bytes, source).read(); }

TorchFile TorchFile::open(const std::string& path) {
  TorchFile f;
  f.path_ = path;
  f.file_ = std::make_shared<MappedFile>(path);
  f.content_ = parse_torch_file(f.file_->bytes(), path);
  return f;
}

const TorchEntry& TorchFile::entry(const std::string& name) const {
  for (const TorchEntry& e : content_.entries) {
    if (e.name == name) { return e; }
  }
  throw FormatError(concat_text("[torch file] ", path_, " has no tensor '", name, "'"), __FILE__, __LINE__);
}

Tensor TorchFile::load(const TorchEntry& e) const {
  const std::optional<DType> dtype = dtype_named_in_file(e.dtype);
  REQUIRE(DTypeError, dtype, "[torch file] ", path_, ": tensor '", e.name, "' is ", e.dtype, ", which cannot be loaded");
  const int64_t reach = int64_t(e.end - e.begin) / size_of(*dtype);
  if (reach == 0) { return empty(e.shape, *dtype); }
  return packed(mapped_tensor(file_, e.begin, Shape{reach}, *dtype).as_strided(e.shape, e.strides, 0));
}

}  // namespace pumice
