// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/page_table.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/page_table_fixture.h"
#include "test/tables.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::kLarge;
using test::kSmall;
using test::kTablesOfOnePath;
using test::Taken;
using test::TestTree;
using test::TinyFormat;

template <class F>
class PageTableTest : public test::PageTableFixture<F> {};
TYPED_TEST_SUITE(PageTableTest, test::AllFormats, test::FormatNames);

// --- Construction.

static_assert(PageTable<Ept, TableArena<Ept>, EpochDomain<>>::kFrames ==
              std::uint64_t{1} << 36);
static_assert(
    PageTable<TinyFormat, TableArena<TinyFormat>, EpochDomain<>>::kFrames ==
    64);

template <class F, class M, class R>
concept MakesATree = requires { typename PageTable<F, M, R>; };
static_assert(MakesATree<Ept, TableArena<Ept>, EpochDomain<>>);
static_assert(!MakesATree<Ept, TableArena<TinyFormat>, EpochDomain<>>);
static_assert(!MakesATree<Ept, TableArena<Ept>, int>);
static_assert(!MakesATree<int, TableArena<Ept>, EpochDomain<>>);

TYPED_TEST(PageTableTest, ATreeIsBornWithARootAndMapsNothing) {
  using F = TypeParam;
  ASSERT_TRUE(this->owner_.tree().valid());
  EXPECT_EQ(this->owner_.arena().InUse(), kRootTables<F>);
  const FoundEntry<F> found = this->owner_.Find(Gfn{1});
  EXPECT_EQ(found.word, F::kEmpty);
  EXPECT_EQ(found.level, Level{F::kLevels});
  EXPECT_EQ(found.entry, &this->owner_.tree().root()->entries[0]);
}

TYPED_TEST(PageTableTest, WithoutMemoryForTheRootItIsNotValid) {
  for (std::size_t count = 0; count < kRootTables<TypeParam>; ++count) {
    TestTree<TypeParam> owner(TableKind::kDirect, count);
    EXPECT_FALSE(owner.tree().valid());
    EXPECT_EQ(owner.arena().InUse(), 0u);
  }
}

TYPED_TEST(PageTableTest, DestructionGivesEveryTableBack) {
  using F = TypeParam;
  test::OwnedTables<F> tables(16);
  EpochDomain<> domain;
  NoFlush flusher;
  {
    PageTable<F, TableArena<F>, EpochDomain<>> tree(
        tables.arena(), domain, flusher, TableKind::kDirect);
    const LocklessWalk walk(domain);
    EXPECT_EQ(tree.Map(walk, Gfn{0}, kSmall, this->Leaf(Gfn{0})),
              MapOutcome::kDone);
    EXPECT_EQ(tree.Map(walk, this->kB, kLarge, this->Leaf(this->kB, kLarge)),
              MapOutcome::kDone);
    EXPECT_EQ(tables.arena().InUse(), kTablesOfOnePath<F>);
  }
  EXPECT_EQ(tables.arena().InUse(), 0u);
}

// --- Map.

TYPED_TEST(PageTableTest, WhatWasMappedIsFoundAndItsNeighboursAreNot) {
  using F = TypeParam;
  const Gfn gfn{this->kFrames + 2};
  const auto leaf = this->Leaf(gfn, kSmall, Rights::kReadExecute);
  this->owner_.MustMap(gfn, kSmall, leaf);
  const FoundEntry<F> found = this->owner_.Find(gfn);
  EXPECT_EQ(found.word, leaf);
  EXPECT_EQ(found.level, kSmall);
  EXPECT_EQ(ReadOnce(*found.entry, kRelaxed), leaf);
  EXPECT_EQ(this->owner_.Read(gfn + 1), F::kEmpty);
  EXPECT_EQ(this->owner_.Read(Gfn{gfn.value - 1}), F::kEmpty);
  EXPECT_EQ(this->owner_.Read(this->kA), F::kEmpty);
}

TYPED_TEST(PageTableTest, ALargeLeafIsFoundFromEachOfItsFrames) {
  const auto leaf = this->Leaf(this->kB, kLarge);
  this->owner_.MustMap(this->kB, kLarge, leaf);
  for (const std::uint64_t i : {std::uint64_t{0}, this->kFrames - 1}) {
    EXPECT_EQ(this->owner_.Read(this->kB + i), leaf);
    EXPECT_EQ(this->owner_.Find(this->kB + i).level, kLarge);
  }
  EXPECT_EQ(this->owner_.Read(this->kA), TypeParam::kEmpty);
}

