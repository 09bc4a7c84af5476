#include "pumice/tensor/weight_files.h"

#include <filesystem>
#include <gtest/gtest.h>

#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;

const std::string kTorch = PUMICE_FIXTURES "/tensor/fixtures/torch/";

std::string refusal(const std::string& path) {
  return message_of<FormatError>([&] { WeightFiles::open(path); });
}
// The message for a directory's index of this text.
std::string index_refusal(const std::string& text) {
  return message_of<FormatError>([&] { parse_weight_index(text, "i"); });
}
std::string index_of(const std::string& weight_map) { return R"({"metadata":{"total_size":1},"weight_map":{)" + weight_map + "}}"; }

void write(const std::string& path, const std::string& name, double value) { write_safetensors(path, {{name, full({2, 3}, value)}}); }

// Two shards and their index.
void write_sharded(const Temporary& d, const std::string& weight_map) {
  write(d / "model-00001-of-00002.safetensors", "a", 1);
  write(d / "model-00002-of-00002.safetensors", "b", 2);
  write_file_atomic(d / "model.safetensors.index.json", index_of(weight_map));
}
const std::string kBoth = R"("a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors")";

TEST(WeightFiles, EveryFormIsOneView) {
  Temporary d;
  write_sharded(d, kBoth);
  const std::string index = d / "model.safetensors.index.json";
  for (const std::string& path : {d.path(), index}) {
    const WeightFiles w = WeightFiles::open(path);
    EXPECT_EQ(w.names(), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(w.files().size(), 2u);
    EXPECT_EQ(w.info("b").shape, (Shape{2, 3}));
    EXPECT_EQ(w.info("b").dtype, "F32");
    EXPECT_EQ(w.info("b").bytes, 24u);
    EXPECT_EQ(w.files()[w.info("b").file].path, d / "model-00002-of-00002.safetensors");
    EXPECT_EQ(w.load("b").to_vector<float>(), std::vector<float>(6, 2));
    EXPECT_FALSE(w.contains("c"));
  }
  EXPECT_EQ(WeightFiles::open(d / "model-00002-of-00002.safetensors").names(), (std::vector<std::string>{"b"}));
  write(d / "model.safetensors", "whole", 3);  // goes before the shards
  EXPECT_EQ(WeightFiles::open(d.path()).names(), (std::vector<std::string>{"whole"}));

  Temporary torch;
  std::filesystem::copy(kTorch + "nested.pt", torch / "pytorch_model.bin");
  const WeightFiles w = WeightFiles::open(torch.path());
  EXPECT_EQ(w.files()[0].format, "torch");
  EXPECT_EQ(w.files()[0].found_under, "model.state_dict");
  EXPECT_EQ(w.info("bias").dtype, "BF16");
  EXPECT_EQ(w.info("bias").bytes, 4u);
  EXPECT_EQ(w.load("bias").to_vector<float>(), (std::vector<float>{0, 1}));
  std::filesystem::rename(torch / "pytorch_model.bin", torch / "pytorch_model-00001-of-00001.bin");
  write_file_atomic(torch / "pytorch_model.bin.index.json", index_of(R"("weight":"pytorch_model-00001-of-00001.bin")"));
  EXPECT_EQ(WeightFiles::open(torch.path()).names(), (std::vector<std::string>{"weight", "bias"}));
  EXPECT_EQ(message_of<FormatError>([&] { w.load("bais"); }),
            "[weights] " + torch.path() + " has no tensor 'bais' among its 2. Did you mean 'bias'?");
}

TEST(WeightFiles, TensorsOutliveTheView) {
  Temporary d;
  write(d / "model.safetensors", "a", 4);
  Tensor a = WeightFiles::open(d.path()).load("a");
  EXPECT_EQ(a.to_vector<float>(), std::vector<float>(6, 4));
  fill(a, 5);
  EXPECT_EQ(WeightFiles::open(d.path()).load("a").to_vector<float>(), std::vector<float>(6, 4));
}

TEST(WeightFiles, AMisalignedTensorIsCopied) {
  Temporary d;
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} )";  // 8 + 55 bytes before the data
  ASSERT_EQ(header.size() % 4, 3u);
  const float value = 1.5f;
  std::string bytes(8, 0);
  bytes[0] = char(header.size());
  write_file_atomic(d / "a.safetensors", bytes + header + std::string(reinterpret_cast<const char*>(&value), 4));
  const Tensor a = WeightFiles::open(d / "a.safetensors").load("a");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.raw()) % 4, 0u);
  EXPECT_EQ(a.item(), 1.5);
}

TEST(WeightFiles, AnIndexMustFitItsShards) {
  Temporary d;
  const std::string index = d / "model.safetensors.index.json";
  write_sharded(d, R"("a":"model-00001-of-00002.safetensors","b":"model-00003-of-00003.safetensors")");
  EXPECT_EQ(refusal(d.path()), "[weights] " + index + ": shard 'model-00003-of-00003.safetensors', which holds 1 of its tensors, is not beside "
                               "the index: download it too");
  write_sharded(d, kBoth + R"(,"c":"model-00001-of-00002.safetensors")");
  EXPECT_EQ(refusal(d.path()), "[weights] " + index + ": tensor 'c' must be in shard 'model-00001-of-00002.safetensors', which lacks it: are index "
                               "and shards of one version? Download them again together");
  write_sharded(d, R"("a":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors")");
  EXPECT_NE(refusal(d.path()).find("tensor 'a' must be in shard 'model-00002-of-00002.safetensors', which lacks it"), std::string::npos);
  write_sharded(d, kBoth);
  write(d / "model-00002-of-00002.safetensors", "a", 2);
  EXPECT_EQ(refusal(d.path()), "[weights] tensor 'a' stands in two shards, " + (d / "model-00001-of-00002.safetensors") + " and " +
                               (d / "model-00002-of-00002.safetensors") + ": files of two models in one directory?");
  std::filesystem::remove(index);
  EXPECT_EQ(refusal(d.path()), "[weights] " + d.path() + ": 'model-00001-of-00002.safetensors' is the first of several shards, but their index "
                               "'model.safetensors.index.json' is missing: download it too");
}

