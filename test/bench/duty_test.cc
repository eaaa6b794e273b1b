// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/duty.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

// Time worked in `length`, in steps of one; `longest` and `pieces` of work
// without a break.
struct Outcome {
  std::uint64_t worked = 0;
  std::uint64_t longest = 0;
  std::uint64_t pieces = 0;
  std::uint64_t first = 0;
};

Outcome Simulate(DutyBudget budget, std::uint64_t length) {
  Outcome outcome;
  std::uint64_t run = 0;
  for (std::uint64_t now = 0; now < length; ++now) {
    if (!budget.MayWork(now, outcome.worked)) {
      run = 0;
      continue;
    }
    if (outcome.worked == 0) outcome.first = now;
    if (run == 0) ++outcome.pieces;
    ++outcome.worked;
    ++run;
    if (run > outcome.longest) outcome.longest = run;
  }
  return outcome;
}

TEST(DutyTest, FullDutyNeverRests) {
  EXPECT_EQ(Simulate(DutyBudget(1, 50, 0), 1000).worked, 1000u);
}

TEST(DutyTest, LowDutyWorksForItsShareInWholeSlices) {
  // 5 % in slices of 50: one each 1,000.
  const Outcome outcome = Simulate(DutyBudget(0.05, 50, 0), 100'500);
  EXPECT_EQ(outcome.worked, 5000u);
  EXPECT_EQ(outcome.longest, 50u);
  EXPECT_EQ(outcome.pieces, 100u);
  EXPECT_EQ(outcome.first, 1000u);
}

TEST(DutyTest, AHeadStartBringsTheFirstSliceForward) {
  EXPECT_EQ(Simulate(DutyBudget(0.05, 50, 40), 10'000).first, 200u);
}

TEST(DutyTest, APieceThatCannotStopIsPaidForByAsMuchRest) {
  // Work that goes on for 200 whatever it is told.
  DutyBudget budget(0.05, 50, 0);
  std::uint64_t worked = 0;
  std::uint64_t now = 0;
  std::uint64_t begun = 0;
  for (; worked < 400; ++now) {
    if (!budget.MayWork(now, worked)) continue;
    begun = now;
    now += 199;
    worked += 200;
  }
  // 250 are paid for at 5,000.
  EXPECT_EQ(begun, 5000u);
}

}  // namespace
}  // namespace ptage::bench
