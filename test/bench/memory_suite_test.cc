// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/memory_suite.h"

#include <set>
#include <string>

#include "bench/metrics.h"
#include "bench/report.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

// By hand: of 2^16 frames each has a head of 8 bytes, and so have 2^16 / 2^9
// large pages and the one that they are a part of; one frame in 256 has a list,
// of one line.
TEST(MemorySuiteTest, RmapsAreAHeadForEachPageAndALineForEachList) {
  constexpr double kFrames = 1 << 16;
  constexpr double kHeads = kFrames + kFrames / 512 + 1;
  constexpr double kLists = kFrames / 256;
  EXPECT_DOUBLE_EQ(RmapWordsPerFrame(1 << 16),
                   (8 * kHeads + 64 * kLists) / (8 * kFrames));
}

// By hand, of words of 8 bytes: four to retire it by, where the table is, what
// it translates (one for the base, one for level and kind), who points to it,
// and where the frames of an indirect one are.
TEST(MemorySuiteTest, ATableHasNineWordsOfInfo) {
  EXPECT_DOUBLE_EQ(TableInfoShare(), 9 * 8.0 / 4096);
}

TEST(MemorySuiteTest, EveryMetricOfTheGroupIsCounted) {
  Figures figures;
  AddMemoryFigures(figures);
  std::set<std::string> wanted;
  for (const Metric& metric : AllMetrics()) {
    if (metric.id.rfind("memory/", 0) != 0) continue;
    EXPECT_TRUE(metric.built) << metric.id;
    EXPECT_EQ(figures.count(metric.id), 1u) << metric.id;
    wanted.insert(metric.id);
  }
  EXPECT_EQ(wanted.size(), 3u);
  EXPECT_EQ(figures.size(), wanted.size());
  EXPECT_EQ(figures["memory/lru/bytes_per_frame"].summary.median, 4);
}

}  // namespace
}  // namespace ptage::bench
