// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/lockless_list_searches.h"

namespace ptage::relacy {
namespace {

TEST(LocklessListSearch, AnEntryMovesDownAndItsSlotIsFilledAgain) {
  ExpectHolds<ScanAgainst<MovesAndRefills, 2>>();
  ExpectHolds<ScanAgainst<MovesAndRefills, 3>>();
  ExpectHolds<ScanAgainst<MovesWithinAChunk, 3>>();
}

TEST(LocklessListSearch, AChunkIsUnlinkedAndAnotherLinked) {
  ExpectHolds<ScanAgainst<Unlinks, 2>>();
}

TEST(LocklessListSearch, ManySingleMany) {
  ExpectHolds<ScanAgainst<SingleAndBack, 2>>();
  ExpectHolds<ScanAgainst<SingleAndBack, 3>>();
}

TEST(LocklessListSearch, AnEntryFallsToTheBottom) {
  ExpectHolds<ScanAgainst<FallsToTheBottom, 2, UpToPreemptions(6)>>();
  ExpectHolds<ScanAgainst<FallsToTheBottom, 3, UpToPreemptions(6)>>();
}

TEST(LocklessListSearch, AnEntryFallsWhileOthersComeInAbove) {
  ExpectHolds<ScanAgainst<FallsUnderOthers, 2, UpToPreemptions(6)>>();
}

TEST(LocklessListSearch, TwoWriters) { ExpectHolds<TwoListWriters>(); }

TEST(LocklessListSearch, AChunkIsUsedAgainWhenItsScansHaveEnded) {
  ExpectHolds<ChunkReused>();
  ExpectHolds<SecondBatchReused>();
}

}  // namespace
}  // namespace ptage::relacy