TEST(WeightFiles, AnIndexIsRead) {
  EXPECT_EQ(parse_weight_index(index_of(R"("a":"x.bin","b":"x.bin")"), "i").at("b"), "x.bin");
  for (const char* file : {"../x.bin", "/etc/passwd", "sub/x.bin", "..", ".", "", "a\\\\b", "x\\u0000.bin"}) {
    const std::string text = index_refusal(index_of(std::string("\"a\":\"") + file + "\""));
    EXPECT_NE(text.find("which is not the plain name of a file beside the index"), std::string::npos) << text;
  }
  EXPECT_EQ(index_refusal(index_of(R"("a":7)")), "[weights] i: weight_map: the file of tensor 'a' must be a string, got number");
  EXPECT_EQ(index_refusal(index_of(R"("a":"x","a":"y")")), "[weights] i: the index has the key 'a' twice in one object");
  EXPECT_EQ(index_refusal("{}"), "[weights] i: the index must be an object with the key 'weight_map', an object that names the file of each tensor");
  EXPECT_EQ(index_refusal("[]").substr(0, 32), "[weights] i: the index must be a");
  EXPECT_NE(index_refusal("{\"weight_map\"").find("is not valid JSON"), std::string::npos);
  EXPECT_EQ(index_refusal("version https://git-lfs.github.com/spec/v1\n"),
            "[weights] i: an index in JSON is required, this is a git-lfs pointer, not the file itself: run git lfs pull");
}

TEST(WeightFiles, OtherFilesAndDirectoriesAreNamed) {
  Temporary d;
  const std::string required = "[weights] " + (d / "f") + ": a safetensors file or one that torch.save writes is required, this is ";
  auto of = [&](const std::string& content) {
    write_file_atomic(d / "f", content);
    const std::string text = refusal(d / "f");
    EXPECT_EQ(text.rfind(required, 0), 0u) << text;
    return text.substr(std::min(text.size(), required.size()));
  };
  EXPECT_EQ(of(""), "an empty file");
  EXPECT_EQ(of("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "a git-lfs pointer, not the file itself: run git lfs pull");
  EXPECT_EQ(of("<!DOCTYPE html><html>"), "a web page: download the file itself (on Hugging Face /resolve/ in place of /blob/ in the address)");
  EXPECT_EQ(of("\x1f\x8b\x08 ..............."), "gzip-compressed: unpack it with gunzip");
  EXPECT_EQ(of(std::string(5000, 0)), "made of zeros: a download that was begun and not finished?");
  EXPECT_EQ(of("{\"architectures\": []}"), "JSON text; only an index, whose name ends in .index.json, is one");
  EXPECT_EQ(of("\x80\x04K\x01."), "a Python pickle");
  EXPECT_EQ(of("hello, here are weights"), "neither, from its first bytes");
  EXPECT_NE(message_of<IoError>([&] { WeightFiles::open(d / "nothing"); }).find("cannot be opened"), std::string::npos);

  write(d / "whole.safetensors", "a", 1);
  const std::string whole = read_file(d / "whole.safetensors");
  write_file_atomic(d / "f", whole.substr(0, whole.size() - 1));
  EXPECT_NE(refusal(d / "f").find("Is the download complete?"), std::string::npos);

  const std::string names = " must hold model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json; it holds ";
  EXPECT_EQ(refusal(d.path()), "[weights] " + d.path() + names + "whole.safetensors: give the path of the one that is meant");
  Temporary none;
  EXPECT_EQ(refusal(none.path()), "[weights] " + none.path() + names + "no file of weights");
  for (int i = 0; i < 10; ++i) { write_file_atomic(none / ("m" + std::to_string(i) + ".bin"), "x"); }
  EXPECT_NE(refusal(none.path()).find("m6.bin, m7.bin and 2 more: give"), std::string::npos);
}

// 3 GB of a sparse file: only its header is read.
TEST(WeightFiles, OpeningTouchesNoTensor) {
  Temporary d;
  const std::string header = R"({"a":{"dtype":"U8","shape":[3000000000],"data_offsets":[0,3000000000]}})";
  std::string bytes(8, 0);
  bytes[0] = char(header.size());
  write_file_atomic(d / "a.safetensors", bytes + header);
  std::filesystem::resize_file(d / "a.safetensors", 8 + header.size() + 3000000000u);
  const WeightFiles w = WeightFiles::open(d / "a.safetensors");
  EXPECT_EQ(w.info("a").bytes, 3000000000u);
  EXPECT_EQ(w.load("a").data<uint8_t>()[2999999999], 0);
}

}  // namespace
}  // namespace pumice
