// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/stats.h"

#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

TEST(StatsTest, TheMedianOfAnEvenNumberLiesBetweenTheMiddleTwo) {
  EXPECT_DOUBLE_EQ(Median({4, 1, 3, 2}), 2.5);
  EXPECT_DOUBLE_EQ(Median({9, 1, 5}), 5);
  EXPECT_DOUBLE_EQ(Median({7}), 7);
}

TEST(StatsTest, QuartilesInterpolateBetweenNeighbours) {
  // 1 2 3 4: the first quartile is at 0.25 · 3 = 0.75 of the way from 1 to 2.
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4}, 0.25), 1.75);
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4}, 0.75), 3.25);
}

TEST(StatsTest, TheSpreadIsTheQuartileDistanceInMedians) {
  // Quartiles 2 and 4, median 3.
  EXPECT_DOUBLE_EQ(Spread({1, 2, 3, 4, 5}), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(Spread({5, 5, 5}), 0);
}

TEST(StatsTest, APercentileRefusesTooFewSamples) {
  std::vector<std::uint32_t> samples(9999, 1);
  EXPECT_EQ(Percentile(samples, 0.99), std::nullopt);
  samples.push_back(1);
  EXPECT_EQ(Percentile(samples, 0.99), 1.0);
  EXPECT_EQ(Percentile(samples, 0.999), std::nullopt);
}

TEST(StatsTest, APercentileIsTheNearestRank) {
  std::vector<std::uint32_t> samples(10000);
  std::iota(samples.rbegin(), samples.rend(), 1u);  // 1 … 10,000
  EXPECT_EQ(Percentile(samples, 0.99), 9900.0);
  EXPECT_EQ(Percentile(samples, 0.5), 5000.0);
}

TEST(StatsTest, TheIntervalOfTheMedianHasTheRanksOfTheSignTest) {
  // Ranks from published tables: n = 6: 1st and 6th; n = 10: 2nd and 9th;
  // n = 20: 6th and 15th; n = 100: 40th and 61st.
  const auto ranks = [](std::size_t n) {
    std::vector<double> samples(n);
    std::iota(samples.begin(), samples.end(), 1.0);
    return MedianInterval(samples);
  };
  EXPECT_FALSE(ranks(5).has_value());
  ASSERT_TRUE(ranks(6).has_value());
  EXPECT_EQ(ranks(6)->low, 1);
  EXPECT_EQ(ranks(6)->high, 6);
  EXPECT_EQ(ranks(10)->low, 2);
  EXPECT_EQ(ranks(10)->high, 9);
  EXPECT_EQ(ranks(20)->low, 6);
  EXPECT_EQ(ranks(20)->high, 15);
  EXPECT_EQ(ranks(100)->low, 40);
  EXPECT_EQ(ranks(100)->high, 61);
}

TEST(StatsTest, NeighbouringRoundsArePooledUntilThePercentileIsAllowed) {
  // A p50 wants 200 samples; rounds of 100 pool in pairs, the fifth joins the
  // second pair.
  const std::vector<std::uint32_t> tens(100, 10);
  const std::vector<std::uint32_t> thirties(100, 30);
  const std::vector<const std::vector<std::uint32_t>*> above(5, &thirties);
  const std::vector<const std::vector<std::uint32_t>*> below(5, &tens);
  EXPECT_EQ(PooledPercentileRatios(above, below, 0.5),
            (std::vector<double>{3, 3}));
  EXPECT_TRUE(PooledPercentileRatios({&thirties}, {&tens}, 0.5).empty());
}

TEST(StatsTest, PoolingWaitsForTheSideWithFewerSamples) {
  const std::vector<std::uint32_t> many(200, 8);
  const std::vector<std::uint32_t> few(100, 2);
  EXPECT_EQ(PooledPercentileRatios({&many, &many, &many, &many},
                                   {&few, &few, &few, &few}, 0.5),
            (std::vector<double>{4, 4}));
}

Summary Of(double low, double median, double high) {
  return Summary{.median = median,
                 .spread = 0,
                 .samples = 100,
                 .interval = Interval{low, high}};
}

TEST(StatsTest, AGoalFarFromOneIsJudgedOnTheMedian) {
  EXPECT_EQ(Judge(GoalKind::kAtLeast, 2, Evidence::kSampled, Of(1, 2.1, 9)),
            Verdict::kMet);
  EXPECT_EQ(Judge(GoalKind::kAtMost, 1.10, Evidence::kSampled, Of(0, 1.2, 2)),
            Verdict::kMissed);
}

TEST(StatsTest, AGoalNearOneIsUnmeasuredWhenTheIntervalIsWiderThanItsMargin) {
  EXPECT_EQ(
      Judge(GoalKind::kAtLeast, 0.98, Evidence::kSampled, Of(0.95, 1.0, 1.05)),
      Verdict::kUnmeasured);
}

TEST(StatsTest, AGoalNearOneIsJudgedOnTheWholeInterval) {
  const auto judge = [](double low, double high) {
    return Judge(GoalKind::kAtLeast, 0.98, Evidence::kSampled,
                 Of(low, (low + high) / 2, high));
  };
  EXPECT_EQ(judge(0.985, 1.005), Verdict::kMet);
  EXPECT_EQ(judge(0.95, 0.97), Verdict::kMissed);
  EXPECT_EQ(judge(0.975, 0.99), Verdict::kUnmeasured);
}

TEST(StatsTest, AGoalOfOneIsMissedOnlyByTheWholeInterval) {
  const auto judge = [](double low, double high) {
    return Judge(GoalKind::kAtMost, 1, Evidence::kSampled,
                 Of(low, (low + high) / 2, high));
  };
  EXPECT_EQ(judge(0.9, 0.95), Verdict::kMet);
  EXPECT_EQ(judge(0.98, 1.03), Verdict::kMet);
  EXPECT_EQ(judge(1.01, 1.03), Verdict::kMissed);
  EXPECT_EQ(judge(0.9, 1.1), Verdict::kUnmeasured);
}

TEST(StatsTest, AFactorGoalBoundsBothSides) {
  const auto judge = [](double low, double high) {
    return Judge(GoalKind::kFactor, 1.01, Evidence::kSampled,
                 Of(low, (low + high) / 2, high));
  };
  EXPECT_EQ(judge(0.995, 1.005), Verdict::kMet);
  EXPECT_EQ(judge(1.012, 1.02), Verdict::kMissed);
  EXPECT_EQ(judge(0.97, 0.98), Verdict::kMissed);
  EXPECT_EQ(judge(1.005, 1.02), Verdict::kUnmeasured);
  EXPECT_EQ(judge(0.98, 1.02), Verdict::kUnmeasured);
}

TEST(StatsTest, ACountIsJudgedAsItIs) {
  EXPECT_EQ(Judge(GoalKind::kExactly, 1, Evidence::kCounted,
                  Summary{.median = 1, .samples = 1}),
            Verdict::kMet);
  EXPECT_EQ(Judge(GoalKind::kExactly, 1, Evidence::kCounted,
                  Summary{.median = 0.999999, .samples = 1}),
            Verdict::kMissed);
}

TEST(StatsTest, NothingMeasuredIsNeitherMetNorMissed) {
  EXPECT_EQ(Judge(GoalKind::kAtLeast, 2, Evidence::kSampled, Summary{}),
            Verdict::kUnmeasured);
  EXPECT_EQ(Judge(GoalKind::kNone, 0, Evidence::kSampled, Summary{}),
            Verdict::kReported);
}

}  // namespace
}  // namespace ptage::bench
