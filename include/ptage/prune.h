// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Ages a tree without reading what cannot have changed: leaf tables under a
// parent entry whose own accessed bit stayed clear are skipped (kSkipCold). For
// formats that have accessed bits in inner entries, and off unless asked for.
//
// Contract
//   Concurrently, anything may happen to the tree, and other threads may
//   harvest it, pruning or not. Of leaves that are read all of harvest.h holds.
//   Only the entries of level 2 are parents here; what is above is walked.
//
//   Hardware marks the parent before the leaf on its way down. So a parent that
//   was cleared, and stayed clear, has nothing young under it, unless a CPU
//   passed it before:
//     ager: clears the parent, reads the leaf: cold
//     CPU, on its way since before, or from a cached copy of the parent:
//       marks the leaf, and not the parent
//     ager, next round: the parent is clear, skips the leaf
//   and the access is not found until the parent is marked for another.
//
//   * kExact: parents of a batch are cleared, then CPUs are flushed, once, and
//     then the leaves are read. What was on its way is done by then, and who
//     comes later marks the parent. Nothing is lost that a harvest of every
//     leaf would find. It flushes once for up to kBatch parents, and not at all
//     where none is young.
//   * kBestEffort: no flush. What the interleaving above says is lost: for how
//     long, the CPU's cache of inner entries decides.
//
//   Whoever makes a leaf young in software marks its parent *afterwards*, by
//   MarkParent: a fault that maps an accessed page. Split and Promote need not:
//   an inner entry is born accessed, and a large leaf is never skipped. The
//   other way round
//     fault: marks the parent | ager: clears it, reads the leaf: empty
//     fault: maps the leaf, young
//   the leaf is skipped in the next round.
//
//   * A parent of which the range has a part only is not cleared.
//   * A parent under which something was unknown is marked again, so that the
//     next round looks once more: the owner may put a young entry back.
//     Who freezes the parent itself puts it back accessed (page_table/resize.h,
//     page_table/cold.h), since meanwhile there is none to be marked.
//   * A test clears no parent, and skips what is under a clear one.
//   * The slow question must not prune: it has to find accesses through cached
//     translations of the past, which no parent tells of.
//
//   Progress: Prune is wait-free but for the flush; MarkParent is lock-free: it
//   repeats only after another thread changed the entry.
//
// Sites (order · partner)
//   [prune.1] relaxed compare-and-swap    · none: nothing is published by it
//             in ClearParents
//   [prune.2] release compare-and-swap    · [table.1]
//             in MarkParent

#ifndef PTAGE_PRUNE_H_
#define PTAGE_PRUNE_H_

#include <bit>
#include <cstdint>
#include <type_traits>

#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Formats whose walkers mark inner entries.
template <class F>
concept Prunable = VectorTestable<F> && F::kInnerAccessed;

// Whether those who make leaves young in software mark their parents, so that
// cold subtrees can be skipped: an MMU's choice.
enum class InnerAging { kIgnore, kSkipCold };

enum class Pruning { kExact, kBestEffort };

// Parents that are cleared before one flush, at most.
template <SpteFormat F>
inline constexpr unsigned kBatch = 8 * kEntriesPerTable<F>;

// As Harvest in fast-only mode, of leaf tables under young parents and of large
// leaves. `counts` speak of what was read. `flusher` is the tree's; kBestEffort
// does not call it. Direct trees; for indirect ones see prune_nested.h.
template <class Tree, Flusher Fl, HarvestOutput Output>
  requires Prunable<typename Tree::Format>
AgeResult Prune(const Tree& tree, const typename Tree::Walk& walk, Fl& flusher,
                GfnRange range, Pruning pruning, AgeAction action,
                Output&& output);

// Makes the entry that leads to the leaf table of `gfn`, a frame that the tree
// translates, young, if there is one. Called after a leaf there was made young
// by software. Direct and indirect trees.
template <class Tree>
  requires Prunable<typename Tree::Format>
void MarkParent(const Tree& tree, const typename Tree::Walk& walk, Gfn gfn);

// ---------------------------------------------------------------------------

namespace internal {

// The leaves of a direct tree, and their parents' marks.
template <class Tree, class Output>
class DirectLeaves {
 public:
  DirectLeaves(const Tree& tree, const typename Tree::Walk& walk,
               AgeAction action, Output& output)
      : tree_(tree), walk_(walk), action_(action), output_(output) {}
  DirectLeaves(const DirectLeaves&) = delete;
  DirectLeaves& operator=(const DirectLeaves&) = delete;

  void Age(GfnRange hot) {
    constexpr unsigned kPerTable = kEntriesPerTable<typename Tree::Format>;
    const AgeResult result =
        Harvest(tree_, walk_, hot, action_, AgeMode::kFastOnly, output_);
    result_ |= result;
    if (result.complete || action_ == AgeAction::kTest) return;
    for (Gfn gfn = hot.begin; gfn < hot.end; gfn = gfn + kPerTable) {
      MarkParent(tree_, walk_, gfn);
    }
  }
  [[nodiscard]] AgeResult result() const { return result_; }

