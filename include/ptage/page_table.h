// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The tree of tables: map, zap, split, promote, remove.
//
// Contract
//   Concurrently, any threads may call any function, age entries (walk.h), and
//   walk the tables as hardware does. All but the constructor and destructor
//   are called inside a LocklessWalk of the tree's reclaimer, which each takes
//   as proof.
//
//   * Map, Claim and Zap change leaves by the rules of spte.h and take no lock.
//     Map and Claim build missing tables; that, Split, Promote, RemoveTables
//     and ReclaimCold change the structure and exclude each other by one lock.
//   * Who meets an entry that another thread has frozen: Map and Claim answer
//     kRetry; the others wait, for Zap must not return while the mapping can
//     come back, and a removed table must not keep a live entry.
//   * An accessed or dirty bit reaches the sink of Zap, RemoveTables or
//     ReclaimCold, or the entries that replace it: Split copies both to all,
//     Promote gathers them.
//   * A sink is called while the entry is frozen, and when no CPU uses the leaf
//     any more, unless the caller of Zap flushes by himself; it may take the
//     entry out of its rmap. It must not wait for a thread that waits for this
//     entry.
//
//   Progress: Lookup wait-free; Map and Claim wait for the structure lock when
//   tables are missing, else wait-free; Zap waits for owners of frozen entries
//   only; Split, Promote, RemoveTables and ReclaimCold wait for the lock, for
//   those owners, and for the flush.
//
// The tables and what a walk may believe of them, the changes between large and
// small leaves, and removal are each in a header of page_table/, with the bad
// interleavings that they prevent. Under a type-stable reclaimer, see also
// page_table/tables.h.

#ifndef PTAGE_PAGE_TABLE_H_
#define PTAGE_PAGE_TABLE_H_

#include <cstdint>

#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/page_table/cold.h"
#include "ptage/page_table/remove.h"
#include "ptage/page_table/resize.h"
#include "ptage/page_table/tables.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// What Map and Claim come to.
enum class MapOutcome {
  kDone,
  kPresent,    // a leaf of that level maps the frame already
  kLargePage,  // a larger leaf covers the frame: split it first
  kTable,      // a table stands where the large leaf should go: promote it
  kRetry,      // another thread is changing the path: start again
  kNoMemory,
};

// Whether Zap flushes for each entry before it lets the entry go, or leaves it
// to the caller, who keeps faults out of the range until he has flushed it.
enum class ZapFlush { kEach, kByCaller };

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl = NoFlush,
          BasicLock L = SpinLock>
class PageTable {
  using Tree = internal::TableTree<F, M, R>;
  static constexpr bool kStable = Tree::kStable;

 public:
  using Tables = Tree;
  using Format = F;
  using Memory = M;
  using Word = typename F::Word;
  using Walk = LocklessWalk<R>;

  // Frames that the tree can translate: 0 … kFrames − 1.
  static constexpr std::uint64_t kFrames = kFramesPerTree<F>;

  // All must outlive the tree. Check valid().
  PageTable(M& memory, R& reclaimer, Fl& flusher, TableKind kind)
      : flusher_(flusher), tree_(memory, reclaimer, kind) {}
  // Frees every table. Precondition: no other thread uses the tree.
  ~PageTable() { internal::DestroyTables(tree_); }
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;

  // False if there was no memory for the root.
  [[nodiscard]] bool valid() const { return tree_.root() != nullptr; }
  // The first of its tables, where it has several (kRootTables<F>).
  [[nodiscard]] Table<F>* root() const { return tree_.root(); }
  // What its tables come from.
  [[nodiscard]] M& memory() const { return tree_.memory(); }
  // For other headers of this library, which go through the tables themselves.
  [[nodiscard]] const Tables& tables() const { return tree_; }

  // Preconditions below: the tree is valid; frames are less than kFrames; a
  // frame given with a level is aligned to it.

