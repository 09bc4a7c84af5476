#include "pumice/moe/groups.h"

#include "pumice/ops/require.h"

namespace pumice {

std::vector<int64_t> group_offsets(const std::vector<int64_t>& tokens_of_example, int64_t examples_per_group) {
  REQUIRE(UsageError, examples_per_group >= 1, "[group_offsets] examples_per_group must be at least 1, got ", examples_per_group);
  std::vector<int64_t> offsets = {0};
  int64_t tokens = 0;
  for (size_t i = 0; i < tokens_of_example.size(); ++i) {
    REQUIRE(ShapeError, tokens_of_example[i] >= 1, "[group_offsets] every example needs at least one token, example ", i, " has ",
            tokens_of_example[i]);
    tokens += tokens_of_example[i];
    if ((int64_t(i) + 1) % examples_per_group == 0 || i + 1 == tokens_of_example.size()) { offsets.push_back(tokens); }
  }
  return offsets;
}

void set_modality(TokenGroups& groups, std::vector<uint8_t> modality, int64_t padding) {
  groups.padding = padding;
  if (padding) {
    modality.resize(modality.size() + size_t(padding), uint8_t(Modality::none));
    groups.offsets.push_back(int64_t(modality.size()));
  }
  groups.modality = from_values<uint8_t>({int64_t(modality.size())}, modality);
}

void require_valid(const TokenGroups& groups) {
  REQUIRE(ShapeError, !groups.offsets.empty() && groups.offsets[0] == 0, "[groups] offsets must start with 0, got ",
          groups.offsets.empty() ? "none" : concat_text(groups.offsets[0]));
  for (int64_t g = 0; g < groups.count(); ++g) {
    REQUIRE(ShapeError, groups.offsets[g] < groups.offsets[g + 1], "[groups] every group needs a token, but group ", g, " spans ",
            groups.offsets[g], " to ", groups.offsets[g + 1]);
  }
  REQUIRE(ShapeError, !groups.padding || (groups.count() && groups.offsets.end()[-2] + groups.padding == groups.tokens()),
          "[groups] padding must be the last group, got ", groups.padding, " of ", groups.tokens(), " tokens");
  REQUIRE(ShapeError, groups.modality.defined(), "[groups] modality is missing: one u8 per token, 0 image or 1 text");
  require_dtype("groups", "modality", groups.modality, DType::u8);
  REQUIRE(ShapeError, groups.modality.shape() == Shape{groups.tokens()}, "[groups] modality must be (T) = (", groups.tokens(), "), got ",
          groups.modality.shape());
  REQUIRE(ShapeError, groups.first_group >= 0 && groups.first_group + groups.count() <= int64_t(1) << 18,
          "[groups] a batch holds at most 2^18 = 262144 groups, got groups ", groups.first_group, " to ",
          groups.first_group + groups.count(), ": put more examples into a group");
}

Tensor tensor_of(const TokenGroups& groups, const std::string& name, const std::function<Tensor()>& make) {
  if (!groups.tensors) { return make(); }
  Tensor& kept = (*groups.tensors)[name];
  if (!kept.defined()) { kept = make(); }
  return kept;
}

Tensor offsets_tensor(const TokenGroups& groups, Device device) {
  return to_device(tensor_of(groups, "offsets", [&] { return from_values<int64_t>({groups.count() + 1}, groups.offsets); }), device);
}

}  // namespace pumice
