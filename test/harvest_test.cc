// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/harvest.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "ptage/walk.h"
#include "test/formats.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::TestTree;

constexpr Level kSmall{1};
constexpr Level kLarge{2};

using Frames = std::set<std::uint64_t>;

// Bitmaps over a range, read back as sets of frames.
class Answer {
 public:
  explicit Answer(GfnRange range)
      : range_(range),
        young_((range.Frames() + 63) / 64),
        unknown_((range.Frames() + 63) / 64) {}

  AgeOutput Output() {
    return AgeOutput{.begin = range_.begin,
                     .young = Bitmap(young_.data(), range_.Frames()),
                     .unknown = Bitmap(unknown_.data(), range_.Frames()),
                     .counts = &counts};
  }
  Frames Young() const { return FramesOf(young_); }
  Frames Unknown() const { return FramesOf(unknown_); }

  AgeCounts counts;

 private:
  Frames FramesOf(const std::vector<std::uint64_t>& words) const {
    Frames frames;
    for (std::uint64_t i = 0; i < 64 * words.size(); ++i) {
      if ((words[i / 64] >> i % 64 & 1) != 0) {
        frames.insert(range_.begin.value + i);
      }
    }
    return frames;
  }

  GfnRange range_;
  std::vector<std::uint64_t> young_;
  std::vector<std::uint64_t> unknown_;
};

Frames FramesOf(GfnRange range) {
  Frames frames;
  for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + 1) {
    frames.insert(gfn.value);
  }
  return frames;
}

template <class F>
class HarvestTest : public ::testing::Test {
 protected:
  using Word = typename F::Word;

  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);
  static constexpr Gfn kB{kFrames};
  static constexpr Gfn kC{2 * kFrames};
  static constexpr GfnRange kAll{Gfn{0}, Gfn{3 * kFrames}};

  static Word Leaf(Gfn gfn, Level level = kSmall) {
    return TestTree<F>::Leaf(gfn, level);
  }
  void MapYoung(Gfn gfn, Level level = kSmall) {
    owner_.MustMap(gfn, level, TestTree<F>::Young(Leaf(gfn, level)));
  }
  void MapCold(Gfn gfn, Level level = kSmall) {
    owner_.MustMap(gfn, level, Leaf(gfn, level));
  }
  AgeResult Ask(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output) {
    return Harvest(owner_.tree(), LocklessWalk(owner_.domain()), range, action,
                   mode, output);
  }

  TestTree<F> owner_;
};

TYPED_TEST_SUITE(HarvestTest, test::AllFormats, test::FormatNames);

constexpr AgeResult kYoung{.young = true, .was_fast = false, .complete = true};
constexpr AgeResult kCold{.young = false, .was_fast = false, .complete = true};
constexpr AgeMode kModes[] = {AgeMode::kSlow, AgeMode::kFastOnly};

TYPED_TEST(HarvestTest, NothingMappedIsCold) {
  for (const AgeMode mode : kModes) {
    Answer answer(this->kAll);
    EXPECT_EQ(
        this->Ask(this->kAll, AgeAction::kTestAndClear, mode, answer.Output()),
        kCold);
    EXPECT_EQ(answer.Young(), Frames{});
    EXPECT_EQ(answer.Unknown(), Frames{});
    EXPECT_EQ(answer.counts.examined, 0u);
  }
}

TYPED_TEST(HarvestTest, YoungFramesAreNamedAndMadeOld) {
  for (const AgeMode mode : kModes) {
    TestTree<TypeParam>& owner = this->owner_;
    owner.tree().Zap(LocklessWalk(owner.domain()), this->kAll, ZapFlush::kEach,
                     [](const auto&) {});
    this->MapYoung(Gfn{1});
    this->MapCold(Gfn{2});
    this->MapYoung(Gfn{this->kFrames - 1});
    this->MapYoung(this->kC + 1);
    Answer answer(this->kAll);
    EXPECT_EQ(
        this->Ask(this->kAll, AgeAction::kTestAndClear, mode, answer.Output()),
        kYoung);
    EXPECT_EQ(answer.Young(),
              (Frames{1, this->kFrames - 1, 2 * this->kFrames + 1}));
    EXPECT_EQ(answer.Unknown(), Frames{});
    EXPECT_EQ(answer.counts.examined, 4u);
    EXPECT_EQ(answer.counts.young, 3u);
    EXPECT_EQ(answer.counts.lost_races, 0u);
    EXPECT_EQ(owner.Read(Gfn{1}), this->Leaf(Gfn{1}));
    EXPECT_EQ(
        this->Ask(this->kAll, AgeAction::kTestAndClear, mode, AgeOutput{}),
        kCold);
  }
}