 private:
  const Tree& tree_;
  const typename Tree::Walk& walk_;
  const AgeAction action_;
  Output& output_;
  AgeResult result_;
};

// Clears the parents of `range`, in the space that the tree translates, and has
// the leaves aged that may be young: leaves.Age(hot) ages those of a range, and
// marks the parent of each that it leaves young, or of which it knows nothing.
template <class Tree, class Fl, class Leaves>
class Pruner {
 public:
  using F = typename Tree::Format;

  Pruner(const Tree& tree, Fl& flusher, GfnRange range, Pruning pruning,
         AgeAction action, Leaves& leaves)
      : tree_(tree),
        flusher_(flusher),
        range_(range),
        pruning_(pruning),
        action_(action),
        leaves_(leaves) {}
  Pruner(const Pruner&) = delete;
  Pruner& operator=(const Pruner&) = delete;

  void Run() {
    if (range_.Empty()) return;
    if constexpr (F::kLevels == 1) {
      leaves_.Age(range_);
    } else {
      VisitRoot(tree_.tables(), range_,
                [&](Table<F>& table, Gfn base, GfnRange part) {
                  PruneTable(table, Level{F::kLevels}, base, part);
                  return part.end;
                });
      FinishBatch();
    }
  }

 private:
  using Word = typename F::Word;
  using Entry = SpteCell<F>;
  using Here = typename Tree::Tables::Here;

  static constexpr unsigned kPerTable = kEntriesPerTable<F>;
  static constexpr unsigned kLanes = kPerTable < kBlock ? kPerTable : kBlock;
  static constexpr unsigned kWords = kBatch<F> / kLanes;
  // Leaf tables, of kLanes, that are fetched while parents are still cleared.
  static constexpr unsigned kFew = 4;

  // Neighbouring entries of level 2, and which of them are to be harvested.
  struct Parents {
    Gfn first;
    std::uint64_t hot;
  };

  void PruneTable(Table<F>& table, Level level, Gfn base, GfnRange range) {
    if (level == Level{2}) {
      PruneParents(table, base, range);
      return;
    }
    const std::uint64_t frames = FramesAt<F>(level);
    Here here(tree_.tables(), table, base, level);
    for (std::uint64_t i = (range.begin - base) / frames; i < kPerTable; ++i) {
      const GfnRange covers{base + i * frames, base + (i + 1) * frames};
      if (covers.begin >= range.end) return;
      const Word seen = here.Read(table.entries[i]);
      if (F::IsPresent(seen) && !F::IsLeaf(seen, level)) {
        if (i + 1 < kPerTable) FetchNext(table.entries[i + 1], level);
        PruneTable(tree_.tables().ChildOf(seen), level.Below(), covers.begin,
                   range.Clip(covers));
      } else if (seen != F::kEmpty) {
        // In the order of frames.
        FinishBatch();
        leaves_.Age(range.Clip(covers));
      }
    }
  }

  void PruneParents(Table<F>& table, Gfn base, GfnRange range) {
    const auto from =
        static_cast<unsigned>((range.begin - base) / kPerTable) / kLanes;
    for (unsigned at = from * kLanes; at < kPerTable; at += kLanes) {
      const Gfn first = base + std::uint64_t{at} * kPerTable;
      if (first >= range.end) return;
      const WordsSeen seen = SeeParents(&table.entries[at]);
      std::uint64_t hot = seen.both | seen.equal;
      if (hot == 0) continue;
      // Were there made room only after these were cleared, the flush for the
      // others would count as theirs.
      if (batched_ == kWords) FinishBatch();
      if (action_ == AgeAction::kTestAndClear) {
        hot = ClearParents(table, at, base, seen.both) | seen.equal;
      }
      batch_[batched_++] = Parents{first, hot};
    }
  }

  // kLanes of them. Most are present, and then it takes less to see.
  static WordsSeen SeeParents(const Entry* entries) {
    if constexpr (kLanes == kBlock) {
      constexpr Word kPresent = F::kPresentBits & -F::kPresentBits;
      const Entry* const blocks[1] = {entries};
      BlockSeen seen[1];
      SeeBlocks<1>(blocks, kPresent, Word{F::kAccessed}, seen);
      if (seen[0].all) {
        return WordsSeen{.any = ~std::uint64_t{0}, .both = seen[0].has};
      }
    }
    return SeeWords(entries, kLanes, Word{F::kPresentBits}, Word{F::kAccessed},
                    Word{F::kFrozen});
  }

  // The table behind an entry, if that looks like an inner one.
  void FetchNext(const Entry& entry, Level level) const {
    const Word seen = Tree::Tables::ReadEntry(entry);
    if (!F::IsPresent(seen) || F::IsLeaf(seen, level)) return;
    FetchTable(tree_.tables().ChildOf(seen));
  }
  void FetchTable(const Table<F>& table) const {
    constexpr unsigned kPerLine = 64 / sizeof(Entry);
    for (unsigned i = 0; i < kPerTable; i += kPerLine) {
      PrefetchLater(&table.entries[i]);
    }
  }

