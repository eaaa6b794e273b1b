// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/notifier_searches.h"

namespace ptage::relacy {
namespace {

TEST(NotifierSearch, WhoIsRegisteredMapsNothingThatIsGone) {
  ExpectHolds<RegisterAgainstInvalidate>();
}

TEST(NotifierSearch, WhoIsUnregisteredIsLeftAloneAndTheOthersAreNot) {
  ExpectHolds<UnregisterAgainst<Calling::kAge>>();
  ExpectHolds<UnregisterAgainst<Calling::kInvalidate>>();
  ExpectHolds<UnregisterAgainst<Calling::kFast>>();
}

TEST(NotifierSearch, WasFastIsOfWhoWasYoung) {
  ExpectHolds<WasFastAgainstRegister<true>>();
  ExpectHolds<WasFastAgainstRegister<false>>();
}

TEST(NotifierSearch, AnAccessGoesToAQuestionOrToASink) {
  ExpectHolds<AgeAgainstInvalidate<AgeMode::kSlow>>();
  ExpectHolds<AgeAgainstInvalidate<AgeMode::kFastOnly>>();
}

TEST(NotifierSearch, TestAndClearAreOneQuestion) {
  ExpectHolds<AgeAgainstUse>();
}

}  // namespace
}  // namespace ptage::relacy