  // The deepest entry on the way to the frame, and what was read of it. It may
  // have changed since; `walk` keeps its table. Wait-free.
  [[nodiscard]] FoundEntry<F> Lookup(const Walk& walk, Gfn gfn) const {
    PTAGE_ASSERT(static_cast<bool>(walk) && gfn.value < kFrames);
    return tree_.Lookup(gfn);
  }

  // Direct trees: installs `leaf`, as F::MakeLeaf makes it, at `level`. kDone:
  // walkers find it. Else no leaf was changed, though tables may have been
  // built.
  [[nodiscard]] MapOutcome Map(const Walk& walk, Gfn gfn, Level level,
                               Word leaf);

  // Indirect trees: freezes the empty entry, for its owner to record the frame,
  // add it to the rmap, and Publish (or Empty, on failure). kDone: `entry` is
  // the caller's, who must not wait for another one meanwhile. Else it is not
  // set.
  [[nodiscard]] MapOutcome Claim(const Walk& walk, Gfn gfn, Level level,
                                 SpteCell<F>*& entry);

  // Zaps every leaf that covers a frame of `range`, whole: a large leaf is not
  // split. Calls `sink(const TakenLeaf<F>&)` for each. Returns how many. What
  // is mapped during the call may stay: who wants nothing left keeps faults
  // out.
  template <class Sink>
  std::uint64_t Zap(const Walk& walk, GfnRange range, ZapFlush flush,
                    Sink&& sink);

  // Replaces the leaf at `level` > 1 by a table of leaves, with its rights, and
  // each with its accessed and dirty bits. kUnsuitable: no leaf is there.
  // Direct trees.
  [[nodiscard]] StructureOutcome Split(const Walk& walk, Gfn gfn, Level level) {
    PTAGE_ASSERT(static_cast<bool>(walk) && tree_.kind() == TableKind::kDirect);
    const ScopedLock<L> hold(structure_);
    return internal::Split(tree_, flusher_, gfn, level);
  }
  // The same in an indirect tree, of a leaf that is there, and that the caller
  // keeps others from freezing: kDone, or kNoMemory. `parts`, which must not
  // wait for a frozen entry, lets the new entries be found by their frames, and
  // the old one no longer: Add(entry, index), false if there was no memory, and
  // Remove(entry); see page_table/resize.h.
  template <class Parts>
  [[nodiscard]] StructureOutcome Split(const Walk& walk, Gfn gfn, Level level,
                                       Parts&& parts) {
    static_assert(!kStable, "type-stable trees are direct");
    PTAGE_ASSERT(static_cast<bool>(walk) &&
                 tree_.kind() == TableKind::kIndirect);
    const ScopedLock<L> hold(structure_);
    return internal::SplitIndirect(tree_, flusher_, gfn, level, parts);
  }

  // Replaces a table of leaves by one leaf at `level` > 1. They must map
  // consecutive frames from an aligned one, with the same rights, or the answer
  // is kUnsuitable. It is accessed, or dirty, if one of them was. Direct trees.
  [[nodiscard]] StructureOutcome Promote(const Walk& walk, Gfn gfn,
                                         Level level) {
    PTAGE_ASSERT(static_cast<bool>(walk) && tree_.kind() == TableKind::kDirect);
    const ScopedLock<L> hold(structure_);
    return internal::Promote(tree_, flusher_, gfn, level);
  }

  // Removes every table whose frames all lie in `range`, with what it maps.
  // Calls `sink(const TakenLeaf<F>&)` for each leaf. Leaves whose table is not
  // wholly inside stay. Returns the number of tables.
  template <class Sink>
  std::uint64_t RemoveTables(const Walk& walk, GfnRange range, Sink&& sink) {
    PTAGE_ASSERT(static_cast<bool>(walk));
    const ScopedLock<L> hold(structure_);
    return internal::RemoveTables(tree_, flusher_, range, sink);
  }

