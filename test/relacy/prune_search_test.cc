// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/prune_searches.h"

namespace ptage::relacy {
namespace {

TEST(PruneSearch, AFaultsLeafIsFoundThoughItsParentIsBeingCleared) {
  ExpectHolds<FaultAgainstPruning>();
}

TEST(PruneSearch, AfterAFlushNothingIsYoungUnderAClearParent) {
  ExpectHolds<CpuAgainstPruning<Pruning::kExact>>();
}

TEST(PruneSearch, WithoutAFlushACachedParentHidesAnAccess) {
  ExpectRefuted<CpuAgainstPruning<Pruning::kBestEffort>>(
      "nothing young is left behind a parent that is not");
}

TEST(PruneSearch, WhatAnOwnerPutsBackIsFound) {
  ExpectHolds<OwnerAgainstPruning>();
}

TEST(PruneSearch, WhatAnOwnerPutsBackAboveTheParentsIsFound) {
  ExpectHolds<TallOwnerAgainstPruning>();
}

TEST(PruneSearch, AMarkDoesNotBringBackARemovedTable) {
  ExpectHolds<MarkAgainstRemoval>();
}

TEST(PruneSearch, AParentIsFoundYoungThatAChangeGivesBack) {
  ExpectHolds<GivingBackAgainstPruning<Change::kPromote>>();
  ExpectHolds<GivingBackAgainstPruning<Change::kSplit>>();
}

TEST(PruneSearch, ASplitIsFoundAtEitherSize) {
  ExpectHolds<SplitAgainstPruning>();
}

}  // namespace
}  // namespace ptage::relacy