  // Returns those that have something to be harvested under them.
  std::uint64_t ClearParents(Table<F>& table, unsigned at, Gfn base,
                             std::uint64_t young) {
    Here here(tree_.tables(), table, base, Level{2});
    // Neighbours are fetched by the harvest itself.
    const bool few = CountLanes(young) <= kFew;
    for (std::uint64_t rest = young; rest != 0; rest &= rest - 1) {
      const auto lane = static_cast<unsigned>(std::countr_zero(rest));
      const Gfn first = base + std::uint64_t{at + lane} * kPerTable;
      if (!range_.Contains(GfnRange{first, first + kPerTable})) continue;
      Entry& entry = table.entries[at + lane];
      const Word seen = here.Read(entry);
      // A large leaf is no parent: its bit is aged with the leaves.
      if (!F::IsPresent(seen) || F::IsLeaf(seen, Level{2})) continue;
      // Were it cleared after the leaves were read:
      //   ager: reads the leaf: cold | CPU: marks the parent, marks the leaf
      //   ager: clears the parent, and the next round skips the leaf.
      // [prune.1] relaxed: whoever ages the leaves reads the entry again, with
      // acquire, and so sees what a fault did before the mark that is cleared
      // here. Where another thread changes the entry first, it stays young, or
      // is no parent any more.
      flush_ |= TryCmpxchg(entry, seen, static_cast<Word>(seen & ~F::kAccessed),
                           kRelaxed);
      if (few) FetchTable(tree_.tables().ChildOf(seen));
    }
    return young;
  }

  // Has the leaves aged that the batch says.
  void FinishBatch() {
    if (flush_ && pruning_ == Pruning::kExact) {
      const Parents& last = batch_[batched_ - 1];
      flusher_.Flush(GfnRange{batch_[0].first,
                              last.first + std::uint64_t{kLanes} * kPerTable});
    }
    flush_ = false;
    for (unsigned i = 0; i < batched_; ++i) {
      std::uint64_t hot = batch_[i].hot;
      while (hot != 0) {
        const auto lane = static_cast<unsigned>(std::countr_zero(hot));
        const auto run = static_cast<unsigned>(std::countr_one(hot >> lane));
        const Gfn first = batch_[i].first + std::uint64_t{lane} * kPerTable;
        leaves_.Age(range_.Clip(
            GfnRange{first, first + std::uint64_t{run} * kPerTable}));
        hot &= ~(FirstLanes(run) << lane);
      }
    }
    batched_ = 0;
  }

  const Tree& tree_;
  Fl& flusher_;
  const GfnRange range_;
  const Pruning pruning_;
  const AgeAction action_;
  Leaves& leaves_;
  // Parents that were cleared, and not yet flushed.
  bool flush_ = false;
  unsigned batched_ = 0;
  Parents batch_[kWords];
};

}  // namespace internal

template <class Tree, Flusher Fl, HarvestOutput Output>
  requires Prunable<typename Tree::Format>
AgeResult Prune(const Tree& tree, const typename Tree::Walk& walk, Fl& flusher,
                GfnRange range, Pruning pruning, AgeAction action,
                Output&& output) {
  PTAGE_ASSERT(static_cast<bool>(walk) &&
               tree.tables().kind() == TableKind::kDirect);
  internal::DirectLeaves<Tree, std::remove_reference_t<Output>> leaves(
      tree, walk, action, output);
  internal::Pruner(tree, flusher, range, pruning, action, leaves).Run();
  return leaves.result();
}

template <class Tree>
  requires Prunable<typename Tree::Format>
void MarkParent(const Tree& tree, const typename Tree::Walk& walk, Gfn gfn) {
  using F = typename Tree::Format;
  using Word = typename F::Word;
  PTAGE_ASSERT(static_cast<bool>(walk));
  Table<F>* table = tree.tables().RootOf(gfn);
  for (Level at{F::kLevels}; at > Level{1}; at = at.Below()) {
    SpteCell<F>& entry = table->entries[Tree::Tables::IndexOf(gfn, at)];
    typename Tree::Tables::Here here(tree.tables(), *table, gfn, at);
    for (;;) {
      const Word seen = here.Read(entry);
      if (!F::IsPresent(seen) || F::IsLeaf(seen, at)) return;
      table = &tree.tables().ChildOf(seen);
      if (at > Level{2}) break;
      // Were nothing written where the entry is young already:
      //   fault: maps the leaf, its store still on the way
      //   fault: reads the parent: young
      //   ager: clears the parent, reads the leaf: empty
      // and the leaf is skipped in the next round. A compare-and-swap comes
      // before the ager's, who then sees the leaf, or after it.
      // [prune.2] release, pairs with [table.1]: who comes here by the mark
      // finds the leaf young.
      if (TryCmpxchg(entry, seen, static_cast<Word>(seen | F::kAccessed),
                     kRelease)) {
        return;
      }
    }
  }
}

}  // namespace ptage

#endif  // PTAGE_PRUNE_H_
