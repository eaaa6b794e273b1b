// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/anonymous_epoch_searches.h"
#include "test/relacy/expect.h"

namespace ptage::relacy {
namespace {

TEST(AnonymousEpochSearch, NothingIsFreedUnderAWalk) { ExpectHolds<OneWalk>(); }

TEST(AnonymousEpochSearch, APlaceServesOneWalkAfterTheOther) {
  ExpectHolds<PlaceReused>();
}

TEST(AnonymousEpochSearch, NothingIsFreedUnderTwoWalks) {
  ExpectHolds<TwoWalks>();
}

TEST(AnonymousEpochSearch, AWalkWithoutAPlaceDoesNotBegin) {
  ExpectHolds<OnePlace>();
}

TEST(AnonymousEpochSearch, NoMoreWalksThanPlaces) {
  ExpectHolds<AllPlacesTaken>();
}

TEST(AnonymousEpochSearch, TwoWritersFreeEachNodeOnce) {
  ExpectHolds<TwoWriters>();
}

TEST(AnonymousEpochSearch, SynchronizeWaitsForWalks) { ExpectHolds<Waiting>(); }

}  // namespace
}  // namespace ptage::relacy
