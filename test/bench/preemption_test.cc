// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/preemption.h"

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

struct Scripted {
  const long* count;
  long operator()() const { return *count; }
};

class PreemptionWatchTest : public testing::Test {
 protected:
  long switches_ = 7;
  PreemptionWatch<Scripted> watch_{100, 1000, Scripted{&switches_}};
};

TEST_F(PreemptionWatchTest, ShortSwitchesAreBorne) {
  for (std::uint64_t now = 1000; now < 20'000; now += 100) {
    ++switches_;
    watch_.Look(now, Between::kWork);
    watch_.Look(now, Between::kWaiting);
  }
  EXPECT_FALSE(watch_.lost());
}

TEST_F(PreemptionWatchTest, WorkThatTookTooLongLostItsCpu) {
  watch_.Look(1100, Between::kWork);
  EXPECT_FALSE(watch_.lost());
  watch_.Look(1201, Between::kWork);
  EXPECT_TRUE(watch_.lost());
}

TEST_F(PreemptionWatchTest, ALongWaitIsBorneUnlessTheCpuWasLostInIt) {
  watch_.Look(9000, Between::kWaiting);
  EXPECT_FALSE(watch_.lost());
  ++switches_;
  watch_.Look(9900, Between::kWaiting);
  EXPECT_TRUE(watch_.lost());
}

TEST_F(PreemptionWatchTest, ASwitchLongBeforeIsNoEvidenceAgainstAWait) {
  ++switches_;
  for (std::uint64_t now = 1000; now < 1600; now += 100) {
    watch_.Look(now, Between::kWork);
  }
  watch_.Look(9000, Between::kWaiting);
  EXPECT_FALSE(watch_.lost());
}

TEST_F(PreemptionWatchTest, WhatWasLostStaysLost) {
  watch_.Look(2000, Between::kWork);
  watch_.Look(2001, Between::kWork);
  EXPECT_TRUE(watch_.lost());
}

TEST(InvoluntarySwitchesTest, NeverFall) {
  const InvoluntarySwitches switches;
  const long before = switches();
  EXPECT_GE(before, 0);
  EXPECT_GE(switches(), before);
}

}  // namespace
}  // namespace ptage::bench
