// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/lru_searches.h"

namespace ptage::relacy {
namespace {

TEST(LruSearch, APageHasOneEvictorWhoeverFreesIt) {
  ExpectHolds<EvictorsAgainstOwner>();
}

TEST(LruSearch, AMarkedPageIsNotEvicted) { ExpectHolds<MarkAgainstEvictor>(); }

TEST(LruSearch, NoMarkIsLost) { ExpectHolds<MarksAgainstTaker>(); }

TEST(LruSearch, NoUseOfAClaimedPageIsLost) { ExpectHolds<UsesAgainstTaker>(); }

TEST(LruSearch, WhatIsUnknownStaysYoungAndKeepsItsMark) {
  ExpectHolds<KeeperAgainstMark>();
}

TEST(LruSearch, AMarkSpeaksOnce) {
  ExpectHolds<OneMark<Asking::kClaims>>();
  ExpectHolds<OneMark<Asking::kTakes>>();
}

TEST(LruSearch, APageIsAddedOnce) { ExpectHolds<TwoAdders>(); }

TEST(LruSearch, WhatAnEvictorDidIsDoneWhenThePageComesBack) {
  ExpectHolds<AdderAgainstEvictor>();
}

TEST(LruSearch, WhatWasDoneBeforeAPageCameIsSeenByItsEvictor) {
  ExpectHolds<EvictorAfterAdder>();
}

}  // namespace
}  // namespace ptage::relacy
