// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Split, Promote and RemoveTables.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/page_table_fixture.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::ExpectToWait;
using test::kBacking;
using test::kLarge;
using test::kSmall;
using test::Taken;
using test::TestTree;
using test::Truth;

template <class F>
class PageTableStructureTest : public test::PageTableFixture<F> {};
TYPED_TEST_SUITE(PageTableStructureTest, test::AllFormats, test::FormatNames);

// --- Split.

TYPED_TEST(PageTableStructureTest, ASplitCopiesAccessedAndDirtyToAll) {
  using F = TypeParam;
  using T = Truth<F>;
  for (const bool young : {false, true}) {
    for (const bool dirty : {false, true}) {
      TestTree<F> owner;
      // In some formats the dirty bit is the permission to write.
      const Rights rights = dirty ? Rights::kAll : Rights::kReadExecute;
      auto leaf = this->Leaf(this->kB, kLarge, rights);
      if (young) leaf = this->Young(leaf);
      if (dirty) leaf = this->Dirty(leaf);
      owner.MustMap(this->kB, kLarge, leaf);
      ASSERT_EQ(
          owner.tree().Split(LocklessWalk(owner.domain()), this->kB, kLarge),
          StructureOutcome::kDone);
      for (std::uint64_t i = 0; i < this->kFrames; ++i) {
        const FoundEntry<F> found = owner.Find(this->kB + i);
        ASSERT_EQ(found.level, kSmall);
        ASSERT_EQ(F::FrameOf(found.word), Pfn{kBacking + this->kFrames + i});
        ASSERT_EQ((found.word & T::kAccessedBit) != 0, young);
        ASSERT_EQ((found.word & T::kDirtyBit) != 0, dirty);
        ASSERT_EQ(F::RightsOf(found.word), rights);
      }
      EXPECT_EQ(owner.Read(this->kA), F::kEmpty);
    }
  }
}

