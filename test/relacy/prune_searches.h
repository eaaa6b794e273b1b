// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of prune.h.

#ifndef PTAGE_TEST_RELACY_PRUNE_SEARCHES_H_
#define PTAGE_TEST_RELACY_PRUNE_SEARCHES_H_

#include <cstdint>

#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/cpu.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/resize_searches.h"
#include "test/relacy/search.h"
#include "test/relacy/searched_tree.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// A round of the frames kA and kB, whose leaves have one parent.
template <class T>
AgeResult PruneBoth(T& tree, Pruning pruning) {
  LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
  return Prune(tree.pages(), walk, tree.flusher(), kBoth, pruning,
               AgeAction::kTestAndClear, AgeOutput{});
}

// Alone: one more round finds whatever is young.
template <class T>
void RequireNothingIsLeftBehind(T& tree, Pruning pruning) {
  (void)PruneBoth(tree, pruning);
  for (const Gfn gfn : {kA, kB}) {
    Require(!IsYoung<TinyFormat>(tree.Find(gfn).word),
            "nothing young is left behind a parent that is not");
  }
}

// --- A fault maps a young leaf under a parent that is being cleared.

struct FaultAgainstPruning : rl::test_suite<FaultAgainstPruning, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { tree.MapSmall(kB); }
  void thread(unsigned index) {
    if (index == 1) {
      (void)PruneBoth(tree, Pruning::kExact);
      return;
    }
    Require(tree.MapSmall(kA) == MapOutcome::kDone,
            "a map that nobody hinders is done");
    LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
    MarkParent(tree.pages(), walk, kA);
  }
  void after() { RequireNothingIsLeftBehind(tree, Pruning::kExact); }
};

// --- A CPU walks, from the root or from what it has cached of it.

template <Pruning kPruning>
struct CpuAgainstPruning : rl::test_suite<CpuAgainstPruning<kPruning>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kDirect, FreesAtTheEnd, Cpu> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 1) {
      (void)PruneBoth(tree, kPruning);
      return;
    }
    for (int i = 0; i < 2; ++i) {
      tree.flusher().WalkAndMark(
          tree.pages().root()->entries[0], [&](Word inner) {
            Table<TinyFormat>* const table =
                tree.arena().TableAt(TinyFormat::FrameOf(inner));
            (void)Access(table->entries[0], AccessKind::kRead);
          });
    }
  }
  void after() { RequireNothingIsLeftBehind(tree, kPruning); }
};

// --- An owner takes a young leaf, and puts it back after a round.

struct OwnerAgainstPruning : rl::test_suite<OwnerAgainstPruning, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  AgeResult answer;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 1) {
      answer = PruneBoth(tree, Pruning::kExact);
      return;
    }
    const FoundEntry<TinyFormat> found = tree.Find(kA);
    if (!Freeze<TinyFormat>(*found.entry, found.word)) return;
    Restore<TinyFormat>(*found.entry, found.word);
  }
  void after() {
    // One of the two rounds.
    Require((answer | PruneBoth(tree, Pruning::kExact)).young,
            "what is young is reported, or said to be unknown");
  }
};

// --- A change of the structure, whose entry above the leaves is frozen.

struct SplitAgainstPruning : rl::test_suite<SplitAgainstPruning, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  AgeResult answer;

  void before() { tree.MapLarge(TinyFormat::kAccessed); }
  void thread(unsigned index) {
    if (index == 1) {
      answer = PruneBoth(tree, Pruning::kExact);
    } else {
      (void)tree.Split();
    }
  }
  void after() {
    Require((answer | PruneBoth(tree, Pruning::kExact)).young,
            "what is young is reported, or said to be unknown");
  }
};

// --- A change of the structure that is not made gives the parent back.

template <Change kChange>
struct GivingBackAgainstPruning
    : rl::test_suite<GivingBackAgainstPruning<kChange>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  Tree<> tree;
  AgeResult answer;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 1) {
      answer = PruneBoth(tree, Pruning::kExact);
    } else {
      Require(Make<kChange>(tree) == StructureOutcome::kUnsuitable,
              "half a table is not promoted, and no table is split");
    }
  }
  void after() {
    // One of the two rounds.
    Require((answer | PruneBoth(tree, Pruning::kExact)).young,
            "what is young is reported, or said to be unknown");
  }
};

// --- A parent is marked while its table is removed.

struct MarkAgainstRemoval : rl::test_suite<MarkAgainstRemoval, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 1) {
      tree.RemoveTables();
      return;
    }
    LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
    MarkParent(tree.pages(), walk, kA);
  }
  void after() { tree.CheckMappings(); }
};

// --- A leaf above the parents' level is taken, and put back after a round.

struct TallFormat : TinyFormat {
  static constexpr int kLevels = 3;
  static constexpr Level kLargestLeaf{3};
};

// A tree of three levels with a young leaf at the root.
struct TallTree {
  static constexpr Level kHuge{3};
  static constexpr GfnRange kAll{Gfn{0}, Gfn{4}};

  using Arena = TableArena<TallFormat, BlockingLock>;
  using Pages =
      PageTable<TallFormat, Arena, FreesAtTheEnd, NoFlush, BlockingLock>;
  using Walk = LocklessWalk<FreesAtTheEnd>;

  void MapHuge() {
    Require(pages.Map(Walk(reclaimer), Gfn{0}, kHuge,
                      TallFormat::MakeLeaf(Pfn{0x10}, kHuge, Rights::kAll) |
                          TallFormat::kAccessed) == MapOutcome::kDone,
            "a map that nobody hinders is done");
  }
  void TakeAndPutBack() {
    const FoundEntry<TallFormat> found = pages.Lookup(Walk(reclaimer), Gfn{0});
    if (!Freeze<TallFormat>(*found.entry, found.word)) return;
    Restore<TallFormat>(*found.entry, found.word);
  }

  Table<TallFormat> tables[1];
  TableInfo<TallFormat> infos[1];
  Arena arena{tables, infos, nullptr, 1, Pfn{0x100}};
  FreesAtTheEnd reclaimer;
  NoFlush flusher;
  Pages pages{arena, reclaimer, flusher, TableKind::kDirect};
};

struct TallOwnerAgainstPruning : rl::test_suite<TallOwnerAgainstPruning, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  TallTree tree;
  AgeResult answer;

  AgeResult Round() {
    return Prune(tree.pages, TallTree::Walk(tree.reclaimer), tree.flusher,
                 TallTree::kAll, Pruning::kExact, AgeAction::kTestAndClear,
                 AgeOutput{});
  }
  void before() { tree.MapHuge(); }
  void thread(unsigned index) {
    if (index == 1) {
      answer = Round();
    } else {
      tree.TakeAndPutBack();
    }
  }
  void after() {
    Require(!answer.complete || answer.young,
            "what is young is reported, or said to be unknown");
    Require((answer | Round()).young,
            "what is young is reported, or said to be unknown");
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_PRUNE_SEARCHES_H_
