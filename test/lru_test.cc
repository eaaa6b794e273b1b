// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/lru.h"

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/lru/eviction.h"
#include "ptage/lru/page_word.h"
#include "ptage/types.h"

namespace ptage {
namespace {

using Pages = std::set<LruPage>;

// Claims so many, and evicts them.
template <class L>
std::vector<LruPage> Evict(L& lru, unsigned count) {
  std::vector<LruPage> gone;
  for (unsigned i = 0; i < count; ++i) {
    const std::optional<LruPage> page = lru.Claim();
    if (!page.has_value()) break;
    lru.Release(*page, EvictionVerdict::kEvicted);
    gone.push_back(*page);
  }
  return gone;
}

TEST(LruTest, ItTakesFourBytesAPage) {
  EXPECT_EQ(Lru<>::kBytesPerPage, 4u);
  EXPECT_LE(Lru<>::kBytesPerPage, 8u);
  // Besides, a constant.
  EXPECT_LE(sizeof(Lru<>), 20'000u);
}

TEST(LruTest, NothingIsClaimedWhereNothingIs) {
  Lru<> lru(100);
  EXPECT_EQ(lru.Claim(), std::nullopt);
  Lru<> none(0);
  EXPECT_EQ(none.Claim(), std::nullopt);
}

TEST(LruTest, EveryPageThatIsThereIsClaimedOnce) {
  Lru<> lru(100);
  Pages there;
  for (LruPage page = 0; page < 100; page += 3) {
    ASSERT_TRUE(lru.Add(page));
    there.insert(page);
  }
  Pages claimed;
  while (const std::optional<LruPage> page = lru.Claim()) {
    EXPECT_TRUE(claimed.insert(*page).second);
  }
  EXPECT_EQ(claimed, there);
}

TEST(LruTest, AMarkedPageIsNotClaimedThatTime) {
  Lru<> lru(4);
  for (LruPage page = 0; page < 4; ++page) lru.Add(page);
  EXPECT_TRUE(lru.MarkReferenced(2));
  EXPECT_EQ(Evict(lru, 3).size(), 3u);
  EXPECT_EQ(lru.Read(2).state(), PageState::kResident);
}

TEST(LruTest, AMarkMadeWhileAPageIsClaimedIsToldToItsEvictor) {
  Lru<> lru(4);
  lru.Add(2);
  ASSERT_EQ(lru.Claim(), std::optional<LruPage>(2));
  EXPECT_TRUE(lru.MarkReferenced(2));
  EXPECT_TRUE(lru.TakeReferenced(2));
  lru.Release(2, EvictionVerdict::kYoung);
  EXPECT_EQ(lru.Read(2).state(), PageState::kResident);
  EXPECT_FALSE(lru.Read(2).marked());
}

TEST(LruTest, AClaimOfOnePageSaysWhatBecameOfIt) {
  Lru<> lru(4);
  EXPECT_EQ(lru.Claim(1), ClaimOutcome::kBusy);
  lru.Add(1);
  lru.MarkReferenced(1);
  EXPECT_EQ(lru.Claim(1), ClaimOutcome::kYoung);
  EXPECT_EQ(lru.Claim(1), ClaimOutcome::kClaimed);
  EXPECT_EQ(lru.Claim(1), ClaimOutcome::kBusy);
}

TEST(LruTest, APageFreedWhileItIsClaimedGoesWithItsHistory) {
  Lru<> lru(4);
  lru.Add(1);
  ASSERT_EQ(lru.Claim(1), ClaimOutcome::kClaimed);
  EXPECT_FALSE(lru.Free(1));
  EXPECT_FALSE(lru.Add(1));
  lru.Release(1, EvictionVerdict::kYoung);
  EXPECT_EQ(lru.Read(1).raw(), 0u);
  EXPECT_TRUE(lru.Add(1));
}

TEST(LruTest, APassOfAgingIsATick) {
  Lru<> lru(4);
  const std::uint32_t before = lru.Now();
  lru.EndPass();
  EXPECT_EQ(lru.Now(), before + 1);
}

TEST(LruTest, ASixteenthOfThePagesEvictedIsATick) {
  Lru<> lru(320);
  for (LruPage page = 0; page < 320; ++page) lru.Add(page);
  const std::uint32_t begin = lru.Now();
  Evict(lru, 19);
  EXPECT_EQ(lru.Now(), begin);
  Evict(lru, 1);
  EXPECT_EQ(lru.Now(), begin + 1);
}

TEST(LruTest, ARefaultTellsHowLongThePageWasAway) {
  Lru<> lru(4);
  lru.Add(1);
  ASSERT_EQ(lru.Claim(1), ClaimOutcome::kClaimed);
  lru.Release(1, EvictionVerdict::kEvicted);
  const std::uint32_t gone = lru.Now() - lru.Read(1).tick();
  for (int pass = 0; pass < 5; ++pass) lru.EndPass();
  EXPECT_TRUE(lru.Add(1));
  EXPECT_EQ(lru.model().Uses(kTierOnce, gone + 5), 1u);
}

TEST(LruTest, NeighboursArePromotedAndKeptByBitmaps) {
  Lru<> lru(200);
  for (LruPage page = 0; page < 200; ++page) lru.Add(page);
  lru.EndPass();
  std::uint64_t young[2] = {std::uint64_t{1} << 3, std::uint64_t{1} << 5};
  std::uint64_t unknown[2] = {std::uint64_t{1} << 4, 0};
  lru.Promote(100, Bitmap(young, 100));
  lru.Keep(100, Bitmap(unknown, 100));
  for (LruPage page = 0; page < 200; ++page) {
    const bool warm = page == 103 || page == 104 || page == 169;
    EXPECT_EQ(lru.Read(page).AgeAt(lru.Now()), warm ? 0u : 1u) << page;
  }
  EXPECT_FALSE(lru.Read(103).fresh());
  EXPECT_TRUE(lru.Read(104).fresh());
}

TEST(LruTest, AnEvictionFindsMarksByFrames) {
  static_assert(PageMarks<LruMarks<>>);
  Lru<> lru(4);
  LruMarks<> marks(lru, Gfn{100});
  for (LruPage page = 0; page < 4; ++page) lru.Add(page);
  marks.MarkReferenced(GfnRange{Gfn{102}, Gfn{104}});
  EXPECT_FALSE(marks.TakeReferenced(GfnRange{Gfn{100}, Gfn{102}}));
  EXPECT_TRUE(marks.TakeReferenced(GfnRange{Gfn{101}, Gfn{103}}));
  EXPECT_FALSE(lru.Read(2).marked());
  EXPECT_TRUE(lru.Read(3).marked());
}

// Half of the pages are used in every pass, the others never again: those go,
// and no other.
TEST(LruTest, WhatIsUsedStaysAndWhatIsNotGoes) {
  constexpr LruPage kPages = 256;
  Lru<> lru(kPages);
  for (LruPage page = 0; page < kPages; ++page) lru.Add(page);
  for (int pass = 0; pass < 20; ++pass) {
    for (LruPage page = 0; page < kPages; page += 2) lru.Promote(page);
    lru.EndPass();
  }
  for (const LruPage page : Evict(lru, 64)) EXPECT_EQ(page % 2, 1u);
  EXPECT_GT(lru.GenerationOf(lru.Read(0)), 1u);
  lru.Promote(2);
  EXPECT_EQ(lru.GenerationOf(lru.Read(2)), 3u);
  EXPECT_LT(lru.GenerationOf(lru.Read(255)), 2u);
}

// A loop over four pages for every three that fit: the least recently used
// policy misses always, the bound one time in four.
TEST(LruTest, ALoopLargerThanMemoryIsPartlyKept) {
  constexpr LruPage kPages = 400;
  constexpr unsigned kFrames = 300;
  Lru<> lru(kPages);
  unsigned in = 0;
  unsigned misses = 0;
  constexpr int kTurns = 40;
  for (int turn = 0; turn < kTurns; ++turn) {
    for (LruPage page = 0; page < kPages; ++page) {
      if (lru.Read(page).state() == PageState::kResident) {
        lru.Promote(page);
        continue;
      }
      if (turn >= kTurns / 2) ++misses;
      if (in == kFrames) {
        ASSERT_EQ(Evict(lru, 1).size(), 1u);
      } else {
        ++in;
      }
      ASSERT_TRUE(lru.Add(page));
      lru.Promote(page);
    }
  }
  EXPECT_LT(misses, kTurns / 2 * kPages * 6 / 10);
}

// Against a map of what each page should be.
TEST(LruTest, RandomStepsEndAsASimpleModelSays) {
  constexpr LruPage kPages = 40;
  enum class Model { kAbsent, kResident, kClaimed, kDoomed };
  std::mt19937 random(7);
  Lru<> lru(kPages);
  std::vector<Model> model(kPages, Model::kAbsent);
  std::vector<bool> marked(kPages);
  for (int step = 0; step < 50'000; ++step) {
    const auto page = static_cast<LruPage>(random() % kPages);
    Model& is = model[page];
    switch (random() % 8) {
      case 0:
      case 1:
        ASSERT_EQ(lru.Add(page), is == Model::kAbsent);
        if (is == Model::kAbsent) {
          is = Model::kResident;
          marked[page] = false;
        }
        break;
      case 2: {
        const bool evicted = is == Model::kClaimed || is == Model::kDoomed;
        ASSERT_EQ(lru.Free(page), !evicted);
        is = evicted ? Model::kDoomed : Model::kAbsent;
        marked[page] = false;
        break;
      }
      case 3: {
        const bool there = is == Model::kResident || is == Model::kClaimed;
        ASSERT_EQ(lru.MarkReferenced(page), there);
        if (there) marked[page] = true;
        break;
      }
      case 4:
        ASSERT_EQ(lru.TakeReferenced(page), marked[page]);
        marked[page] = false;
        break;
      case 5: {
        const ClaimOutcome outcome = lru.Claim(page);
        if (is != Model::kResident) {
          ASSERT_EQ(outcome, ClaimOutcome::kBusy);
        } else if (marked[page]) {
          ASSERT_EQ(outcome, ClaimOutcome::kYoung);
          marked[page] = false;
        } else {
          ASSERT_EQ(outcome, ClaimOutcome::kClaimed);
          is = Model::kClaimed;
        }
        break;
      }
      case 6: {
        if (is != Model::kClaimed && is != Model::kDoomed) break;
        const auto verdict = static_cast<EvictionVerdict>(random() % 3);
        lru.Release(page, verdict);
        const bool gone =
            is == Model::kDoomed || verdict == EvictionVerdict::kEvicted;
        is = gone ? Model::kAbsent : Model::kResident;
        if (gone || verdict == EvictionVerdict::kYoung) marked[page] = false;
        break;
      }
      default:
        lru.EndPass();
        break;
    }
    ASSERT_EQ(static_cast<unsigned>(lru.Read(page).state()),
              static_cast<unsigned>(is));
    ASSERT_EQ(lru.Read(page).marked(), marked[page]);
  }
}

}  // namespace
}  // namespace ptage
