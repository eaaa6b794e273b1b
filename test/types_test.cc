// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/types.h"

#include <cstdint>
#include <type_traits>

#include "gtest/gtest.h"

namespace ptage {
namespace {

// --- Strong types.

template <class A, class B>
concept Comparable = requires(A a, B b) { a == b; };
template <class A, class B>
concept Addable = requires(A a, B b) { a + b; };

static_assert(!std::is_convertible_v<std::uint64_t, Gfn>);
static_assert(!std::is_convertible_v<Gfn, std::uint64_t>);
static_assert(!std::is_convertible_v<Gfn, Pfn>);
static_assert(!std::is_convertible_v<int, Level>);
static_assert(!Comparable<Gfn, Pfn> && !Comparable<Gfn, std::uint64_t>);
static_assert(!Addable<Gfn, Gfn> && !Addable<Pfn, Pfn>);

TEST(GfnTest, AddsAndSubtractsFrames) {
  EXPECT_EQ(Gfn{0x100} + 0x23, Gfn{0x123});
  EXPECT_EQ(Gfn{0x123} - Gfn{0x100}, 0x23u);
  EXPECT_EQ(Pfn{7} + 1, Pfn{8});
  EXPECT_LT(Gfn{1}, Gfn{2});
  EXPECT_LT(Pfn{1}, Pfn{2});
  EXPECT_EQ(Gfn{}, Gfn{0});
}

TEST(LevelTest, TheLevelBelowIsSmaller) {
  EXPECT_EQ(Level{3}.Below(), Level{2});
  EXPECT_EQ(Level{1}.Above(), Level{2});
  EXPECT_LT(Level{1}, Level{3});
  EXPECT_EQ(Level{}, Level{1});
}

// --- Ranges.

constexpr GfnRange Range(std::uint64_t begin, std::uint64_t end) {
  return GfnRange{Gfn{begin}, Gfn{end}};
}

TEST(GfnRangeTest, HoldsItsBeginAndNotItsEnd) {
  EXPECT_TRUE(Range(4, 8).Contains(Gfn{4}));
  EXPECT_TRUE(Range(4, 8).Contains(Gfn{7}));
  EXPECT_FALSE(Range(4, 8).Contains(Gfn{8}));
  EXPECT_FALSE(Range(4, 8).Contains(Gfn{3}));
  EXPECT_EQ(Range(4, 8).Frames(), 4u);
}

TEST(GfnRangeTest, IsEmptyIfItEndsWhereItBegins) {
  EXPECT_TRUE(Range(4, 4).Empty());
  EXPECT_FALSE(Range(4, 5).Empty());
  EXPECT_EQ(Range(4, 4).Frames(), 0u);
  EXPECT_FALSE(Range(4, 4).Contains(Gfn{4}));
}

TEST(GfnRangeTest, ContainsARangeThatIsWhollyInside) {
  EXPECT_TRUE(Range(4, 8).Contains(Range(4, 8)));
  EXPECT_TRUE(Range(4, 8).Contains(Range(5, 7)));
  EXPECT_FALSE(Range(4, 8).Contains(Range(3, 8)));
  EXPECT_FALSE(Range(4, 8).Contains(Range(4, 9)));
}

TEST(GfnRangeTest, NeighboursDoNotOverlap) {
  EXPECT_FALSE(Range(0, 4).Overlaps(Range(4, 8)));
  EXPECT_FALSE(Range(4, 8).Overlaps(Range(0, 4)));
  EXPECT_TRUE(Range(0, 5).Overlaps(Range(4, 8)));
  EXPECT_TRUE(Range(4, 8).Overlaps(Range(0, 5)));
  EXPECT_TRUE(Range(0, 8).Overlaps(Range(3, 4)));
}

// Every pair of ranges over six frames, empty ones too, against the sets that
// they stand for.
TEST(GfnRangeTest, ClipIsTheIntersectionAndOverlapsSaysWhetherThereIsOne) {
  for (std::uint64_t a = 0; a < 6; ++a) {
    for (std::uint64_t b = a; b <= 6; ++b) {
      for (std::uint64_t c = 0; c < 6; ++c) {
        for (std::uint64_t d = c; d <= 6; ++d) {
          const GfnRange clipped = Range(a, b).Clip(Range(c, d));
          ASSERT_LE(clipped.begin, clipped.end);
          bool any = false;
          for (std::uint64_t frame = 0; frame < 7; ++frame) {
            const bool in_both =
                a <= frame && frame < b && c <= frame && frame < d;
            ASSERT_EQ(clipped.Contains(Gfn{frame}), in_both)
                << a << ".." << b << " with " << c << ".." << d;
            any = any || in_both;
          }
          ASSERT_EQ(Range(a, b).Overlaps(Range(c, d)), any)
              << a << ".." << b << " with " << c << ".." << d;
        }
      }
    }
  }
}

// --- Answers.

TEST(AgeResultTest, TheAnswerForNothingIsCompleteAndNotYoung) {
  EXPECT_FALSE(AgeResult{}.young);
  EXPECT_FALSE(AgeResult{}.was_fast);
  EXPECT_TRUE(AgeResult{}.complete);
}

// All 64 pairs, against the three sentences of the design.
TEST(AgeResultTest, PartsAreCombinedAsTheDesignSays) {
  for (unsigned bits = 0; bits < 64; ++bits) {
    const auto bit = [&](unsigned i) { return (bits >> i & 1) != 0; };
    const AgeResult a{bit(0), bit(1), bit(2)};
    const AgeResult b{bit(3), bit(4), bit(5)};
    const AgeResult both = a | b;
    EXPECT_EQ(both.young, bit(0) || bit(3));
    bool young_and_fast = false;
    if (bit(0) && bit(1)) young_and_fast = true;
    if (bit(3) && bit(4)) young_and_fast = true;
    EXPECT_EQ(both.was_fast, young_and_fast);
    EXPECT_EQ(both.complete, bit(2) && bit(5));
    AgeResult added = a;
    added |= b;
    EXPECT_EQ(added, both);
  }
}

TEST(AgeResultTest, FastIsForgottenWhereNothingWasYoung) {
  const AgeResult fast_but_cold{.young = false, .was_fast = true};
  EXPECT_FALSE((fast_but_cold | AgeResult{}).was_fast);
  EXPECT_FALSE((fast_but_cold | AgeResult{.young = true}).was_fast);
}

TEST(AgeCountsTest, AddsEachCount) {
  AgeCounts counts{.examined = 1, .young = 2, .lost_races = 3, .unanswered = 4};
  counts += AgeCounts{
      .examined = 10, .young = 20, .lost_races = 30, .unanswered = 40};
  EXPECT_EQ(counts.examined, 11u);
  EXPECT_EQ(counts.young, 22u);
  EXPECT_EQ(counts.lost_races, 33u);
  EXPECT_EQ(counts.unanswered, 44u);
}

// --- Bitmaps.

TEST(BitmapTest, BitsLieLowestFirstInWordsOf64) {
  std::uint64_t words[3] = {};
  const Bitmap bitmap(words, 130);
  bitmap.Set(0);
  bitmap.Set(63);
  bitmap.Set(64);
  bitmap.Set(129);
  EXPECT_EQ(words[0], 0x8000'0000'0000'0001u);
  EXPECT_EQ(words[1], 0x1u);
  EXPECT_EQ(words[2], 0x2u);
  EXPECT_TRUE(bitmap.Test(129));
  EXPECT_FALSE(bitmap.Test(128));
  EXPECT_EQ(bitmap.size(), 130u);
  EXPECT_TRUE(bitmap.Wanted());
}

TEST(BitmapTest, AWordIsReadWhole) {
  std::uint64_t words[2] = {5, 7};
  const Bitmap bitmap(words, 66);
  EXPECT_EQ(bitmap.Word(0), 5u);
  EXPECT_EQ(bitmap.Word(1), 7u);
}

TEST(BitmapTest, SettingARangeLeavesItsNeighbours) {
  std::uint64_t words[2] = {0x1, 0};
  const Bitmap bitmap(words, 128);
  bitmap.SetRange(60, 66);
  EXPECT_EQ(words[0], 0xF000'0000'0000'0001u);
  EXPECT_EQ(words[1], 0x3u);
  bitmap.SetRange(100, 100);
  EXPECT_EQ(words[1], 0x3u);
}

TEST(BitmapTest, ALongRangeIsSetWordByWord) {
  std::uint64_t words[4] = {};
  Bitmap(words, 256).SetRange(62, 200);
  EXPECT_EQ(words[0], 0xC000'0000'0000'0000u);
  EXPECT_EQ(words[1], 0xFFFF'FFFF'FFFF'FFFFu);
  EXPECT_EQ(words[2], 0xFFFF'FFFF'FFFF'FFFFu);
  EXPECT_EQ(words[3], 0xFFu);
}

TEST(BitmapTest, LanesAreSetFromAnyBitOn) {
  std::uint64_t words[2] = {0x1, 0};
  const Bitmap bitmap(words, 66);
  bitmap.SetLanes(0, 0x8000'0000'0000'0000);
  EXPECT_EQ(words[0], 0x8000'0000'0000'0001u);
  bitmap.SetLanes(62, 0b1010);
  EXPECT_EQ(words[0], 0x8000'0000'0000'0001u);
  EXPECT_EQ(words[1], 0x2u);
  bitmap.SetLanes(60, 0b10'0001);
  EXPECT_EQ(words[0], 0x9000'0000'0000'0001u);
  EXPECT_EQ(words[1], 0x2u);
}

// The word behind the last may be another thread's.
TEST(BitmapTest, LanesThatAreNotSetTouchNothing) {
  std::uint64_t words[1] = {};
  Bitmap(words, 64).SetLanes(63, 0b1);
  EXPECT_EQ(words[0], 0x8000'0000'0000'0000u);
}

TEST(BitmapDeathTest, ALaneBeyondTheSizeIsRefused) {
  std::uint64_t words[2] = {};
  const Bitmap bitmap(words, 66);
  EXPECT_DEATH(bitmap.SetLanes(62, 0b1'0000), "");
  EXPECT_DEATH(bitmap.SetRange(60, 67), "");
}

TEST(BitmapTest, WhatIsSetInAnAbsentOneIsForgotten) {
  const Bitmap absent;
  EXPECT_FALSE(absent.Wanted());
  EXPECT_EQ(absent.size(), 0u);
  absent.Set(5);
  absent.SetRange(0, 1'000'000);
}

#if PTAGE_HARDENED
TEST(BitmapDeathTest, ABitBeyondTheSizeIsRefused) {
  std::uint64_t words[1] = {};
  const Bitmap bitmap(words, 10);
  EXPECT_DEATH(bitmap.Set(10), "");
  EXPECT_DEATH((void)bitmap.Test(10), "");
  EXPECT_DEATH(bitmap.SetRange(9, 11), "");
  EXPECT_DEATH((void)Bitmap().Test(0), "");
}
#endif

TEST(AgeOutputTest, BitIBelongsToTheFrameBeginPlusI) {
  std::uint64_t young[1] = {};
  std::uint64_t unknown[1] = {};
  const AgeOutput output{.begin = Gfn{0x100},
                         .young = Bitmap(young, 64),
                         .unknown = Bitmap(unknown, 64)};
  output.SetYoung(Range(0x100, 0x101));
  output.SetYoung(Range(0x108, 0x10A));
  output.SetUnknown(Range(0x13F, 0x140));
  EXPECT_EQ(young[0], 0x301u);
  EXPECT_EQ(unknown[0], 0x8000'0000'0000'0000u);
}

TEST(AgeOutputTest, BitsAndCountsAreAddedToWhatIsThere) {
  std::uint64_t young[1] = {0x80};
  AgeCounts counts{.examined = 5};
  const AgeOutput output{
      .begin = Gfn{0}, .young = Bitmap(young, 64), .counts = &counts};
  output.SetYoung(Range(0, 1));
  output.Count(AgeCounts{.examined = 2});
  EXPECT_EQ(young[0], 0x81u);
  EXPECT_EQ(counts.examined, 7u);
}

TEST(AgeOutputTest, AnyPartMayBeAbsent) {
  const AgeOutput nothing;
  nothing.SetYoung(Range(0, 100));
  nothing.SetUnknown(Range(0, 100));
  nothing.Count(AgeCounts{.examined = 1});
}

// --- Rights.

TEST(RightsTest, AreASet) {
  EXPECT_EQ(Rights::kRead | Rights::kWrite, Rights::kReadWrite);
  EXPECT_EQ(Rights::kReadWrite | Rights::kExecute, Rights::kAll);
  EXPECT_EQ(Rights::kReadWrite & Rights::kReadExecute, Rights::kRead);
  EXPECT_EQ(Rights::kRead & Rights::kWrite, Rights::kNone);
}

TEST(RightsTest, AllowsWhatIsContained) {
  EXPECT_TRUE(Allows(Rights::kAll, Rights::kReadWrite));
  EXPECT_TRUE(Allows(Rights::kReadWrite, Rights::kWrite));
  EXPECT_TRUE(Allows(Rights::kNone, Rights::kNone));
  EXPECT_FALSE(Allows(Rights::kRead, Rights::kReadWrite));
  EXPECT_FALSE(Allows(Rights::kReadExecute, Rights::kWrite));
}

}  // namespace
}  // namespace ptage
