// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/page_table_searches.h"

namespace ptage::relacy {
namespace {

TEST(PageTableSearch, NoLeafIsLostInARemovedTable) {
  ExpectHolds<MapAgainstRemoval>();
}

TEST(PageTableSearch, ARemovalWaitsForTheOwnerOfAnEntry) {
  ExpectHolds<ClaimAgainstRemoval>();
}

TEST(PageTableSearch, ARemovalHandsOnWhatWalkersSet) {
  ExpectHolds<WalkerAgainstRemoval>();
}

TEST(PageTableSearch, ATableIsGoneFromEveryCpuBeforeItIsFreed) {
  ExpectHolds<CachedInner>();
}

TEST(PageTableSearch, WhoFindsARemovedTablesPlaceEmptySeesWhatItHandedOn) {
  ExpectHolds<EmptyAfterRemoval>();
}

TEST(PageTableSearch, AHarvestMissesNothingThatAZapTakes) {
  ExpectHolds<HarvestAgainstZap>();
}

TEST(PageTableSearch, ABlockIsColdOnlyIfItsAccessesAreOnRecord) {
  ExpectHolds<BlockAgainstZap<TinyFormat::kPresent>>();
  ExpectHolds<BlockAgainstZap<TinyFormat::kDirty>>();
}

TEST(PageTableSearch, TwoZapsTakeEachLeafOnce) {
  ExpectHolds<ZapAgainst<Rival::kZap>>();
}

TEST(PageTableSearch, AZapAndARemovalTakeEachLeafOnce) {
  ExpectHolds<ZapAgainst<Rival::kRemoval>>();
}

TEST(PageTableSearch, NoLeafIsLostInAColdTable) {
  ExpectHolds<FaultAgainstCold>();
}

TEST(PageTableSearch, ATableThatACpuUsesIsNotCold) {
  ExpectHolds<WalkerAgainstCold>();
}

TEST(PageTableSearch, WhoFindsAColdTablesPlaceEmptySeesWhatItHandedOn) {
  ExpectHolds<EmptyAfterCold>();
}

TEST(PageTableSearch, TwoFaultsBuildOneTable) { ExpectHolds<TwoBuilders>(); }

TEST(PageTableSearch, ANewTableIsSeenAsItsBuilderLeftIt) {
  ExpectHolds<BuilderAndReader>();
}

TEST(PageTableSearch, ALargeLeafAndATableExcludeEachOther) {
  ExpectHolds<SmallAgainstLarge>();
}

TEST(PageTableSearch, ASplitKeepsWhatWalkersSet) {
  ExpectHolds<WalkerAgainstChange<Change::kSplit>>();
}

TEST(PageTableSearch, APromotionKeepsWhatWalkersSet) {
  ExpectHolds<WalkerAgainstChange<Change::kPromote>>();
}

TEST(PageTableSearch, ASplitKeepsWhatAnAgerDoesNotTake) {
  ExpectHolds<AgerAgainstChange<Change::kSplit>>();
}

TEST(PageTableSearch, APromotionKeepsWhatAnAgerDoesNotTake) {
  ExpectHolds<AgerAgainstChange<Change::kPromote>>();
}

TEST(PageTableSearch, ASplitBringsNothingBack) {
  ExpectHolds<ZapAgainstChange<Change::kSplit>>();
}

TEST(PageTableSearch, APromotionBringsNothingBack) {
  ExpectHolds<ZapAgainstChange<Change::kPromote>>();
}

TEST(PageTableSearch, APromotionGivesBackWhatItTook) {
  ExpectHolds<GivenBack>();
}

TEST(PageTableSearch, AZapWaitsForWhatIsGivenBack) {
  ExpectHolds<ZapAgainstGivingBack>();
}

TEST(PageTableSearch, EverythingAtOnce) { ExpectHolds<Everything>(); }

TEST(PageTableSearch, NoTableIsFreedUnderAWalk) {
  ExpectHolds<RemovedUnderAWalk>();
}

TEST(PageTableSearch, AMapThatNobodyHindersIsDone) {
  ExpectHolds<OneBuilder>();
}

TEST(PageTableSearch, ALargeLeafMapsAnAlignedFrame) {
  ExpectHolds<Unaligned>();
}

TEST(PageTableSearch, ASplitLeavesNoCpuALeafOfAnotherSize) {
  ExpectHolds<CpuAgainst<Resize::kSplit>>();
}

TEST(PageTableSearch, APromotionLeavesNoCpuALeafOfAnotherSize) {
  ExpectHolds<CpuAgainst<Resize::kPromote>>();
}

TEST(PageTableSearch, ARemovalLeavesNoCpuALeafOfAnotherSize) {
  ExpectHolds<CpuAgainst<Resize::kRemoveAndMap>>();
}

}  // namespace
}  // namespace ptage::relacy
