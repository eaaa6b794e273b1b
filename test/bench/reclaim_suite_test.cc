// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/reclaim_suite.h"

#include <cstdint>
#include <string>
#include <vector>

#include "bench/clock.h"
#include "bench/metrics.h"
#include "bench/report.h"
#include "bench/team.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

class ReclaimSuiteTest : public testing::Test {
 protected:
  ReclaimSuiteTest() : cpus_(UsableCpus()), team_({cpus_.back()}) {
    plan_.rounds = 5;
    plan_.read_ns = 5e4;
    plan_.grace_ns = 5e4;
    plan_.retire_ns = 1e6;
    plan_.wanted = [](const std::string&) { return true; };
    plan_.progress = [](std::uint64_t, std::uint64_t) { return true; };
  }

  const std::vector<int> cpus_;
  Team team_;
  TickRate rate_;
  ReclaimPlan plan_;
  Figures figures_;
};

TEST_F(ReclaimSuiteTest, EachMetricOfItsGroupIsMeasuredOrTellsWhyNot) {
  ReclaimSuite suite(team_, rate_);
  suite.Run(plan_, figures_);
  for (const Metric& metric : AllMetrics()) {
    if (metric.id.rfind("reclaim/", 0) != 0) continue;
    ASSERT_EQ(figures_.count(metric.id), 1u) << metric.id;
    const Figure& figure = figures_.at(metric.id);
    // A busy machine drops windows.
    EXPECT_NE(figure.summary.samples == 0, figure.missing.empty());
    if (figure.missing.empty()) {
      EXPECT_GT(figure.summary.median, 0);
    }
  }
  EXPECT_EQ(figures_.size(), 10u);
  EXPECT_NE(suite.TableText().find("xenium stamp_it"), std::string::npos);
}

TEST_F(ReclaimSuiteTest, OnlyWhatIsWantedRuns) {
  ReclaimSuite suite(team_, rate_);
  plan_.wanted = [](const std::string& id) {
    return id == "reclaim/grace/vs_urcu_memb";
  };
  suite.Run(plan_, figures_);
  EXPECT_EQ(figures_.size(), 1u);
  // Four contenders have grace periods.
  EXPECT_NEAR(suite.Seconds(plan_), ReclaimSuite::kGraceWindows * 4 * 5 * 5e-5,
              1e-9);
}

TEST_F(ReclaimSuiteTest, NothingWantedIsNothingShown) {
  ReclaimSuite suite(team_, rate_);
  plan_.wanted = [](const std::string&) { return false; };
  suite.Run(plan_, figures_);
  EXPECT_TRUE(figures_.empty());
  EXPECT_EQ(suite.TableText(), "");
}

TEST_F(ReclaimSuiteTest, ARunStopsWhenItIsTold) {
  ReclaimSuite suite(team_, rate_);
  std::uint64_t calls = 0;
  plan_.progress = [&](std::uint64_t rounds, std::uint64_t) {
    EXPECT_EQ(rounds, ++calls);
    return calls < 2;
  };
  suite.Run(plan_, figures_);
  EXPECT_EQ(calls, 2u);
  EXPECT_TRUE(figures_.empty());
}

}  // namespace
}  // namespace ptage::bench
