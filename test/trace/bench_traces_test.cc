// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the benchmark expects of the traces in bench/traces.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
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

// What is asked of a trace. Each is read once, since that takes a while.
struct Summary {
  std::string file;
  std::uintmax_t bytes = 0;
  std::string program;
  std::string package;
  Ending ending = Ending::kLimit;
  std::uint64_t records = 0;
  std::uint32_t pages = 0;
  // Of a TLB that each block finds empty, since a replay moves on to another
  // copy of the program after each.
  double tlb_hits = 0;
};

Summary Read(const std::filesystem::path& file) {
  Summary summary;
  summary.file = file.string();
  summary.bytes = std::filesystem::file_size(file);
  const absl::StatusOr<Trace> trace = ReadTrace(summary.file);
  if (!trace.ok()) {
    ADD_FAILURE() << trace.status();
    return summary;
  }
  summary.program = trace->program;
  summary.package = trace->package;
  summary.ending = trace->ending;
  summary.records = trace->records.size();
  summary.pages = trace->pages;
  trace::TlbModel tlb;
  std::uint64_t hits = 0;
  for (std::size_t i = 0; i < trace->records.size(); ++i) {
    if (i % trace::kBlock == 0) tlb.Flush();
    hits += tlb.Translate(trace->records[i].page) ? 1 : 0;
  }
  summary.tlb_hits =
      static_cast<double>(hits) / static_cast<double>(summary.records);
  return summary;
}

const std::vector<Summary>& Traces(const char* folder) {
  static std::map<std::string, std::vector<Summary>> read;
  std::vector<Summary>& traces = read[folder];
  if (traces.empty()) {
    for (const auto& file : Files(folder)) traces.push_back(Read(file));
  }
  return traces;
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
  for (const Summary& trace : Traces(GetParam())) {
    EXPECT_LE(trace.bytes, 2'500'000u) << trace.file;
    bytes += trace.bytes;
  }
  EXPECT_GT(bytes, 0u);
  EXPECT_LT(bytes, std::uintmax_t{8} << 20);
}

TEST_P(BenchTracesTest, AreLongAndOfSeveralPrograms) {
  std::set<std::string> programs;
  for (const Summary& trace : Traces(GetParam())) {
    SCOPED_TRACE(trace.file);
    EXPECT_GE(trace.records, 500'000u);
    EXPECT_GE(trace.pages, 200u);
    EXPECT_EQ(trace.ending, Ending::kProgramEnded);
    EXPECT_NE(trace.package, "unknown");
    EXPECT_TRUE(programs.insert(trace.program).second) << trace.program;
    EXPECT_GT(trace.tlb_hits, 0.9);
  }
  EXPECT_GE(programs.size(), 4u);
}

TEST(ReplayedTracesTest, AreLarge) {
  const std::vector<Summary>& traces = Traces(kFolder);
  EXPECT_GE(
      std::count_if(traces.begin(), traces.end(),
                    [](const Summary& trace) { return trace.pages > 2000; }),
      2);
}

// What is held out would say little if it were more of the same.
TEST(HeldOutTracesTest, AreOfOtherProgramsThanTheRest) {
  std::set<std::string> packages;
  for (const Summary& trace : Traces(kFolder)) packages.insert(trace.package);
  for (const Summary& trace : Traces(kHeldOut)) {
    EXPECT_EQ(packages.count(trace.package), 0u) << trace.file;
  }
}

}  // namespace
}  // namespace ptage::bench
