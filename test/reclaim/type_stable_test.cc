// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/reclaim/type_stable.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/memory/stable_arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::Truth;

constexpr Level kSmall{1};
constexpr Level kLarge{2};

static_assert(Reclaimer<TypeStable> && kTypeStable<TypeStable>);

// A pool is of one format, and keeps identities: see rejected.py for what a
// compiler says otherwise.
static_assert(StableTableMemory<StableArena<Ept>, Ept>);
static_assert(!StableTableMemory<StableArena<Ept>, X86_64>);
static_assert(!StableTableMemory<TableArena<Ept>, Ept>);

TEST(TypeStableTest, WhatIsRetiredIsFreedAtOnceUnderAnyWalk) {
  TypeStable reclaimer;
  int freed = 0;
  Retired node;
  node.owner = &freed;
  node.free = [](Retired&, void* owner) { ++*static_cast<int*>(owner); };
  const LocklessWalk walk(reclaimer);
  EXPECT_TRUE(static_cast<bool>(walk));
  reclaimer.Retire(node);
  EXPECT_EQ(freed, 1);
}

TEST(TableIdentityTest, ATableThatWasNeverUsedServesNothing) {
  const TableIdentity identity;
  EXPECT_EQ(identity.LifeIn({nullptr, Gfn{0}, Level{1}}), kNoTableLife);
  EXPECT_FALSE(identity.StillIn(kNoTableLife));
}

TEST(TableIdentityTest, ALifeIsInOnePlaceOnly) {
  int tree = 0;
  int other = 0;
  TableIdentity identity;
  const TablePlace place{&tree, Gfn{0x200}, Level{1}};
  identity.Record(place);
  const TableLife life = identity.LifeIn(place);
  EXPECT_NE(life, kNoTableLife);
  EXPECT_TRUE(identity.StillIn(life));
  EXPECT_EQ(identity.LifeIn({&other, Gfn{0x200}, Level{1}}), kNoTableLife);
  EXPECT_EQ(identity.LifeIn({&tree, Gfn{0x400}, Level{1}}), kNoTableLife);
  EXPECT_EQ(identity.LifeIn({&tree, Gfn{0x200}, Level{2}}), kNoTableLife);
  // The largest frames and levels stay apart.
  identity.Record({&tree, Gfn{(std::uint64_t{1} << 52) - 1}, Level{5}});
  EXPECT_EQ(
      identity.LifeIn({&tree, Gfn{(std::uint64_t{1} << 51) - 1}, Level{5}}),
      kNoTableLife);
  EXPECT_NE(
      identity.LifeIn({&tree, Gfn{(std::uint64_t{1} << 52) - 1}, Level{5}}),
      kNoTableLife);
}

TEST(TableIdentityTest, ATableThatComesBackToItsPlaceHasAnotherLife) {
  int tree = 0;
  const TablePlace here{&tree, Gfn{0}, Level{1}};
  TableIdentity identity;
  identity.Record(here);
  const TableLife before = identity.LifeIn(here);
  identity.Record({&tree, Gfn{0x200}, Level{1}});
  EXPECT_FALSE(identity.StillIn(before));
  identity.Record(here);
  EXPECT_FALSE(identity.StillIn(before));
  EXPECT_TRUE(identity.StillIn(identity.LifeIn(here)));
}

// --- Trees of one pool.

template <class F>
class StableTreesTest : public testing::Test {
 protected:
  using Word = typename F::Word;
  using Tree = PageTable<F, StableArena<F>, TypeStable>;
  using Walk = typename Tree::Walk;

  static constexpr std::size_t kTables = 24;
  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);

  std::unique_ptr<Tree> MakeTree() {
    return std::make_unique<Tree>(arena_, reclaimer_, no_flush_,
                                  TableKind::kDirect);
  }
  // Frames apart for each tree, aligned for a large leaf.
  static Pfn Backing(unsigned tree, Gfn gfn) {
    return Pfn{(std::uint64_t{tree} + 1) * 8 * kFrames + gfn.value};
  }
  static Word Leaf(unsigned tree, Gfn gfn, Level level) {
    return F::MakeLeaf(Backing(tree, gfn), level, Rights::kAll);
  }
  static Word Young(Word word) {
    return static_cast<Word>(word | Truth<F>::kAccessedBit);
  }
  static void Ignore(const TakenLeaf<F>&) {}

  std::vector<Table<F>> tables_ = std::vector<Table<F>>(kTables);
  std::vector<TableInfo<F>> infos_ = std::vector<TableInfo<F>>(kTables);
  std::unique_ptr<TableIdentity[]> identities_ =
      std::make_unique<TableIdentity[]>(kTables);
  StableArena<F> arena_{tables_.data(), infos_.data(), identities_.get(),
                        kTables, Pfn{0x10}};
  TypeStable reclaimer_;
  NoFlush no_flush_;
};

TYPED_TEST_SUITE(StableTreesTest, test::AllFormats, test::FormatNames);

