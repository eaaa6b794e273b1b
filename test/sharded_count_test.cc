// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/sharded_count.h"

#include <cstdint>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "test/stress.h"

namespace ptage {
namespace {

TEST(ShardedCountTest, WhatHappensByItselfIsCountedExactly) {
  ShardedCount<4> count;
  EXPECT_EQ(count.Count(), 0u);
  // Added by some, taken by others.
  for (unsigned hint = 0; hint < 9; ++hint) count.Add(hint);
  EXPECT_EQ(count.Count(), 9u);
  for (unsigned hint = 3; hint < 11; ++hint) count.Take(hint);
  EXPECT_EQ(count.Count(), 1u);
  std::thread([&] { count.Take(); }).join();
  EXPECT_EQ(count.Count(), 0u);
}

// One thing is there all the time, and others come on one line and go on
// another.
TEST(ShardedCountTest, WhatIsThereIsNeverTakenForNothing) {
  ShardedCount<16> count;
  count.Add(5);
  std::uint64_t least = ~std::uint64_t{0};
  const auto come_and_go = [&](unsigned from, unsigned to) {
    return [&count, from, to] {
      for (int i = 0; i < 100; ++i) {
        count.Add(from);
        count.Take(to);
      }
    };
  };
  test::Stress({come_and_go(15, 0), come_and_go(0, 15), [&] {
                  const std::uint64_t seen = count.Count();
                  if (seen < least) least = seen;
                }});
  EXPECT_GE(least, 1u);
  EXPECT_EQ(count.Count(), 1u);
}

}  // namespace
}  // namespace ptage
