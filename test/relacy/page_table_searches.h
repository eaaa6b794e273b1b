// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of page_table.h, walk.h and harvest.h; those of splits and
// promotions are in resize_searches.h.

#ifndef PTAGE_TEST_RELACY_PAGE_TABLE_SEARCHES_H_
#define PTAGE_TEST_RELACY_PAGE_TABLE_SEARCHES_H_

#include <cstdint>

#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/cpu.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/resize_searches.h"
#include "test/relacy/search.h"
#include "test/relacy/searched_tree.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// --- A fault against the removal of its table.

struct MapAgainstRemoval : rl::test_suite<MapAgainstRemoval, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { tree.MapSmall(kB); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.MapSmall(kA);
    } else {
      tree.RemoveTables();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

// The same of an entry that is claimed: the removal waits for its owner.
struct ClaimAgainstRemoval : rl::test_suite<ClaimAgainstRemoval, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kIndirect> tree;

  void before() { tree.ClaimAndPublish(kB); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.ClaimAndPublish(kA);
    } else {
      tree.RemoveTables();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

// A walker sets bits in leaves that a removal takes.
struct WalkerAgainstRemoval : rl::test_suite<WalkerAgainstRemoval, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() {
    tree.Map(kA, kSmall, Leaf(Backing(kA)));
    tree.MapSmall(kB);
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.AccessFrame(kA, AccessKind::kRead);
      tree.AccessFrame(kB, AccessKind::kWrite);
    } else {
      tree.RemoveTables();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

// A CPU keeps the inner entry, and goes on from there.
struct CachedInner : rl::test_suite<CachedInner, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kDirect, FreesAtOnce, Cpu> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 1) {
      tree.RemoveTables();
      return;
    }
    for (int i = 0; i < 2; ++i) {
      tree.flusher().Walk(tree.pages().root()->entries[0], [&](Word inner) {
        Table<TinyFormat>* const table =
            tree.arena().TableAt(TinyFormat::FrameOf(inner));
        Access(table->entries[0], AccessKind::kWrite);
      });
    }
  }
  void after() { tree.CheckMappings(); }
};

// What "empty" says to who finds it on the way to a page.
struct EmptyAfterRemoval : rl::test_suite<EmptyAfterRemoval, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  Cell<std::uint32_t> on_record;

  void before() {
    tree.MapSmall(kA);
    WriteOnce(on_record, 0u, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
      tree.pages().RemoveTables(walk, kBoth, [&](const TakenLeaf<TinyFormat>&) {
        WriteOnce(on_record, 1u, kRelaxed);
      });
    } else if (tree.Find(kA).word == TinyFormat::kEmpty) {
      Require(ReadOnce(on_record, kRelaxed) == 1,
              "nobody reads empty before the access is on record");
    }
  }
};

// --- A harvest against a zap: by words, and by blocks.

struct HarvestAgainstZap : rl::test_suite<HarvestAgainstZap, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  Cell<std::uint32_t> on_record;

  AgeResult Ask() {
    LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
    return Harvest(tree.pages(), walk, kBoth, AgeAction::kTest,
                   AgeMode::kFastOnly, AgeOutput{});
  }
  void before() {
    tree.MapSmall(kA);
    WriteOnce(on_record, 0u, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
      tree.pages().Zap(walk, kBoth, ZapFlush::kEach,
                       [&](const TakenLeaf<TinyFormat>&) {
                         WriteOnce(on_record, 1u, kRelaxed);
                       });
      return;
    }
    const AgeResult answer = Ask();
    Require(
        answer.young || !answer.complete || ReadOnce(on_record, kRelaxed) == 1,
        "nobody reads empty before the access is on record");
  }
  void after() { Require(Ask() == AgeResult{}, "nothing stays frozen"); }
};

