// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Tables leave the tree, with what they map. Included by page_table.h.
//
// Contract
//   Concurrently, anything that page_table.h says may happen, but for other
//   changes of the structure: the caller holds the lock that excludes them, and
//   is inside a LocklessWalk.
//
//   * Whatever a removed table maps is handed to the sink, once, with its bits:
//     after the flush, and before the entry above is empty.
//   * A removed table's entries are frozen, empty ones too, and stay so: a walk
//     that is inside takes nothing from it and puts nothing there.
//
//   Progress: waits for owners of frozen entries, and for the flush.
//
// Removing a table. The bad interleaving, were the leaves zapped before the
// table is closed:
//   remover: zaps entry i          | fault: reads the parent, finds the table
//   remover: empties the parent    | fault: maps a page in entry i
//   remover: frees the table, and with it a live leaf and its dirty bit.
// So the parent is frozen first, then every entry below, empty ones too; a
// fault that is already inside finds its entry frozen, and starts again from
// the root.

#ifndef PTAGE_PAGE_TABLE_REMOVE_H_
#define PTAGE_PAGE_TABLE_REMOVE_H_

#include <cstdint>

#include "ptage/memory.h"
#include "ptage/page_table/tables.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::internal {

// Removes every table but the root's that lies wholly in `range`. Returns how
// many.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, class Sink>
std::uint64_t RemoveTables(TableTree<F, M, R>& tree, Fl& flusher,
                           GfnRange range, Sink& sink);

// Gives back every table. Precondition: no other thread uses the tree.
template <SpteFormat F, TableMemory<F> M, Reclaimer R>
void DestroyTables(TableTree<F, M, R>& tree);

// ---------------------------------------------------------------------------

// Freezes every entry below, and chains the tables through their infos.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, class Sink>
void CloseTable(TableTree<F, M, R>& tree, Table<F>& table, Level level,
                Gfn base, Sink& sink, Retired*& closed) {
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    SpteCell<F>& entry = table.entries[i];
    const typename F::Word taken = tree.Take(entry);
    if (!F::IsPresent(taken)) continue;
    const Gfn gfn = base + i * FramesAt<F>(level);
    if (F::IsLeaf(taken, level)) {
      const TakenLeaf<F> leaf{gfn, level, taken, entry};
      sink(leaf);
    } else {
      CloseTable(tree, tree.ChildOf(taken), level.Below(), gfn, sink, closed);
    }
  }
  Retired& retired = tree.memory().InfoOf(&table).retired;
  retired.next = closed;
  closed = &retired;
}

// Those under `table`, whose entries are of `level` and begin with frame
// `base`.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, class Sink>
std::uint64_t RemoveIn(TableTree<F, M, R>& tree, Fl& flusher, Table<F>& table,
                       Level level, Gfn base, GfnRange range, Sink& sink) {
  if (level == Level{1}) return 0;
  const std::uint64_t frames = FramesAt<F>(level);
  std::uint64_t removed = 0;
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    const GfnRange covers{base + i * frames, base + (i + 1) * frames};
    if (!range.Overlaps(covers)) continue;
    SpteCell<F>& entry = table.entries[i];
    typename F::Word inner = tree.ReadSettled(entry);
    if (!F::IsPresent(inner) || F::IsLeaf(inner, level)) continue;
    if (!range.Contains(covers)) {
      removed += RemoveIn(tree, flusher, tree.ChildOf(inner), level.Below(),
                          covers.begin, range, sink);
      continue;
    }
    // The lock keeps the entry an inner one; a walker may set its accessed bit.
    inner = tree.Take(entry);
    Retired* closed = nullptr;
    // No CPU gets past the frozen entry again. Were the tables closed before
    // the flush:
    //   remover: hands a leaf to the sink  | CPU: goes on using the page.
    flusher.Flush(covers);
    // Were the entry emptied before they are closed:
    //   remover: empties it                | reclaim: finds nothing mapped
    //   remover: hands over accessed       | reclaim: has evicted the page.
    CloseTable(tree, tree.ChildOf(inner), level.Below(), covers.begin, sink,
               closed);
    Empty<F>(entry);
    while (closed != nullptr) {
      Retired& next = *closed;
      closed = next.next;
      tree.RetireTable(next);
      ++removed;
    }
  }
  return removed;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, class Sink>
std::uint64_t RemoveTables(TableTree<F, M, R>& tree, Fl& flusher,
                           GfnRange range, Sink& sink) {
  std::uint64_t removed = 0;
  VisitRoot(tree, range, [&](Table<F>& table, Gfn base, GfnRange part) {
    removed +=
        RemoveIn(tree, flusher, table, Level{F::kLevels}, base, part, sink);
    return part.end;
  });
  return removed;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
void FreeTables(TableTree<F, M, R>& tree, Table<F>& table, Level level) {
  if (level > Level{1}) {
    for (SpteCell<F>& entry : table.entries) {
      const typename F::Word seen = tree.ReadEntry(entry);
      if (F::IsPresent(seen) && !F::IsLeaf(seen, level)) {
        FreeTables(tree, tree.ChildOf(seen), level.Below());
      }
    }
  }
  tree.memory().Free(&table);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
void DestroyTables(TableTree<F, M, R>& tree) {
  if (tree.root() == nullptr) return;
  if constexpr (kTypeStable<R>) {
    // A walk of another tree may still hold one of the tables, and could take
    // an entry that is left open while the memory gives the table out again:
    //   stale fault: takes an empty entry  | builder: takes the table, opens it
    //   stale fault: gives it back, empty  | builder: has mapped a page there
    Retired* closed = nullptr;
    const auto drop = [](const TakenLeaf<F>&) {};
    for (unsigned i = 0; i < kRootTables<F>; ++i) {
      CloseTable(tree, tree.RootTable(i), Level{F::kLevels},
                 Gfn{i * kFramesPerRootTable<F>}, drop, closed);
    }
    while (closed != nullptr) {
      Retired& next = *closed;
      closed = next.next;
      tree.RetireTable(next);
    }
  } else {
    for (unsigned i = 0; i < kRootTables<F>; ++i) {
      FreeTables(tree, tree.RootTable(i), Level{F::kLevels});
    }
  }
}

}  // namespace ptage::internal

#endif  // PTAGE_PAGE_TABLE_REMOVE_H_
