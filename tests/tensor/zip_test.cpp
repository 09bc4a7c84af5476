#include "pumice/tensor/zip.h"

#include <gtest/gtest.h>

#include "../message_of.h"
#include "zip_of.h"

namespace pumice {
namespace {

using testing::little;
using testing::message_of;
using testing::zip_of;

const std::vector<std::pair<std::string, std::string>> kFiles = {{"b/two", "22"}, {"a/one", "1"}, {"empty", ""}};

std::string data(const std::string& zip, std::string_view name) {
  const std::vector<ZipEntry> entries = parse_zip(zip, "f");
  const ZipEntry* e = find_zip_entry(entries, name);
  return e ? zip.substr(e->begin, e->end - e->begin) : "(none)";
}
std::string refusal(const std::string& zip) {
  return message_of<FormatError>([&] { parse_zip(zip, "f"); });
}

TEST(Zip, EntriesArePartsOfTheFile) {
  for (bool zip64 : {false, true}) {
    for (const std::string& comment : {std::string(), std::string("a comment PK\x05\x06 with a mark in it"), std::string(65535, 'c')}) {
      const std::string zip = zip_of(kFiles, {.zip64 = zip64, .comment = comment});
      EXPECT_EQ(data(zip, "a/one"), "1");
      EXPECT_EQ(data(zip, "b/two"), "22");
      EXPECT_EQ(data(zip, "empty"), "");
      EXPECT_EQ(data(zip, "c"), "(none)");
    }
  }
  EXPECT_TRUE(parse_zip(zip_of({}), "f").empty());
}

TEST(Zip, WhatIsWrongIsSaid) {
  const std::string zip = zip_of(kFiles);
  EXPECT_EQ(refusal("PK"), "[zip] f: an archive of at least 22 bytes is required, got 2");
  EXPECT_EQ(refusal(zip.substr(0, zip.size() - 1)),
            "[zip] f: the archive's directory, which stands at its end, is missing. Is the download complete?");
  EXPECT_EQ(refusal(zip_of(kFiles, {.method = 8})),
            "[zip] f: entry 'b/two' is compressed (method 8), where torch.save stores entries as they are: unpack the archive and "
            "pack it with zip -0, or save it again with torch.save");
  EXPECT_EQ(refusal(zip_of(kFiles, {.flags = 1})), "[zip] f: entry 'b/two' is encrypted");
  EXPECT_EQ(refusal(zip_of(kFiles, {.offset_shift = 1})), "[zip] f: entry 'b/two' has no header at byte 1, where the directory says");
  EXPECT_EQ(refusal(zip_of(kFiles, {.grow = 5000})),
            "[zip] f: entry 'b/two' of 5002 bytes at byte 35 does not fit an archive of " + std::to_string(zip.size()) + " bytes");
  EXPECT_EQ(refusal(zip_of(kFiles, {.local_name = "x/two"})), "[zip] f: the header at byte 0 is not of entry 'b/two'");
  EXPECT_EQ(refusal(zip_of({{"a", "1"}, {"a", "2"}})), "[zip] f: entry 'a' stands twice in the directory");

  std::string many = zip;  // more entries than the directory has room for
  many.replace(many.size() - 12, 2, little<uint16_t>(60000));
  EXPECT_NE(refusal(many).find("cannot hold 60000 entries"), std::string::npos);
  std::string outside = zip;
  outside.replace(outside.size() - 6, 4, little<uint32_t>(1u << 30));
  EXPECT_NE(refusal(outside).find("at byte 1073741824 does not fit an archive"), std::string::npos);
  std::string record = zip_of(kFiles, {.zip64 = true});
  record.replace(record.size() - 22 - 12, 8, little<uint64_t>(~0ull - 3));
  EXPECT_EQ(refusal(record), "[zip] f: no zip64 record at byte 18446744073709551612, where one is announced");
}

}  // namespace
}  // namespace pumice