// kAll: a bit that all words have, as far from the accessed bit as it takes for
// words to be folded, or nearer.
template <Word kAll>
struct BlockAgainstZap : rl::test_suite<BlockAgainstZap<kAll>, 2> {
  static constexpr Plan kPlan = RandomInterleavings(20'000);
  static constexpr unsigned kZapped = 5;

  Entry entries[kBlock];
  Cell<std::uint32_t> on_record;

  BlockSeen See() {
    const Entry* const blocks[1] = {entries};
    BlockSeen seen[1];
    SeeBlocks<1>(blocks, kAll, TinyFormat::kAccessed, seen);
    return seen[0];
  }
  void before() {
    for (Entry& entry : entries) {
      WriteOnce(entry, TinyFormat::kPresent | kAll, kRelaxed);
    }
    WriteOnce(entries[kZapped],
              TinyFormat::kPresent | kAll | TinyFormat::kAccessed, kRelaxed);
    WriteOnce(on_record, 0u, kRelaxed);
    Require(See().all, "what is whole is said to be");
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)Zap<TinyFormat>(
          entries[kZapped], [] {},
          [&](Word) { WriteOnce(on_record, 1u, kRelaxed); });
      if (Freeze<TinyFormat>(entries[kZapped], TinyFormat::kEmpty)) {
        Publish<TinyFormat>(entries[kZapped], TinyFormat::kPresent | kAll);
      }
      return;
    }
    // Of a block that is not whole, its words are asked.
    const BlockSeen seen = See();
    Require(!seen.all || seen.has == 1u << kZapped ||
                ReadOnce(on_record, kRelaxed) == 1,
            "nobody reads cold before the access is on record");
  }
};

// --- Zaps against each other, and against a removal.

enum class Rival { kZap, kRemoval };

template <Rival kRival>
struct ZapAgainst : rl::test_suite<ZapAgainst<kRival>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 0 || kRival == Rival::kZap) {
      tree.Zap(kBoth);
      Require(!TinyFormat::IsPresent(tree.Find(kA).word),
              "what was zapped does not come back");
    } else {
      tree.RemoveTables();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

// --- A cold table goes.

// A fault that is inside maps a young leaf.
struct FaultAgainstCold : rl::test_suite<FaultAgainstCold, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() {
    tree.MapCold(kB);
    tree.MakeCold();
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.MapSmall(kA);
    } else {
      tree.ReclaimCold();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

// A CPU marks the entry above and the leaf, or goes on from what it keeps.
struct WalkerAgainstCold : rl::test_suite<WalkerAgainstCold, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kDirect, FreesAtOnce, Cpu> tree;

  void before() {
    tree.MapCold(kA);
    tree.MakeCold();
  }
  void thread(unsigned index) {
    if (index == 1) {
      LocklessWalk<FreesAtOnce> walk(tree.reclaimer());
      tree.pages().ReclaimCold(
          walk, kBoth, tree.History(), [&](const TakenLeaf<TinyFormat>& leaf) {
            Require(!tree.flusher().Caches(),
                    "no CPU uses a leaf that was handed on");
            Require(!IsYoung<TinyFormat>(leaf.word),
                    "a table in use is not removed");
          });
      return;
    }
    Entry& above = tree.pages().root()->entries[0];
    for (int i = 0; i < 2; ++i) {
      tree.flusher().Walk(above, [&](Word inner) {
        Access(above, AccessKind::kRead);
        Table<TinyFormat>* const table =
            tree.arena().TableAt(TinyFormat::FrameOf(inner));
        // The first finds nothing mapped.
        Access(table->entries[1 - i], AccessKind::kWrite);
      });
    }
  }
};

// What "empty" says to who finds it on the way to a page.
struct EmptyAfterCold : rl::test_suite<EmptyAfterCold, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  Cell<std::uint32_t> on_record;

  void before() {
    tree.MapCold(kA);
    tree.MakeCold();
    WriteOnce(on_record, 0u, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
      tree.pages().ReclaimCold(walk, kBoth, tree.History(),
                               [&](const TakenLeaf<TinyFormat>&) {
                                 WriteOnce(on_record, 1u, kRelaxed);
                               });
    } else if (tree.Find(kA).word == TinyFormat::kEmpty) {
      Require(ReadOnce(on_record, kRelaxed) == 1,
              "nobody reads empty before the access is on record");
    }
  }
};

