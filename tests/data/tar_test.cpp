#include "pumice/data/tar.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "pumice/data/braces.h"
#include "pumice/data/csv.h"
#include "pumice/data/gzip.h"
#include "pumice/data/pairs.h"
#include "pumice/data/shard_sizes.h"
#include "pumice/data/webdataset.h"
#include "pumice/tensor/file.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;

std::string archive(const std::vector<std::pair<std::string, std::string>>& files) {
  Temporary d;
  TarWriter tar(d / "t.tar");
  for (const auto& [name, content] : files) { tar.add(name, content); }
  tar.close();
  return read_file(d / "t.tar");
}

TEST(Tar, RoundTripWithReproducibleBytes) {
  std::string bytes = archive({{"a.txt", "hello"}, {"d/b.png", std::string(600, 'x')}, {"empty", ""}});
  EXPECT_EQ(bytes, archive({{"a.txt", "hello"}, {"d/b.png", std::string(600, 'x')}, {"empty", ""}}));
  EXPECT_EQ(bytes.size() % 512, 0u);
  std::vector<TarEntry> entries = read_tar_index(bytes, "t").entries;
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[1].name, "d/b.png");
  EXPECT_EQ(bytes.substr(entries[0].offset, entries[0].size), "hello");
  EXPECT_EQ(entries[1].size, 600u);
}

TEST(Tar, ReadsLongNamesOfGnuAndPax) {
  for (const char* file : {"gnu_long", "pax"}) {
    std::vector<TarEntry> entries = read_tar_index(read_file(std::string(PUMICE_FIXTURES) + "/fuzz/corpus/tar/" + file), file).entries;
    ASSERT_EQ(entries.size(), 1u) << file;
    EXPECT_GT(entries[0].name.size(), 100u) << file;
    EXPECT_EQ(entries[0].size, 5u);
  }
}

TEST(Tar, ErrorsNameTheByte) {
  std::string bytes = archive({{"a.txt", "hello"}, {"b.txt", "world"}});
  auto text = [](const std::string& b) { return message_of<FormatError>([&] { read_tar_index(b, "x.tar"); }); };
  EXPECT_EQ(text(""), "[tar] x.tar is empty; a tar archive of at least one block of 512 bytes is required");
  EXPECT_EQ(text(bytes.substr(0, 1200)), "[tar] x.tar at byte 1024: the archive ends inside a header. It was cut short; copy it again");
  EXPECT_EQ(text(bytes.substr(0, 514)),
            "[tar] x.tar at byte 0: the entry 'a.txt' has 5 bytes but only 2 follow. The archive was cut short; copy it again");
  EXPECT_EQ(text(bytes.substr(0, 520)),
            "[tar] x.tar at byte 0: the archive ends before the next multiple of 512 bytes. It was cut short; copy it again");
  EXPECT_EQ(text("hello"), "[tar] x.tar at byte 0: this is not a tar archive, or its first header was cut short.");
  EXPECT_EQ(text("version https://git-lfs.github.com/spec/v1"),
            "[tar] x.tar at byte 0: this is not a tar archive, or its first header was cut short. It is a git-lfs pointer, not the file itself: run "
            "git lfs pull.");
  EXPECT_EQ(text("\x1f\x8b" + std::string(600, 'z')), "[tar] x.tar at byte 0: this is not a tar archive. It is gzip-compressed.");
  EXPECT_EQ(text("\x80\x04" + std::string(600, 'z')), "[tar] x.tar at byte 0: this is not a tar archive. It is a Python pickle.");
  EXPECT_EQ(text("PAR1" + std::string(600, 'z')), "[tar] x.tar at byte 0: this is not a tar archive. It is a Parquet file.");
  EXPECT_TRUE(read_tar_index(bytes, "x.tar").ended);
  EXPECT_FALSE(read_tar_index(bytes.substr(0, 2048), "x.tar").ended);
  bytes[1024] ^= 1;
  EXPECT_EQ(text(bytes), "[tar] x.tar at byte 1024: a header's checksum is wrong: the archive is damaged.");
}

TEST(Braces, AsAShellExpandsThem) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(expand_braces("a-{008..011}.tar"), (Names{"a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"}));
  EXPECT_EQ(expand_braces("{a,b{1..2}}x"), (Names{"ax", "b1x", "b2x"}));
  EXPECT_EQ(expand_braces("p::q{2..0}"), (Names{"p", "q2", "q1", "q0"}));
  EXPECT_EQ(message_of<UsageError>([] { expand_braces(std::string(50000, '{') + std::string(50000, '}')); }),
            "[shards] '{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{...' is 100000 bytes long; a path has at most 4096. Join several with ::");
  EXPECT_EQ(message_of<UsageError>([] { expand_braces("a{1..2"); }),
            "[shards] 'a{1..2' has a '{' without its '}'. Write ranges as name-{000000..000019}.tar");
}

