// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/epoch_searches.h"
#include "test/relacy/expect.h"

namespace ptage::relacy {
namespace {

template <template <EpochReaders> class Search>
void ExpectHoldsForBoth() {
  ExpectHolds<Search<kStore>>();
  ExpectHolds<Search<kExchange>>();
}

TEST(EpochSearch, NothingIsFreedUnderAFirstWalk) {
  ExpectHoldsForBoth<FirstWalk>();
}

TEST(EpochSearch, NothingIsFreedUnderARegisteredThreadsWalk) {
  ExpectHoldsForBoth<RegisteredWalk>();
}

TEST(EpochSearch, APlaceServesOneWalkAfterTheOther) {
  ExpectHoldsForBoth<SecondWalk>();
}

TEST(EpochSearch, NothingIsFreedUntilAllOfAThreadsWalksHaveEnded) {
  ExpectHoldsForBoth<NestedWalks>();
}

TEST(EpochSearch, EachWalkOfAThreadHasAPlaceOfItsOwn) {
  ExpectHoldsForBoth<ThreeNestedWalks>();
  ExpectHoldsForBoth<NestedBesideAnother>();
}

TEST(EpochSearch, APlaceServesOneThreadAfterTheOther) {
  ExpectHoldsForBoth<PlaceHandedOn>();
}

TEST(EpochSearch, TwoWritersFreeEachNodeOnce) {
  ExpectHoldsForBoth<WritersMeet>();
}

TEST(EpochSearch, WhatIsRetiredMeanwhileIsFreedToo) {
  ExpectHoldsForBoth<RetiredMeanwhile>();
}

TEST(EpochSearch, SynchronizeWaitsForWalks) {
  ExpectHoldsForBoth<Synchronized>();
}

TEST(EpochSearch, WhoHasSynchronizedMayFree) {
  ExpectHoldsForBoth<FreedByTheCaller>();
}

TEST(EpochSearch, APlaceThatComesIntoUseIsLookedAtOrItsWalkSeesTheNewEpoch) {
  ExpectHoldsForBoth<PlaceBroughtIntoUse>();
}

TEST(EpochSearch, TheLimitIsReported) { ExpectHoldsForBoth<Limited>(); }

TEST(EpochSearch, AThreadThatEndsInsideAWalkEndsIt) {
  ExpectHoldsForBoth<EndedByExit>();
}

TEST(EpochSearch, AThreadThatEndsLeavesTheWalksOfOthers) {
  ExpectHoldsForBoth<ExitBesideAWalk>();
}

TEST(EpochSearch, AForkLeavesNoWalkOfAnotherThread) {
  ExpectHoldsForBoth<Forked>();
}

}  // namespace
}  // namespace ptage::relacy
