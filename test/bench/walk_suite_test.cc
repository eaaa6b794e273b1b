// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/walk_suite.h"

#include <cstddef>
#include <string>
#include <vector>

#include "bench/clock.h"
#include "bench/inner_suite.h"
#include "bench/metrics.h"
#include "bench/report.h"
#include "bench/team.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

class WalkSuiteTest : public testing::Test {
 protected:
  WalkSuiteTest() {
    plan_.tables = 64;
    plan_.rounds = 5;
    plan_.widest = 1024;
    // What has no goal takes longest.
    plan_.wanted = [](const std::string& id) { return id != "walk/densities"; };
    plan_.go_on = [] { return true; };
  }

  TickRate rate_;
  Team team_{{UsableCpus().back()}};
  WalkPlan plan_;
  Figures figures_;
};

TEST_F(WalkSuiteTest, EachMetricOfItsGroupThatIsBuiltIsThere) {
  WalkSuite suite(plan_, rate_, team_);
  suite.Run(figures_);
  InnerSuite inner(plan_, rate_, team_);
  inner.Run(figures_);
  std::size_t expected = 0;
  for (const Metric& metric : AllMetrics()) {
    if (metric.id.rfind("walk/", 0) != 0 || !metric.built) continue;
    ++expected;
    ASSERT_EQ(figures_.count(metric.id), 1u) << metric.id;
    EXPECT_GT(figures_.at(metric.id).summary.median, 0) << metric.id;
  }
  EXPECT_EQ(figures_.size(), expected);
  EXPECT_NE(suite.Table().find("tables shuffled"), std::string::npos);
  EXPECT_NE(inner.Table().find("profile of 1024 GiB"), std::string::npos);
}

TEST_F(WalkSuiteTest, WithoutAnotherCpuNothingIsSaidOfTwoThreads) {
  Team nobody{std::vector<int>{}};
  WalkSuite suite(plan_, rate_, nobody);
  suite.Run(figures_);
  InnerSuite inner(plan_, rate_, nobody);
  inner.Run(figures_);
  EXPECT_EQ(figures_.count("walk/linear/test/1"), 1u);
  EXPECT_EQ(figures_.count("walk/linear/test/2"), 0u);
  EXPECT_EQ(figures_.count("walk/parallel/2"), 0u);
  // That dense tables could not be measured is said.
  EXPECT_FALSE(figures_.at("walk/hot_parent/clear").missing.empty());
}

TEST_F(WalkSuiteTest, OnlyWhatIsWantedRuns) {
  plan_.wanted = [](const std::string& id) { return id == "walk/l2/test/1"; };
  WalkSuite suite(plan_, rate_, team_);
  suite.Run(figures_);
  EXPECT_EQ(figures_.size(), 1u);
}

TEST_F(WalkSuiteTest, ARunStopsWhenItIsTold) {
  plan_.go_on = [] { return false; };
  WalkSuite suite(plan_, rate_, team_);
  suite.Run(figures_);
  EXPECT_TRUE(figures_.empty());
}

}  // namespace
}  // namespace ptage::bench