// --- Faults that build the table they need.

// There is memory for the table, and for no other: who comes second does not
// ask for one.
struct TwoBuilders : rl::test_suite<TwoBuilders, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<TableKind::kDirect, FreesAtTheEnd, NoFlush, 2> tree;

  void thread(unsigned index) { tree.MapSmallAtLast(Gfn{index}); }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
    Require(tree.arena().InUse() == 2, "no table is lost");
  }
};

// Nobody is in the way.
struct OneBuilder : rl::test_suite<OneBuilder, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void thread(unsigned index) {
    if (index != 0) return;
    for (const Gfn gfn : {kA, kB}) {
      Require(tree.MapSmall(gfn) == MapOutcome::kDone,
              "a map that nobody hinders is done");
    }
    Require(tree.MapSmall(kA) == MapOutcome::kPresent,
            "a fault is told that its page is mapped");
  }
  void after() { tree.CheckMappings(); }
};

// A reader meets the table while it is new.
struct BuilderAndReader : rl::test_suite<BuilderAndReader, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void thread(unsigned index) {
    if (index == 0) {
      tree.MapSmall(kA);
    } else {
      tree.Find(kA);
      tree.HarvestBoth(AgeMode::kFastOnly);
      tree.Find(kB);
    }
  }
  void after() { tree.CheckBits(); }
};

struct SmallAgainstLarge : rl::test_suite<SmallAgainstLarge, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;
  MapOutcome outcomes[2] = {};

  void thread(unsigned index) {
    outcomes[index] = index == 0 ? tree.MapSmall(kB) : tree.MapLarge();
  }
  void after() {
    const bool small = outcomes[0] == MapOutcome::kDone;
    const bool large = outcomes[1] == MapOutcome::kDone;
    Require(!small || !large, "exactly one fault wins");
    tree.CheckMappings();
    Require(!large || tree.arena().InUse() == 1, "no table is lost");
  }
};

// --- The memory of a removed table is used again while others still walk.

struct RemovedUnderAWalk : rl::test_suite<RemovedUnderAWalk, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  using Domain = AnonymousEpochDomain<2, BlockingLock>;

  Tree<TableKind::kDirect, Domain> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.Find(kA);
      tree.HarvestBoth(AgeMode::kFastOnly);
      tree.Find(kB);
      return;
    }
    tree.RemoveTables();
    for (int i = 0; i < 2; ++i) tree.reclaimer().Poll();
    // Takes the freed table again, if it is free by then.
    tree.MapSmallAtLast(kB);
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

// --- Everything at once, at random.

struct Everything : rl::test_suite<Everything, 4> {
  static constexpr Plan kPlan = RandomInterleavings(100'000);

  using Domain = AnonymousEpochDomain<4, BlockingLock>;

  Tree<TableKind::kDirect, Domain> tree;

  void before() { tree.MapLarge(TinyFormat::kAccessed); }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        tree.AccessFrame(kB, AccessKind::kWrite);
        tree.MapSmall(kA);
        tree.AccessFrame(kA, AccessKind::kWrite);
        break;
      case 1:
        tree.HarvestBoth(AgeMode::kFastOnly);
        tree.HarvestBoth(AgeMode::kSlow);
        break;
      case 2:
        tree.Split();
        tree.Zap(GfnRange{kA, kB});
        tree.Promote();
        break;
      default:
        tree.MapSmall(kB);
        tree.RemoveTables();
        tree.reclaimer().Poll();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_PAGE_TABLE_SEARCHES_H_