TEST(PageTableStructureEptTest, AGiBLeafSplitsIntoLeavesOf2MiB) {
  TestTree<Ept> owner;
  owner.MustMap(Gfn{0x4'0000}, Level{3},
                0x8000'0000'4000'03B7);  // young and dirty
  ASSERT_EQ(
      owner.tree().Split(LocklessWalk(owner.domain()), Gfn{0x4'0000}, Level{3}),
      StructureOutcome::kDone);
  EXPECT_EQ(owner.Read(Gfn{0x4'0000}), 0x8000'0000'4000'03B7u);
  EXPECT_EQ(owner.Read(Gfn{0x4'0200}), 0x8000'0000'4020'03B7u);
  EXPECT_EQ(owner.Read(Gfn{0x7'FFFF}), 0x8000'0000'7FE0'03B7u);
  EXPECT_EQ(owner.Find(Gfn{0x7'FFFF}).level, Level{2});
}

TYPED_TEST(PageTableStructureTest, ASplitFlushesWhileTheLeafIsFrozen) {
  using F = TypeParam;
  this->owner_.MustMap(this->kB, kLarge, this->Leaf(this->kB, kLarge));
  int flushes = 0;
  this->owner_.flusher().hook = [&](GfnRange range) {
    ++flushes;
    EXPECT_EQ(range, (GfnRange{this->kB, this->kB + this->kFrames}));
    EXPECT_EQ(this->owner_.Read(this->kB), F::kFrozen);
    EXPECT_EQ(this->owner_.Map(this->kB + 1, kSmall, this->Leaf(this->kB + 1)),
              MapOutcome::kRetry);
  };
  EXPECT_EQ(this->Split(this->kB), StructureOutcome::kDone);
  EXPECT_EQ(flushes, 1);
}

TYPED_TEST(PageTableStructureTest, WhatIsNoLargeLeafIsNotSplitAndStaysAsItWas) {
  using F = TypeParam;
  // Nothing there at all; then a table, and an empty entry beside it.
  EXPECT_EQ(this->Split(this->kB), StructureOutcome::kUnsuitable);
  this->owner_.MustMap(Gfn{1}, kSmall, this->Young(this->Leaf(Gfn{1})));
  const std::size_t in_use = this->owner_.TablesInUse();
  EXPECT_EQ(this->Split(this->kA), StructureOutcome::kUnsuitable);
  EXPECT_EQ(this->Split(this->kB), StructureOutcome::kUnsuitable);
  EXPECT_EQ(this->owner_.Read(Gfn{1}), this->Young(this->Leaf(Gfn{1})));
  EXPECT_EQ(this->owner_.Read(this->kB), F::kEmpty);
  EXPECT_EQ(this->owner_.TablesInUse(), in_use);
}

TYPED_TEST(PageTableStructureTest, WithoutMemoryALeafStaysWhole) {
  using F = TypeParam;
  TestTree<F> owner(TableKind::kDirect, test::kTablesOfOnePath<F> - 1);
  const auto leaf = this->Young(this->Leaf(this->kA, kLarge));
  owner.MustMap(this->kA, kLarge, leaf);
  EXPECT_EQ(owner.tree().Split(LocklessWalk(owner.domain()), this->kA, kLarge),
            StructureOutcome::kNoMemory);
  EXPECT_EQ(owner.Read(this->kA), leaf);
}

TYPED_TEST(PageTableStructureTest, ASplitWaitsForTheOwnerOfTheLeaf) {
  using F = TypeParam;
  const auto leaf = this->Leaf(this->kA, kLarge);
  this->owner_.MustMap(this->kA, kLarge, leaf);
  SpteCell<F>& entry = *this->owner_.Find(this->kA).entry;
  ASSERT_TRUE(Freeze<F>(entry, leaf));
  StructureOutcome outcome{};
  ExpectToWait([&] { outcome = this->Split(this->kA); },
               [&] { Restore<F>(entry, this->Dirty(leaf)); });
  EXPECT_EQ(outcome, StructureOutcome::kDone);
  EXPECT_EQ(this->owner_.Read(Gfn{2}), this->Dirty(this->Leaf(Gfn{2})));
}

// --- Promote.

TYPED_TEST(PageTableStructureTest, APromotionGathersAccessedAndDirty) {
  using F = TypeParam;
  struct {
    bool young, dirty;
  } constexpr kCases[] = {
      {false, false}, {true, false}, {false, true}, {true, true}};
  for (const auto& c : kCases) {
    TestTree<F> owner;
    owner.MustFill(this->kB);
    // One entry of all, and not the same for both.
    const Gfn last{this->kB + (this->kFrames - 1)};
    if (c.young)
      owner.Write(this->kB + 1, this->Young(owner.Read(this->kB + 1)));
    if (c.dirty) owner.Write(last, this->Dirty(owner.Read(last)));
    ASSERT_EQ(
        owner.tree().Promote(LocklessWalk(owner.domain()), this->kB, kLarge),
        StructureOutcome::kDone);
    auto expected = this->Leaf(this->kB, kLarge);
    if (c.young) expected = this->Young(expected);
    if (c.dirty) expected = this->Dirty(expected);
    EXPECT_EQ(owner.Read(this->kB + 2), expected);
    EXPECT_EQ(owner.Find(this->kB + 2).level, kLarge);
  }
}

TYPED_TEST(PageTableStructureTest,
           ThePromotedTableIsFreedWhenItsWalksHaveEnded) {
  using F = TypeParam;
  this->owner_.MustFill(this->kA);
  const std::size_t before = this->owner_.TablesInUse();
  Table<F>& table = this->owner_.TableOf(this->kA);
  {
    const LocklessWalk walk(this->owner_.domain());
    ASSERT_EQ(this->Promote(this->kA), StructureOutcome::kDone);
    for (int i = 0; i < 6; ++i) this->owner_.domain().Poll();
    EXPECT_EQ(this->owner_.arena().InUse(), before);
    // Who is still inside finds nothing to use or to change.
    for (const auto& entry : table.entries) {
      ASSERT_EQ(ReadOnce(entry, kRelaxed), F::kFrozen);
    }
  }
  EXPECT_EQ(this->owner_.TablesInUse(), before - 1);
}

TYPED_TEST(PageTableStructureTest, APromotionFlushesWhileEverythingIsFrozen) {
  using F = TypeParam;
  this->owner_.MustFill(this->kA);
  Table<F>& table = this->owner_.TableOf(this->kA);
  SpteCell<F>& parent = this->owner_.ParentOf(this->kA);
  int flushes = 0;
  this->owner_.flusher().hook = [&](GfnRange range) {
    ++flushes;
    EXPECT_EQ(range, this->kFirst);
    EXPECT_EQ(ReadOnce(parent, kRelaxed), F::kFrozen);
    for (const auto& entry : table.entries) {
      ASSERT_EQ(ReadOnce(entry, kRelaxed), F::kFrozen);
    }
  };
  EXPECT_EQ(this->Promote(this->kA), StructureOutcome::kDone);
  EXPECT_EQ(flushes, 1);
}

// Each has young and dirty entries before and after the one that ends it.
TYPED_TEST(PageTableStructureTest, APromotionThatFailsPutsEverythingBack) {
  using F = TypeParam;
  enum class Flaw { kHole, kOtherFrame, kOtherRights, kFirstMissing };
  for (const Flaw flaw : {Flaw::kHole, Flaw::kOtherFrame, Flaw::kOtherRights,
                          Flaw::kFirstMissing}) {
    for (const std::uint64_t at : {std::uint64_t{1}, this->kFrames - 1}) {
      TestTree<F> owner;
      owner.MustFill(this->kA);
      for (std::uint64_t i = 0; i < this->kFrames; ++i) {
        auto word = owner.Read(Gfn{i});
        if (i % 3 != 0) word = this->Young(word);
        if (i % 2 != 0) word = this->Dirty(word);
        owner.Write(Gfn{i}, word);
      }
      switch (flaw) {
        case Flaw::kHole:
          owner.Write(Gfn{at}, F::kEmpty);
          break;
        case Flaw::kOtherFrame:
          owner.Write(Gfn{at}, this->Leaf(Gfn{at + 1}));
          break;
        case Flaw::kOtherRights:
          owner.Write(Gfn{at},
                      this->Leaf(Gfn{at}, kSmall, Rights::kReadExecute));
          break;
        case Flaw::kFirstMissing:
          owner.Write(Gfn{0}, F::kEmpty);
      }
      Table<F>& table = owner.TableOf(this->kA);
      SpteCell<F>& parent = owner.ParentOf(this->kA);
      std::vector<typename F::Word> before;
      for (const auto& entry : table.entries) {
        before.push_back(ReadOnce(entry, kRelaxed));
      }
      const auto inner = ReadOnce(parent, kRelaxed);
      const std::size_t in_use = owner.TablesInUse();

      EXPECT_EQ(
          owner.tree().Promote(LocklessWalk(owner.domain()), this->kA, kLarge),
          StructureOutcome::kUnsuitable);
      for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
        ASSERT_EQ(ReadOnce(table.entries[i], kRelaxed), before[i]) << i;
      }
      EXPECT_EQ(ReadOnce(parent, kRelaxed), inner);
      EXPECT_EQ(owner.TablesInUse(), in_use);
    }
  }
}

// Consecutive frames, but from one that no large page begins at.
TYPED_TEST(PageTableStructureTest, MisalignedFramesAreNotPromoted) {
  for (std::uint64_t i = 0; i < this->kFrames; ++i) {
    this->owner_.MustMap(Gfn{i}, kSmall, this->Leaf(Gfn{i + 1}));
  }
  EXPECT_EQ(this->Promote(this->kA), StructureOutcome::kUnsuitable);
  EXPECT_EQ(this->owner_.Read(Gfn{1}), this->Leaf(Gfn{2}));
  EXPECT_EQ(this->owner_.Find(Gfn{1}).level, kSmall);
}

TYPED_TEST(PageTableStructureTest, WhatIsNoTableIsNotPromoted) {
  using F = TypeParam;
  EXPECT_EQ(this->Promote(this->kB), StructureOutcome::kUnsuitable);
  const auto leaf = this->Young(this->Leaf(this->kA, kLarge));
  this->owner_.MustMap(this->kA, kLarge, leaf);
  EXPECT_EQ(this->Promote(this->kA), StructureOutcome::kUnsuitable);
  EXPECT_EQ(this->Promote(this->kB), StructureOutcome::kUnsuitable);
  EXPECT_EQ(this->owner_.Read(this->kA), leaf);
  EXPECT_EQ(this->owner_.Read(this->kB), F::kEmpty);
}

TYPED_TEST(PageTableStructureTest, APromotionUndoesASplit) {
  const auto leaf = this->Young(this->Dirty(this->Leaf(this->kB, kLarge)));
  this->owner_.MustMap(this->kB, kLarge, leaf);
  ASSERT_EQ(this->Split(this->kB), StructureOutcome::kDone);
  ASSERT_EQ(this->Promote(this->kB), StructureOutcome::kDone);
  EXPECT_EQ(this->owner_.Read(this->kB), leaf);
}

TYPED_TEST(PageTableStructureTest, APromotionWaitsForTheOwnerOfALeaf) {
  using F = TypeParam;
  this->owner_.MustFill(this->kA);
  SpteCell<F>& entry = *this->owner_.Find(Gfn{2}).entry;
  const auto leaf = this->Leaf(Gfn{2});
  ASSERT_TRUE(Freeze<F>(entry, leaf));
  StructureOutcome outcome{};
  ExpectToWait([&] { outcome = this->Promote(this->kA); },
               [&] { Restore<F>(entry, this->Dirty(leaf)); });
  EXPECT_EQ(outcome, StructureOutcome::kDone);
  EXPECT_EQ(this->owner_.Read(Gfn{2}),
            this->Dirty(this->Leaf(this->kA, kLarge)));
}

// --- RemoveTables.

TYPED_TEST(PageTableStructureTest, ARemovedTableHandsOverWhatItMapped) {
  using F = TypeParam;
  const auto one = this->Young(this->Leaf(Gfn{1}));
  const auto two = this->Dirty(this->Leaf(Gfn{2}));
  this->owner_.MustMap(Gfn{1}, kSmall, one);
  this->owner_.MustMap(Gfn{2}, kSmall, two);
  this->owner_.MustMap(this->kB, kSmall, this->Leaf(this->kB));
  const std::size_t before = this->owner_.TablesInUse();
  std::vector<Taken<F>> taken;
  EXPECT_EQ(this->Remove(this->kFirst, taken), 1u);
  EXPECT_EQ(taken, (std::vector<Taken<F>>{{Gfn{1}, kSmall, one},
                                          {Gfn{2}, kSmall, two}}));
  EXPECT_EQ(this->owner_.Read(Gfn{1}), F::kEmpty);
  EXPECT_EQ(this->owner_.Find(Gfn{1}).level, kLarge);
  EXPECT_EQ(this->owner_.Read(this->kB), this->Leaf(this->kB));
  EXPECT_EQ(this->owner_.TablesInUse(), before - 1);
  // The place can be used again, at either size.
  this->owner_.MustMap(this->kA, kLarge, this->Leaf(this->kA, kLarge));
}

TYPED_TEST(PageTableStructureTest, TablesThatReachBeyondTheRangeStay) {
  using F = TypeParam;
  this->owner_.MustMap(Gfn{1}, kSmall, this->Leaf(Gfn{1}));
  this->owner_.MustMap(this->kB, kLarge, this->Leaf(this->kB, kLarge));
  std::vector<Taken<F>> taken;
  EXPECT_EQ(this->Remove(GfnRange{Gfn{0}, Gfn{this->kFrames - 1}}, taken), 0u);
  EXPECT_EQ(this->Remove(GfnRange{Gfn{1}, this->kB + this->kFrames}, taken),
            0u);
  // The leaf of level 2 lies in a table that reaches further.
  EXPECT_EQ(this->Remove(GfnRange{this->kB, this->kB + this->kFrames}, taken),
            0u);
  EXPECT_TRUE(taken.empty());
  EXPECT_EQ(this->owner_.Read(Gfn{1}), this->Leaf(Gfn{1}));
  EXPECT_EQ(this->owner_.Read(this->kB), this->Leaf(this->kB, kLarge));
}

// Everything but the root.
TYPED_TEST(PageTableStructureTest, TablesAreRemovedWithTheTablesBelow) {
  using F = TypeParam;
  this->owner_.MustMap(Gfn{1}, kSmall, this->Leaf(Gfn{1}));
  this->owner_.MustMap(this->kB, kLarge, this->Leaf(this->kB, kLarge));
  this->owner_.MustMap(this->kB + this->kFrames, kSmall,
                       this->Leaf(this->kB + this->kFrames));
  const std::size_t before = this->owner_.TablesInUse();
  std::vector<Taken<F>> taken;
  EXPECT_EQ(
      this->Remove(GfnRange{Gfn{0}, Gfn{TestTree<F>::Tree::kFrames}}, taken),
      before - kRootTables<F>);
  // A large leaf in the root lies in no table that is removed.
  EXPECT_EQ(taken.size(), F::kLevels > 2 ? 3u : 2u);
  EXPECT_EQ(this->owner_.TablesInUse(), kRootTables<F>);
  EXPECT_EQ(this->owner_.Find(Gfn{1}).level, Level{F::kLevels});
}

// From before the flush until every entry below is frozen, empty ones too, the
// parent is: no CPU and no fault comes in, and what a fault that is already
// inside maps is handed on.
TYPED_TEST(PageTableStructureTest, ATableIsFlushedClosedAndThenLetGo) {
  using F = TypeParam;
  this->owner_.MustMap(Gfn{1}, kSmall, this->Leaf(Gfn{1}));
  Table<F>& table = this->owner_.TableOf(Gfn{1});
  SpteCell<F>& parent = this->owner_.ParentOf(Gfn{1});
  int flushes = 0;
  int handed = 0;
  this->owner_.flusher().hook = [&](GfnRange range) {
    ++flushes;
    EXPECT_EQ(range, this->kFirst);
    EXPECT_EQ(handed, 0);
    EXPECT_EQ(ReadOnce(parent, kRelaxed), F::kFrozen);
    // A fault that comes from the root, and one that is inside already.
    EXPECT_EQ(this->owner_.Map(Gfn{3}, kSmall, this->Leaf(Gfn{3})),
              MapOutcome::kRetry);
    EXPECT_TRUE(Install<F>(table.entries[0], this->Leaf(Gfn{0})));
  };
  const LocklessWalk walk(this->owner_.domain());
  EXPECT_EQ(this->owner_.tree().RemoveTables(
                walk, this->kFirst,
                [&](const TakenLeaf<F>& leaf) {
                  ++handed;
                  EXPECT_EQ(flushes, 1);
                  EXPECT_EQ(ReadOnce(parent, kRelaxed), F::kFrozen);
                  EXPECT_EQ(ReadOnce(leaf.entry, kRelaxed), F::kFrozen);
                }),
            1u);
  EXPECT_EQ(flushes, 1);
  EXPECT_EQ(handed, 2);
  EXPECT_EQ(ReadOnce(parent, kRelaxed), F::kEmpty);
  // Entries of the removed table stay frozen while a walk may be inside.
  for (const auto& entry : table.entries) {
    ASSERT_EQ(ReadOnce(entry, kRelaxed), F::kFrozen);
  }
  this->owner_.flusher().hook = nullptr;
}

TYPED_TEST(PageTableStructureTest, ARemovedTableIsFreedWhenItsWalksHaveEnded) {
  using F = TypeParam;
  this->owner_.MustMap(Gfn{1}, kSmall, this->Leaf(Gfn{1}));
  const std::size_t before = this->owner_.TablesInUse();
  std::vector<Taken<F>> taken;
  {
    const LocklessWalk walk(this->owner_.domain());
    EXPECT_EQ(this->Remove(this->kFirst, taken), 1u);
    for (int i = 0; i < 6; ++i) this->owner_.domain().Poll();
    EXPECT_EQ(this->owner_.arena().InUse(), before);
  }
  EXPECT_EQ(this->owner_.TablesInUse(), before - 1);
}

TYPED_TEST(PageTableStructureTest,
           RemovalWaitsForTheOwnerOfAnEntryAndTakesItsLeaf) {
  using F = TypeParam;
  this->owner_.MustMap(Gfn{1}, kSmall, this->Leaf(Gfn{1}));
  SpteCell<F>& claimed = this->owner_.TableOf(Gfn{1}).entries[2];
  ASSERT_TRUE(Freeze<F>(claimed, F::kEmpty));
  const auto leaf = this->Dirty(this->Leaf(Gfn{2}));
  std::vector<Taken<F>> taken;
  ExpectToWait([&] { this->Remove(this->kFirst, taken); },
               [&] { Publish<F>(claimed, leaf); });
  EXPECT_EQ(taken, (std::vector<Taken<F>>{{Gfn{1}, kSmall, this->Leaf(Gfn{1})},
                                          {Gfn{2}, kSmall, leaf}}));
}

}  // namespace
}  // namespace ptage
