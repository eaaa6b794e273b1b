// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Exact pruning by two threads against a vCPU that walks with warm caches and
// faults that map accessed pages: whatever was accessed is reported once at
// least.

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/types.h"
#include "test/stress.h"
#include "test/used_guest.h"

namespace ptage {
namespace {

using test::UsedGuest;

constexpr GfnRange kAll = UsedGuest::kAll;

TEST(PruneStressTest, WhatIsAccessedIsReported) {
  const auto end = std::chrono::steady_clock::now() + 3 * test::kStressTime;
  std::uint64_t rounds = 0;
  std::uint64_t reported = 0;
  while (std::chrono::steady_clock::now() < end) {
    UsedGuest guest(rounds);
    std::vector<std::uint64_t> young[3];
    for (auto& words : young) words.resize(kAll.Frames() / 64);
    const auto prune = [&](std::vector<std::uint64_t>& words) {
      const LocklessWalk walk(guest.domain, WalkEntry::kWait);
      (void)Prune(guest.tree, walk, guest.cpus, kAll, Pruning::kExact,
                  AgeAction::kTestAndClear,
                  AgeOutput{.begin = kAll.begin,
                            .young = Bitmap(words.data(), kAll.Frames())});
    };
    std::vector<std::function<void()>> bodies = guest.Uses(200);
    for (int pruner = 0; pruner < 2; ++pruner) {
      bodies.emplace_back([&, pruner] {
        for (int i = 0; i < 6; ++i) prune(young[pruner]);
      });
    }
    test::RunThreads(bodies);
    prune(young[2]);
    for (std::uint64_t i = 0; i < kAll.Frames(); ++i) {
      bool found = false;
      for (auto& words : young) {
        found |= Bitmap(words.data(), kAll.Frames()).Test(i);
      }
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
