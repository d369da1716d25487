#include "netsetup/state/text_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/temporary_directory.h"

namespace fairlead {
namespace {

namespace fs = std::filesystem;

TEST(TextFile, IsReplacedAsAWhole) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/state.json";
  ASSERT_TRUE(replace_file(path, "a longer text"));
  ASSERT_TRUE(replace_file(path, "a text"));
  EXPECT_EQ(read_file(path).value(), "a text");
  EXPECT_FALSE(fs::exists(path + ".new"));
}

TEST(TextFile, LeavesNothingBesideAPlaceThatCannotBeTaken) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/state.json";
  fs::create_directory(path);
  const auto replaced = replace_file(path, "a text");
  ASSERT_FALSE(replaced);
  EXPECT_EQ(replaced.error().message, "rename " + path + ".new to " + path + ": is a directory");
  EXPECT_FALSE(fs::exists(path + ".new"));
}

}  // namespace
}  // namespace fairlead