TEST(PageTableEptTest, AGiBLeafIsFoundFromEachOfItsFrames) {
  TestTree<Ept> owner;
  const std::uint64_t leaf =
      Ept::MakeLeaf(Pfn{0x4'0000}, Level{3}, Rights::kAll);
  owner.MustMap(Gfn{0x4'0000}, Level{3}, leaf);
  EXPECT_EQ(owner.Read(Gfn{0x7'FFFF}), leaf);
  EXPECT_EQ(owner.Find(Gfn{0x7'FFFF}).level, Level{3});
  EXPECT_EQ(owner.Read(Gfn{0x8'0000}), Ept::kEmpty);
  EXPECT_EQ(owner.arena().InUse(), 2u);
}

TYPED_TEST(PageTableTest, TheHighestFrameCanBeMapped) {
  using F = TypeParam;
  const Gfn last{TestTree<F>::Tree::kFrames - 1};
  const auto leaf = F::MakeLeaf(Pfn{1}, kSmall, Rights::kAll);
  this->owner_.MustMap(last, kSmall, leaf);
  EXPECT_EQ(this->owner_.Read(last), leaf);
  EXPECT_EQ(&this->owner_.TableOf(last).entries[kEntriesPerTable<F> - 1],
            this->owner_.Find(last).entry);
}

TYPED_TEST(PageTableTest, OneTableALevelIsBuiltWhereNoneIs) {
  using F = TypeParam;
  this->owner_.MustMap(this->kA, kLarge, this->Leaf(this->kA, kLarge));
  EXPECT_EQ(this->owner_.arena().InUse(), kTablesOfOnePath<F> - 1);
  this->owner_.MustMap(this->kB, kSmall, this->Leaf(this->kB));
  EXPECT_EQ(this->owner_.arena().InUse(), kTablesOfOnePath<F>);
  this->owner_.MustMap(this->kB + 1, kSmall, this->Leaf(this->kB + 1));
  EXPECT_EQ(this->owner_.arena().InUse(), kTablesOfOnePath<F>);
}

TYPED_TEST(PageTableTest, EachTableIsRecordedWithItsPlace) {
  using F = TypeParam;
  const Gfn gfn{this->kFrames + 1};
  this->owner_.MustMap(gfn, kSmall, this->Leaf(gfn));
  Table<F>* table = &this->owner_.TableOf(gfn);
  for (int level = 1; level < F::kLevels; ++level) {
    const TableInfo<F>& info = this->owner_.arena().InfoOf(table);
    EXPECT_EQ(info.AtLevel(), Level{level});
    EXPECT_EQ(info.Kind(), TableKind::kDirect);
    // The table of level 1 begins at the second large page, those above at 0.
    EXPECT_EQ(info.Base(), level == 1 ? this->kB : Gfn{0});
    SpteCell<F>* const parent = info.parent.Get();
    const auto inner = ReadOnce(*parent, kRelaxed);
    EXPECT_TRUE(F::IsPresent(inner));
    EXPECT_FALSE(F::IsLeaf(inner, Level{level + 1}));
    EXPECT_EQ(F::FrameOf(inner), this->owner_.arena().FrameOf(table));
    table = this->owner_.arena().TableOf(*parent);
  }
  EXPECT_EQ(table, this->owner_.tree().root());
  EXPECT_EQ(this->owner_.arena().InfoOf(table).parent.Get(), nullptr);
}

TYPED_TEST(PageTableTest, MapOverwritesNothing) {
  const auto small = this->Young(this->Leaf(Gfn{1}));
  this->owner_.MustMap(Gfn{1}, kSmall, small);
  EXPECT_EQ(this->owner_.Map(Gfn{1}, kSmall, this->Leaf(Gfn{1})),
            MapOutcome::kPresent);
  EXPECT_EQ(this->owner_.Map(this->kA, kLarge, this->Leaf(this->kA, kLarge)),
            MapOutcome::kTable);
  EXPECT_EQ(this->owner_.Read(Gfn{1}), small);

  const auto large = this->Young(this->Leaf(this->kB, kLarge));
  this->owner_.MustMap(this->kB, kLarge, large);
  EXPECT_EQ(this->owner_.Map(this->kB + 1, kSmall, this->Leaf(this->kB + 1)),
            MapOutcome::kLargePage);
  EXPECT_EQ(this->owner_.Map(this->kB, kLarge, this->Leaf(this->kB, kLarge)),
            MapOutcome::kPresent);
  EXPECT_EQ(this->owner_.Read(this->kB), large);
}

TYPED_TEST(PageTableTest, MapLeavesAFrozenEntryToItsOwner) {
  using F = TypeParam;
  this->owner_.MustMap(Gfn{1}, kSmall, this->Leaf(Gfn{1}));
  SpteCell<F>& parent = this->owner_.ParentOf(Gfn{1});
  this->owner_.Write(Gfn{1}, F::kFrozen);
  EXPECT_EQ(this->owner_.Map(Gfn{1}, kSmall, this->Leaf(Gfn{1})),
            MapOutcome::kRetry);
  EXPECT_EQ(this->owner_.Read(Gfn{1}), F::kFrozen);
  // The same where an inner entry is frozen, at either size.
  WriteOnce(parent, F::kFrozen, kRelaxed);
  EXPECT_EQ(this->owner_.Map(Gfn{2}, kSmall, this->Leaf(Gfn{2})),
            MapOutcome::kRetry);
  EXPECT_EQ(this->owner_.Map(this->kA, kLarge, this->Leaf(this->kA, kLarge)),
            MapOutcome::kRetry);
  EXPECT_EQ(ReadOnce(parent, kRelaxed), F::kFrozen);
}

TYPED_TEST(PageTableTest, WithoutMemoryNothingIsMappedAndNothingLeaks) {
  using F = TypeParam;
  for (std::size_t count = kRootTables<F>; count < kTablesOfOnePath<F>;
       ++count) {
    TestTree<F> owner(TableKind::kDirect, count);
    EXPECT_EQ(owner.Map(Gfn{0}, kSmall, this->Leaf(Gfn{0})),
              MapOutcome::kNoMemory);
    EXPECT_FALSE(F::IsPresent(owner.Read(Gfn{0})));
    EXPECT_EQ(owner.arena().InUse(), count);
  }
  TestTree<F> owner(TableKind::kDirect, kTablesOfOnePath<F>);
  EXPECT_EQ(owner.Map(Gfn{0}, kSmall, this->Leaf(Gfn{0})), MapOutcome::kDone);
}

// --- Claim.

TYPED_TEST(PageTableTest, AClaimedEntryIsFrozenForItsOwner) {
  using F = TypeParam;
  TestTree<F> owner(TableKind::kIndirect);
  const LocklessWalk walk(owner.domain());
  SpteCell<F>* entry = nullptr;
  ASSERT_EQ(owner.tree().Claim(walk, Gfn{1}, kSmall, entry), MapOutcome::kDone);
  EXPECT_EQ(owner.Find(Gfn{1}).entry, entry);
  EXPECT_EQ(owner.Read(Gfn{1}), F::kFrozen);
  SpteCell<F>* other = nullptr;
  EXPECT_EQ(owner.tree().Claim(walk, Gfn{1}, kSmall, other),
            MapOutcome::kRetry);
  RecordFrame<F>(owner.arena(), *entry, Gfn{0x77});
  Publish<F>(*entry, this->Leaf(Gfn{0x77}));
  EXPECT_EQ(owner.Read(Gfn{1}), this->Leaf(Gfn{0x77}));
  EXPECT_TRUE(RecordsFrame<F>(owner.arena(), *entry, Gfn{0x77}, kSmall));
  EXPECT_EQ(owner.tree().Claim(walk, Gfn{1}, kSmall, other),
            MapOutcome::kPresent);
}

TYPED_TEST(PageTableTest, AClaimThatIsGivenUpLeavesTheEntryEmpty) {
  using F = TypeParam;
  TestTree<F> owner(TableKind::kIndirect);
  const LocklessWalk walk(owner.domain());
  SpteCell<F>* entry = nullptr;
  ASSERT_EQ(owner.tree().Claim(walk, Gfn{1}, kSmall, entry), MapOutcome::kDone);
  Empty<F>(*entry);
  EXPECT_EQ(owner.Read(Gfn{1}), F::kEmpty);
  EXPECT_EQ(owner.tree().Claim(walk, Gfn{1}, kSmall, entry), MapOutcome::kDone);
}

#if PTAGE_HARDENED
TYPED_TEST(PageTableTest, BrokenPreconditionsTrap) {
  using F = TypeParam;
  TestTree<F>& direct = this->owner_;
  TestTree<F> indirect(TableKind::kIndirect);
  const auto leaf = this->Leaf(Gfn{0});
  SpteCell<F>* entry = nullptr;
  const LocklessWalk walk(direct.domain());
  const LocklessWalk other_walk(indirect.domain());
  EXPECT_DEATH((void)direct.tree().Claim(walk, Gfn{0}, kSmall, entry), "");
  EXPECT_DEATH((void)indirect.tree().Map(other_walk, Gfn{0}, kSmall, leaf), "");
  EXPECT_DEATH((void)indirect.tree().Split(other_walk, Gfn{0}, kLarge), "");
  EXPECT_DEATH((void)indirect.tree().Promote(other_walk, Gfn{0}, kLarge), "");
  // Not aligned; beyond the tree; above the largest leaf; below level 2.
  EXPECT_DEATH((void)direct.tree().Map(walk, Gfn{1}, kLarge, leaf), "");
  EXPECT_DEATH((void)direct.tree().Map(walk, Gfn{TestTree<F>::Tree::kFrames},
                                       kSmall, leaf),
               "");
  EXPECT_DEATH(
      (void)direct.tree().Lookup(walk, Gfn{TestTree<F>::Tree::kFrames}), "");
  EXPECT_DEATH(
      (void)direct.tree().Map(walk, Gfn{0}, F::kLargestLeaf.Above(), leaf), "");
  EXPECT_DEATH((void)direct.tree().Split(walk, Gfn{0}, kSmall), "");
  // Outside of a walk: here one that found no place.
  AnonymousEpochDomain<1> domain;
  NoFlush flusher;
  PageTable<F, TableArena<F>, AnonymousEpochDomain<1>> tree(
      direct.arena(), domain, flusher, TableKind::kDirect);
  const LocklessWalk only(domain);
  const LocklessWalk failed(domain);
  EXPECT_DEATH((void)tree.Map(failed, Gfn{0}, kSmall, leaf), "");
  EXPECT_DEATH((void)tree.Lookup(failed, Gfn{0}), "");
}
#endif

// --- Zap.

TYPED_TEST(PageTableTest, ZapHandsOverWhatCoversTheRangeAndNothingElse) {
  using F = TypeParam;
  const auto one = this->Young(this->Leaf(Gfn{1}));
  const auto two = this->Dirty(this->Leaf(Gfn{2}));
  const auto large = this->Young(this->Dirty(this->Leaf(this->kB, kLarge)));
  this->owner_.MustMap(Gfn{0}, kSmall, this->Leaf(Gfn{0}));
  this->owner_.MustMap(Gfn{1}, kSmall, one);
  this->owner_.MustMap(Gfn{2}, kSmall, two);
  this->owner_.MustMap(this->kB, kLarge, large);
  const std::size_t in_use = this->owner_.arena().InUse();

  // One frame of the large leaf is enough.
  std::vector<Taken<F>> taken;
  EXPECT_EQ(this->Zap(GfnRange{Gfn{1}, this->kB + 1}, taken), 3u);
  EXPECT_EQ(taken, (std::vector<Taken<F>>{{Gfn{1}, kSmall, one},
                                          {Gfn{2}, kSmall, two},
                                          {this->kB, kLarge, large}}));
  EXPECT_EQ(this->owner_.Read(Gfn{0}), this->Leaf(Gfn{0}));
  EXPECT_EQ(this->owner_.Read(Gfn{1}), F::kEmpty);
  EXPECT_EQ(this->owner_.Read(Gfn{2}), F::kEmpty);
  EXPECT_EQ(this->owner_.Read(this->kB), F::kEmpty);
  // Tables stay.
  EXPECT_EQ(this->owner_.TablesInUse(), in_use);
  EXPECT_EQ(this->Zap(GfnRange{Gfn{1}, this->kB + 1}, taken), 0u);
}

TYPED_TEST(PageTableTest, ZapOfAnEmptyRangeDoesNothing) {
  using F = TypeParam;
  this->owner_.MustMap(this->kA, kLarge, this->Leaf(this->kA, kLarge));
  std::vector<Taken<F>> taken;
  EXPECT_EQ(this->Zap(GfnRange{Gfn{2}, Gfn{2}}, taken), 0u);
  EXPECT_EQ(this->owner_.Read(Gfn{2}), this->Leaf(this->kA, kLarge));
}

// Frozen, flushed, handed over, emptied.
TYPED_TEST(PageTableTest, ZapFlushesEachEntryBeforeItHandsItOver) {
  using F = TypeParam;
  this->owner_.MustMap(Gfn{1}, kSmall, this->Leaf(Gfn{1}));
  this->owner_.MustMap(this->kB, kLarge, this->Leaf(this->kB, kLarge));
  std::vector<GfnRange> flushed;
  this->owner_.flusher().hook = [&](GfnRange range) {
    EXPECT_EQ(this->owner_.Read(range.begin), F::kFrozen);
    flushed.push_back(range);
  };
  std::vector<GfnRange> handed;
  const auto sink = [&](const TakenLeaf<F>& leaf) {
    EXPECT_EQ(flushed.size(), handed.size() + 1);
    EXPECT_EQ(flushed.back(), leaf.Frames());
    // A fault meanwhile cannot take the entry.
    EXPECT_EQ(this->owner_.Map(leaf.gfn, leaf.level, leaf.word),
              MapOutcome::kRetry);
    handed.push_back(leaf.Frames());
  };
  EXPECT_EQ(this->owner_.tree().Zap(LocklessWalk(this->owner_.domain()),
                                    GfnRange{Gfn{0}, this->kB + 1},
                                    ZapFlush::kEach, sink),
            2u);
  EXPECT_EQ(handed, flushed);
}

TYPED_TEST(PageTableTest, ZapLeavesTheFlushToACallerWhoAsksForIt) {
  using F = TypeParam;
  this->owner_.MustMap(Gfn{1}, kSmall, this->Leaf(Gfn{1}));
  this->owner_.flusher().hook = [](GfnRange) { ADD_FAILURE() << "flushed"; };
  std::vector<Taken<F>> taken;
  EXPECT_EQ(this->Zap(this->kFirst, taken, ZapFlush::kByCaller), 1u);
}

TYPED_TEST(PageTableTest, ZapWaitsForTheOwnerOfAnEntry) {
  using F = TypeParam;
  const auto leaf = this->Young(this->Leaf(Gfn{1}));
  this->owner_.MustMap(Gfn{1}, kSmall, leaf);
  SpteCell<F>& entry = *this->owner_.Find(Gfn{1}).entry;
  std::vector<Taken<F>> taken;
  ASSERT_TRUE(Freeze<F>(entry, leaf));
  test::ExpectToWait([&] { this->Zap(this->kFirst, taken); },
                     [&] { Restore<F>(entry, this->Dirty(leaf)); });
  EXPECT_EQ(taken,
            (std::vector<Taken<F>>{{Gfn{1}, kSmall, this->Dirty(leaf)}}));
}

// --- Visit.

TYPED_TEST(PageTableTest, AVisitorThatRefusesAnEntryIsToldWhereItWas) {
  this->owner_.MustMap(Gfn{1}, kSmall, this->Leaf(Gfn{1}));
  this->owner_.MustMap(this->kB, kLarge, this->Leaf(this->kB, kLarge));
  const LocklessWalk walk(this->owner_.domain());
  std::uint64_t budget = 1'000'000;
  const auto refuse_large = [&](auto&, auto, Gfn, Level level) {
    return level == kSmall;
  };
  EXPECT_EQ(this->owner_.tree().Visit(walk, GfnRange{Gfn{0}, this->kB + 3},
                                      budget, refuse_large),
            this->kB);
  EXPECT_EQ(
      this->owner_.tree().Visit(walk, GfnRange{this->kB + 2, this->kB + 3},
                                budget, refuse_large),
      this->kB + 2);
  EXPECT_EQ(this->owner_.tree().Visit(walk, this->kFirst, budget, refuse_large),
            this->kB);
}

}  // namespace
}  // namespace ptage
