// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/prune.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/spte/arm64.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::TestTree;
using test::Truth;

constexpr Level kSmall{1};
constexpr Level kLarge{2};

using Frames = std::set<std::uint64_t>;

// Counts flushes, and keeps the last range.
struct CountingFlusher {
  void Flush(GfnRange flushed) {
    ++flushes;
    range = flushed;
  }
  int flushes = 0;
  GfnRange range;
};

// Intel's and AMD's walkers mark inner entries. Those of ARM64 and of RISC-V do
// not.
static_assert(Prunable<Ept> && Prunable<X86_64>);
static_assert(!Prunable<RiscvSv39> && !Prunable<test::TinyFormat>);
template <class F>
concept CanPrune =
    requires(TestTree<F>& owner, typename TestTree<F>::Walk& walk,
             CountingFlusher& flusher, AgeOutput& output) {
      Prune(owner.tree(), walk, flusher, GfnRange{}, Pruning::kExact,
            AgeAction::kTest, output);
      MarkParent(owner.tree(), walk, Gfn{0});
    };
static_assert(CanPrune<Ept> && CanPrune<X86_64>);
static_assert(!CanPrune<RiscvSv39> && !CanPrune<Arm64Stage2Of16K> &&
              !CanPrune<test::TinyFormat>);

template <class F>
class PruneTest : public ::testing::Test {
 protected:
  using Word = typename F::Word;

  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);
  static constexpr GfnRange kAll{Gfn{0}, Gfn{16 * kFrames}};

  static Gfn At(std::uint64_t table, std::uint64_t i = 0) {
    return Gfn{table * kFrames + i};
  }
  void MapYoung(Gfn gfn, Level level = kSmall) {
    owner_.MustMap(gfn, level,
                   TestTree<F>::Young(TestTree<F>::Leaf(gfn, level)));
  }
  bool IsYoungAt(Gfn gfn) {
    return (owner_.Read(gfn) & Truth<F>::kAccessedBit) != 0;
  }
  bool ParentIsYoung(Gfn gfn) {
    return (ReadOnce(owner_.ParentOf(gfn), kRelaxed) &
            Truth<F>::kAccessedBit) != 0;
  }
  void SetParent(Gfn gfn, bool young) {
    SpteCell<F>& parent = owner_.ParentOf(gfn);
    const Word word = ReadOnce(parent, kRelaxed);
    WriteOnce(
        parent,
        young ? word | Truth<F>::kAccessedBit : word & ~Truth<F>::kAccessedBit,
        kRelaxed);
  }
  AgeResult Ask(GfnRange range, Pruning pruning = Pruning::kExact,
                AgeAction action = AgeAction::kTestAndClear) {
    young_.assign((kAll.Frames() + 63) / 64, 0);
    unknown_.assign((kAll.Frames() + 63) / 64, 0);
    counts_ = AgeCounts{};
    return Prune(owner_.tree(), LocklessWalk(owner_.domain()), flusher_, range,
                 pruning, action,
                 AgeOutput{.begin = kAll.begin,
                           .young = Bitmap(young_.data(), kAll.Frames()),
                           .unknown = Bitmap(unknown_.data(), kAll.Frames()),
                           .counts = &counts_});
  }
  static Frames FramesOf(const std::vector<std::uint64_t>& words) {
    Frames frames;
    for (std::uint64_t i = 0; i < 64 * words.size(); ++i) {
      if ((words[i / 64] >> i % 64 & 1) != 0) frames.insert(i);
    }
    return frames;
  }
  Frames Young() const { return FramesOf(young_); }
  Frames Unknown() const { return FramesOf(unknown_); }

  TestTree<F> owner_;
  CountingFlusher flusher_;
  std::vector<std::uint64_t> young_;
  std::vector<std::uint64_t> unknown_;
  AgeCounts counts_;
};

using Formats = ::testing::Types<Ept, X86_64, X86_64La57>;
TYPED_TEST_SUITE(PruneTest, Formats, test::FormatNames);

