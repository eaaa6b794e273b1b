// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Leaf tables that no CPU has used for two passes leave the tree, with what
// they map (kReclaimCold). Included by page_table.h.
//
// Contract
//   Concurrently, anything that page_table.h says may happen. The caller is
//   inside a LocklessWalk. For formats whose walkers mark inner entries.
//
//   * A pass clears the accessed bit of each entry that points to a leaf table.
//     A table whose bit stayed clear from one pass to the next is removed,
//     unless one of its leaves is young, or owned by another thread.
//   * The leaves are asked when the entry above is frozen and CPUs flushed: no
//     CPU marks one after that. A fault that is already inside may still map a
//     young leaf, before its entry is closed.
//   * Whatever a removed table maps is handed to the sink, once, with its bits.
//     So a table that was called cold too soon costs its user faults, and loses
//     nobody an access or a write.
//   * A pass that cleared a bit flushes once, at its end. Without that, who
//     goes through a cached copy of the entry marks it no more, and of all
//     tables the hottest would look cold.
//   * The bit has one user. Where others clear it too, a table in use can look
//     cold, and if they have cleared its leaves as well, it is removed.
//
//   Progress: wait-free but for the flush and for tables that are removed,
//   which wait as RemoveTables does. The lock is held for one table at a time.

#ifndef PTAGE_PAGE_TABLE_COLD_H_
#define PTAGE_PAGE_TABLE_COLD_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table/remove.h"
#include "ptage/page_table/tables.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Which leaf tables were cold in the last pass, in the caller's memory: one bit
// for a table, so 64 KiB for a TiB of pages of 4 KiB. Not synchronized: one
// pass at a time.
template <SpteFormat F>
class ColdHistory {
 public:
  // Frames of a leaf table.
  static constexpr std::uint64_t kFrames = FramesAt<F>(Level{2});

  // Words for a range of `frames`, aligned to a table's.
  [[nodiscard]] static constexpr std::uint64_t WordsFor(std::uint64_t frames) {
    return (frames / kFrames + 63) / 64;
  }

  // Of the tables from frame `begin` on, which is aligned to a table's.
  // `words` are zero before the first pass, and outlive this.
  ColdHistory(std::uint64_t* words, Gfn begin) : words_(words), begin_(begin) {
    PTAGE_ASSERT(begin.value % kFrames == 0);
  }

  // Writes down whether the table at `gfn` is cold, and returns what was
  // written before. Precondition: `gfn` is aligned, and within the words.
  bool Exchange(Gfn gfn, bool cold) {
    const std::uint64_t table = (gfn - begin_) / kFrames;
    const std::uint64_t bit = std::uint64_t{1} << table % 64;
    std::uint64_t& word = words_[table / 64];
    const bool was = (word & bit) != 0;
    word = cold ? word | bit : word & ~bit;
    return was;
  }

 private:
  std::uint64_t* words_;
  Gfn begin_;
};

// What a pass found, in leaf tables.
struct ColdPass {
  std::uint64_t young = 0;    // used since the last pass
  std::uint64_t removed = 0;  // not used for two

  bool operator==(const ColdPass&) const = default;
};

namespace internal {

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L,
          class Sink>
ColdPass ReclaimCold(TableTree<F, M, R>& tree, Fl& flusher, L& structure,
                     GfnRange range, ColdHistory<F> history, Sink& sink);

// ---------------------------------------------------------------------------

// Relaxed: what CPUs marked is visible to who has flushed them, and a leaf that
// a fault maps meanwhile, and that is missed here, goes to the sink.
template <SpteFormat F>
bool AnyInUse(const Table<F>& leaves) {
  for (const SpteCell<F>& entry : leaves.entries) {
    const typename F::Word seen = ReadOnce(entry, kRelaxed);
    if (IsFrozen<F>(seen) || IsYoung<F>(seen)) return true;
  }
  return false;
}

// Removes the leaf table at `gfn` if nobody has used it. Precondition: the
// caller holds the structure lock.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, class Sink>
bool RemoveIfCold(TableTree<F, M, R>& tree, Fl& flusher, Gfn gfn, Sink& sink) {
  constexpr Level kParent{2};
  SpteCell<F>* const entry = tree.FindEntry(gfn, kParent);
  if (entry == nullptr) return false;
  const typename F::Word cold = tree.ReadSettled(*entry);
  if (!F::IsPresent(cold) || F::IsLeaf(cold, kParent)) return false;
  if (IsYoung<F>(cold)) return false;
  Table<F>& leaves = tree.ChildOf(cold);
  // Spares the flush where a look is enough.
  if (AnyInUse<F>(leaves)) return false;
  // Fails if a CPU has marked the entry since.
  if (!Freeze<F>(*entry, cold)) return false;
  // Were the leaves asked before the flush alone:
  //   remover: reads the leaf: cold | CPU, inside since before: marks it
  // and a table in use is removed.
  flusher.Flush(GfnRange{gfn, gfn + FramesAt<F>(kParent)});
  if (AnyInUse<F>(leaves)) {
    Publish<F>(*entry, static_cast<typename F::Word>(cold | F::kAccessed));
    return false;
  }
  Retired* closed = nullptr;
  // In the order that RemoveIn gives the reasons for.
  CloseTable(tree, leaves, Level{1}, gfn, sink, closed);
  Empty<F>(*entry);
  tree.RetireTable(*closed);
  return true;
}

// Calls `visit(entry, seen, gfn)` for each entry that points to a leaf table
// all of whose frames are in `range`.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, class Visit>
void VisitParents(const TableTree<F, M, R>& tree, Table<F>& table, Level level,
                  Gfn base, GfnRange range, Visit& visit) {
  const std::uint64_t frames = FramesAt<F>(level);
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    const GfnRange covers{base + i * frames, base + (i + 1) * frames};
    if (!range.Overlaps(covers)) continue;
    SpteCell<F>& entry = table.entries[i];
    const typename F::Word seen = tree.ReadEntry(entry);
    if (!F::IsPresent(seen) || F::IsLeaf(seen, level)) continue;
    if (level > Level{2}) {
      VisitParents(tree, tree.ChildOf(seen), level.Below(), covers.begin, range,
                   visit);
    } else if (range.Contains(covers)) {
      visit(entry, seen, covers.begin);
    }
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L,
          class Sink>
ColdPass ReclaimCold(TableTree<F, M, R>& tree, Fl& flusher, L& structure,
                     GfnRange range, ColdHistory<F> history, Sink& sink) {
  ColdPass pass;
  const auto visit = [&](SpteCell<F>& entry, typename F::Word seen, Gfn gfn) {
    const SpteAge age =
        AgeSeen<F>(entry, seen, AgeAction::kTestAndClear, [] { return true; });
    if (age != SpteAge::kCold) {
      history.Exchange(gfn, false);
      ++pass.young;
      return;
    }
    if (!history.Exchange(gfn, true)) return;
    const ScopedLock<L> hold(structure);
    if (!RemoveIfCold(tree, flusher, gfn, sink)) return;
    history.Exchange(gfn, false);
    ++pass.removed;
  };
  VisitRoot(tree, range, [&](Table<F>& table, Gfn base, GfnRange part) {
    VisitParents(tree, table, Level{F::kLevels}, base, part, visit);
    return part.end;
  });
  if (pass.young != 0) flusher.Flush(range);
  return pass;
}

}  // namespace internal

}  // namespace ptage

#endif  // PTAGE_PAGE_TABLE_COLD_H_
