// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/trace_folder.h"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/access.h"
#include "bench/replay.h"
#include "bench/trace.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

namespace fs = std::filesystem;

fs::path NewFolder() {
  std::string folder = testing::TempDir() + "/trace_folder_XXXXXX";
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return fs::canonical(folder);
}

void WriteMade(const fs::path& path, std::uint32_t pages,
               std::uint64_t records) {
  Trace trace;
  trace.program = "made";
  trace.pages = pages;
  for (std::uint64_t i = 0; i < records; ++i) {
    trace.records.push_back(
        Record{static_cast<std::uint32_t>(i % pages), Access::kRead, 1});
  }
  trace.references = records;
  ASSERT_TRUE(WriteTrace(path.string(), trace).ok());
}

TEST(TraceFolderTest, AGivenFolderMustExist) {
  const fs::path folder = NewFolder();
  EXPECT_EQ(*FindTraceFolder(folder.string(), "/bin/ls"), folder.string());
  const absl::StatusOr<std::string> missing =
      FindTraceFolder("/no/such/folder", "/bin/ls");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("/no/such/folder"),
            absl::string_view::npos);
}

TEST(TraceFolderTest, ElseItIsFoundAboveTheProgram) {
  const fs::path top = NewFolder();
  fs::create_directories(top / "bench" / "traces");
  fs::create_directories(top / "out" / "bin");
  std::ofstream(top / "out" / "bin" / "program") << "x";
  EXPECT_EQ(*FindTraceFolder("", (top / "out" / "bin" / "program").string()),
            (top / "bench" / "traces").string());
}

TEST(TraceFolderTest, TracesComeSmallestFirstAndNoMoreThanWanted) {
  const fs::path folder = NewFolder();
  WriteMade(folder / "large.trace", 4000, 60'000);
  WriteMade(folder / "small.trace", 10, 2000);
  std::ofstream(folder / "README.md") << "not a trace";
  const absl::StatusOr<std::vector<LoadedTrace>> all =
      LoadTraces(folder.string(), 8192, 9);
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[0].replay.name(), "small");
  EXPECT_EQ((*all)[0].replay.copies(), 819u);
  EXPECT_EQ((*all)[1].replay.name(), "large");
  EXPECT_EQ(LoadTraces(folder.string(), 8192, 1)->size(), 1u);
}

TEST(TraceFolderTest, ErrorsAreOneLineThatNamesTheFile) {
  const fs::path folder = NewFolder();
  const auto error = [&] {
    const absl::StatusOr<std::vector<LoadedTrace>> loaded =
        LoadTraces(folder.string(), 8192, 9);
    EXPECT_FALSE(loaded.ok());
    const std::string message(loaded.status().message());
    EXPECT_EQ(message.find('\n'), message.npos);
    return message;
  };
  EXPECT_NE(error().find(folder.string()), std::string::npos);
  const fs::path file = folder / "a.trace";
  std::ofstream(file) << "ptagetrc, but not one";
  EXPECT_NE(error().find("a.trace"), std::string::npos);
  WriteMade(file, 10'000, 20'000);
  EXPECT_NE(error().find("a.trace"), std::string::npos);
  WriteMade(file, 10, kBurst - 1);
  EXPECT_NE(error().find("a.trace"), std::string::npos);
}

}  // namespace
}  // namespace ptage::bench
