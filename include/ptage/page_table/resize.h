// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A large leaf becomes a table of leaves, and back. Included by page_table.h.
//
// Contract
//   Concurrently, anything that page_table.h says may happen, but for other
//   changes of the structure: the caller holds the lock that excludes them, and
//   is inside a LocklessWalk. Direct trees, but for SplitIndirect.
//
//   * The entry that changes is frozen, and flushed, before it gets its next
//     value: no CPU holds a leaf of one size while it can find one of another.
//   * A split copies the accessed and the dirty bit of the leaf to all that
//     replace it; a promotion gathers them, from entries that it has frozen.
//   * A promotion that finds out too late that it cannot gives back what it
//     took, with its bits. An entry that leads to a table is given back
//     accessed, here and by a split.
//   * Leaves of an indirect tree are found by other ways than the tree, too. So
//     each part is found by these before it is present, all are before the
//     large leaf no longer is, and only then the tree leads to them. Who asks
//     for the large one first, and then for the parts, finds what the leaf
//     knew. If a part cannot be made so, the others are taken back, frozen as
//     they are, and the large leaf is put back as it was.
//
//   Progress: all wait for owners of frozen entries, and for the flush.
//
// Sites (order · partner)
//   [table.3] release store in Split     · [table.1], [spte.3]
//             (type-stable only)

#ifndef PTAGE_PAGE_TABLE_RESIZE_H_
#define PTAGE_PAGE_TABLE_RESIZE_H_

#include <cstdint>

#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table/tables.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// What Split and Promote come to. But for kDone nothing was changed.
enum class StructureOutcome {
  kDone,
  kUnsuitable,  // split: no leaf there; promote: not 512 consecutive leaves
  kNoMemory,
};

// Pages that became of others, and what stood in the way.
struct Resized {
  // So many.
  std::uint64_t done = 0;
  // Some did not, for lack of memory.
  bool no_memory = false;
};

namespace internal {

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl>
StructureOutcome Split(TableTree<F, M, R>& tree, Fl& flusher, Gfn gfn,
                       Level level);

// The same in an indirect tree: kDone, or kNoMemory. `parts` knows how entries
// are found besides:
//   Add(entry, i)  from now on, frozen part `i` is; false: there was no memory
//   Remove(entry)  the part, or the large leaf, frozen, no longer is
// Precondition: the leaf is there, and nobody else may freeze it.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, class Parts>
StructureOutcome SplitIndirect(TableTree<F, M, R>& tree, Fl& flusher, Gfn gfn,
                               Level level, Parts&& parts);

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl>
StructureOutcome Promote(TableTree<F, M, R>& tree, Fl& flusher, Gfn gfn,
                         Level level);

// ---------------------------------------------------------------------------

// What is put back into an entry at `level` that was taken for nothing. Were an
// inner one left clear (prune.h):
//   pruner: clears it                       | promotion: freezes it
//   pruner: finds it frozen: unknown, and no parent to be marked
//   pruner, next round: skips a young leaf  | promotion: gives it back, clear
template <SpteFormat F>
constexpr typename F::Word GivenBack(typename F::Word taken, Level level) {
  const bool inner = F::IsPresent(taken) && !F::IsLeaf(taken, level);
  return F::kInnerAccessed && inner
             ? static_cast<typename F::Word>(taken | F::kAccessed)
             : taken;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl>
StructureOutcome Split(TableTree<F, M, R>& tree, Fl& flusher, Gfn gfn,
                       Level level) {
  using Word = typename F::Word;
  PTAGE_ASSERT(level > Level{1});
  SpteCell<F>* const entry = tree.FindEntry(gfn, level);
  if (entry == nullptr) return StructureOutcome::kUnsuitable;
  Table<F>* const table = tree.NewTable(gfn, level.Below(), entry);
  if (table == nullptr) return StructureOutcome::kNoMemory;
  const Word leaf = tree.Take(*entry);
  if (!F::IsPresent(leaf) || !F::IsLeaf(leaf, level)) {
    Restore<F>(*entry, GivenBack<F>(leaf, level));
    tree.memory().Free(table);
    return StructureOutcome::kUnsuitable;
  }
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    const Word part = F::SplitLeaf(leaf, level, i);
    if constexpr (kTypeStable<R>) {
      // Stale walks read the entry before the table is published.
      // [table.3] release, pairs with [table.1] and [spte.3]: who reads the
      // leaf finds the table's identity recorded.
      WriteOnce(table->entries[i], part, kRelease);
    } else {
      WriteOnce(table->entries[i], part, kRelaxed);
    }
  }
  flusher.Flush(GfnRange{gfn, gfn + FramesAt<F>(level)});
  Publish<F>(*entry, F::MakeInner(tree.memory().FrameOf(table)));
  return StructureOutcome::kDone;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, class Parts>
StructureOutcome SplitIndirect(TableTree<F, M, R>& tree, Fl& flusher, Gfn gfn,
                               Level level, Parts&& parts) {
  PTAGE_ASSERT(level > Level{1});
  SpteCell<F>* const entry = tree.FindEntry(gfn, level);
  PTAGE_ASSERT(entry != nullptr);
  Table<F>* const table = tree.NewTable(gfn, level.Below(), entry);
  if (table == nullptr) return StructureOutcome::kNoMemory;
  const typename F::Word large = tree.Take(*entry);
  PTAGE_ASSERT(F::IsPresent(large) && F::IsLeaf(large, level));
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    (void)tree.Take(table->entries[i]);
    if (parts.Add(table->entries[i], i)) continue;
    while (i-- != 0) parts.Remove(table->entries[i]);
    Restore<F>(*entry, large);
    // Agers may be looking at its entries.
    tree.RetireTable(tree.memory().InfoOf(table).retired);
    return StructureOutcome::kNoMemory;
  }
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    Publish<F>(table->entries[i], F::SplitLeaf(large, level, i));
  }
  // Were the large leaf removed before the parts were added:
  //   split: removes the large one | asker: finds neither it nor any part, and
  //   split: adds the parts        | calls all its frames cold.
  parts.Remove(*entry);
  flusher.Flush(GfnRange{gfn, gfn + FramesAt<F>(level)});
  // Accessed, where there is such a bit. Were it not, who skips what is under
  // clear parents (prune_nested.h) would pass over parts that are young.
  Publish<F>(*entry, F::MakeInner(tree.memory().FrameOf(table)));
  return StructureOutcome::kDone;
}

