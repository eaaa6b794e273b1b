// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/inner_worlds.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

std::uint64_t Found(DenseWorld& world) {
  std::uint64_t found = 0;
  for (std::uint64_t gfn = 0; gfn < world.frames(); ++gfn) {
    found += world.young().Test(gfn) ? 1 : 0;
  }
  return found;
}

TEST(InnerWorldsTest, DenseTablesAreFoundWholeByEitherWay) {
  DenseWorld world(8, 0, 1);
  for (int round = 0; round < 2; ++round) {
    world.AccessAll();
    world.AgeAtParents();
  }
  EXPECT_EQ(world.hot().Dense(), world.tables());
  world.ClearBitmap();
  world.AccessAll();
  world.AgeAtParents();
  EXPECT_EQ(Found(world), 8u * 512u);
  world.ClearBitmap();
  world.AccessAll();
  world.HarvestAll();
  EXPECT_EQ(Found(world), 8u * 512u);
  // Without an access nothing is left for another harvest.
  world.ClearBitmap();
  world.HarvestAll();
  EXPECT_EQ(Found(world), 0u);
}

TEST(InnerWorldsTest, AProfileIsJudgedByWhatWasUsed) {
  WideWorld world(64, 128, 1);
  world.Use();
  world.Round();
  EXPECT_EQ(world.Judge().precision, 1.0);
  EXPECT_EQ(world.Judge().recall, 1.0);
  // A region moves in every fourth round: an old profile misses it.
  for (int round = 0; round < 4; ++round) world.Use();
  EXPECT_LT(world.Judge().precision, 1.0);
  EXPECT_LT(world.Judge().recall, 1.0);
  EXPECT_GT(world.Judge().recall, 0.5);
}

}  // namespace
}  // namespace ptage::bench
