// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/hot_tables_searches.h"

namespace ptage::relacy {
namespace {

TEST(HotTablesSearch, AnAccessInATableOfWhichNothingIsKnownIsFound) {
  ExpectHolds<CpuAgainstRounds<Known::kNothing>>();
}

TEST(HotTablesSearch, AnAccessInADenseTableIsFound) {
  ExpectHolds<CpuAgainstRounds<Known::kDense>>();
}

TEST(HotTablesSearch, AnAccessInATableThatIsVerifiedIsFound) {
  ExpectHolds<CpuAgainstRounds<Known::kDenseAndDue>>();
  ExpectHolds<CpuAgainstRounds<Known::kCleared>>();
}

TEST(HotTablesSearch, AnAccessAfterAProfilesRoundIsFoundByTheNext) {
  ExpectHolds<CpuAgainstProfile>();
}

TEST(HotTablesSearch, WhatAProfileKnowsOfAFrozenEntryIsKept) {
  ExpectHolds<OwnerAgainstProfile>();
}

TEST(HotTablesSearch, AFaultsLeafIsFoundInEachKindOfTable) {
  ExpectHolds<FaultAgainstRounds<Known::kNothing>>();
  ExpectHolds<FaultAgainstRounds<Known::kDense>>();
  ExpectHolds<FaultAgainstRounds<Known::kDenseAndDue>>();
  ExpectHolds<FaultAgainstRounds<Known::kCleared>>();
}

TEST(HotTablesSearch, WhatAnOwnerPutsBackIsFound) {
  ExpectHolds<OwnerAgainstRounds>();
  ExpectHolds<TallOwnerAgainstRounds>();
}

TEST(HotTablesSearch, ASplitIsFoundAtEitherSize) {
  ExpectHolds<SplitAgainstRounds>();
}

}  // namespace
}  // namespace ptage::relacy
