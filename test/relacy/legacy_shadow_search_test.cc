// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/legacy_shadow_searches.h"

namespace ptage::relacy {
namespace {

TEST(LegacyShadowSearch, WhatTheGuestWroteBeforeItLinkedATableIsThere) {
  ExpectHolds<FaultAgainstLinking>();
}

TEST(LegacyShadowSearch, WhatIsBuiltIsWhatTheGuestsTablesSay) {
  ExpectHolds<FaultAgainstChange<Changed::kToAnotherPage>>();
  ExpectHolds<FaultAgainstChange<Changed::kToNothing>>();
}

TEST(LegacyShadowSearch, WhoSeesAChangeUsesNothingFromBefore) {
  ExpectHolds<ChangeAgainstCpu>();
}

TEST(LegacyShadowSearch, AWriteToAPartOfAWordLeavesTheOthers) {
  ExpectHolds<WriteAgainstNeighbour>();
}

TEST(LegacyShadowSearch, TwoFaultsBuildOneTable) {
  ExpectHolds<TwoLegacyFaults<0>>();
  ExpectHolds<TwoLegacyFaults<1>>();
}

TEST(LegacyShadowSearch, NoLeafOfATableIsWritable) {
  ExpectHolds<TableAgainstWriter>();
}

TEST(LegacyShadowSearch, NothingMapsAFrameThatIsBeingTakenAway) {
  ExpectHolds<FaultAgainstInvalidation>();
}

TEST(LegacyShadowSearch, WhoFindsNothingSeesWhatWasZapped) {
  ExpectHolds<ZapAgainstAge>();
}

}  // namespace
}  // namespace ptage::relacy