TYPED_TEST(HarvestTest, TestingChangesNothing) {
  using F = TypeParam;
  this->MapYoung(Gfn{1});
  this->MapYoung(this->kB, kLarge);
  for (int i = 0; i < 2; ++i) {
    for (const AgeMode mode : kModes) {
      Answer answer(this->kAll);
      EXPECT_EQ(this->Ask(this->kAll, AgeAction::kTest, mode, answer.Output()),
                kYoung);
      Frames expected = FramesOf(GfnRange{this->kB, this->kC});
      expected.insert(1);
      EXPECT_EQ(answer.Young(), expected);
    }
  }
  EXPECT_EQ(this->owner_.Read(Gfn{1}), TestTree<F>::Young(this->Leaf(Gfn{1})));
}

TYPED_TEST(HarvestTest, DirtyBitsStay) {
  using F = TypeParam;
  const auto word = TestTree<F>::Dirty(this->Leaf(Gfn{1}));
  this->owner_.MustMap(Gfn{1}, kSmall, TestTree<F>::Young(word));
  EXPECT_EQ(this->Ask(this->kAll, AgeAction::kTestAndClear, AgeMode::kSlow,
                      AgeOutput{}),
            kYoung);
  EXPECT_EQ(this->owner_.Read(Gfn{1}), word);
}

TYPED_TEST(HarvestTest, BitsAreAddedToThoseThatAreThere) {
  this->MapYoung(Gfn{2});
  Answer answer(GfnRange{Gfn{0}, Gfn{3}});
  answer.Output().SetYoung(GfnRange{Gfn{0}, Gfn{1}});
  (void)this->Ask(GfnRange{Gfn{0}, Gfn{3}}, AgeAction::kTest, AgeMode::kSlow,
                  answer.Output());
  EXPECT_EQ(answer.Young(), (Frames{0, 2}));
}

TYPED_TEST(HarvestTest, BitZeroIsTheFirstFrameOfTheOutputNotOfTheRange) {
  this->MapYoung(Gfn{3});
  Answer answer(GfnRange{Gfn{1}, this->kC});
  (void)this->Ask(GfnRange{Gfn{2}, this->kB}, AgeAction::kTest, AgeMode::kSlow,
                  answer.Output());
  EXPECT_EQ(answer.Young(), (Frames{3}));
}

TYPED_TEST(HarvestTest, AnEmptyRangeHasNoAnswer) {
  this->MapYoung(this->kB, kLarge);
  this->MapYoung(Gfn{1});
  for (const Gfn gfn : {Gfn{1}, this->kB, this->kB + 2}) {
    EXPECT_EQ(this->Ask(GfnRange{gfn, gfn}, AgeAction::kTestAndClear,
                        AgeMode::kSlow, AgeOutput{}),
              AgeResult{});
  }
}

// --- Large leaves.

TYPED_TEST(HarvestTest, AWholeLargeLeafIsClearedAndAllItsFramesAreYoung) {
  for (const AgeMode mode : kModes) {
    TestTree<TypeParam> owner;
    owner.MustMap(this->kB, kLarge,
                  TestTree<TypeParam>::Young(this->Leaf(this->kB, kLarge)));
    Answer answer(this->kAll);
    EXPECT_EQ(Harvest(owner.tree(), LocklessWalk(owner.domain()), this->kAll,
                      AgeAction::kTestAndClear, mode, answer.Output()),
              kYoung);
    EXPECT_EQ(answer.Young(), FramesOf(GfnRange{this->kB, this->kC}));
    EXPECT_EQ(answer.counts.examined, 1u);
    EXPECT_EQ(owner.Read(this->kB), this->Leaf(this->kB, kLarge));
  }
}

TYPED_TEST(HarvestTest, ALeafThatReachesBeyondTheRangeIsTestedNeverCleared) {
  using F = TypeParam;
  const auto word = TestTree<F>::Young(this->Leaf(this->kB, kLarge));
  this->MapYoung(this->kB, kLarge);
  const GfnRange parts[] = {
      {this->kB + 1, this->kC},                    // but for the first frame
      {this->kB, Gfn{2 * this->kFrames - 1}},      // but for the last
      {this->kB + 1, this->kB + 2},                // one in the middle
      {Gfn{0}, this->kB + 1},                      // the first, and before
      {Gfn{2 * this->kFrames - 1}, this->kC + 2},  // the last, and behind
  };
  for (const GfnRange& part : parts) {
    for (const AgeMode mode : kModes) {
      Answer answer(part);
      EXPECT_EQ(
          this->Ask(part, AgeAction::kTestAndClear, mode, answer.Output()),
          kYoung);
      EXPECT_EQ(answer.Young(),
                FramesOf(part.Clip(GfnRange{this->kB, this->kC})));
      EXPECT_EQ(this->owner_.Read(this->kB), word);
    }
  }
}