  // One pass over the leaf tables whose frames all lie in `range`: removes
  // those that CPUs have left alone since the pass before, and makes the others
  // old. Calls `sink(const TakenLeaf<F>&)` for each leaf of those that it
  // removes. `history` spans the range. See page_table/cold.h.
  template <class Sink>
    requires(F::kInnerAccessed && !kStable && F::kLevels > 1)
  ColdPass ReclaimCold(const Walk& walk, GfnRange range, ColdHistory<F> history,
                       Sink&& sink) {
    PTAGE_ASSERT(static_cast<bool>(walk));
    return internal::ReclaimCold(tree_, flusher_, structure_, range, history,
                                 sink);
  }

  // Calls `visit(entry, seen, gfn, level)` for each leaf and each frozen entry
  // that covers a frame of `range`, in order of frames, `seen` being the value
  // read. Stops before an entry for which it returns false, or when `budget`
  // entries were read, which it counts down. Returns the first frame that is
  // left; range.end if none is.
  template <ColdEntries kCold = ColdEntries::kChecked, class Visitor>
  Gfn Visit(const Walk& walk, GfnRange range, std::uint64_t& budget,
            Visitor&& visit) const {
    PTAGE_ASSERT(static_cast<bool>(walk));
    return tree_.template Visit<kCold>(range, budget, visit);
  }

 private:
  using Entry = SpteCell<F>;

  // Makes the empty `entry` at `level` point to an empty table.
  MapOutcome BuildTable(Entry& entry, Gfn gfn, Level level);
  // The entry at `level` on the path to `gfn`; kDone if it is empty.
  MapOutcome FindSlot(Gfn gfn, Level level, Entry*& entry);
  // Zaps a leaf as it was read. False: it was changed meanwhile.
  template <class Flush, class Sink>
  bool ZapHere(const TakenLeaf<F>& leaf, Flush&& flush, Sink& sink);

