#include "pumice/tensor/pickle.h"

#include <algorithm>
#include <cstring>

#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr size_t kMaxValues = 1u << 24;  // a state dict of 100 000 tensors makes about 3 million

enum Op : uint8_t {
  kProto = 0x80, kFrame = 0x95, kStop = '.', kMark = '(',
  kNone = 'N', kTrue = 0x88, kFalse = 0x89, kBinInt = 'J', kBinInt1 = 'K', kBinInt2 = 'M', kLong1 = 0x8a, kBinFloat = 'G',
  kBinUnicode = 'X', kShortUnicode = 0x8c, kBinString = 'T', kShortString = 'U', kBinBytes = 'B', kShortBytes = 'C',
  kEmptyTuple = ')', kTuple = 't', kTuple1 = 0x85, kTuple2 = 0x86, kTuple3 = 0x87, kEmptyList = ']', kAppend = 'a', kAppends = 'e',
  kEmptyDict = '}', kSetItem = 's', kSetItems = 'u',
  kBinPut = 'q', kLongBinPut = 'r', kMemoize = 0x94, kBinGet = 'h', kLongBinGet = 'j',
  kGlobal = 'c', kStackGlobal = 0x93, kReduce = 'R', kBuild = 'b', kBinPersId = 'Q',
};

}  // namespace

class PickleMachine {
 public:
  using Ref = Pickle::Ref;
  using Kind = Pickle::Kind;

  PickleMachine(std::string_view bytes, size_t at, std::span<const std::string_view> callables, const std::string& source)
      : bytes_(bytes), at_(at), callables_(callables), source_(source) {}

  Pickle run() {
    for (;;) {
      op_at_ = at_;
      const uint8_t op = number<uint8_t>();
      if (op == kStop) { break; }
      if (!framing(op) && !scalar(op) && !container(op) && !memo(op) && !object(op)) {
        throw wrong("the opcode 0x", hex(op), " is none that a state dict needs");
      }
    }
    pickle_.root_ = pop();
    if (!stack_.empty() || !marks_.empty()) { throw wrong("it stops with ", stack_.size(), " values left over"); }
    return std::move(pickle_);
  }
  size_t at() const { return at_; }

