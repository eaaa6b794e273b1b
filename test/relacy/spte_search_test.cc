// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/spte_searches.h"

namespace ptage::relacy {
namespace {

TEST(SpteSearch, AClearNeverTakesAnotherPagesBit) {
  ExpectHolds<ReusedEntry>();
}

TEST(SpteSearch, NoAccessAndNoWriteIsLost) { ExpectHolds<WalkedEntry>(); }

TEST(SpteSearch, TwoAgersTakeEachBitOnce) { ExpectHolds<TwoAgers>(); }

TEST(SpteSearch, AFrameKeepsItsAccessUnderAnotherGfn) {
  ExpectHolds<SameFrame>();
}

TEST(SpteSearch, NobodyReadsEmptyBeforeTheAccessIsOnRecord) {
  ExpectHolds<EmptyAfterRecord>();
}

TEST(SpteSearch, NoCpuUsesALeafThatWasHandedOn) { ExpectHolds<CachedLeaf>(); }

TEST(SpteSearch, EachMappingGoesToExactlyOneZapper) {
  ExpectHolds<TwoZappers>();
}

TEST(SpteSearch, OneOfTwoDirectFaultsWins) { ExpectHolds<TwoDirectFaults>(); }

TEST(SpteSearch, OneOfTwoIndirectFaultsWins) {
  ExpectHolds<TwoIndirectFaults>();
}

TEST(SpteSearch, AnOwnerSeesWhatTheOwnerBeforeLeft) {
  ExpectHolds<OwnersInTurn>();
}

}  // namespace
}  // namespace ptage::relacy
