// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/prune_nested_searches.h"

namespace ptage::relacy {
namespace {

TEST(PruneNestedSearch, AFaultsLeafIsFoundThoughItsParentIsBeingCleared) {
  ExpectHolds<NestedFault>();
}

TEST(PruneNestedSearch, AfterAFlushNothingIsYoungUnderAClearParent) {
  ExpectHolds<NestedCpu<Pruning::kExact>>();
}

TEST(PruneNestedSearch, WithoutAFlushACachedParentHidesAnAccess) {
  ExpectRefuted<NestedCpu<Pruning::kBestEffort>>(
      "nothing young is left behind a parent that is not");
}

TEST(PruneNestedSearch, AnEntrysAccessesGoToTheGfnThatItMaps) {
  ExpectHolds<NestedGivenAway<Given::kYoung, kBoth>>();
  ExpectHolds<NestedGivenAway<Given::kCold, kBoth>>();
}

TEST(PruneNestedSearch, OnlyWhatIsAskedForIsTaken) {
  ExpectHolds<NestedGivenAway<Given::kYoung, kOnlyA>>();
  ExpectHolds<NestedGivenAway<Given::kYoung, kOnlyB>>();
}

TEST(PruneNestedSearch, AnEntryOfTheSameFrameIsReportedForBothGfns) {
  ExpectHolds<NestedSameWord>();
}

TEST(PruneNestedSearch, WhatAnOwnerPutsBackIsFound) {
  ExpectHolds<NestedOwner<kOnlyA>>();
}

TEST(PruneNestedSearch, WhatAnOwnerPutsBackIsFoundByWhoAsksForIt) {
  ExpectHolds<NestedOwner<kOnlyB>>();
}

TEST(PruneNestedSearch, WhatAnOwnerPutsBackAboveTheLeafTablesIsFound) {
  ExpectHolds<NestedLargeOwner>();
}

TEST(PruneNestedSearch, WhatIsNotAskedForIsLeftToWhoAsks) {
  ExpectHolds<NestedTwoAskers>();
}

TEST(PruneNestedSearch, WhoAsksMeanwhileMayBeToldARoundLater) {
  ExpectRefuted<NestedAskedMeanwhile>(
      "what is young is found by who asks for it first");
}

TEST(PruneNestedSearch, WhoFindsARemovedTableSeesWhatItHandedOn) {
  ExpectHolds<NestedRemoval>();
}

}  // namespace
}  // namespace ptage::relacy