TYPED_TEST(StableTreesTest, ARemovedTableIsFreeAtOnceUnderAWalk) {
  auto tree = this->MakeTree();
  const LocklessWalk walk(this->reclaimer_);
  const std::size_t before = this->arena_.InUse();
  ASSERT_EQ(tree->Map(walk, Gfn{1}, kSmall, this->Leaf(0, Gfn{1}, kSmall)),
            MapOutcome::kDone);
  EXPECT_GT(this->arena_.InUse(), before);
  tree->RemoveTables(walk, GfnRange{Gfn{0}, Gfn{tree->kFrames}}, this->Ignore);
  EXPECT_EQ(this->arena_.InUse(), before);
}

// What a fault that is still inside could take is never in free memory.
TYPED_TEST(StableTreesTest, EveryEntryOfAFreeTableIsFrozen) {
  using F = TypeParam;
  {
    auto tree = this->MakeTree();
    const LocklessWalk walk(this->reclaimer_);
    for (const std::uint64_t gfn : {std::uint64_t{0}, 2 * this->kFrames}) {
      ASSERT_EQ(
          tree->Map(walk, Gfn{gfn}, kSmall, this->Leaf(0, Gfn{gfn}, kSmall)),
          MapOutcome::kDone);
    }
    ASSERT_EQ(tree->Map(walk, Gfn{this->kFrames}, kLarge,
                        this->Leaf(0, Gfn{this->kFrames}, kLarge)),
              MapOutcome::kDone);
    ASSERT_EQ(tree->Split(walk, Gfn{this->kFrames}, kLarge),
              StructureOutcome::kDone);
    ASSERT_EQ(tree->Promote(walk, Gfn{this->kFrames}, kLarge),
              StructureOutcome::kDone);
    tree->RemoveTables(walk, GfnRange{Gfn{0}, Gfn{this->kFrames}},
                       this->Ignore);
  }
  EXPECT_EQ(this->arena_.InUse(), 0u);
  unsigned used = 0;
  for (std::size_t i = 0; i < this->kTables; ++i) {
    const Table<F>& table = this->tables_[i];
    const TableIdentity& identity = this->arena_.IdentityOf(&table);
    // A table that was never given out is as it came.
    if (identity.StillIn(kNoTableLife + 1) || identity.StillIn(2) ||
        identity.StillIn(3)) {
      ++used;
      for (const auto& entry : table.entries) {
        ASSERT_EQ(ReadOnce(entry, kRelaxed), F::kFrozen) << i;
      }
    }
  }
  EXPECT_GE(used, 4u);
}

// A walk at rest in a table: what it finds there later depends on whether the
// table is still of its place.
TYPED_TEST(StableTreesTest, AStaleWalkFindsAnotherPlacesEntriesFrozen) {
  using F = TypeParam;
  auto tree = this->MakeTree();
  auto other = this->MakeTree();
  const LocklessWalk walk(this->reclaimer_);
  for (std::uint64_t i = 0; i < 2; ++i) {
    ASSERT_EQ(tree->Map(walk, Gfn{i}, kSmall,
                        this->Young(this->Leaf(0, Gfn{i}, kSmall))),
              MapOutcome::kDone);
  }
  std::vector<Gfn> young;
  std::vector<Gfn> frozen;
  std::uint64_t budget = kNoBudget;
  tree->Visit(walk, GfnRange{Gfn{0}, Gfn{4}}, budget,
              [&](SpteCell<F>&, typename F::Word seen, Gfn gfn, Level) {
                (IsFrozen<F>(seen) ? frozen : young).push_back(gfn);
                if (gfn == Gfn{0}) {
                  // The table of the walk goes to the other tree, for the same
                  // frames.
                  tree->RemoveTables(walk, GfnRange{Gfn{0}, Gfn{tree->kFrames}},
                                     this->Ignore);
                  for (std::uint64_t i = 0; i < 4; ++i) {
                    EXPECT_EQ(
                        other->Map(walk, Gfn{i}, kSmall,
                                   this->Young(this->Leaf(1, Gfn{i}, kSmall))),
                        MapOutcome::kDone);
                  }
                }
                return true;
              });
  EXPECT_EQ(young, (std::vector<Gfn>{Gfn{0}}));
  EXPECT_EQ(frozen, (std::vector<Gfn>{Gfn{1}, Gfn{2}, Gfn{3}}));
  // Nothing was taken from the other tree.
  std::uint64_t bits = 0;
  Harvest(*other, walk, GfnRange{Gfn{0}, Gfn{4}}, AgeAction::kTest,
          AgeMode::kFastOnly,
          AgeOutput{.begin = Gfn{0}, .young = Bitmap(&bits, 4)});
  EXPECT_EQ(bits, 0xFu);
}

