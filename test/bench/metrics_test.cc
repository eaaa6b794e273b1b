// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/metrics.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "bench/stats.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

std::map<std::string, Metric> ById() {
  std::map<std::string, Metric> metrics;
  for (const Metric& metric : AllMetrics()) metrics[metric.id] = metric;
  return metrics;
}

TEST(MetricsTest, IdsAreUnique) {
  std::set<std::string> seen;
  for (const Metric& metric : AllMetrics()) {
    EXPECT_TRUE(seen.insert(metric.id).second) << metric.id;
  }
}

TEST(MetricsTest, TheGoalsOfTheSliceAreThoseOfTheSpecification) {
  const std::map<std::string, Metric> metrics = ById();
  struct Expected {
    const char* id;
    GoalKind kind;
    double goal;
  };
  for (const std::string guest : {"tdp", "nested", "shadow"}) {
    for (const Expected& expected : {
             Expected{"fast_only/duty5/throughput", GoalKind::kAtLeast, 0.98},
             Expected{"fast_only/vs_bare_clear", GoalKind::kAtLeast, 0.97},
             Expected{"none/vs_none", GoalKind::kFactor, 1.01},
             Expected{"fast_only/evict/duty5/fault_p99", GoalKind::kAtMost,
                      1.10},
             Expected{"fast_only/evict/duty5/fault_p999", GoalKind::kAtMost,
                      1.25},
             Expected{"fast_only/evict/fault_p99_vs_slow", GoalKind::kAtMost,
                      0.02},
             Expected{"fast_only/evict/fault_p99_vs_ticket", GoalKind::kNone,
                      0},
             Expected{"fast_only/evict/faults_vs_slow", GoalKind::kNone, 0},
             Expected{"fast_only/recall", GoalKind::kExactly, 1},
             Expected{"fast_only/evict/recall", GoalKind::kExactly, 1},
             Expected{"fast_only/precision", GoalKind::kAtLeast, 0.999},
             Expected{"fast_only/evict/precision", GoalKind::kAtLeast, 0.999},
             Expected{"fast_only/unanswered", GoalKind::kExactly, 0},
             Expected{"trylock/unanswered", GoalKind::kNone, 0},
             Expected{"trylock/evict/unanswered", GoalKind::kNone, 0},
         }) {
      const auto found =
          metrics.find("contention/" + guest + "/" + expected.id);
      ASSERT_NE(found, metrics.end()) << expected.id;
      EXPECT_EQ(found->second.kind, expected.kind) << expected.id;
      if (expected.kind != GoalKind::kNone) {
        EXPECT_EQ(found->second.goal, expected.goal) << expected.id;
      }
      EXPECT_TRUE(found->second.built) << expected.id;
    }
  }
  EXPECT_EQ(
      metrics.at("contention/nested/fast_only/evict/fault_p99_vs_bit_locked")
          .goal,
      1.0);
  EXPECT_EQ(
      metrics.at("contention/shadow/fast_only/evict/fault_p99_vs_bit_locked")
          .goal,
      1.0);
  EXPECT_TRUE(
      metrics.at("contention/shadow/single_entry/unanswered").counts_goal);
  EXPECT_FALSE(
      metrics.at("contention/nested/fast_only/unanswered").counts_goal);
  EXPECT_TRUE(
      metrics.at("contention/nested/single_entry/unanswered").counts_goal);
  EXPECT_EQ(metrics.at("contention/nested/single_entry/recall").kind,
            GoalKind::kNone);
  EXPECT_EQ(metrics.count("contention/tdp/single_entry/recall"), 0u);
  EXPECT_EQ(metrics.at("contention/setter/vs_ticket").goal, 2);
  EXPECT_EQ(metrics.at("contention/setter/vs_spin").goal, 20);
}

TEST(MetricsTest, AllIsBuiltHereOrElsewhere) {
  for (const Metric& metric : AllMetrics()) {
    EXPECT_NE(metric.built, !metric.elsewhere.empty()) << metric.id;
  }
}

TEST(MetricsTest, ThePolicyGroupSaysWhoMeasuresIt) {
  int policies = 0;
  for (const Metric& metric : AllMetrics()) {
    if (metric.id.rfind("policy/", 0) != 0) continue;
    ++policies;
    EXPECT_FALSE(metric.built) << metric.id;
    EXPECT_EQ(metric.elsewhere, "tools/bench policy") << metric.id;
  }
  EXPECT_EQ(policies, 6);
  EXPECT_TRUE(ById().at("memory/lru/bytes_per_frame").built);
}

TEST(MetricsTest, FaultFiguresExistOnlyWithEviction) {
  for (const Metric& metric : AllMetrics()) {
    if (metric.id.rfind("contention/", 0) != 0) continue;
    if (metric.id.find("/fault") == metric.id.npos) continue;
    EXPECT_NE(metric.id.find("/evict/"), metric.id.npos) << metric.id;
  }
}

}  // namespace
}  // namespace ptage::bench
