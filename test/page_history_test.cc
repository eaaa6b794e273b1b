// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/page_history.h"

#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/types.h"

namespace ptage {
namespace {

using Frames = std::set<std::uint64_t>;

class PageHistoryTest : public testing::Test {
 protected:
  static constexpr GfnRange kRange{Gfn{100}, Gfn{300}};

  Frames Told(GfnRange asked, AgeAction action,
              AgeResult (PageHistory::*which)(GfnRange, AgeAction,
                                              const AgeOutput&)) {
    std::vector<std::uint64_t> words(8);
    const Bitmap bits(words.data(), 512);
    result_ =
        (history_.*which)(asked, action, AgeOutput{.begin = {}, .young = bits});
    Frames frames;
    for (std::uint64_t i = 0; i < 512; ++i) {
      if (bits.Test(i)) frames.insert(i);
    }
    EXPECT_EQ(result_.young, !frames.empty());
    EXPECT_TRUE(result_.complete);
    EXPECT_FALSE(result_.was_fast);
    return frames;
  }
  Frames Accessed(GfnRange asked, AgeAction action = AgeAction::kTest) {
    return Told(asked, action, &PageHistory::Accessed);
  }
  Frames Written(GfnRange asked, AgeAction action = AgeAction::kTest) {
    return Told(asked, action, &PageHistory::Written);
  }
  void Record(std::uint64_t from, std::uint64_t to, bool accessed, bool dirty) {
    history_.Record(GfnRange{Gfn{from}, Gfn{to}}, accessed, dirty);
  }

  std::vector<Cell<std::uint64_t>> words_{
      std::vector<Cell<std::uint64_t>>(8, Cell<std::uint64_t>(0))};
  PageHistory history_{words_.data(), kRange};
  AgeResult result_;
};

TEST_F(PageHistoryTest, ItTakesTwoBitsAFrameInWholeWords) {
  EXPECT_EQ(PageHistory::WordsFor(0), 0u);
  EXPECT_EQ(PageHistory::WordsFor(1), 2u);
  EXPECT_EQ(PageHistory::WordsFor(64), 2u);
  EXPECT_EQ(PageHistory::WordsFor(65), 4u);
  EXPECT_EQ(PageHistory::WordsFor(200), 8u);
  EXPECT_EQ(history_.range(), kRange);
}

TEST_F(PageHistoryTest, WhatWasRecordedIsToldUntilItIsCleared) {
  Record(101, 102, true, false);
  Record(163, 165, true, true);
  Record(170, 171, false, true);
  Record(180, 181, false, false);
  EXPECT_EQ(Accessed(kRange), (Frames{101, 163, 164}));
  EXPECT_EQ(Written(kRange), (Frames{163, 164, 170}));
  EXPECT_EQ(Accessed({Gfn{164}, Gfn{300}}, AgeAction::kTestAndClear),
            Frames{164});
  EXPECT_EQ(Accessed(kRange), (Frames{101, 163}));
  EXPECT_EQ(Written(kRange), (Frames{163, 164, 170}));
}

TEST_F(PageHistoryTest, FramesOutsideAreForgotten) {
  Record(0, 101, true, true);
  Record(299, 400, true, true);
  Record(400, 500, true, true);
  EXPECT_EQ(Accessed({Gfn{0}, Gfn{512}}), (Frames{100, 299}));
  EXPECT_EQ(Written({Gfn{0}, Gfn{512}}), (Frames{100, 299}));
  EXPECT_EQ(Accessed({Gfn{0}, Gfn{50}}), Frames{});
}

TEST_F(PageHistoryTest, RandomRecordsAgreeWithTwoSets) {
  std::mt19937 random(1);
  Frames accessed;
  Frames written;
  for (int step = 0; step < 2000; ++step) {
    const std::uint64_t from = 90 + random() % 220;
    const std::uint64_t to = from + 1 + random() % 80;
    const bool first = random() % 2 == 0;
    const bool second = random() % 2 == 0;
    if (random() % 2 == 0) {
      Record(from, to, first, second);
      for (std::uint64_t i = from; i < to; ++i) {
        if (!kRange.Contains(Gfn{i})) continue;
        if (first) accessed.insert(i);
        if (second) written.insert(i);
      }
      continue;
    }
    const AgeAction action =
        first ? AgeAction::kTest : AgeAction::kTestAndClear;
    Frames& of = second ? accessed : written;
    Frames want;
    for (std::uint64_t i = from; i < to; ++i) {
      if (of.count(i) != 0) want.insert(i);
    }
    const GfnRange asked{Gfn{from}, Gfn{to}};
    ASSERT_EQ(second ? Accessed(asked, action) : Written(asked, action), want);
    if (first) continue;
    for (const std::uint64_t i : want) of.erase(i);
  }
}

TEST_F(PageHistoryTest, TheTablesAreAskedFirst) {
  AgeResult mapped;
  const auto zapped_meanwhile = [&] {
    Record(150, 151, true, false);
    return mapped;
  };
  const GfnRange one{Gfn{150}, Gfn{151}};
  EXPECT_EQ(AgeWithHistory(history_, one, AgeAction::kTestAndClear, AgeOutput{},
                           zapped_meanwhile),
            AgeResult{.young = true});
  mapped = AgeResult{.young = true, .was_fast = true, .complete = false};
  EXPECT_EQ(AgeWithHistory(history_, one, AgeAction::kTestAndClear, AgeOutput{},
                           [&] { return mapped; }),
            mapped);
}

}  // namespace
}  // namespace ptage
