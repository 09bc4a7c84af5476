#include "pumice/tensor/torch_file.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "../message_of.h"
#include "../temporary.h"
#include "zip_of.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;
using testing::zip_of;

const std::string kFixtures = PUMICE_FIXTURES "/tensor/fixtures/torch/";

std::string refusal(const std::string& bytes) {
  return message_of<FormatError>([&] { parse_torch_file(bytes, "f"); });
}

TEST(TorchFile, EveryLayoutAndDtypeInEveryFormat) {
  const nlohmann::json expected = parse_json(read_file(kFixtures + "expected.json"));
  for (const char* name : {"state_dict.bin", "legacy.bin", "protocol4.bin"}) {
    const TorchFile file = TorchFile::open(kFixtures + name);
    EXPECT_EQ(file.found_under(), "");
    ASSERT_EQ(file.entries().size(), expected.size());
    EXPECT_EQ(file.entries()[0].name, "float32");  // the order of the state dict
    for (const TorchEntry& e : file.entries()) {
      const std::vector<int64_t> shape = expected[e.name]["shape"];
      EXPECT_EQ(e.shape, Shape(shape.data(), int(shape.size()))) << e.name;
      if (e.dtype == "I8" || e.dtype == "I16") {
        EXPECT_EQ(message_of<DTypeError>([&] { file.load(e); }),
                  "[torch file] " + kFixtures + name + ": tensor '" + e.name + "' is " + e.dtype + ", which cannot be loaded");
        continue;
      }
      const Tensor t = file.load(e.name);
      EXPECT_TRUE(t.contiguous());
      EXPECT_EQ(t.to_vector<double>(), expected[e.name]["values"].get<std::vector<double>>()) << name << " " << e.name;
    }
    EXPECT_EQ(message_of<FormatError>([&] { file.load("missing"); }), "[torch file] " + kFixtures + name + " has no tensor 'missing'");
  }
}

TEST(TorchFile, TensorsShareTheMappingAndOutliveTheFile) {
  Temporary d;
  write_file_atomic(d / "a.bin", read_file(kFixtures + "state_dict.bin"));
  Tensor base, tied;
  {
    const TorchFile file = TorchFile::open(d / "a.bin");
    base = file.load("base");
    tied = file.load("tied");
  }
  EXPECT_TRUE(base.same_as(tied));
  EXPECT_EQ(base.data<float>()[23], 23.0f);
  fill(base, 5);  // in this process alone
  EXPECT_EQ(tied.data<float>()[23], 5.0f);
  EXPECT_EQ(TorchFile::open(d / "a.bin").load("base").data<float>()[23], 23.0f);
}

TEST(TorchFile, FindsTheStateDict) {
  const TorchContent nested = parse_torch_file(read_file(kFixtures + "nested.pt"), "f");
  EXPECT_EQ(nested.found_under, "model.state_dict");
  EXPECT_EQ(nested.entries[1].name, "bias");
  EXPECT_EQ(parse_torch_file(read_file(kFixtures + "other_key.pt"), "f").found_under, "student");
  EXPECT_EQ(parse_torch_file(read_file(kFixtures + "linear.bin"), "f").entries.size(), 2u);
  EXPECT_EQ(refusal(read_file(kFixtures + "two_models.pt")),
            "[torch file] f: dicts of tensors stand under several keys (student, teacher): save one of them alone with torch.save");
  EXPECT_EQ(refusal(read_file(kFixtures + "one_tensor.pt")),
            "[torch file] f: a dict of named tensors is required, it holds one tensor; save it again: torch.save(model.state_dict(), FILE)");
}

TEST(TorchFile, ObjectsAreNamedNotMade) {
  EXPECT_NE(refusal(read_file(kFixtures + "namespace.pt")).find("it uses 'argparse.Namespace'"), std::string::npos);
  EXPECT_NE(refusal(read_file(kFixtures + "module.pt")).find("it uses 'torch.nn.modules.linear.Linear'"), std::string::npos);
  EXPECT_EQ(refusal(read_file(kFixtures + "huge_expanded.pt")),
            "[torch file] f: tensor 'weight' (1048576, 1048576) repeats its elements (strides (0, 0)) to more than the file's size; "
            "call contiguous() on it and save it again: torch.save(model.state_dict(), FILE)");
}

// A state dict of one f32 tensor 't', of the given offset, shape (2,), stride and storage elements, in an archive.
std::string one_tensor(uint8_t offset, uint8_t length, uint8_t stride, uint8_t elements, size_t stored, const std::string& key = "0",
                       const std::string& order = "little") {
  auto small = [](uint8_t v) { return std::string("K") + char(v); };
  const std::string type = "ctorch\nFloatStorage\n", named = "U" + std::string(1, char(key.size())) + key;
  const std::string storage = "(U\x07storage" + type + named + "U\x03" "cpu" + small(elements) + "tQ";
  const std::string view = small(offset) + small(length) + "\x85" + small(stride) + "\x85\x89}";
  const std::string pickle = "\x80\x02}U\x01tctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + "tRs.";
  return zip_of({{"a/data.pkl", pickle}, {"a/data/0", std::string(stored, 0)}, {"a/byteorder", order}});
}

TEST(TorchFile, TensorsStayInsideTheirStorage) {
  EXPECT_EQ(parse_torch_file(one_tensor(1, 2, 2, 4, 16), "f").entries[0].shape, (Shape{2}));
  EXPECT_EQ(refusal(one_tensor(2, 2, 2, 4, 16)), "[torch file] f: tensor 't' (2) with strides (2) at offset 2 leaves its storage '0' of 4 elements");
  EXPECT_EQ(refusal(one_tensor(0, 2, 1, 4, 15)),
            "[torch file] f: storage '0' of tensor 't' must hold 4 elements of F32, the file has 3. Is the download complete?");
  EXPECT_EQ(refusal(one_tensor(0, 2, 1, 4, 16, "1")), "[torch file] f: tensor 't' needs storage '1', which the file lacks");
  EXPECT_EQ(refusal(one_tensor(0, 2, 1, 4, 16, "0", "big")),
            "[torch file] f: numbers of byte order 'little' are read, got 'big'; "
            "save it again: torch.save(model.state_dict(), FILE) on a little-endian machine");
}

TEST(TorchFile, OtherFilesAreNamed) {
  EXPECT_EQ(refusal(""), "[torch file] f: a file that torch.save writes is required, this is an empty file");
  EXPECT_EQ(refusal("version https://git-lfs.github.com/spec/v1\n"),
            "[torch file] f: a file that torch.save writes is required, this is a git-lfs pointer, not the file itself: run git lfs pull");
  EXPECT_EQ(refusal("something"), "[torch file] f: a file that torch.save writes is required, this begins otherwise");
  EXPECT_EQ(refusal(zip_of({{"a.txt", "x"}})), "[torch file] f: a zip archive without a data.pkl in its folder is not of torch.save (1 entries)");
  const std::string whole = read_file(kFixtures + "state_dict.bin"), legacy = read_file(kFixtures + "legacy.bin");
  EXPECT_NE(refusal(whole.substr(0, whole.size() / 2)).find("Is the download complete?"), std::string::npos);
  EXPECT_NE(refusal(legacy.substr(0, legacy.size() - 1)).find("bytes that are left. Is the download complete?"), std::string::npos);
}

}  // namespace
}  // namespace pumice