 private:
  template <class... Parts> FormatError wrong(const Parts&... parts) const {
    return FormatError(concat_text("[pickle] ", source_, ": at byte ", op_at_, " of the pickle: ", parts...), __FILE__, __LINE__);
  }
  static std::string hex(uint8_t v) { return {"0123456789abcdef"[v >> 4], "0123456789abcdef"[v & 15]}; }

  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) { throw wrong(size, " bytes are announced, ", bytes_.size() - at_, " are left. Is the file complete?"); }
    std::string_view part = bytes_.substr(at_, size);
    at_ += size;
    return part;
  }
  template <class T> T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) { throw wrong("a name without an end"); }
    std::string_view text = take(end - at_);
    take(1);
    return text;
  }

  Ref push(Pickle::Value v) {
    if (pickle_.values_.size() >= kMaxValues) { throw wrong("more than ", kMaxValues, " values"); }
    pickle_.values_.push_back(v);
    stack_.push_back(Ref(pickle_.values_.size() - 1));
    return stack_.back();
  }
  void push_integer(Kind kind, int64_t value) { push({.kind = kind, .integer = value}); }
  void push_text(Kind kind, std::string_view text) { push({.kind = kind, .length = uint32_t(text.size()), .text = text.data()}); }
  void push_container(Kind kind, std::vector<Ref> items) {
    pickle_.containers_.push_back(std::move(items));
    push_integer(kind, int64_t(pickle_.containers_.size() - 1));
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }  // values below the last mark are out of reach
  Ref top() const {
    if (stack_.size() <= floor()) { throw wrong("a value is needed, there is none"); }
    return stack_.back();
  }
  Ref pop() {
    Ref r = top();
    stack_.pop_back();
    return r;
  }
  std::vector<Ref> pop_last(size_t n) {
    if (stack_.size() - floor() < n) { throw wrong(n, " values are needed, there are ", stack_.size() - floor()); }
    std::vector<Ref> items(stack_.end() - long(n), stack_.end());
    stack_.resize(stack_.size() - n);
    return items;
  }
  std::vector<Ref> pop_to_mark() {
    if (marks_.empty()) { throw wrong("there is no mark"); }
    std::vector<Ref> items = pop_last(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }
  void add_to_top(Kind kind, const std::vector<Ref>& items) {
    const Ref r = top();
    if (pickle_.kind(r) != kind) { throw wrong("items are added to something that is no ", kind == Kind::dict ? "dict" : "list"); }
    if (kind == Kind::dict && items.size() % 2) { throw wrong("a key without a value"); }
    auto& all = pickle_.containers_[size_t(pickle_.integer(r))];
    all.insert(all.end(), items.begin(), items.end());
  }

  bool framing(uint8_t op) {
    if (op == kProto) {
      const int protocol = number<uint8_t>();
      if (protocol < 2 || protocol > 5) { throw wrong("protocol ", protocol, "; 2 to 5 are read"); }
      return true;
    }
    if (op == kFrame) { number<uint64_t>(); }  // only a hint of how much to read at once
    return op == kFrame;
  }

  bool scalar(uint8_t op) {
    switch (op) {
      case kNone: push_integer(Kind::none, 0); return true;
      case kTrue: push_integer(Kind::boolean, 1); return true;
      case kFalse: push_integer(Kind::boolean, 0); return true;
      case kBinInt: push_integer(Kind::integer, number<int32_t>()); return true;
      case kBinInt1: push_integer(Kind::integer, number<uint8_t>()); return true;
      case kBinInt2: push_integer(Kind::integer, number<uint16_t>()); return true;
      case kLong1: long_integer(take(number<uint8_t>())); return true;
      case kBinFloat: big_endian_double(number<uint64_t>()); return true;
      case kBinUnicode: push_text(Kind::text, take(number<uint32_t>())); return true;
      case kShortUnicode: push_text(Kind::text, take(number<uint8_t>())); return true;
      case kBinString: push_text(Kind::text, take(number<uint32_t>())); return true;  // of Python 2, whose str is either
      case kShortString: push_text(Kind::text, take(number<uint8_t>())); return true;
      case kBinBytes: push_text(Kind::bytes, take(number<uint32_t>())); return true;
      case kShortBytes: push_text(Kind::bytes, take(number<uint8_t>())); return true;
      default: return false;
    }
  }
  void long_integer(std::string_view little_endian) {
    if (little_endian.size() > 8) { return push_text(Kind::bytes, little_endian); }  // more than an int64 holds: its bytes
    int64_t value = !little_endian.empty() && little_endian.back() < 0 ? -1 : 0;
    std::memcpy(&value, little_endian.data(), little_endian.size());
    push_integer(Kind::integer, value);
  }
  void big_endian_double(uint64_t bits) {
    bits = __builtin_bswap64(bits);
    double value;
    std::memcpy(&value, &bits, sizeof value);
    push({.kind = Kind::real, .real = value});
  }

  bool container(uint8_t op) {
    switch (op) {
      case kMark: marks_.push_back(stack_.size()); return true;
      case kEmptyTuple: push_container(Kind::tuple, {}); return true;
      case kTuple1: case kTuple2: case kTuple3: push_container(Kind::tuple, pop_last(size_t(op - kTuple1) + 1)); return true;
      case kTuple: push_container(Kind::tuple, pop_to_mark()); return true;
      case kEmptyList: push_container(Kind::list, {}); return true;
      case kAppend: add_to_top(Kind::list, pop_last(1)); return true;
      case kAppends: add_to_top(Kind::list, pop_to_mark()); return true;
      case kEmptyDict: push_container(Kind::dict, {}); return true;
      case kSetItem: add_to_top(Kind::dict, pop_last(2)); return true;
      case kSetItems: add_to_top(Kind::dict, pop_to_mark()); return true;
      default: return false;
    }
  }

  // Python numbers what it puts aside 0, 1, 2, ...
  bool memo(uint8_t op) {
    switch (op) {
      case kBinPut: put(number<uint8_t>()); return true;
      case kLongBinPut: put(number<uint32_t>()); return true;
      case kMemoize: put(uint32_t(memo_.size())); return true;
      case kBinGet: get(number<uint8_t>()); return true;
      case kLongBinGet: get(number<uint32_t>()); return true;
      default: return false;
    }
  }
  void put(uint32_t n) {
    if (n > memo_.size()) { throw wrong("memo ", n, " is set when only ", memo_.size(), " are"); }
    if (n == memo_.size()) { memo_.push_back(0); }
    memo_[n] = top();
  }
  void get(uint32_t n) {
    if (n >= memo_.size()) { throw wrong("memo ", n, " is used when only ", memo_.size(), " are set"); }
    stack_.push_back(memo_[n]);
  }

  bool object(uint8_t op) {
    switch (op) {
      case kGlobal: {
        std::string_view module = line();
        global(module, line());
        return true;
      }
      case kStackGlobal: {
        const std::vector<Ref> names = pop_last(2);
        global(pickle_.text(names[0]), pickle_.text(names[1]));
        return true;
      }
      case kBinPersId: push_container(Kind::persistent, pop_last(1)); return true;
      case kReduce: call(); return true;
      case kBuild: {  // attributes of a dict or call, such as _metadata of a state dict: nothing that tensors need
        pop();
        const Kind kind = pickle_.kind(top());
        if (kind != Kind::dict && kind != Kind::call) { throw wrong("attributes are set of a plain value"); }
        return true;
      }
      default: return false;
    }
  }
  void global(std::string_view module, std::string_view name) {
    const std::string full = concat_text(module, ".", name);
    const auto found = std::find(callables_.begin(), callables_.end(), full);
    if (found == callables_.end()) {
      throw wrong("it uses '", full.substr(0, 120), "'", full.size() > 120 ? "..." : "", ", which is none of what a file of tensors needs; "
                  "pickles are read, never run. Save the tensors alone: torch.save(model.state_dict(), FILE), or save_file of safetensors.torch");
    }
    push_integer(Kind::global, found - callables_.begin());
  }
  // collections.OrderedDict() is an empty dict, with a list of pairs (as Python 2 writes it) a full one.
  void call() {
    const std::vector<Ref> both = pop_last(2);
    if (pickle_.kind(both[0]) != Kind::global || pickle_.kind(both[1]) != Kind::tuple) { throw wrong("something that is no callable is called"); }
    if (callables_[size_t(pickle_.integer(both[0]))] != "collections.OrderedDict") { return push_container(Kind::call, both); }
    std::vector<Ref> items;
    for (Ref list : pickle_.items(both[1])) {
      for (Ref pair : pickle_.items(list)) {
        if (pickle_.items(pair).size() != 2) { throw wrong("OrderedDict is made of something that is no list of pairs"); }
        items.insert(items.end(), pickle_.items(pair).begin(), pickle_.items(pair).end());
        if (++pairs_ > kMaxValues) { throw wrong("more than ", kMaxValues, " pairs"); }  // a short pickle may name one long list many times
      }
    }
    push_container(Kind::dict, std::move(items));
  }

  std::string_view bytes_;
  size_t at_, op_at_ = 0;
  std::span<const std::string_view> callables_;
  const std::string& source_;
  Pickle pickle_;
  std::vector<Ref> stack_, memo_;
  std::vector<size_t> marks_;
  size_t pairs_ = 0;
};

Pickle Pickle::parse(std::string_view bytes, size_t& at, std::span<const std::string_view> callables, const std::string& source) {
  PickleMachine machine(bytes, at, callables, source);
  Pickle pickle = machine.run();
  at = machine.at();
  return pickle;
}

std::string_view Pickle::text(Ref r) const {
  const Value& v = values_[r];
  return v.kind == Kind::text || v.kind == Kind::bytes ? std::string_view(v.text, v.length) : std::string_view();
}

std::span<const Pickle::Ref> Pickle::items(Ref r) const {
  const Value& v = values_[r];
  const bool container = v.kind == Kind::tuple || v.kind == Kind::list || v.kind == Kind::dict || v.kind == Kind::call || v.kind == Kind::persistent;
  return container ? std::span<const Ref>(containers_[size_t(v.integer)]) : std::span<const Ref>();
}

bool Pickle::calls(Ref r, int64_t callable) const { return kind(r) == Kind::call && integer(items(r)[0]) == callable; }

}  // namespace pumice
