#include "pumice/tensor/file.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>

#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;

TEST(File, AppearsWholeOrNotAtAll) {
  Temporary d;
  write_file_atomic(d / "a", "old");
  {
    AtomicFile file(d / "a");
    file.write("half");
  }
  EXPECT_EQ(read_file(d / "a"), "old");
  write_file_atomic(d / "a", "new");
  EXPECT_EQ(read_file(d / "a"), "new");
  EXPECT_EQ(MappedFile(d / "a").bytes(), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(d.path()), {}), 1);
}

TEST(File, AFullDiskLeavesTheOldContent) {
  Temporary d;
  write_file_atomic(d / "a", "old");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old, small;
  getrlimit(RLIMIT_FSIZE, &old);
  small = {1000, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  std::string text = message_of<IoError>([&] { write_file_atomic(d / "a", std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_EQ(text, "[file] " + (d / "a") + " cannot be written: File too large");
  EXPECT_EQ(read_file(d / "a"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(d.path()), {}), 1);
}

TEST(File, ErrorsNameTheFileAndTheReason) {
  Temporary d;
  EXPECT_EQ(message_of<IoError>([&] { read_file(d / "none"); }), "[file] " + (d / "none") + " cannot be opened: No such file or directory");
  EXPECT_EQ(message_of<IoError>([&] { read_file(d.path()); }), "[file] " + d.path() + " cannot be read: it is a directory");
  EXPECT_EQ(message_of<IoError>([&] { AtomicFile f(d / "no/where"); }),
            "[file] " + (d / "no/where") + " cannot be written: No such file or directory");
  write_file_atomic(d / "empty", "");
  EXPECT_EQ(MappedFile(d / "empty").bytes().size(), 0u);
}

}  // namespace
}  // namespace pumice