TEST(Gzip, DamageIsAnError) {
  const unsigned char hello[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0, 0, 0};
  std::string gz(reinterpret_cast<const char*>(hello), sizeof hello);
  EXPECT_EQ(gunzip(gz, "g"), "hello");
  EXPECT_EQ(gunzip(gz + gz, "g"), "hellohello");
  EXPECT_EQ(message_of<FormatError>([&] { gunzip(gz.substr(0, 15), "g.gz"); }), "[gzip] g.gz was cut short; copy it again");
  std::string bad = gz;
  bad[18] ^= 1;
  EXPECT_NE(message_of<FormatError>([&] { gunzip(bad, "g.gz"); }).find("[gzip] g.gz is damaged: "), std::string::npos);
  EXPECT_NE(message_of<FormatError>([&] { gunzip(gz, "g.gz", 3); }).find("grows beyond 0 MiB"), std::string::npos);
}

TEST(WebDataset, GroupsByTheFirstDotAndSkipsWhatIsNoSample) {
  Temporary d;
  write_file_atomic(d / "a.tar", archive({{"x/1.seg.PNG", "s"}, {"x/1.png", "p"}, {"x/1.txt", "one"}, {".hidden", ""}, {"nodot", ""},
                                          {"__key__/m.json", ""}, {"2.txt", "two"}}));
  WebDataset set(d / "a.tar");
  ASSERT_EQ(set.size(), 2);
  EXPECT_EQ(*set.find(0, "seg.png"), "s");
  EXPECT_EQ(*set.image(0), "p");
  EXPECT_EQ(set.name(0), (d / "a.tar") + ": x/1");
  EXPECT_FALSE(set.image(1));
  auto pairs = open_pairs(d / "a.tar");
  EXPECT_EQ(pairs->size(), 1);
  EXPECT_EQ(pairs->report(), "left out 1 of 2 samples as incomplete; the first: " + (d / "a.tar") + ": 2 lacks an image (.png, .jpg, .webp)");
}

TEST(WebDataset, Errors) {
  Temporary d;
  write_file_atomic(d / "0.tar", archive({{"1.txt", "a"}, {"1.txt", "b"}}));
  EXPECT_NE(message_of<FormatError>([&] { WebDataset w(d / "0.tar"); }).find("the sample '1' has two entries '.txt'"), std::string::npos);
  std::string missing = message_of<IoError>([&] { WebDataset w(d / "{0..4}.tar"); });
  EXPECT_NE(missing.find("1.tar does not exist (1 of 5 shards of "), std::string::npos) << missing;
  write_file_atomic(d / "e.tar", archive({}));
  EXPECT_NE(message_of<FormatError>([&] { open_pairs(d / "e.tar"); }).find("holds no complete pair among 0 samples"), std::string::npos);
}

