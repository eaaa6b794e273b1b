// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Dense tables aged at their parents against a vCPU that walks with warm caches
// and faults that map accessed pages: whatever was accessed is reported once at
// least.

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/hot_tables.h"
#include "ptage/page_table.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/stress.h"
#include "test/used_guest.h"

namespace ptage {
namespace {

using test::UsedGuest;

constexpr GfnRange kAll = UsedGuest::kAll;

TEST(HotTablesStressTest, WhatIsAccessedIsReported) {
  const auto end = std::chrono::steady_clock::now() + 3 * test::kStressTime;
  std::uint64_t rounds = 0;
  std::uint64_t reported = 0;
  while (std::chrono::steady_clock::now() < end) {
    UsedGuest guest(rounds);
    std::vector<std::uint64_t> young(kAll.Frames() / 64);
    std::uint8_t bytes[UsedGuest::kTables] = {};
    // Dense soon, and verified all the time.
    HotTables<Ept> hot(bytes, kAll,
                       DensePolicy{.sixteenths = 0, .verify_one_in = 1});
    const auto age = [&] {
      const LocklessWalk walk(guest.domain, WalkEntry::kWait);
      (void)AgeHotTables(
          guest.tree, walk, guest.cpus, hot,
          AgeOutput{.begin = kAll.begin,
                    .young = Bitmap(young.data(), kAll.Frames())});
    };
    // Every other time all tables are dense to begin with: whether they become
    // so meanwhile is up to the scheduler.
    if (rounds % 2 == 0) {
      for (int i = 0; i < 2; ++i) {
        guest.MarkParents();
        age();
      }
      ASSERT_EQ(hot.Dense(), UsedGuest::kTables);
    }
    std::vector<std::function<void()>> bodies = guest.Uses(2000);
    bodies.emplace_back([&] {
      for (int i = 0; i < 12; ++i) age();
    });
    test::RunThreads(bodies);
    age();
    for (std::uint64_t i = 0; i < kAll.Frames(); ++i) {
      const bool found = Bitmap(young.data(), kAll.Frames()).Test(i);
      reported += found;
      if (guest.WasUsed(i)) {
        ASSERT_TRUE(found) << "round " << rounds << ", frame " << i;
      }
    }
    ++rounds;
  }
  EXPECT_GT(reported, rounds);
}

}  // namespace
}  // namespace ptage
