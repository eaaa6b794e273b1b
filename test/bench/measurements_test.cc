// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/measurements.h"

#include <cstdint>
#include <string>
#include <vector>

#include "bench/round_table.h"
#include "bench/rounds.h"
#include "bench/stats.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

TEST(MeasurementsTest, JsonHasAnObjectForEachThatHasFigures) {
  const Measurement some{.group = "g",
                         .heading = "a \"b\"",
                         .name = "n",
                         .unit = "ns",
                         .summary = Summarize({1, 2, 3, 4, 5, 6})};
  const Measurement few{.group = "g",
                        .heading = "h",
                        .name = "m",
                        .unit = "ns",
                        .summary = Summarize({4})};
  EXPECT_EQ(MeasurementsJson({some, Measurement{}, few}),
            R"([
    {"group": "g", "heading": "a \"b\"", "name": "n", "unit": "ns", "median": 3.5, "spread": 0.7142857142857143, "interval_low": 1, "interval_high": 6, "samples": 6},
    {"group": "g", "heading": "h", "name": "m", "unit": "ns", "median": 4, "spread": 0, "samples": 1}
  ])");
  EXPECT_EQ(MeasurementsJson({}), "");
  EXPECT_EQ(MeasurementsJson({Measurement{}}), "");
}

TEST(RoundTableTest, WhatWasMeasuredIsInTheTableAndInTheMeasurements) {
  RoundTable table("walk", "walks", "ns per table");
  double next = 0;
  int lost = 0;
  const std::vector<Measured> things = {{"counts", [&] { return ++next; }},
                                        {"is always disturbed", [&] {
                                           ++lost;
                                           return 0.0;
                                         }}};
  const RoundFigures times =
      table.RunWarm("in order", things, 7, 1, [] { return true; });
  EXPECT_EQ(lost, 8);
  ASSERT_EQ(table.measurements().size(), 2u);
  const Measurement& counts = table.measurements()[0];
  EXPECT_EQ(counts.group, "walk");
  EXPECT_EQ(counts.heading, "in order");
  EXPECT_EQ(counts.name, "counts");
  EXPECT_EQ(counts.unit, "ns per table");
  // The first does not count.
  EXPECT_EQ(counts.summary.median, 5);
  EXPECT_EQ(counts.summary.samples, 7u);
  EXPECT_EQ(table.measurements()[1].summary.samples, 0u);
  EXPECT_EQ(times.MedianOf(0), 5);
  EXPECT_NE(table.ToString().find("in order\n"), std::string::npos);
  EXPECT_NE(table.ToString().find("counts"), std::string::npos);
}

}  // namespace
}  // namespace ptage::bench