  Fl& flusher_;
  Tree tree_;
  L structure_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
MapOutcome PageTable<F, M, R, Fl, L>::BuildTable(Entry& entry, Gfn gfn,
                                                 Level level) {
  ScopedLock<L> hold(structure_);
  if (tree_.ReadEntry(entry) != F::kEmpty) return MapOutcome::kRetry;
  const std::uint64_t frames = FramesAt<F>(level);
  Table<F>* const table =
      tree_.NewTable(Gfn{gfn.value / frames * frames}, level.Below(), &entry);
  if (table == nullptr) return MapOutcome::kNoMemory;
  // A fault that maps a large leaf takes no lock, and may come first.
  if (!Freeze<F>(entry, F::kEmpty)) {
    memory().Free(table);
    return MapOutcome::kRetry;
  }
  if constexpr (kStable) {
    if (!tree_.IsHere(entry, gfn, level)) {
      Empty<F>(entry);
      memory().Free(table);
      return MapOutcome::kRetry;
    }
    tree_.Open(*table);
  }
  Publish<F>(entry, F::MakeInner(memory().FrameOf(table)));
  return MapOutcome::kDone;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
MapOutcome PageTable<F, M, R, Fl, L>::FindSlot(Gfn gfn, Level level,
                                               Entry*& entry) {
  PTAGE_ASSERT(gfn.value < kFrames && level <= F::kLargestLeaf);
  PTAGE_ASSERT(gfn.value % FramesAt<F>(level) == 0);
  Table<F>* table = tree_.RootOf(gfn);
  for (Level at{F::kLevels}; at > level; at = at.Below()) {
    Entry& inner = table->entries[Tree::IndexOf(gfn, at)];
    typename Tree::Here here(tree_, *table, gfn, at);
    Word seen = here.Read(inner);
    if (seen == F::kEmpty) {
      const MapOutcome built = BuildTable(inner, gfn, at);
      if (built != MapOutcome::kDone) return built;
      seen = here.Read(inner);
    }
    if (!F::IsPresent(seen)) return MapOutcome::kRetry;
    if (F::IsLeaf(seen, at)) return MapOutcome::kLargePage;
    table = &tree_.ChildOf(seen);
  }
  entry = &table->entries[Tree::IndexOf(gfn, level)];
  const Word seen = typename Tree::Here(tree_, *table, gfn, level).Read(*entry);
  if (seen == F::kEmpty) return MapOutcome::kDone;
  if (!F::IsPresent(seen)) return MapOutcome::kRetry;
  return F::IsLeaf(seen, level) ? MapOutcome::kPresent : MapOutcome::kTable;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
MapOutcome PageTable<F, M, R, Fl, L>::Map(const Walk& walk, Gfn gfn,
                                          Level level, Word leaf) {
  PTAGE_ASSERT(static_cast<bool>(walk) && tree_.kind() == TableKind::kDirect);
  Entry* entry = nullptr;
  const MapOutcome found = FindSlot(gfn, level, entry);
  if (found != MapOutcome::kDone) return found;
  if constexpr (kStable) {
    // Were the leaf installed at once, by compare-and-swap from empty:
    //   fault: finds the entry empty  | remover: gives the table away
    //   fault: installs, and is done  | builder: opens it for other frames
    // and those frames lead to this page.
    if (!Freeze<F>(*entry, F::kEmpty)) return MapOutcome::kRetry;
    if (!tree_.IsHere(*entry, gfn, level)) {
      Empty<F>(*entry);
      return MapOutcome::kRetry;
    }
    Publish<F>(*entry, leaf);
    return MapOutcome::kDone;
  } else {
    return Install<F>(*entry, leaf) ? MapOutcome::kDone : MapOutcome::kRetry;
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
MapOutcome PageTable<F, M, R, Fl, L>::Claim(const Walk& walk, Gfn gfn,
                                            Level level, Entry*& entry) {
  static_assert(!kStable,
                "PageTable: entries of indirect trees are found through rmaps, "
                "whose chunks need a reclaimer that waits for walks; "
                "TypeStable does not");
  PTAGE_ASSERT(static_cast<bool>(walk) && tree_.kind() == TableKind::kIndirect);
  const MapOutcome found = FindSlot(gfn, level, entry);
  if (found != MapOutcome::kDone) return found;
  return Freeze<F>(*entry, F::kEmpty) ? MapOutcome::kDone : MapOutcome::kRetry;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
template <class Sink>
std::uint64_t PageTable<F, M, R, Fl, L>::Zap(const Walk& walk, GfnRange range,
                                             ZapFlush flush, Sink&& sink) {
  std::uint64_t zapped = 0;
  while (!range.Empty()) {
    std::uint64_t budget = ~std::uint64_t{0};
    range.begin = Visit(walk, range, budget,
                        [&](Entry& entry, Word seen, Gfn gfn, Level level) {
                          if (IsFrozen<F>(seen)) return false;
                          const TakenLeaf<F> leaf{gfn, level, seen, entry};
                          const bool done = ZapHere(
                              leaf,
                              [&] {
                                if (flush == ZapFlush::kEach)
                                  flusher_.Flush(leaf.Frames());
                              },
                              sink);
                          if (done) ++zapped;
                          return done;
                        });
    // A frozen entry may lie in a table that was removed: look again from the
    // root, where it is then gone.
    if (!range.Empty()) SpinPause();
  }
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
template <class Flush, class Sink>
bool PageTable<F, M, R, Fl, L>::ZapHere(const TakenLeaf<F>& leaf, Flush&& flush,
                                        Sink& sink) {
  if constexpr (kStable) {
    if (!Freeze<F>(leaf.entry, leaf.word)) return false;
    // The same word may stand for another place of the same frame by now.
    if (!tree_.IsHere(leaf.entry, leaf.gfn, leaf.level)) {
      Restore<F>(leaf.entry, leaf.word);
      return false;
    }
    flush();
    sink(leaf);
    Empty<F>(leaf.entry);
    return true;
  } else {
    return ZapSeen<F>(leaf.entry, leaf.word, flush, [&](Word) { sink(leaf); });
  }
}

}  // namespace ptage

#endif  // PTAGE_PAGE_TABLE_H_
