// Files of tensors that torch.save writes (.bin, .pt, .pth): a zip archive with one pickle and one entry for each storage, or, before
// PyTorch 1.6, a row of pickles with the storages behind them. The pickle is read, never run: only the few callables that rebuild a
// tensor may appear in it (pickle.h). Reading maps the file; every tensor is checked against its storage before it is touched.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

struct TorchEntry {
  std::string name, dtype;   // dtype as safetensors spells it: "F32", "BF16", "I64", ...
  Shape shape, strides;      // strides in elements
  uint64_t begin = 0;        // the byte of the file where its first element stands
  uint64_t end = 0;          // one behind its last element; begin when it has none
};

// What a file's bytes hold, checked; entries in the order of the state dict. Throws FormatError naming `source` and what is wrong.
struct TorchContent {
  std::vector<TorchEntry> entries;
  std::string found_under;          // the keys that lead to the state dict: "", "model", "model.state_dict"
  std::vector<std::string> others;  // keys of the state dict whose values are no tensors
};
TorchContent parse_torch_file(std::string_view bytes, const std::string& source);

class TorchFile {
 public:
  static TorchFile open(const std::string& path);
  const std::vector<TorchEntry>& entries() const { return content_.entries; }
  const TorchEntry& entry(const std::string& name) const;  // throws FormatError if there is none
  const std::string& found_under() const { return content_.found_under; }
  // Packed, on the CPU. A tensor that is packed in the file shares the mapping (mapped_tensor.h), a strided one is copied. Throws
  // DTypeError for a dtype that Tensor does not have.
  Tensor load(const TorchEntry& entry) const;
  Tensor load(const std::string& name) const { return load(entry(name)); }

 private:
  std::string path_;
  std::shared_ptr<class MappedFile> file_;
  TorchContent content_;
};

}  // namespace pumice
