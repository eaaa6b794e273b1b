// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/rmap_suite.h"

#include <cstddef>
#include <string>

#include "bench/clock.h"
#include "bench/metrics.h"
#include "bench/report.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

class RmapSuiteTest : public testing::Test {
 protected:
  RmapSuiteTest() {
    plan_.entries = 1 << 13;
    plan_.cached_entries = 1 << 10;
    plan_.least = 1 << 12;
    plan_.rounds = 5;
    plan_.scans = 1'000;
    plan_.wanted = [](const std::string&) { return true; };
    plan_.go_on = [] { return true; };
  }

  TickRate rate_;
  RmapPlan plan_;
  Figures figures_;
};

TEST_F(RmapSuiteTest, EachMetricOfItsGroupThatOneThreadMeasuresIsThere) {
  RmapSuite suite(plan_, rate_);
  suite.Run(figures_);
  std::size_t expected = 0;
  for (const Metric& metric : AllMetrics()) {
    if (metric.id.rfind("rmap/", 0) != 0) continue;
    // rmap_contended.h measures these.
    if (metric.id.find("/contended/") != metric.id.npos) continue;
    if (metric.id.find("/stalled_writer/") != metric.id.npos) continue;
    ++expected;
    ASSERT_EQ(figures_.count(metric.id), 1u) << metric.id;
    EXPECT_GT(figures_.at(metric.id).summary.median, 0) << metric.id;
  }
  EXPECT_EQ(figures_.size(), expected);
  // Exactly, on any machine.
  EXPECT_LE(figures_.at("rmap/many/steps").summary.median, 1);
  EXPECT_NE(suite.Table().find("run/vs_streaming/outliers1"),
            std::string::npos);
}

TEST_F(RmapSuiteTest, OnlyWhatIsWantedRuns) {
  plan_.wanted = [](const std::string& id) {
    return id == "rmap/run/vs_streaming/empty10";
  };
  RmapSuite suite(plan_, rate_);
  suite.Run(figures_);
  EXPECT_EQ(figures_.size(), 1u);
}

TEST_F(RmapSuiteTest, ARunStopsWhenItIsTold) {
  plan_.wanted = [](const std::string& id) {
    return id.find("/run/") != id.npos || id == "rmap/many/steps";
  };
  plan_.go_on = [] { return false; };
  RmapSuite suite(plan_, rate_);
  suite.Run(figures_);
  EXPECT_TRUE(figures_.empty());
}

}  // namespace
}  // namespace ptage::bench
