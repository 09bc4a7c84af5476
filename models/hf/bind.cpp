#include "pumice/models/hf/bind.h"

#include <algorithm>
#include <map>
#include <set>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

// Tensors that other programs leave in a file and that hold nothing to read: tables of rotary embeddings and masks.
bool is_buffer(const std::string& name) {
  for (const char* end : {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".position_ids"}) {
    const std::string tail = end;
    if (name.size() >= tail.size() && name.compare(name.size() - tail.size(), tail.size(), tail) == 0) { return true; }
  }
  return false;
}

std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  std::vector<std::string> first(names.begin(), names.begin() + std::min(names.size(), kShown));
  return join(first) + (names.size() > kShown ? " and " + std::to_string(names.size() - kShown) + " more" : "");
}

// The tensor, or the rows of it, that `t` names.
Tensor load(const WeightFiles& files, const HfTensor& t) {
  Tensor whole = files.load(t.name);
  if (t.parts == 1) { return whole; }
  const int64_t rows = whole.dim(0) / t.parts;
  return whole.slice(0, t.part * rows, (t.part + 1) * rows);
}

Shape wanted_shape(const Parameter& p, const std::vector<HfTensor>& sources) {
  Shape s = sources[0].slice ? Shape(p.shape().begin() + 1, p.shape().rank() - 1) : p.shape();
  s[0] *= sources[0].parts;
  return s;
}

// Throws FormatError listing every tensor that is missing, misshapen or unexpected.
void require_fit(const ParameterStore& parameters, const WeightFiles& files, const Locate& locate, const Ignore& ignore, const std::string& place) {
  const std::vector<std::string> names = files.names();
  const std::set<std::string> present(names.begin(), names.end());
  std::set<std::string> unused = present;
  std::vector<std::string> missing, misshapen, unexpected;
  for (const auto& [name, want] : wanted_tensors(parameters, locate)) {
    if (!present.count(name)) {
      missing.push_back(name);
      continue;
    }
    unused.erase(name);
    const Shape got = files.info(name).shape;
    if (got != want) { misshapen.push_back(concat_text(name, " ", got, " instead of ", want)); }
  }
  for (const std::string& name : unused) {
    if (!is_buffer(name) && !ignore(name)) { unexpected.push_back(name); }
  }
  const auto part = [](const char* what, const std::vector<std::string>& list) { return list.empty() ? "" : concat_text("; ", list.size(), what, listed(list)); };
  REQUIRE(FormatError, missing.empty() && misshapen.empty() && unexpected.empty(), place, ": the weights do not fit config.json",
          part(" missing: ", missing), part(" misshapen: ", misshapen), part(" unexpected: ", unexpected));
}

}  // namespace

std::vector<std::pair<std::string, Shape>> wanted_tensors(const ParameterStore& parameters, const Locate& locate) {
  std::vector<std::pair<std::string, Shape>> all;
  std::map<std::string, Shape> known;  // a tensor that holds several parameters is listed once, unless they disagree about it
  for (const auto& p : parameters.all()) {
    const std::vector<HfTensor> sources = locate(p->name());
    for (const HfTensor& t : sources) {
      const Shape want = wanted_shape(*p, sources);
      const auto [at, added] = known.emplace(t.name, want);
      if (added || at->second != want) { all.emplace_back(t.name, want); }
    }
  }
  return all;
}

void bind_weights(ParameterStore& parameters, const WeightFiles& files, const Locate& locate, const Ignore& ignore, const std::string& place) {
  require_fit(parameters, files, locate, ignore, place);
  for (const auto& p : parameters.all()) {
    const std::vector<HfTensor> sources = locate(p->name());
    if (sources.empty()) { continue; }
    std::vector<Tensor> tensors;
    for (const HfTensor& t : sources) { tensors.push_back(load(files, t)); }
    if (parameters.unfilled()) {
      if (sources[0].slice) { p->bind_slices(std::move(tensors)); }
      else { p->bind(tensors[0]); }
      continue;
    }
    const Tensor& to = p->change();
    for (size_t e = 0; e < tensors.size(); ++e) {
      copy_into(sources[0].slice ? to.slice(0, int64_t(e), int64_t(e) + 1).reshape(tensors[e].shape()) : to, tensors[e]);
    }
  }
}

}  // namespace pumice
