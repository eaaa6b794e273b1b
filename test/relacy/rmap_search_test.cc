// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/rmap_searches.h"

namespace ptage::relacy {
namespace {

TEST(RmapSearch, SingleFastOnlyAgainstRemove) {
  ExpectHolds<SingleRemoved<Single, AgeMode::kFastOnly>>();
}

TEST(RmapSearch, SingleSlowAgainstRemove) {
  ExpectHolds<SingleRemoved<Single, AgeMode::kSlow>>();
}

TEST(RmapSearch, BitFastOnlyAgainstRemove) {
  ExpectHolds<SingleRemoved<Bit, AgeMode::kFastOnly>>();
}

TEST(RmapSearch, BitSlowAgainstRemove) {
  ExpectHolds<SingleRemoved<Bit, AgeMode::kSlow>>();
}

TEST(RmapSearch, SingleFindsTheTableOfAnAddedEntry) {
  ExpectHolds<SingleAdded<Single, kEveryInterleaving>>();
  ExpectHolds<SingleAdded<Single, RandomInterleavings(20'000)>>();
}

TEST(RmapSearch, BitFindsTheTableOfAnAddedEntry) {
  ExpectHolds<SingleAdded<Bit, kEveryInterleaving>>();
  ExpectHolds<SingleAdded<Bit, RandomInterleavings(20'000)>>();
}

TEST(RmapSearch, SingleFastOnlyMissesNothingThatStays) {
  ExpectHolds<ManyAndBack<Single, AgeMode::kFastOnly>>();
}

TEST(RmapSearch, SingleSlowMissesNothingThatStays) {
  ExpectHolds<ManyAndBack<Single, AgeMode::kSlow>>();
}

TEST(RmapSearch, BitFastOnlyMissesNothingThatStays) {
  ExpectHolds<ManyAndBack<Bit, AgeMode::kFastOnly>>();
}

TEST(RmapSearch, BitSlowMissesNothingThatStays) {
  ExpectHolds<ManyAndBack<Bit, AgeMode::kSlow>>();
}

TEST(RmapSearch, SingleFindsTheTableOfTheEntryThatIsLeft) {
  ExpectHolds<OtherTableLeft<Single>>();
}

TEST(RmapSearch, BitFindsTheTableOfTheEntryThatIsLeft) {
  ExpectHolds<OtherTableLeft<Bit>>();
}

TEST(RmapSearch, SingleTwoWriters) { ExpectHolds<TwoWriters<Single>>(); }

TEST(RmapSearch, BitTwoWriters) { ExpectHolds<TwoWriters<Bit>>(); }

TEST(RmapSearch, SingleFastOnlyAgainstTableRemoval) {
  ExpectHolds<TableRemoved<Single, AgeMode::kFastOnly>>();
}

TEST(RmapSearch, BitFastOnlyAgainstTableRemoval) {
  ExpectHolds<TableRemoved<Bit, AgeMode::kFastOnly>>();
}

TEST(RmapSearch, BitSlowAgainstTableRemoval) {
  ExpectHolds<TableRemoved<Bit, AgeMode::kSlow>>();
}

// --- Lockless.

TEST(RmapSearch, LocklessFastOnlyAgainstRemove) {
  ExpectHolds<SingleRemoved<Free, AgeMode::kFastOnly>>();
}

TEST(RmapSearch, LocklessFindsTheTableOfAnAddedEntry) {
  ExpectHolds<SingleAdded<Free, kEveryInterleaving>>();
  ExpectHolds<SingleAdded<Free, RandomInterleavings(20'000)>>();
}

TEST(RmapSearch, LocklessMissesNothingThatStays) {
  ExpectHolds<ManyAndBack<Free, AgeMode::kFastOnly>>();
  ExpectHolds<ManyAndBack<Free, AgeMode::kSlow>>();
}

TEST(RmapSearch, LocklessFindsTheTableOfTheEntryThatIsLeft) {
  ExpectHolds<OtherTableLeft<Free>>();
}

TEST(RmapSearch, LocklessTwoWriters) { ExpectHolds<TwoWriters<Free>>(); }

TEST(RmapSearch, LocklessAgainstTableRemoval) {
  ExpectHolds<TableRemoved<Free, AgeMode::kFastOnly>>();
}

TEST(RmapSearch, SingleHoldsFourEntries) { ExpectHolds<FourEntries<Single>>(); }

TEST(RmapSearch, BitHoldsFourEntries) { ExpectHolds<FourEntries<Bit>>(); }
// --- Ranges.

TEST(RmapSearch, LocklessRunAgainstAnEntryThatMoves) {
  ExpectHolds<RunBroken<Free, GivenAs::kCold>>();
  ExpectHolds<RunBroken<Free, GivenAs::kYoung>>();
}

TEST(RmapSearch, SingleRunAgainstAnEntryThatMoves) {
  ExpectHolds<RunBroken<Single, GivenAs::kCold>>();
  ExpectHolds<RunBroken<Single, GivenAs::kYoung>>();
}

}  // namespace
}  // namespace ptage::relacy
