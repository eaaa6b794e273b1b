// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of page_table.h: leaves are split and promoted. Included by
// page_table_searches.h.

#ifndef PTAGE_TEST_RELACY_RESIZE_SEARCHES_H_
#define PTAGE_TEST_RELACY_RESIZE_SEARCHES_H_

#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/cpu.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/search.h"
#include "test/relacy/searched_tree.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

enum class Change { kSplit, kPromote };

// What a leaf or its table is before the change.
template <Change kChange>
void StartWhole(Tree<>& tree, Word bits) {
  if (kChange == Change::kSplit) {
    tree.MapLarge(bits);
  } else {
    for (const Gfn gfn : {kA, kB}) {
      tree.Map(gfn, kSmall, Leaf(Backing(gfn)) | bits);
    }
  }
}
template <Change kChange>
StructureOutcome Make(Tree<>& tree) {
  return kChange == Change::kSplit ? tree.Split() : tree.Promote();
}

template <Change kChange>
struct WalkerAgainstChange : rl::test_suite<WalkerAgainstChange<kChange>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { StartWhole<kChange>(tree, 0); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.AccessFrame(kB, AccessKind::kRead);
      tree.AccessFrame(kA, AccessKind::kWrite);
    } else {
      Require(Make<kChange>(tree) == StructureOutcome::kDone,
              "a change that nobody hinders is done");
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

template <Change kChange>
struct AgerAgainstChange : rl::test_suite<AgerAgainstChange<kChange>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { StartWhole<kChange>(tree, TinyFormat::kAccessed); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.HarvestBoth(AgeMode::kFastOnly);
      tree.RequireBothAnswered();
    } else {
      Require(Make<kChange>(tree) == StructureOutcome::kDone,
              "a change that nobody hinders is done");
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

template <Change kChange>
struct ZapAgainstChange : rl::test_suite<ZapAgainstChange<kChange>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() { StartWhole<kChange>(tree, TinyFormat::kDirty); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.Zap(GfnRange{kA, kB});
      Require(!TinyFormat::IsPresent(tree.Find(kA).word),
              "what was zapped does not come back");
    } else {
      Make<kChange>(tree);
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
    Require(!TinyFormat::IsPresent(tree.Find(kA).word),
            "what was zapped does not come back");
  }
};

// Leaves of consecutive frames, of which the first is not aligned.
struct Unaligned : rl::test_suite<Unaligned, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() {
    for (const Gfn gfn : {kA, kB}) {
      tree.Map(gfn, kSmall, Leaf(Pfn{0x11 + gfn.value}));
    }
  }
  void thread(unsigned index) {
    if (index != 0) return;
    Require(tree.Promote() == StructureOutcome::kUnsuitable,
            "a large leaf maps an aligned frame");
  }
};

// A CPU that keeps a leaf and goes on using it. Hardware forbids that it then
// meets a leaf of another size for the same frame.
class SizedCpu {
 public:
  // An access to kA. `below(inner)` is the table that an inner entry leads to.
  template <class Below>
  void Use(const Entry& root, Below&& below) {
    ScopedLock<BlockingLock> hold(walking_);
    const Word seen = ReadOnce(root, kAcquire);
    if (!TinyFormat::IsPresent(seen)) return;
    const bool large = TinyFormat::IsLeaf(seen, kLarge);
    if (size_ != 0) {
      Require(large == (size_ == 2), "no CPU holds a leaf of another size");
      return;
    }
    if (large ||
        TinyFormat::IsPresent(ReadOnce(below(seen).entries[0], kAcquire))) {
      size_ = large ? 2 : 1;
    }
  }
  // A Flusher, as Cpu.
  void Flush(GfnRange) {
    ScopedLock<BlockingLock> hold(walking_);
    size_ = 0;
  }

 private:
  BlockingLock walking_;
  int size_ = 0;  // the level of the leaf that it keeps; 0 for none
};

enum class Resize { kSplit, kPromote, kRemoveAndMap };

template <Resize kResize>
struct CpuAgainst : rl::test_suite<CpuAgainst<kResize>,
                                   kResize == Resize::kRemoveAndMap ? 3 : 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  using Pages = Tree<TableKind::kDirect, FreesAtTheEnd, SizedCpu>;
  Pages tree;

  void before() {
    if (kResize == Resize::kSplit) {
      tree.MapLarge();
    } else {
      tree.MapSmall(kA);
      tree.MapSmall(kB);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) {
        LocklessWalk<FreesAtTheEnd> walk(tree.reclaimer());
        tree.flusher().Use(
            tree.pages().root()->entries[0],
            [&](Word inner) -> Table<TinyFormat>& {
              return *tree.arena().TableAt(TinyFormat::FrameOf(inner));
            });
      }
    } else if (index == 2) {
      tree.MapLarge();
    } else if (kResize == Resize::kSplit) {
      tree.Split();
    } else if (kResize == Resize::kPromote) {
      tree.Promote();
    } else {
      tree.RemoveTables();
    }
  }
  void after() { tree.CheckMappings(); }
};

// A promotion that finds out too late that it cannot: what it froze returns.
struct GivenBack : rl::test_suite<GivenBack, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Tree<> tree;

  void before() {
    tree.Map(kA, kSmall, YoungLeaf(Backing(kA)) | TinyFormat::kDirty);
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.AccessFrame(kA, AccessKind::kRead);
      tree.MapSmall(kB);
    } else {
      tree.Promote();
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckBits();
  }
};

struct ZapAgainstGivingBack : rl::test_suite<ZapAgainstGivingBack, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  Tree<> tree;

  void before() { tree.MapSmall(kA); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.Zap(kBoth);
      Require(!TinyFormat::IsPresent(tree.Find(kA).word),
              "what was zapped does not come back");
    } else {
      Require(tree.Promote() == StructureOutcome::kUnsuitable,
              "half a table is not promoted");
    }
  }
  void after() {
    tree.CheckMappings();
    tree.CheckScores();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_RESIZE_SEARCHES_H_
