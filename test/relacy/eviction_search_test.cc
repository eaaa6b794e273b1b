// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/eviction_searches.h"
#include "test/relacy/expect.h"

namespace ptage::relacy {
namespace {

TEST(EvictionSearch, WhatIsStoredIsWhatWasWrittenLast) {
  ExpectHolds<EvictorAgainstCachedWriter>();
}

TEST(EvictionSearch, WhatIsUsedBeforeTheLastFreezeIsKept) {
  ExpectHolds<EvictorAgainstUser>();
}

TEST(EvictionSearch, AnAccessThatAZapTookAwayKeepsThePage) {
  ExpectHolds<EvictorAgainstZap<Meanwhile::kUse>>();
}

TEST(EvictionSearch, NoMappingComesThatTheEvictorDoesNotSee) {
  ExpectHolds<EvictorAgainstZap<Meanwhile::kFault>>();
}

TEST(EvictionSearch, APageIsTakenOutOfALargeOneOrNotAtAll) {
  ExpectHolds<EvictorAgainstChange<Reshape::kSplit>>();
  ExpectHolds<EvictorAgainstChange<Reshape::kPromote>>();
}

TEST(EvictionSearch, WhoMeetsFrozenPutsBackWhatItFroze) {
  ExpectHolds<EvictorAgainstEvictor<Which::kFirst, Which::kFirst>>();
  ExpectHolds<EvictorAgainstEvictor<Which::kFirst, Which::kLast>>();
  ExpectHolds<EvictorAgainstEvictor<Which::kLast, Which::kLast>>();
}

}  // namespace
}  // namespace ptage::relacy
