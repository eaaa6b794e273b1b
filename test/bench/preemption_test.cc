// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/preemption.h"

#include <cstdint>
#include <ctime>

#include "bench/clock.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

struct Scripted {
  const std::uint64_t* spent;
  std::uint64_t operator()() const { return *spent; }
};

class PreemptionWatchTest : public testing::Test {
 protected:
  // Time goes by, `lost` of it without a CPU.
  void Pass(std::uint64_t time, std::uint64_t lost, Between between) {
    now_ += time;
    spent_ += time - lost;
    watch_.Look(now_, between);
  }

  std::uint64_t now_ = 1000;
  std::uint64_t spent_ = 7;
  PreemptionWatch<Scripted> watch_{100, 1000, Scripted{&spent_}};
};

TEST_F(PreemptionWatchTest, ShortLossesAreBorne) {
  for (int i = 0; i < 100; ++i) {
    Pass(400, 40, Between::kWaiting);
    Pass(90, 40, Between::kWork);
  }
  EXPECT_FALSE(watch_.lost());
}

TEST_F(PreemptionWatchTest, WorkThatTookTooLongWasInterrupted) {
  Pass(100, 0, Between::kWork);
  EXPECT_FALSE(watch_.lost());
  // Also where the OS knows nothing of it: the machine itself may be virtual.
  Pass(101, 0, Between::kWork);
  EXPECT_TRUE(watch_.lost());
}

TEST_F(PreemptionWatchTest, ALongWaitIsBorneUnlessTheCpuWasLostInIt) {
  Pass(9000, 0, Between::kWaiting);
  Pass(9000, 100, Between::kWaiting);
  EXPECT_FALSE(watch_.lost());
  Pass(9000, 101, Between::kWaiting);
  EXPECT_TRUE(watch_.lost());
}

TEST_F(PreemptionWatchTest, WhatWasLostStaysLost) {
  Pass(1000, 900, Between::kWaiting);
  Pass(1, 0, Between::kWork);
  EXPECT_TRUE(watch_.lost());
}

TEST(ThreadTimeTest, PassesWhileTheThreadRunsAndNotWhileItSleeps) {
  const TickRate rate;
  const ThreadTime spent(rate);
  const std::uint64_t asleep = spent();
  const timespec pause{.tv_sec = 0, .tv_nsec = 20'000'000};
  nanosleep(&pause, nullptr);
  EXPECT_LT(rate.Seconds(spent() - asleep), 0.015);
  const std::uint64_t running = spent();
  while (rate.Seconds(spent() - running) < 0.005) {
  }
  EXPECT_GE(spent(), running);
}

}  // namespace
}  // namespace ptage::bench
