// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Cuts a range into pieces that take as long to harvest, for as many threads.
//
// Contract
//   Concurrently, anything may happen to the tree. The pieces always make up
//   the range, each frame in one of them; how even they are depends on what
//   changes meanwhile.
//
//   Pieces meet at the first frame of a leaf table, or of a large leaf: no two
//   of them lead to the same line of a table, but for the inner entries that
//   both read. Nor do they write to a common line of one bitmap, if the range
//   begins at a leaf table's first frame and the bitmap on a cache line, since
//   the 512 bits of a leaf table are a line. Threads that share it all the same
//   need a bitmap, and counts, for each.
//
//   Progress: wait-free, in inner entries of the range.

#ifndef PTAGE_HARVEST_SPLIT_H_
#define PTAGE_HARVEST_SPLIT_H_

#include <cstdint>

#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Cuts `range` into at most `count` pieces, with about as many tables present
// in each, whatever their addresses. Returns how many there are, in
// pieces[0 …], in order; fewer than `count` where there is less to cut, and
// none of an empty range. Precondition: count > 0.
template <class Tree>
unsigned SplitByTables(const Tree& tree, const typename Tree::Walk& walk,
                       GfnRange range, GfnRange* pieces, unsigned count);

// ---------------------------------------------------------------------------

namespace internal {

// Calls `visit(gfn, entries)` for each present or frozen entry above the
// leaves' level that leads to no further inner table, in order of frames:
// `entries` are what a harvest will read for it.
template <class Tree, class Visit>
void VisitWork(const typename Tree::Tables& tables,
               Table<typename Tree::Format>& table, Level level, Gfn base,
               GfnRange range, Visit& visit) {
  using F = typename Tree::Format;
  const std::uint64_t frames = FramesAt<F>(level);
  typename Tree::Tables::Here here(tables, table, base, level);
  for (std::uint64_t i = (range.begin - base) / frames; i < kEntriesPerTable<F>;
       ++i) {
    const Gfn gfn = base + i * frames;
    if (gfn >= range.end) return;
    const typename F::Word seen = here.Read(table.entries[i]);
    if (!F::IsPresent(seen)) {
      if (IsFrozen<F>(seen)) visit(gfn, 1);
    } else if (F::IsLeaf(seen, level)) {
      visit(gfn, 1);
    } else if (level == Level{2}) {
      visit(gfn, kEntriesPerTable<F>);
    } else {
      VisitWork<Tree>(tables, tables.ChildOf(seen), level.Below(), gfn,
                      range.Clip(GfnRange{gfn, gfn + frames}), visit);
    }
  }
}

}  // namespace internal

template <class Tree>
unsigned SplitByTables(const Tree& tree, const typename Tree::Walk& walk,
                       GfnRange range, GfnRange* pieces, unsigned count) {
  using F = typename Tree::Format;
  PTAGE_ASSERT(static_cast<bool>(walk) && count > 0);
  if (range.Empty()) return 0;
  unsigned made = 0;
  Gfn begin = range.begin;
  if constexpr (F::kLevels > 1) {
    const auto for_all = [&](auto&& visit) {
      internal::VisitRoot(
          tree.tables(), range, [&](Table<F>& table, Gfn base, GfnRange part) {
            internal::VisitWork<Tree>(tree.tables(), table, Level{F::kLevels},
                                      base, part, visit);
            return part.end;
          });
    };
    std::uint64_t all = 0;
    for_all([&](Gfn, std::uint64_t entries) { all += entries; });
    std::uint64_t before = 0;
    for_all([&](Gfn gfn, std::uint64_t entries) {
      // Cut where the share of the pieces so far is nearest.
      if (made + 1 < count && gfn > begin &&
          (2 * before + entries) * count >= 2 * all * (made + 1)) {
        pieces[made++] = GfnRange{begin, gfn};
        begin = gfn;
      }
      before += entries;
    });
  }
  pieces[made++] = GfnRange{begin, range.end};
  return made;
}

}  // namespace ptage

#endif  // PTAGE_HARVEST_SPLIT_H_