constexpr AgeResult kYoung{.young = true, .was_fast = false, .complete = true};
constexpr AgeResult kCold{.young = false, .was_fast = false, .complete = true};

TYPED_TEST(PruneTest, ATableIsReadIfItsParentIsYoungAndSkippedIfNot) {
  for (const std::uint64_t table : {1u, 2u, 9u}) {
    this->MapYoung(this->At(table, 3));
  }
  this->SetParent(this->At(2), false);
  EXPECT_EQ(this->Ask(this->kAll), kYoung);
  EXPECT_EQ(this->Young(),
            (Frames{this->At(1, 3).value, this->At(9, 3).value}));
  EXPECT_EQ(this->counts_.examined, 2u);
  EXPECT_FALSE(this->IsYoungAt(this->At(1, 3)));
  EXPECT_TRUE(this->IsYoungAt(this->At(2, 3)));
  for (const std::uint64_t table : {1u, 2u, 9u}) {
    EXPECT_FALSE(this->ParentIsYoung(this->At(table, 3)));
  }
  // What was skipped stays where it is, until somebody marks its parent.
  EXPECT_EQ(this->Ask(this->kAll), kCold);
  this->SetParent(this->At(2), true);
  EXPECT_EQ(this->Ask(this->kAll), kYoung);
  EXPECT_EQ(this->Young(), (Frames{this->At(2, 3).value}));
}

TYPED_TEST(PruneTest, ATestChangesNothingAndFlushesNothing) {
  this->MapYoung(this->At(1, 3));
  this->MapYoung(this->At(2, 3));
  this->SetParent(this->At(2), false);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(this->Ask(this->kAll, Pruning::kExact, AgeAction::kTest), kYoung);
    EXPECT_EQ(this->Young(), (Frames{this->At(1, 3).value}));
  }
  EXPECT_TRUE(this->ParentIsYoung(this->At(1)));
  EXPECT_EQ(this->flusher_.flushes, 0);
}

TYPED_TEST(PruneTest, OneFlushBetweenTheParentsAndTheLeaves) {
  this->MapYoung(this->At(1, 3));
  this->MapYoung(this->At(9, 3));
  (void)this->Ask(this->kAll, Pruning::kBestEffort);
  EXPECT_EQ(this->flusher_.flushes, 0);
  this->SetParent(this->At(1), true);
  this->SetParent(this->At(9), true);
  (void)this->Ask(this->kAll, Pruning::kExact);
  EXPECT_EQ(this->flusher_.flushes, 1);
  EXPECT_TRUE(this->flusher_.range.Contains(this->At(1)));
  EXPECT_TRUE(this->flusher_.range.Contains(this->At(9)));
  // Nothing was cleared since.
  (void)this->Ask(this->kAll, Pruning::kExact);
  EXPECT_EQ(this->flusher_.flushes, 1);
}

TYPED_TEST(PruneTest, AParentOfWhichTheRangeHasAPartIsNotCleared) {
  this->MapYoung(this->At(1, 3));
  this->MapYoung(this->At(1, 100));
  EXPECT_EQ(this->Ask(GfnRange{this->At(0), this->At(1, 50)}), kYoung);
  EXPECT_EQ(this->Young(), (Frames{this->At(1, 3).value}));
  EXPECT_TRUE(this->ParentIsYoung(this->At(1)));
  EXPECT_EQ(this->Ask(GfnRange{this->At(1, 50), this->At(4)}), kYoung);
  EXPECT_EQ(this->Young(), (Frames{this->At(1, 100).value}));
}

TYPED_TEST(PruneTest, ALargeLeafIsNoParent) {
  this->MapYoung(this->At(3), kLarge);
  EXPECT_EQ(this->Ask(this->kAll), kYoung);
  EXPECT_EQ(this->Young().size(), this->kFrames);
  EXPECT_EQ(this->Young().count(this->At(3).value), 1u);
  EXPECT_FALSE(this->IsYoungAt(this->At(3)));
  EXPECT_EQ(this->flusher_.flushes, 0);
  EXPECT_EQ(this->Ask(this->kAll), kCold);
}

