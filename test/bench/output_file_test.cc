// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/output_file.h"

#include <dirent.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

// A folder of its own.
std::string NewFolder() {
  std::string folder = testing::TempDir() + "/output_file_XXXXXX";
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return folder;
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  DIR* const open = opendir(folder.c_str());
  while (const dirent* entry = readdir(open)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(open);
  return names;
}

std::string ContentOf(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(OutputFileTest, WhatWasCommittedIsThereUnderItsName) {
  const std::string folder = NewFolder();
  {
    absl::StatusOr<OutputFile> file = OutputFile::Open(folder + "/a.json");
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE(file->Commit("{}\n").ok());
  }
  EXPECT_EQ(FilesIn(folder), std::vector<std::string>{"a.json"});
  EXPECT_EQ(ContentOf(folder + "/a.json"), "{}\n");
}

TEST(OutputFileTest, WhoDoesNotCommitLeavesNothingAndSparesTheOldFile) {
  const std::string folder = NewFolder();
  std::ofstream(folder + "/a.json") << "old";
  ASSERT_TRUE(OutputFile::Open(folder + "/a.json").ok());
  EXPECT_EQ(FilesIn(folder), std::vector<std::string>{"a.json"});
  EXPECT_EQ(ContentOf(folder + "/a.json"), "old");
}

TEST(OutputFileTest, APathThatCannotBeWrittenIsKnownAtOnce) {
  const absl::StatusOr<OutputFile> file =
      OutputFile::Open("/no/such/folder/a.json");
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.status().message().find("/no/such/folder/a.json"),
            absl::string_view::npos);
}

}  // namespace
}  // namespace ptage::bench
