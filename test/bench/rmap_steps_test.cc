// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/rmap_steps.h"

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

TEST(RmapStepsTest, NoScanReadsMoreThanItsWordLeadsTo) {
  const ScanSteps steps = StepsBesideAWriter(20'000, 3);
  EXPECT_GE(steps.scans, 20'000u);
  EXPECT_GT(steps.updates, 0u);
  // A scan that nobody stops reads every slot.
  EXPECT_EQ(steps.most, 1);
}

}  // namespace
}  // namespace ptage::bench