TYPED_TEST(PruneTest, WhatIsUnknownIsLookedAtAgain) {
  using F = TypeParam;
  this->MapYoung(this->At(1, 3));
  const auto taken = this->owner_.Read(this->At(1, 3));
  this->owner_.Write(this->At(1, 3), F::kFrozen);
  EXPECT_EQ(this->Ask(this->kAll),
            (AgeResult{.young = false, .was_fast = false, .complete = false}));
  EXPECT_EQ(this->Unknown(), (Frames{this->At(1, 3).value}));
  this->owner_.Write(this->At(1, 3), taken);
  EXPECT_EQ(this->Ask(this->kAll), kYoung);
  EXPECT_EQ(this->Young(), (Frames{this->At(1, 3).value}));
}

TYPED_TEST(PruneTest, AFrozenParentIsUnknown) {
  using F = TypeParam;
  this->MapYoung(this->At(1, 3));
  WriteOnce(this->owner_.ParentOf(this->At(1, 3)), F::kFrozen, kRelaxed);
  EXPECT_FALSE(this->Ask(this->kAll).complete);
  EXPECT_EQ(this->Unknown().size(), this->kFrames);
}

TYPED_TEST(PruneTest, AMarkIsMadeOnTheParentAlone) {
  this->MapYoung(this->At(1, 3));
  this->MapYoung(this->At(2), kLarge);
  const LocklessWalk walk(this->owner_.domain());
  this->SetParent(this->At(1), false);
  MarkParent(this->owner_.tree(), walk, this->At(1, 7));
  EXPECT_TRUE(this->ParentIsYoung(this->At(1)));
  // Where there is no table nothing happens.
  const auto large = this->owner_.Read(this->At(2));
  MarkParent(this->owner_.tree(), walk, this->At(2, 7));
  EXPECT_EQ(this->owner_.Read(this->At(2)), large);
  MarkParent(this->owner_.tree(), walk, this->At(5));
  EXPECT_EQ(this->owner_.Read(this->At(5)), TypeParam::kEmpty);
}

TYPED_TEST(PruneTest, AnEmptyRangeHasNoAnswer) {
  this->MapYoung(this->At(1, 3));
  EXPECT_EQ(this->Ask(GfnRange{this->At(1, 3), this->At(1, 3)}), AgeResult{});
}

// A batch has room for 64 groups of 64 parents with a young one among them.
TEST(PruneBatchTest, EachBatchIsFlushedOnceAndEachParentIsInsideAFlush) {
  constexpr std::uint64_t kGroup = std::uint64_t{64} * 512;
  struct Flushes {
    void Flush(GfnRange range) { ranges.push_back(range); }
    std::vector<GfnRange> ranges;
  };
  for (const unsigned groups : {1u, 64u, 65u, 128u, 160u}) {
    TestTree<Ept> owner(TableKind::kDirect, groups + groups / 8 + 8);
    for (unsigned group = 0; group < groups; ++group) {
      const Gfn gfn{group * kGroup + 5};
      owner.MustMap(gfn, kSmall,
                    TestTree<Ept>::Young(TestTree<Ept>::Leaf(gfn)));
    }
    Flushes flusher;
    AgeCounts counts;
    EXPECT_EQ(Prune(owner.tree(), LocklessWalk(owner.domain()), flusher,
                    GfnRange{Gfn{0}, Gfn{groups * kGroup}}, Pruning::kExact,
                    AgeAction::kTestAndClear, AgeOutput{.counts = &counts}),
              kYoung);
    EXPECT_EQ(counts.young, groups);
    EXPECT_EQ(flusher.ranges.size(), (groups + 63) / 64) << groups;
    for (unsigned group = 0; group < groups; ++group) {
      ASSERT_LT(group / 64, flusher.ranges.size());
      EXPECT_TRUE(flusher.ranges[group / 64].Contains(Gfn{group * kGroup + 5}))
          << group << " of " << groups;
    }
  }
}

}  // namespace
}  // namespace ptage