// --- Frozen entries.

TYPED_TEST(HarvestTest, AFrozenLeafIsUnknownToFastOnlyAndYoungToSlow) {
  using F = TypeParam;
  this->MapCold(Gfn{1});
  this->MapCold(Gfn{2});
  this->MapYoung(Gfn{3});
  this->owner_.Write(Gfn{2}, F::kFrozen);

  Answer fast(this->kAll);
  EXPECT_EQ(this->Ask(this->kAll, AgeAction::kTestAndClear, AgeMode::kFastOnly,
                      fast.Output()),
            (AgeResult{.young = true, .was_fast = false, .complete = false}));
  EXPECT_EQ(fast.Young(), (Frames{3}));
  EXPECT_EQ(fast.Unknown(), (Frames{2}));
  EXPECT_EQ(fast.counts.unanswered, 1u);
  EXPECT_EQ(fast.counts.examined, 2u);

  Answer slow(this->kAll);
  EXPECT_EQ(this->Ask(this->kAll, AgeAction::kTestAndClear, AgeMode::kSlow,
                      slow.Output()),
            kYoung);
  EXPECT_EQ(slow.Young(), (Frames{2}));
  EXPECT_EQ(slow.Unknown(), Frames{});
  EXPECT_EQ(this->owner_.Read(Gfn{2}), F::kFrozen);
}

TYPED_TEST(HarvestTest, AFrozenInnerEntryAnswersForEveryFrameUnderIt) {
  using F = TypeParam;
  this->MapCold(Gfn{1});
  this->MapYoung(this->kB, kLarge);
  WriteOnce(this->owner_.ParentOf(Gfn{1}), F::kFrozen, kRelaxed);

  const GfnRange part{Gfn{1}, this->kB + 1};
  Answer fast(part);
  EXPECT_EQ(this->Ask(part, AgeAction::kTestAndClear, AgeMode::kFastOnly,
                      fast.Output()),
            (AgeResult{.young = true, .was_fast = false, .complete = false}));
  EXPECT_EQ(fast.Unknown(), FramesOf(GfnRange{Gfn{1}, this->kB}));
  EXPECT_EQ(fast.Young(), (Frames{this->kB.value}));

  Answer slow(part);
  EXPECT_EQ(
      this->Ask(part, AgeAction::kTestAndClear, AgeMode::kSlow, slow.Output()),
      kYoung);
  EXPECT_EQ(slow.Young(), FramesOf(part));
}

// A cold frame under a frozen entry: not young and not complete.
TYPED_TEST(HarvestTest, UnknownIsNotCold) {
  using F = TypeParam;
  this->MapCold(Gfn{1});
  this->owner_.Write(Gfn{1}, F::kFrozen);
  EXPECT_EQ(
      this->Ask(this->kAll, AgeAction::kTest, AgeMode::kFastOnly, AgeOutput{}),
      (AgeResult{.young = false, .was_fast = false, .complete = false}));
}

// --- Budgets.

// At each stop every bit that was cleared is in the output, and nothing else.
TYPED_TEST(HarvestTest, WhatWasClearedIsInTheOutputAtEachStop) {
  using F = TypeParam;
  for (std::uint64_t budget = F::kLevels; budget < F::kLevels + 9; ++budget) {
    TestTree<F> owner;
    std::vector<Gfn> young;
    for (std::uint64_t i = 0; i < this->kFrames && i < 512; i += 2) {
      young.push_back(Gfn{i});
      owner.MustMap(Gfn{i}, kSmall, TestTree<F>::Young(this->Leaf(Gfn{i})));
    }
    owner.MustMap(this->kB, kLarge,
                  TestTree<F>::Young(this->Leaf(this->kB, kLarge)));
    Answer answer(this->kAll);
    AgeResult result;
    WalkCursor cursor(this->kAll);
    while (!cursor.Done()) {
      result |= HarvestSome(owner.tree(), LocklessWalk(owner.domain()), cursor,
                            budget, AgeAction::kTestAndClear,
                            AgeMode::kFastOnly, answer.Output());
      const Frames reported = answer.Young();
      for (const Gfn gfn : young) {
        const bool cleared = owner.Read(gfn) == this->Leaf(gfn);
        ASSERT_EQ(reported.count(gfn.value) != 0, cleared);
      }
      const bool large_cleared =
          owner.Read(this->kB) == this->Leaf(this->kB, kLarge);
      ASSERT_EQ(reported.count(this->kB.value) != 0, large_cleared);
    }
    EXPECT_EQ(result, kYoung);
    EXPECT_EQ(answer.counts.young, young.size() + 1);
    EXPECT_EQ(answer.Young().size(), young.size() + this->kFrames);
  }
}

}  // namespace
}  // namespace ptage
