// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the benchmark expects of the traces in bench/traces.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/trace.h"
#include "gtest/gtest.h"
#include "tools/trace/fold.h"
#include "tools/trace/tlb_model.h"

namespace ptage::bench {
namespace {

// Relative to the folder in which Bazel runs a test.
constexpr char kFolder[] = "bench/traces";
// Of those that chose no constant of the policy.
constexpr char kHeldOut[] = "bench/traces/held_out";

std::vector<std::filesystem::path> Files(const char* folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".trace") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// By folder.
class BenchTracesTest : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Folders, BenchTracesTest,
                         testing::Values(kFolder, kHeldOut),
                         [](const auto& folder) {
                           return folder.param == kFolder ? "Replayed"
                                                          : "HeldOut";
                         });

TEST_P(BenchTracesTest, AreSmallEnoughForTheRepository) {
  std::uintmax_t bytes = 0;
  for (const auto& file : Files(GetParam())) {
    EXPECT_LE(std::filesystem::file_size(file), 2'500'000u) << file;
    bytes += std::filesystem::file_size(file);
  }
  EXPECT_GT(bytes, 0u);
  EXPECT_LT(bytes, std::uintmax_t{8} << 20);
}

TEST_P(BenchTracesTest, AreLongAndOfSeveralPrograms) {
  std::set<std::string> programs;
  for (const auto& file : Files(GetParam())) {
    SCOPED_TRACE(file);
    const absl::StatusOr<Trace> trace = ReadTrace(file.string());
    ASSERT_TRUE(trace.ok()) << trace.status();
    EXPECT_GE(trace->records.size(), 500'000u);
    EXPECT_GE(trace->pages, 200u);
    EXPECT_EQ(trace->ending, Ending::kProgramEnded);
    EXPECT_NE(trace->package, "unknown");
    EXPECT_TRUE(programs.insert(trace->program).second) << trace->program;
  }
  EXPECT_GE(programs.size(), 4u);
}

// What is held out would say little if it were more of the same.
TEST(HeldOutTracesTest, AreOfOtherProgramsThanTheRest) {
  std::set<std::string> packages;
  for (const auto& file : Files(kFolder)) {
    const absl::StatusOr<Trace> trace = ReadTrace(file.string());
    ASSERT_TRUE(trace.ok()) << trace.status();
    packages.insert(trace->package);
  }
  for (const auto& file : Files(kHeldOut)) {
    const absl::StatusOr<Trace> trace = ReadTrace(file.string());
    ASSERT_TRUE(trace.ok()) << trace.status();
    EXPECT_EQ(packages.count(trace->package), 0u) << file;
  }
}

TEST(ReplayedTracesTest, AreLargeAndHitATlbThatEachBlockFindsEmpty) {
  int above_2000_pages = 0;
  for (const auto& file : Files(kFolder)) {
    SCOPED_TRACE(file);
    const absl::StatusOr<Trace> trace = ReadTrace(file.string());
    ASSERT_TRUE(trace.ok()) << trace.status();
    above_2000_pages += trace->pages > 2000 ? 1 : 0;

    // A replay moves on to another copy of the program after each block, so
    // that the TLB starts each one empty.
    trace::TlbModel tlb;
    std::uint64_t hits = 0;
    for (std::size_t i = 0; i < trace->records.size(); ++i) {
      if (i % trace::kBlock == 0) tlb.Flush();
      hits += tlb.Translate(trace->records[i].page) ? 1 : 0;
    }
    EXPECT_GT(
        static_cast<double>(hits) / static_cast<double>(trace->records.size()),
        0.9);
  }
  EXPECT_GE(above_2000_pages, 2);
}

}  // namespace
}  // namespace ptage::bench