std::string gzipped(const std::string& bytes) {
  z_stream z = {};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(bytes.size() + 1000, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = uInt(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = uInt(out.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

TEST(WebDataset, CompressedShardsAreKnownByTheirBytes) {
  Temporary d;
  const std::string plain = archive({{"1.png", "p"}, {"1.txt", "one"}}), packed = gzipped(plain);
  write_file_atomic(d / "a.tar.gz", packed);
  write_file_atomic(d / "b.tgz", packed);
  write_file_atomic(d / "c.tar", packed);
  write_file_atomic(d / "d.tar.gz", plain);  // unpacked by a browser on its way
  for (const char* file : {"a.tar.gz", "b.tgz", "c.tar", "d.tar.gz"}) { EXPECT_EQ(open_pairs(d / file)->caption(0), "one") << file; }
  write_file_atomic(d / "cut.tar.gz", packed.substr(0, packed.size() / 2));
  EXPECT_EQ(message_of<FormatError>([&] { open_pairs(d / "cut.tar.gz"); }), "[gzip] " + (d / "cut.tar.gz") + " was cut short; copy it again");
}

TEST(WebDataset, SizesAndEndsAreCompared) {
  Temporary d;
  const std::string two = archive({{"1.png", "p"}, {"1.txt", "one"}, {"2.png", "p"}, {"2.txt", "two"}});
  write_file_atomic(d / "0.tar", two);
  write_file_atomic(d / "1.tar", two);
  write_file_atomic(d / "2.tar", two.substr(0, two.size() - 1024 - 2 * 1024));  // cut between two files, before the last sample
  EXPECT_EQ(open_pairs(d / "{0..1}.tar")->report(), "");
  const std::string no_end =
      "[webdataset] " + (d / "2.tar") + " has no end-of-archive block: it may have been cut short between two files. Copy it again";
  EXPECT_EQ(open_pairs(d / "2.tar")->report(), no_end);
  write_file_atomic(d / "sizes.json", R"({"0.tar": 2, "2.tar": 2, "elsewhere.tar": 7})");
  EXPECT_EQ(open_pairs(d / "{0..1}.tar")->report(), "");
  EXPECT_EQ(open_pairs(d / "{0..2}.tar")->problems(),
            (std::vector<std::string>{no_end, "[webdataset] " + (d / "sizes.json") + " promises 2 samples in 2.tar, which holds 1"}));
  auto message = [](const std::string& text) { return message_of<FormatError>([&] { parse_shard_sizes(text, "s.json"); }); };
  EXPECT_EQ(message("[]"), "[webdataset] s.json must be an object of shard names and numbers of samples, such as {\"000000.tar\": 1000}");
  EXPECT_EQ(message(R"({"0.tar": "2"})"), "[webdataset] s.json: the number of samples of '0.tar' must be a whole number, got \"2\"");
  EXPECT_EQ(message(R"({"0.tar": -2})"), "[webdataset] s.json: the number of samples of '0.tar' must be a whole number, got -2");
  EXPECT_NE(message("{").find("s.json is not valid JSON"), std::string::npos);
}

TEST(WebDataset, AClassOutsideItsListIsNamed) {
  Temporary d;
  write_file_atomic(d / "0.tar", archive({{"1.cls", "0"}, {"1.png", "p"}, {"2.cls", "9\n"}, {"2.png", "p"}}));
  EXPECT_NE(
      message_of<FormatError>([&] { open_pairs(d / "0.tar"); }).find("1 lacks a caption (.txt), or a classnames.txt beside the shards for its .cls"),
      std::string::npos);
  write_file_atomic(d / "classnames.txt", "cat\ndog\n");
  EXPECT_EQ(
      open_pairs(d / "0.tar")->problems(),
      (std::vector<std::string>{(d / "0.tar") + ": 2 lacks a caption (.txt) or a class: its .cls is '9', and classnames.txt has lines 0 to 1"}));
}

TEST(Csv, QuotesSeparatorsAndMarks) {
  CsvTable t = parse_csv("\xef\xbb\xbf" "path;title\r\na.png;\"one;\"\"two\"\"\nthree\"\r\n\nb.png;x\n", "c");
  EXPECT_EQ(t.separator, ';');
  ASSERT_EQ(t.rows.size(), 2u);
  EXPECT_EQ(t.rows[0][1], "one;\"two\"\nthree");
  EXPECT_EQ(t.lines[1], 5);
  EXPECT_EQ(column_of(t, "c", "", {"filepath", "path"}, "--csv-img-key"), 0u);
  EXPECT_EQ(csv_row({"a,b", "c\"d", "e"}), "\"a,b\",\"c\"\"d\",e\n");
}

TEST(Csv, LineEndsOfEverySystem) {
  for (const char* text : {"a,b\n1,2\n3,4\n", "a,b\r\n1,2\r\n3,4\r\n", "a,b\r1,2\r3,4", "a,b\r\n1,2\n3,4\r"}) {
    CsvTable t = parse_csv(text, "c");
    ASSERT_EQ(t.rows.size(), 2u) << text;
    EXPECT_EQ(t.rows[1], (std::vector<std::string>{"3", "4"})) << text;
    EXPECT_EQ(t.lines[1], 3) << text;
  }
}

TEST(Csv, Errors) {
  EXPECT_EQ(message_of<FormatError>([] { parse_csv("version https://git-lfs.github.com/spec/v1\noid", "x.csv"); }),
            "[csv] x.csv is a git-lfs pointer, not the file itself: run git lfs pull; a CSV or TSV file in UTF-8 is required");
  EXPECT_EQ(message_of<FormatError>([] { parse_csv("\xff\xfe" "a", "x.csv"); }),
            "[csv] x.csv is UTF-16 text; a CSV or TSV file in UTF-8 is required");
  EXPECT_EQ(
      message_of<FormatError>([] { column_of(parse_csv("a.jpeg,a cat\nb.jpeg,a dog\n", "x.csv"), "x.csv", "", kImageColumns, "--csv-img-key"); }),
      "[csv] x.csv: the first row (a.jpeg, a cat) names a picture where names of columns are required. Put a header row first, such as "
      "filepath,caption");
  EXPECT_EQ(message_of<FormatError>([] { parse_csv("\x8a\x01,z\nb", "x.csv"); }),
            "[csv] x.csv is not text: its first row holds control characters; a CSV or TSV file in UTF-8 is required");
  EXPECT_EQ(message_of<FormatError>([] { parse_csv("a,b\n1,2,3\n", "x.csv"); }),
            "[csv] x.csv line 2: 3 fields, but the header has 2 (separator ','). Quote fields that contain the separator");
  EXPECT_EQ(message_of<FormatError>([] { parse_csv("a,b\n1,\"2\n", "x.csv"); }), "[csv] x.csv line 2: a quote begins here and is never closed");
  CsvTable t = parse_csv("image\tcaption\n", "x.tsv");
  EXPECT_EQ(message_of<UsageError>([&] { column_of(t, "x.tsv", "", {"title", "text"}, "--csv-caption-key"); }),
            "[csv] x.tsv: no column 'title' or 'text'. Columns: image, caption (separator tab). Try: --csv-caption-key image");
}

}  // namespace
}  // namespace pumice
