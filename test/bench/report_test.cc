// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/report.h"

#include <limits>
#include <string>
#include <vector>

#include "bench/metrics.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

bool All(const std::string&) { return true; }

Metric Built(Metric metric) {
  metric.built = true;
  return metric;
}

Figure Measured(double ratio) {
  return Figure{.summary = Summarize(std::vector<double>(10, ratio))};
}

TEST(ReportTest, EveryMetricIsListedWhetherMeasuredOrNot) {
  const std::vector<Metric> metrics = {
      Built(internal::AtLeast("a/met", 2)),
      Built(internal::AtLeast("a/missed", 2)),
      Built(internal::AtLeast("a/unmeasured", 2)),
      internal::AtLeast("a/not_built", 2),
      Built(internal::Reported("a/reported", true)),
  };
  const Figures figures = {{"a/met", Measured(2.5)},
                           {"a/missed", Measured(1.5)},
                           {"a/reported", Measured(7)}};
  const std::vector<Judged> all = JudgeAll(metrics, figures, All);
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(all[0].verdict, Verdict::kMet);
  EXPECT_EQ(all[1].verdict, Verdict::kMissed);
  EXPECT_EQ(all[2].verdict, Verdict::kUnmeasured);
  EXPECT_EQ(all[3].verdict, Verdict::kNotBuilt);
  EXPECT_EQ(all[4].verdict, Verdict::kReported);
  EXPECT_TRUE(AnyMissed(all));

  const std::string table = MetricsTable(all);
  for (const Metric& metric : metrics) {
    EXPECT_NE(table.find(metric.id), table.npos) << table;
  }
  EXPECT_NE(table.find("not built"), table.npos);
}

TEST(ReportTest, WhatAnotherProgramMeasuresSaysWhich) {
  Metric metric = internal::AtLeast("a/elsewhere", 2);
  metric.elsewhere = "tools/other";
  const std::vector<Judged> all = JudgeAll({metric}, {}, All);
  EXPECT_EQ(all[0].verdict, Verdict::kElsewhere);
  EXPECT_NE(MetricsTable(all).find("by tools/other"), std::string::npos);
  EXPECT_NE(ToJson(Context(), all).find("\"by tools/other\""),
            std::string::npos);
  EXPECT_FALSE(AnyMissed(all));
}

TEST(ReportTest, OnlyMissedGoalsFailACheck) {
  const std::vector<Metric> metrics = {
      Built(internal::AtLeast("a/unmeasured", 2)),
      internal::AtLeast("a/not_built", 2)};
  EXPECT_FALSE(AnyMissed(JudgeAll(metrics, {}, All)));
}

TEST(ReportTest, AGoalThatTheRunCountedReplacesTheTablesOwn) {
  Metric metric{.id = "x/unanswered", .kind = GoalKind::kExactly};
  metric.evidence = Evidence::kCounted;
  metric.built = true;
  metric.counts_goal = true;
  Figure figure = Measured(0.0078125);
  figure.goal = 0.0078125;
  EXPECT_EQ(JudgeAll({metric}, {{metric.id, figure}}, All)[0].verdict,
            Verdict::kMet);
  figure.goal = 0.004;
  EXPECT_EQ(JudgeAll({metric}, {{metric.id, figure}}, All)[0].verdict,
            Verdict::kMissed);
  // Only where the metric says so.
  metric.counts_goal = false;
  metric.goal = 0.0078125;
  EXPECT_EQ(JudgeAll({metric}, {{metric.id, figure}}, All)[0].verdict,
            Verdict::kMet);
}

TEST(ReportTest, JsonHasOneEntryPerMetricNamedByItsId) {
  const std::vector<Metric> metrics = {
      Built(internal::AtLeast("g/a", 2)),
      internal::AtMost("g/b", 3),
      Built(internal::Reported("g/c", false)),
  };
  Figure figure = Measured(2.5);
  figure.counters = {{"load", 4}};
  const std::string json =
      ToJson(Context{.texts = {{"cpu", "a \"quoted\" \\ name"}},
                     .numbers = {{"seed", 7}}},
             JudgeAll(metrics, {{"g/a", figure}, {"g/c", Measured(1)}}, All));
  EXPECT_EQ(json,
            R"({
  "context": {
    "cpu": "a \"quoted\" \\ name",
    "seed": 7
  },
  "benchmarks": [
    {
      "name": "g/a",
      "run_name": "g/a",
      "run_type": "iteration",
      "repetitions": 1,
      "repetition_index": 0,
      "threads": 1,
      "iterations": 10,
      "real_time": 0,
      "cpu_time": 0,
      "time_unit": "ns",
      "label": "met",
      "ratio": 2.5,
      "spread": 0,
      "samples": 10,
      "interval_low": 2.5,
      "interval_high": 2.5,
      "goal_kind": "at least",
      "goal": 2,
      "higher_is_better": 1,
      "load": 4
    },
    {
      "name": "g/b",
      "run_name": "g/b",
      "run_type": "iteration",
      "repetitions": 1,
      "repetition_index": 0,
      "threads": 1,
      "iterations": 0,
      "real_time": 0,
      "cpu_time": 0,
      "time_unit": "ns",
      "label": "not built",
      "error_occurred": true,
      "error_message": "not built",
      "goal_kind": "at most",
      "goal": 3,
      "higher_is_better": 0
    },
    {
      "name": "g/c",
      "run_name": "g/c",
      "run_type": "iteration",
      "repetitions": 1,
      "repetition_index": 0,
      "threads": 1,
      "iterations": 10,
      "real_time": 0,
      "cpu_time": 0,
      "time_unit": "ns",
      "label": "reported",
      "ratio": 1,
      "spread": 0,
      "samples": 10,
      "interval_low": 1,
      "interval_high": 1,
      "higher_is_better": 0
    }
  ]
}
)");
}

TEST(ReportTest, FiguresThatAreNoMetricsAreEntriesOfTheirOwn) {
  Figures figures = {{"a/x", Measured(2.5)},
                     {"b/x", Measured(1)},
                     {"b/y", Figure{.missing = "too few windows"}}};
  const auto of_b = [](const std::string& id) { return id[0] == 'b'; };
  const std::string json = FiguresJson(figures, of_b);
  EXPECT_EQ(json.front(), '[');
  EXPECT_EQ(json.back(), ']');
  EXPECT_EQ(json.find("a/x"), json.npos);
  EXPECT_NE(json.find("\"name\": \"b/x\""), json.npos);
  EXPECT_NE(json.find("\"ratio\": 1,"), json.npos);
  EXPECT_NE(json.find("\"error_message\": \"too few windows\""), json.npos);
  EXPECT_EQ(json.find("\"goal\""), json.npos);
  EXPECT_NE(json.find("\"higher_is_better\": 1"), json.npos);
  EXPECT_NE(FiguresJson({{"b/fault_p99", Measured(1)}}, of_b)
                .find("\"higher_is_better\": 0"),
            json.npos);
  EXPECT_EQ(FiguresJson({}, All), "");
}

TEST(ReportTest, JsonLeavesOutWhatIsNotANumber) {
  const Metric metric = Built(internal::Reported("g/a", true));
  const double infinite = std::numeric_limits<double>::infinity();
  const std::string json =
      ToJson(Context{}, JudgeAll({metric}, {{"g/a", Measured(infinite)}}, All));
  EXPECT_EQ(json.find("inf"), json.npos) << json;
  EXPECT_EQ(json.find("nan"), json.npos) << json;
}

}  // namespace
}  // namespace ptage::bench
