// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/epoch_searches.h"
#include "test/relacy/expect.h"

namespace ptage::relacy {
namespace {

TEST(EpochSearch, NothingIsFreedUnderAWalk) { ExpectHolds<OneWalk>(); }

TEST(EpochSearch, APlaceServesOneWalkAfterTheOther) {
  ExpectHolds<PlaceReused>();
}

TEST(EpochSearch, NothingIsFreedUnderTwoWalks) { ExpectHolds<TwoWalks>(); }

TEST(EpochSearch, AWalkWithoutAPlaceDoesNotBegin) { ExpectHolds<OnePlace>(); }

TEST(EpochSearch, NoMoreWalksThanPlaces) { ExpectHolds<AllPlacesTaken>(); }

TEST(EpochSearch, TwoWritersFreeEachNodeOnce) { ExpectHolds<TwoWriters>(); }

TEST(EpochSearch, SynchronizeWaitsForWalks) { ExpectHolds<Waiting>(); }

}  // namespace
}  // namespace ptage::relacy
