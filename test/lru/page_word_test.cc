// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/lru/page_word.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/once.h"

namespace ptage {
namespace {

class PageWordTest : public testing::Test {
 protected:
  PageWord Read() const { return PageWord(ReadOnce(cell_, kRelaxed)); }
  PageUse MustAdd(std::uint32_t now) {
    PageUse use;
    EXPECT_TRUE(AddPage(cell_, now, use));
    return use;
  }
  // What a use at `now` says, or that it is no news.
  PageUse Use(std::uint32_t now) {
    PageUse use;
    if (!UsePage(cell_, now, use)) return PageUse{};
    return use;
  }
  void MustClaim() { ASSERT_EQ(ClaimPage(cell_), ClaimOutcome::kClaimed); }
  void MustEvict() {
    MustClaim();
    ASSERT_EQ(ReleasePage(cell_, EvictionVerdict::kEvicted),
              PageState::kAbsent);
  }

  PageCell cell_{0};
};

TEST_F(PageWordTest, APageIsAbsentAtFirstAndHasNoHistory) {
  EXPECT_EQ(Read().state(), PageState::kAbsent);
  EXPECT_EQ(Read().tier(), kTierNever);
  EXPECT_EQ(sizeof(PageCell), 4u);
}

TEST_F(PageWordTest, TiersArePowersOfTwoOfTheInterval) {
  EXPECT_EQ(TierOfInterval(0), 2u);
  EXPECT_EQ(TierOfInterval(1), 2u);
  EXPECT_EQ(TierOfInterval(2), 3u);
  EXPECT_EQ(TierOfInterval(3), 3u);
  EXPECT_EQ(TierOfInterval(4), 4u);
  EXPECT_EQ(TierOfInterval(4095), 13u);
  EXPECT_EQ(TierOfInterval(4096), 14u);
  EXPECT_EQ(TierOfInterval(8192), 15u);
  EXPECT_EQ(TierOfInterval(1 << 21), 15u);
}

TEST_F(PageWordTest, ATierFollowsIntervalsHalfWayRoundedUp) {
  EXPECT_EQ(TierAfter(kTierNever, 77), kTierOnce);
  EXPECT_EQ(TierAfter(kTierOnce, 4), 4u);  // the first interval stands alone
  EXPECT_EQ(TierAfter(4, 4), 4u);
  EXPECT_EQ(TierAfter(2, 8192), 9u);  // (2 + 15 + 1) / 2
  EXPECT_EQ(TierAfter(15, 1), 9u);
  EXPECT_EQ(TierAfter(3, 1), 3u);  // (3 + 2 + 1) / 2
}

TEST_F(PageWordTest, TheFirstFaultBeginsAHistory) {
  EXPECT_EQ(MustAdd(7), (PageUse{.after = kTierOnce}));
  EXPECT_EQ(Read().state(), PageState::kResident);
  EXPECT_EQ(Read().tick(), 7u);
  EXPECT_TRUE(Read().fresh());
}

TEST_F(PageWordTest, APageThatIsThereIsNotAddedAgain) {
  MustAdd(7);
  PageUse use;
  EXPECT_FALSE(AddPage(cell_, 8, use));
  MustClaim();
  EXPECT_FALSE(AddPage(cell_, 8, use));
}

TEST_F(PageWordTest, TheAccessThatFaultedIsNotASecondUse) {
  MustAdd(7);
  EXPECT_EQ(Use(9), PageUse{});
  EXPECT_FALSE(Read().fresh());
  EXPECT_EQ(Read().tick(), 9u);
  EXPECT_EQ(Use(13), (PageUse{.before = kTierOnce, .age = 4, .after = 4}));
}

TEST_F(PageWordTest, TwoUsesAtATickAreOne) {
  MustAdd(7);
  Use(8);
  EXPECT_NE(Use(9), PageUse{});
  EXPECT_EQ(Use(9), PageUse{});
}

TEST_F(PageWordTest, ARefaultIsRecognisedByTheShadow) {
  MustAdd(100);
  MustEvict();
  EXPECT_EQ(Read().tick(), 100u);
  EXPECT_EQ(MustAdd(132),
            (PageUse{.before = kTierOnce, .age = 32, .after = 7}));
}

TEST_F(PageWordTest, TicksAreCountedRoundTheirEnd) {
  const std::uint32_t last = PageWord::kTicks - 1;
  MustAdd(last);
  EXPECT_EQ(Read().AgeAt(last + 3), 3u);
  EXPECT_EQ(Read().AgeAt(2), 3u);
}

TEST_F(PageWordTest, AFreedPageHasNoShadow) {
  MustAdd(100);
  EXPECT_TRUE(FreePage(cell_));
  EXPECT_EQ(Read().raw(), 0u);
}

TEST_F(PageWordTest, OneEvictorHasAPage) {
  EXPECT_EQ(ClaimPage(cell_), ClaimOutcome::kBusy);
  MustAdd(1);
  MustClaim();
  EXPECT_EQ(ClaimPage(cell_), ClaimOutcome::kBusy);
}

TEST_F(PageWordTest, AMarkStopsOneClaim) {
  MustAdd(1);
  EXPECT_TRUE(MarkPage(cell_));
  EXPECT_EQ(ClaimPage(cell_), ClaimOutcome::kYoung);
  EXPECT_EQ(ClaimPage(cell_), ClaimOutcome::kClaimed);
}

TEST_F(PageWordTest, TheEvictorTakesAMarkOnce) {
  MustAdd(1);
  MustClaim();
  EXPECT_FALSE(TakeMark(cell_));
  EXPECT_TRUE(MarkPage(cell_));
  EXPECT_TRUE(TakeMark(cell_));
  EXPECT_FALSE(TakeMark(cell_));
}

TEST_F(PageWordTest, AUseOfAClaimedPageIsAMarkToo) {
  MustAdd(1);
  Use(2);
  MustClaim();
  Use(3);
  EXPECT_TRUE(TakeMark(cell_));
}

TEST_F(PageWordTest, AMarkOnAPageThatIsNotThereIsRefused) {
  EXPECT_FALSE(MarkPage(cell_));
  MustAdd(1);
  MustClaim();
  FreePage(cell_);
  EXPECT_FALSE(MarkPage(cell_));
}

TEST_F(PageWordTest, AMarkThatIsTooLateGoesWithThePage) {
  MustAdd(1);
  MustClaim();
  EXPECT_TRUE(MarkPage(cell_));
  EXPECT_EQ(ReleasePage(cell_, EvictionVerdict::kEvicted), PageState::kAbsent);
  EXPECT_FALSE(Read().marked());
}

TEST_F(PageWordTest, APageThatIsReleasedYoungOrBusyStays) {
  MustAdd(1);
  for (const auto verdict : {EvictionVerdict::kYoung, EvictionVerdict::kBusy}) {
    MustClaim();
    EXPECT_EQ(ReleasePage(cell_, verdict), PageState::kResident);
  }
  EXPECT_EQ(Read().tick(), 1u);
}

TEST_F(PageWordTest, AFreedPageStaysWithItsEvictor) {
  MustAdd(5);
  MustClaim();
  EXPECT_FALSE(FreePage(cell_));
  EXPECT_EQ(Read().state(), PageState::kDoomed);
}

TEST_F(PageWordTest, APageThatIsFreedWhileClaimedGoesWhenItIsReleased) {
  for (const auto verdict : {EvictionVerdict::kYoung, EvictionVerdict::kBusy,
                             EvictionVerdict::kEvicted}) {
    MustAdd(5);
    MustClaim();
    EXPECT_FALSE(FreePage(cell_));
    EXPECT_FALSE(FreePage(cell_));
    PageUse use;
    EXPECT_FALSE(AddPage(cell_, 6, use));
    EXPECT_EQ(Use(6), PageUse{});
    EXPECT_EQ(ReleasePage(cell_, verdict), PageState::kAbsent);
    EXPECT_EQ(Read().raw(), 0u);
  }
}

TEST_F(PageWordTest, APageOfWhichNothingIsKnownIsNotCold) {
  MustAdd(5);
  KeepPage(cell_, 9);
  EXPECT_EQ(Read().AgeAt(9), 0u);
  EXPECT_EQ(Read().tier(), kTierOnce);
  MustEvict();
  KeepPage(cell_, 20);
  EXPECT_EQ(Read().tick(), 9u);
}

}  // namespace
}  // namespace ptage
