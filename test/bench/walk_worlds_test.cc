// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/walk_worlds.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/once/block.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::bench {
namespace {

constexpr AgeAction kClear = AgeAction::kTestAndClear;

class WalkWorldTest : public testing::TestWithParam<TableOrder> {
 protected:
  static constexpr std::size_t kTables = 70;
  WalkWorld world_{kTables, GetParam(), 100'000, 3};
};

INSTANTIATE_TEST_SUITE_P(Orders, WalkWorldTest,
                         testing::Values(TableOrder::kInOrder,
                                         TableOrder::kShuffled));

TEST_P(WalkWorldTest, TheShareOfYoungEntriesIsAsAsked) {
  EXPECT_EQ(world_.tables(), kTables);
  EXPECT_NEAR(static_cast<double>(world_.young()), 0.1 * 512 * kTables, 300);
}

// Each finds what is young, and leaves nothing of it if it clears.
TEST_P(WalkWorldTest, EachWayFindsTheSameFrames) {
  const auto found_by = [&](auto&& pass) {
    world_.Rearm();
    world_.ClearBitmap();
    pass();
    return world_.Found();
  };
  const std::uint64_t young = world_.young();
  EXPECT_EQ(
      found_by([&] { world_.HarvestPiece(world_.range(), AgeAction::kTest); }),
      young);
  EXPECT_EQ(found_by([&] {
              world_.HarvestPiece<Loads::kWordByWord>(world_.range(), kClear);
            }),
            young);
  EXPECT_EQ(found_by([&] { world_.EachEntry(kClear); }), young);
  EXPECT_EQ(found_by([&] { world_.EachEntryLocked(kClear); }), young);
  EXPECT_EQ(found_by([&] { world_.EachLeafCalledBack(kClear); }), young);
  EXPECT_EQ(found_by([&] { world_.SkipCold(kClear); }), young);
  world_.ClearBitmap();
  world_.EachEntry(AgeAction::kTest);
  EXPECT_EQ(world_.Found(), 0u);
}

TEST_P(WalkWorldTest, ShuffledTablesLieInAnotherOrder) {
  const LocklessWalk walk(world_.domain());
  std::size_t neighbours = 0;
  for (std::uint64_t t = 1; t < kTables; ++t) {
    const auto* const before =
        world_.tree().Lookup(walk, Gfn{(t - 1) * 512}).entry;
    const auto* const table = world_.tree().Lookup(walk, Gfn{t * 512}).entry;
    neighbours += table == before + 512;
  }
  if (GetParam() == TableOrder::kInOrder) {
    EXPECT_EQ(neighbours, kTables - 1);
  } else {
    EXPECT_LT(neighbours, 10u);
  }
}

TEST_P(WalkWorldTest, OnlyHotTablesAreReadWhereColdOnesAreSkipped) {
  world_.HeatEvery(10);
  world_.Rearm();
  world_.ClearBitmap();
  world_.SkipCold(kClear);
  EXPECT_EQ(world_.Found(), world_.young());
  EXPECT_NEAR(static_cast<double>(world_.young()), 0.1 * 512 * kTables / 10,
              90);
  // Their parents are clear now: nothing is read.
  world_.ClearBitmap();
  world_.SkipCold(kClear);
  EXPECT_EQ(world_.Found(), 0u);
}

}  // namespace
}  // namespace ptage::bench
