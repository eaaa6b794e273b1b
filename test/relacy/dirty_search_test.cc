// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/dirty_searches.h"
#include "test/relacy/expect.h"

namespace ptage::relacy {
namespace {

TEST(DirtySearch, DirtyClearingAndAgingTakeEachItsOwnBit) {
  ExpectHolds<CollectorAgainstAger<Collecting::kClear>>();
}

TEST(DirtySearch, AgingDoesNotUndoAProtection) {
  ExpectHolds<CollectorAgainstAger<Collecting::kProtect>>();
}

TEST(DirtySearch, WhatWasWrittenIsToldOfWhateverBecomesOfTheLeaf) {
  ExpectHolds<CollectorAgainstChange<Collecting::kClear, Reshaping::kSplit>>();
  ExpectHolds<
      CollectorAgainstChange<Collecting::kClear, Reshaping::kPromote>>();
}

TEST(DirtySearch, NothingIsGivenBackWritableBehindAProtection) {
  ExpectHolds<
      CollectorAgainstChange<Collecting::kProtect, Reshaping::kSplit>>();
  ExpectHolds<
      CollectorAgainstChange<Collecting::kProtect, Reshaping::kPromote>>();
}

TEST(DirtySearch, AWriteGoesToTheZapOrToTheCollector) {
  ExpectHolds<ProtectionAgainstZap>();
}

TEST(DirtySearch, AWriteThatWasGrantedIsFoundByTheNext) {
  ExpectHolds<FaultAgainstCollector>();
}

TEST(DirtySearch, WhatCanBeWrittenIsOnTheLog) {
  ExpectHolds<FaultAgainstLog>();
}

TEST(DirtySearch, WhatWasGrantedCanBeWrittenAndWhatIsGoneStaysGone) {
  ExpectHolds<FaultAgainst<Meanwhile::kAging>>();
  ExpectHolds<FaultAgainst<Meanwhile::kZap>>();
}

TEST(DirtySearch, AFaultDoesNotUndoTheEndOfProtection) {
  ExpectHolds<LiftingAgainstFault>();
}

}  // namespace
}  // namespace ptage::relacy
