// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/mmu_suite.h"

#include <cstddef>
#include <string>
#include <vector>

#include "bench/clock.h"
#include "bench/metrics.h"
#include "bench/report.h"
#include "bench/team.h"
#include "bench/walk_suite.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

class MmuSuiteTest : public testing::Test {
 protected:
  MmuSuiteTest() {
    plan_.tables = 8;
    plan_.rounds = 5;
    plan_.wanted = [](const std::string&) { return true; };
    plan_.go_on = [] { return true; };
  }

  TickRate rate_;
  Team team_{{UsableCpus().back()}};
  WalkPlan plan_;
  Figures figures_;
};

TEST_F(MmuSuiteTest, EachMetricOfItsGroupIsThere) {
  MmuSuite suite(plan_, rate_, team_);
  suite.Run(figures_);
  std::size_t expected = 0;
  std::size_t measured = 0;
  for (const Metric& metric : AllMetrics()) {
    if (metric.id.rfind("mmu/", 0) != 0) continue;
    ++expected;
    EXPECT_TRUE(metric.built) << metric.id;
    ASSERT_EQ(figures_.count(metric.id), 1u) << metric.id;
    // On a loaded machine too few vCPUs begin together, or keep their CPU; then
    // that is said.
    const Figure& figure = figures_.at(metric.id);
    EXPECT_TRUE(figure.summary.median > 0 || !figure.missing.empty())
        << metric.id;
    if (figure.summary.median > 0) ++measured;
  }
  EXPECT_GT(measured, 0u);
  EXPECT_EQ(expected, 6u);
  EXPECT_EQ(figures_.size(), expected);
  EXPECT_NE(suite.Table().find("a fault, nested, 2 vCPUs"), std::string::npos);
  EXPECT_NE(suite.Table().find("trapped, and zapped"), std::string::npos);
}

TEST_F(MmuSuiteTest, WithoutAnotherCpuItIsSaidThatThereIsNone) {
  Team nobody{std::vector<int>{}};
  MmuSuite suite(plan_, rate_, nobody);
  suite.Run(figures_);
  const Figure& alone = figures_.at("mmu/fault/tdp/1");
  EXPECT_TRUE(alone.summary.median > 0 || !alone.missing.empty());
  for (const char* id : {"mmu/fault/tdp/2", "mmu/fault/nested/2",
                         "mmu/fault/scaling", "mmu/zap_under_aging"}) {
    EXPECT_EQ(figures_.at(id).missing, "too few CPUs") << id;
  }
}

TEST_F(MmuSuiteTest, OnlyWhatIsWantedRuns) {
  plan_.wanted = [](const std::string& id) { return id == "mmu/fault/tdp/1"; };
  MmuSuite suite(plan_, rate_, team_);
  suite.Run(figures_);
  EXPECT_EQ(figures_.size(), 1u);
}

TEST_F(MmuSuiteTest, ARunStopsWhenItIsTold) {
  plan_.go_on = [] { return false; };
  MmuSuite suite(plan_, rate_, team_);
  suite.Run(figures_);
  EXPECT_TRUE(figures_.empty());
}

}  // namespace
}  // namespace ptage::bench