// Gives back the first `count` entries of a table that was to become `large`.
template <SpteFormat F>
void PutBack(Table<F>& table, unsigned count, typename F::Word large,
             Level level, const std::uint64_t* accessed,
             const std::uint64_t* dirty) {
  for (unsigned i = 0; i < count; ++i) {
    typename F::Word taken = F::SplitLeaf(large, level, i);
    if ((accessed[i / 64] >> i % 64 & 1) != 0) {
      taken = Used<F>(taken, Rights::kRead);
    }
    // Where a permission goes with it (EptTracked), the next write's fault
    // brings that back.
    if ((dirty[i / 64] >> i % 64 & 1) != 0) taken |= F::kDirty;
    Restore<F>(table.entries[i], taken);
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl>
StructureOutcome Promote(TableTree<F, M, R>& tree, Fl& flusher, Gfn gfn,
                         Level level) {
  using Word = typename F::Word;
  PTAGE_ASSERT(level > Level{1} && level <= F::kLargestLeaf);
  SpteCell<F>* const entry = tree.FindEntry(gfn, level);
  if (entry == nullptr) return StructureOutcome::kUnsuitable;
  const Word inner = tree.Take(*entry);
  const auto give_back = [&] {
    Restore<F>(*entry, GivenBack<F>(inner, level));
    return StructureOutcome::kUnsuitable;
  };
  if (!F::IsPresent(inner) || F::IsLeaf(inner, level)) return give_back();
  Table<F>& table = tree.ChildOf(inner);
  const Word first = tree.ReadSettled(table.entries[0]);
  if (!F::IsPresent(first) || !F::IsLeaf(first, level.Below()) ||
      F::FrameOf(first).value % FramesAt<F>(level) != 0) {
    return give_back();
  }
  const Word large = F::MakeLeaf(F::FrameOf(first), level, F::RightsOf(first));
  constexpr unsigned kWords = (kEntriesPerTable<F> + 63) / 64;
  std::uint64_t accessed[kWords] = {};
  std::uint64_t dirty[kWords] = {};
  Word gathered = 0;
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    const Word taken = tree.Take(table.entries[i]);
    const Word bits = taken ^ Cleaned<F>(Aged<F>(taken));
    if ((taken ^ bits) != F::SplitLeaf(large, level, i)) {
      Restore<F>(table.entries[i], taken);
      PutBack<F>(table, i, large, level, accessed, dirty);
      return give_back();
    }
    if ((bits & F::kAccessed) != 0) accessed[i / 64] |= 1ull << i % 64;
    if ((bits & F::kDirty) != 0) dirty[i / 64] |= 1ull << i % 64;
    gathered |= bits;
  }
  flusher.Flush(GfnRange{gfn, gfn + FramesAt<F>(level)});
  Publish<F>(*entry, large | gathered);
  tree.RetireTable(tree.memory().InfoOf(&table).retired);
  return StructureOutcome::kDone;
}

}  // namespace internal

}  // namespace ptage

#endif  // PTAGE_PAGE_TABLE_RESIZE_H_
