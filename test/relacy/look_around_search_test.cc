// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/look_around_searches.h"

namespace ptage::relacy {
namespace {

TEST(LookAroundSearch, OnceYoungIsYoungWhoeverHoldsTheLock) {
  ExpectHolds<LookerAgainstHolder<UsedBy::kProcess>>();
  ExpectHolds<LookerAgainstHolder<UsedBy::kOthers>>();
  ExpectHolds<LookerAgainstHolder<UsedBy::kBoth>>();
}

TEST(LookAroundSearch, NeighboursThatAreLeftOutKeepTheirAccesses) {
  ExpectHolds<LookerAlone<Alone::kSlow>>();
  ExpectHolds<LookerAlone<Alone::kSpecial>>();
}

TEST(LookAroundSearch, AnAccessGoesToTheLookerOrToTheUnmap) {
  ExpectHolds<LookerAgainstUnmap>();
}

TEST(LookAroundSearch, TwoLookersLoseNoAccess) {
  ExpectHolds<LookerAgainstLooker>();
}

TEST(LookAroundSearch, AHeldEntryIsNotYoung) {
  ExpectHolds<LookerAgainstOwner>();
}

}  // namespace
}  // namespace ptage::relacy
