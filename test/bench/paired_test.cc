// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/paired.h"

#include <optional>
#include <vector>

#include "bench/report.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

TEST(PairedTest, RatiosAreOfRoundsThatKeptBoth) {
  EXPECT_EQ(PairedRatios({8, 0, 6, 9}, {4, 5, 0, 3}),
            (std::vector<double>{2, 3}));
}

TEST(PairedTest, DroppedWindowsAreNotKept) {
  EXPECT_EQ(Kept({0, 3, 0, 1}), (std::vector<double>{3, 1}));
}

TEST(PairedTest, TheBestHasTheLargestMedianNotTheLargestFigure) {
  const Series steady = {5, 5, 5};
  const Series lucky = {1, 100, 2};
  EXPECT_EQ(BestOf({&lucky, &steady}), 1u);
}

TEST(PairedTest, DroppedWindowsDoNotLowerAMedian) {
  const Series dropped = {0, 0, 7};
  const Series steady = {5, 5, 5};
  EXPECT_EQ(BestOf({&steady, &dropped}), 1u);
}

TEST(PairedTest, OfEqualsTheFirstIsTheBest) {
  const Series one = {5};
  const Series other = {5};
  EXPECT_EQ(BestOf({&one, &other}), 0u);
}

TEST(PairedTest, NothingIsTheBestOfNothing) {
  const Series dropped = {0, 0};
  EXPECT_EQ(BestOf({&dropped}), std::nullopt);
  EXPECT_EQ(BestOf({}), std::nullopt);
}

TEST(PairedTest, AFigureIsTheMedianOfTheRatios) {
  const Figure figure = PairedFigure({2, 4, 6, 8, 10}, {2, 2, 2, 2, 2});
  EXPECT_EQ(figure.summary.median, 3);
  EXPECT_EQ(figure.summary.samples, 5u);
}

TEST(PairedTest, TooFewRoundsGiveNoFigure) {
  const Figure figure = PairedFigure({2, 4, 6, 8, 0}, {2, 2, 2, 2, 2});
  EXPECT_EQ(figure.summary.samples, 0u);
  EXPECT_EQ(figure.missing, "too few windows");
}

}  // namespace
}  // namespace ptage::bench
