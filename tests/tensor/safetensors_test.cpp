#include "pumice/tensor/safetensors.h"

#include <cstring>
#include <gtest/gtest.h>

#include "pumice/tensor/file.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;

std::string file_of(const std::string& header, size_t data, int64_t length = -1) {
  uint64_t n = length >= 0 ? uint64_t(length) : header.size();
  std::string bytes(8, 0);
  std::memcpy(bytes.data(), &n, 8);
  return bytes + header + std::string(data, 0);
}

std::string rule(const std::string& bytes) {
  std::string text = message_of<FormatError>([&] { parse_safetensors(bytes, "f"); });
  EXPECT_EQ(text.rfind("[safetensors] f: ", 0), 0u) << text;
  return text.substr(17, text.find(':', 17) - 17);
}

const std::string kOk = R"({"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})";

TEST(Safetensors, VectorsOfTheReferenceImplementation) {
  EXPECT_EQ(parse_safetensors(file_of(kOk, 16), "f").entries[0].shape, (Shape{2, 2}));
  EXPECT_EQ(rule(file_of(kOk, 18)), "MetadataIncompleteBuffer");
  EXPECT_EQ(rule(file_of(kOk, 14)), "MetadataIncompleteBuffer");
  EXPECT_EQ(rule("1234567"), "HeaderTooSmall");
  EXPECT_EQ(rule(std::string("\x3c\0\0\0\xff\xff\xff\xff", 8)), "HeaderTooLarge");
  EXPECT_EQ(rule(file_of(kOk, 16, 4000)), "InvalidHeaderLength");
  EXPECT_EQ(rule(file_of(R"({"t":{"dtype":"I32","shape":[2,18446744073709551614],"data_offsets":[0,16]}})", 16)), "ValidationOverflow");
  EXPECT_EQ(rule(file_of(R"({"t":{"dtype":"I32","shape":[2,2],"data_offsets":[0,4]}})", 4)), "TensorInvalidInfo");
  EXPECT_EQ(parse_safetensors(file_of(R"({"t":{"dtype":"I32","shape":[],"data_offsets":[0,4]}})", 4), "f").entries[0].shape.rank(), 0);
  EXPECT_EQ(parse_safetensors(file_of(R"({"t":{"dtype":"I32","shape":[2,0],"data_offsets":[0,0]}})", 0), "f").entries[0].end, 0u);
  std::string attack = "{";
  for (int i = 0; i < 10; ++i) {
    attack += (i ? "," : "") + std::string("\"t") + std::to_string(i) + R"(":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})";
  }
  EXPECT_EQ(rule(file_of(attack + "}", 16)), "InvalidOffset");
}

TEST(Safetensors, HolesDuplicatesAndOddHeaders) {
  EXPECT_EQ(rule(file_of(R"({"t":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}})", 8)), "InvalidOffset");
  EXPECT_EQ(rule(file_of(R"({"t":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}})", 8)),
            "InvalidHeaderDeserialization");
  EXPECT_EQ(rule(file_of(R"({"t":{"dtype":"I31","shape":[1],"data_offsets":[0,4]}})", 4)), "InvalidHeaderDeserialization");
  EXPECT_EQ(rule(file_of(R"({"t":{"dtype":"I32","shape":[-1],"data_offsets":[0,4]}})", 4)), "InvalidHeaderDeserialization");
  EXPECT_EQ(rule(file_of(R"({"t":{"dtype":"I32","shape":[1.5],"data_offsets":[0,4]}})", 4)), "InvalidHeaderDeserialization");
  EXPECT_EQ(rule(file_of(R"({"__metadata__":{"a":1}})", 0)), "InvalidHeaderDeserialization");
  EXPECT_EQ(rule(file_of(R"({"a":[[[[[[1]]]]]]})", 0)), "InvalidHeaderDeserialization");
  EXPECT_EQ(rule(file_of("\t" + kOk, 16)), "InvalidHeader");
  EXPECT_EQ(rule(file_of(R"({"t":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})", 1)), "MisalignedSlice");
  EXPECT_EQ(parse_safetensors(file_of(kOk + "    ", 16), "f").entries.size(), 1u);
}

TEST(Safetensors, RoundTripOfEveryDtype) {
  Temporary d;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (DType t : {DType::f32, DType::bf16, DType::f64, DType::f16, DType::i32, DType::i64, DType::u8, DType::boolean}) {
    tensors.emplace_back(name(t), to_dtype(from_values<double>({2, 3}, std::vector<double>{0, 1, 1, 0, 1, 0}), t));
  }
  tensors.emplace_back("strided", from_values<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}).transpose(0, 1));
  tensors.emplace_back("empty", zeros({0, 4}));
  tensors.emplace_back("scalar", full({}, 2.5));
  write_safetensors(d / "a.safetensors", tensors, {{"step", "7"}});
  SafetensorsFile f = SafetensorsFile::open(d / "a.safetensors");
  EXPECT_EQ(f.metadata().at("format"), "pt");
  EXPECT_EQ(f.metadata().at("step"), "7");
  for (const auto& [name, t] : tensors) {
    Tensor back = f.load(name);
    EXPECT_EQ(back.dtype(), t.dtype());
    EXPECT_EQ(back.to_vector<double>(), t.to_vector<double>()) << name;
  }
  EXPECT_EQ(f.names()[0], "i64");  // the widest alignment first, then by name
  std::string bytes = read_file(d / "a.safetensors");
  uint64_t n;
  std::memcpy(&n, bytes.data(), 8);
  EXPECT_EQ(n % 8, 0u);
  EXPECT_EQ(message_of<FormatError>([&] { f.load("missing"); }), "[safetensors] " + (d / "a.safetensors") + " has no tensor 'missing'");
}

}  // namespace
}  // namespace pumice
