// Reads Python pickles without running them. A pickle is a program for a small stack machine; this one builds plain values (numbers,
// text, tuples, lists, dicts) and keeps a call as "this callable, these arguments" for the caller to understand. Only callables that
// the caller names may appear. Opcodes: those of protocols 2 to 5 that pickles of plain values use (Python's Lib/pickletools.py).
//
// Values stand in one table and refer to each other by number: nothing is followed recursively, however deep a file nests, and
// memory is at most about 50 bytes for each byte of the pickle.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

class Pickle {
 public:
  using Ref = uint32_t;
  // call: callable and arguments in items(). persistent: what the pickle says of an object outside of it, in items()[0].
  enum class Kind : uint8_t { none, boolean, integer, real, text, bytes, tuple, list, dict, global, call, persistent };

  // Reads the pickle that begins at bytes[at] and moves `at` behind it. `callables` are "module.name"; a
  // global is its number among them. Texts are parts of `bytes`. Throws FormatError naming `source`, the byte, and the opcode or callable.
  static Pickle parse(std::string_view bytes, size_t& at, std::span<const std::string_view> callables, const std::string& source);

  Ref root() const { return root_; }
  Ref size() const { return Ref(values_.size()); }  // Refs are 0 ... size() - 1
  Kind kind(Ref r) const { return values_[r].kind; }
  int64_t integer(Ref r) const { return values_[r].integer; }            // of an integer or boolean; the number in `callables` of a global
  std::string_view text(Ref r) const;                                    // of text or bytes; empty for other kinds
  std::span<const Ref> items(Ref r) const;                               // of containers; of a dict key, value, key, value, ...
  bool calls(Ref r, int64_t callable) const;                             // whether it is a call of that callable
  std::span<const Ref> arguments(Ref r) const { return items(items(r)[1]); }  // of a call

 private:
  friend class PickleMachine;
  struct Value {
    Kind kind;
    uint32_t length = 0;  // of text
    union {
      int64_t integer = 0;
      double real;
      const char* text;
    };
  };
  std::vector<Value> values_;
  std::vector<std::vector<Ref>> containers_;  // Value::integer of a container is its place here
  Ref root_ = 0;
};

}  // namespace pumice
