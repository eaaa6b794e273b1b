// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/legacy_removal_searches.h"

namespace ptage::relacy {
namespace {

TEST(LegacyRemovalSearch, NothingMapsASlotThatIsGone) {
  ExpectHolds<SlotRemoval<Beside::kFault>>();
  ExpectHolds<SlotRemoval<Beside::kWrite>>();
}

TEST(LegacyRemovalSearch, NoAccessToASlotIsLostWithIt) {
  ExpectHolds<SlotRemoval<Beside::kAsker>>();
}

TEST(LegacyRemovalSearch, NoTableInASlotThatComesIsWritable) {
  ExpectHolds<SlotAgainstBuilder>();
}

TEST(LegacyRemovalSearch, ARootInUseIsNotDropped) {
  ExpectHolds<DropAgainstLoad>();
}

TEST(LegacyRemovalSearch, AnotherRootKeepsWhatItLeadsTo) {
  ExpectHolds<DropAgainstFault>();
}

TEST(LegacyRemovalSearch, NoAccessIsLostWithARoot) {
  ExpectHolds<RootRemoval<Beside::kAsker>>();
  ExpectHolds<RootRemoval<Beside::kWrite>>();
}

TEST(LegacyRemovalSearch, WhoMakesRoomForATableHasIt) {
  ExpectHolds<RoomForTable<Beside::kFault>>();
  ExpectHolds<RoomForTable<Beside::kAsker>>();
  ExpectHolds<RoomForTable<Beside::kWrite>>();
}

TEST(LegacyRemovalSearch, WhoMakesRoomInAListHasIt) {
  ExpectHolds<RoomInList<Beside::kFault>>();
  ExpectHolds<RoomInList<Beside::kAsker>>();
  ExpectHolds<RoomInList<Beside::kWrite>>();
}

}  // namespace
}  // namespace ptage::relacy