// Three trees on one pool of few tables, under faults, zaps, removals and
// harvests of each. Rounds, so that one lost bit is not covered by the next
// access to its page; and some pages are never accessed, so that a report too
// many is seen.
TYPED_TEST(StableTreesTest, NoAccessIsLostAndNoneIsChargedToAnother) {
  using F = TypeParam;
  constexpr unsigned kTrees = 3;
  constexpr std::uint64_t kPages = 2;  // used of each large page
  const std::uint64_t all = 2 * this->kFrames;
  struct Tally {
    explicit Tally(std::uint64_t frames)
        : touched(frames),
          young(frames / 64 + 1),
          handed{std::vector<bool>(frames), std::vector<bool>(frames)} {}
    std::vector<bool> touched;
    std::vector<std::uint64_t> young;
    std::vector<bool> handed[2];
  };
  std::uint64_t rounds = 0;
  std::uint64_t accesses = 0;
  std::uint64_t reuses = 0;
  const auto end = std::chrono::steady_clock::now() + 3 * test::kStressTime;
  while (std::chrono::steady_clock::now() < end) {
    std::unique_ptr<typename TestFixture::Tree> trees[kTrees];
    std::vector<Tally> tallies(kTrees, Tally(all));
    for (auto& tree : trees) tree = this->MakeTree();
    const auto frame = [&](std::mt19937& random) {
      return Gfn{random() % 2 * this->kFrames + random() % kPages};
    };
    std::vector<std::function<void()>> bodies;
    // Faults of every tree: a page of an even frame is born accessed.
    bodies.emplace_back([&, seed = rounds] {
      std::mt19937 random(static_cast<unsigned>(seed) * 4);
      for (int i = 0; i < 48; ++i) {
        const auto which = static_cast<unsigned>(random() % kTrees);
        const Gfn gfn = frame(random);
        typename F::Word leaf = this->Leaf(which, gfn, kSmall);
        if (gfn.value % 2 == 0) leaf = this->Young(leaf);
        const MapOutcome outcome = trees[which]->Map(
            LocklessWalk(this->reclaimer_), gfn, kSmall, leaf);
        if (outcome == MapOutcome::kDone && gfn.value % 2 == 0) {
          tallies[which].touched[gfn.value] = true;
          ++accesses;
        }
      }
    });
    const auto changer = [&](unsigned hand) {
      return [&, hand, seed = rounds] {
        std::mt19937 random(static_cast<unsigned>(seed) * 4 + 1 + hand);
        for (int i = 0; i < 24; ++i) {
          const auto which = static_cast<unsigned>(random() % kTrees);
          auto& tree = *trees[which];
          const auto into = [&](const TakenLeaf<F>& leaf) {
            if ((leaf.word & Truth<F>::kAccessedBit) == 0) return;
            for (Gfn gfn = leaf.gfn; gfn < leaf.Frames().end; gfn = gfn + 1) {
              tallies[which].handed[hand][gfn.value] = true;
            }
          };
          const LocklessWalk walk(this->reclaimer_);
          const Gfn large{random() % 2 * this->kFrames};
          if (random() % 3 == 0) {
            tree.Zap(walk, GfnRange{large, large + 1}, ZapFlush::kEach, into);
          } else {
            tree.RemoveTables(walk, GfnRange{large, large + this->kFrames},
                              into);
          }
        }
      };
    };
    bodies.emplace_back(changer(0));
    bodies.emplace_back(changer(1));
    bodies.emplace_back([&] {
      for (int i = 0; i < 8; ++i) {
        for (unsigned which = 0; which < kTrees; ++which) {
          Harvest(*trees[which], LocklessWalk(this->reclaimer_),
                  GfnRange{Gfn{0}, Gfn{all}}, AgeAction::kTestAndClear,
                  AgeMode::kFastOnly,
                  AgeOutput{.begin = Gfn{0},
                            .young = Bitmap(tallies[which].young.data(), all)});
        }
      }
    });
    test::RunThreads(bodies);
    for (unsigned which = 0; which < kTrees; ++which) {
      Tally& tally = tallies[which];
      trees[which]->Zap(
          LocklessWalk(this->reclaimer_), GfnRange{Gfn{0}, Gfn{all}},
          ZapFlush::kEach, [&](const TakenLeaf<F>& leaf) {
            ASSERT_EQ(F::FrameOf(leaf.word), this->Backing(which, leaf.gfn));
            if ((leaf.word & Truth<F>::kAccessedBit) != 0) {
              tally.handed[0][leaf.gfn.value] = true;
            }
          });
      for (std::uint64_t i = 0; i < all; ++i) {
        const bool seen = Bitmap(tally.young.data(), all).Test(i) ||
                          tally.handed[0][i] || tally.handed[1][i];
        ASSERT_EQ(seen, tally.touched[i])
            << "round " << rounds << ", tree " << which << ", frame " << i;
      }
      trees[which].reset();
    }
    ASSERT_EQ(this->arena_.InUse(), 0u);
    ++rounds;
  }
  EXPECT_GT(accesses, rounds);
  for (std::size_t i = 0; i < this->kTables; ++i) {
    // A life more for each use.
    if (!this->arena_.IdentityOf(&this->tables_[i]).StillIn(1)) ++reuses;
  }
  EXPECT_GT(reuses, 3u);
}

}  // namespace
}  // namespace ptage
