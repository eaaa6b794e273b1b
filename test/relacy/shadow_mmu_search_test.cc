// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/shadow_mmu_searches.h"

namespace ptage::relacy {
namespace {

constexpr Level kSmallPage{1};
constexpr Level kLargePage{2};

TEST(ShadowMmuSearch, WhoFindsAPageMappedIsToldOfItsAccess) {
  ExpectHolds<FaultAgainstAsker<ShadowLockless, kSmallPage, AgeMode::kSlow>>();
  ExpectHolds<FaultAgainstAsker<ShadowLockless, kLargePage, AgeMode::kSlow>>();
}

TEST(ShadowMmuSearch, WhoFindsNothingSeesWhatWasZapped) {
  ExpectHolds<ZapAgainstAsker<ShadowLockless, ZapWay::kFrames, kSmallPage,
                              AgeMode::kFastOnly>>();
  ExpectHolds<ZapAgainstAsker<ShadowLockless, ZapWay::kNested, kSmallPage,
                              AgeMode::kSlow>>();
  ExpectHolds<ZapAgainstAsker<ShadowLockless, ZapWay::kNested, kLargePage,
                              AgeMode::kFastOnly>>();
  ExpectHolds<ZapAgainstAsker<ShadowLockless, ZapWay::kTables, kSmallPage,
                              AgeMode::kFastOnly>>();
}

TEST(ShadowMmuSearch, AnAccessIsChargedToTheFrameThatWasMapped) {
  ExpectHolds<MoveAgainstAsker<ShadowLockless, AgeMode::kFastOnly>>();
}

TEST(ShadowMmuSearch, OneOfTwoFaultsMapsThePage) {
  ExpectHolds<TwoFaults<ShadowLockless, kA>>();
  ExpectHolds<TwoFaults<ShadowLockless, kB>>();
}

TEST(ShadowMmuSearch, MoreRightsCostNoAccessAndBringNoneBack) {
  ExpectHolds<MoreRightsAgainst<ShadowLockless, Meanwhile::kAsked>>();
  ExpectHolds<MoreRightsAgainst<ShadowLockless, Meanwhile::kRead>>();
}

TEST(ShadowMmuSearch, ANewGuestIsThereWholeForWhoCountsIt) {
  ExpectHolds<NewGuestAgainstAsker<Pruning::kBestEffort>>();
}

TEST(ShadowMmuSearch, WhoAsksWhileAPageIsSplitIsToldOfItsAccess) {
  ExpectHolds<SplitAgainstAsker<ShadowLockless, Before::kAccessed,
                                AgeMode::kFastOnly, kA>>();
  ExpectHolds<SplitAgainstAsker<ShadowLockless, Before::kAccessed,
                                AgeMode::kFastOnly, kB>>();
  ExpectHolds<SplitAgainstAsker<ShadowLockless, Before::kAccessed,
                                AgeMode::kSlow, kA>>();
  ExpectHolds<SplitAgainstAsker<ShadowLockless, Before::kCold,
                                AgeMode::kFastOnly, kA>>();
}

TEST(ShadowMmuSearch, AndWhoSkipsWhatIsCold) {
  ExpectHolds<SplitAgainstPruning<Pruning::kExact>>();
  ExpectHolds<SplitAgainstPruning<Pruning::kBestEffort>>();
}

TEST(ShadowMmuSearch, ASplitLosesNoWrite) { ExpectHolds<SplitAgainstWriter>(); }

TEST(ShadowMmuSearch, WhatCannotBeSplitIsAsItWas) {
  ExpectHolds<SplitInVainAgainstAsker<AgeMode::kFastOnly>>();
  ExpectHolds<SplitInVainAgainstAsker<AgeMode::kSlow>>();
}

}  // namespace
}  // namespace ptage::relacy
