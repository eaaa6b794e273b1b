// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The one worker of aging a tree: tests, or tests and clears, every leaf of a
// range, entry by entry, into bitmaps.
//
// Contract
//   Concurrently, anything may happen to the tree, and other threads may
//   harvest it. What walk.h says of visits holds, and what spte.h says of each
//   entry: a young bit may be reported to two harvesters, never to none.
//
//   * Every bit that was cleared is in the output when the call returns, also
//     when it stops for its budget.
//   * A leaf that reaches beyond the range is tested, never cleared: its one
//   bit
//     belongs to all its frames.
//   * A frozen entry is unknown to fast-only, young to slow, for every frame
//     under it.
//
//   Progress: wait-free, in entries of the range, in either mode.

#ifndef PTAGE_HARVEST_H_
#define PTAGE_HARVEST_H_

#include <cstdint>

#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "ptage/walk.h"

namespace ptage {

// Ages leaves from the cursor on, until the range is done or `budget` entries
// were read. Bits and counts go to `output`, which spans the range; `was_fast`
// of the answer is false, for an MMU to set. Direct trees, whose entries keep
// their frame while the walk lasts.
template <class Tree>
AgeResult HarvestSome(const Tree& tree, const typename Tree::Walk& walk,
                      WalkCursor& cursor, std::uint64_t budget,
                      AgeAction action, AgeMode mode, const AgeOutput& output) {
  using F = typename Tree::Format;
  AgeResult result;
  AgeCounts counts;
  const GfnRange range = cursor.Rest();
  // Of another place's entries, under a type-stable reclaimer, none is taken
  // for young; a cold one may be counted.
  constexpr ColdEntries kCold = ColdEntries::kUnchecked;
  WalkSome<kCold>(
      tree, walk, cursor, budget, [&](const VisitedEntry<F>& visited) {
        // Most entries are cold, and need nothing of what follows.
        if (!IsFrozen<F>(visited.seen) && !IsYoung<F>(visited.seen)) {
          ++counts.examined;
          return;
        }
        const bool whole = range.Contains(visited.covers);
        const SpteAge age =
            AgeSeen<F>(visited.entry, visited.seen,
                       whole ? action : AgeAction::kTest, [] { return true; });
        const AgeResult answer = ToResult(age, mode);
        result |= answer;
        counts += CountsOf(age);
        if (answer.young) output.SetYoung(visited.asked);
        if (!answer.complete) output.SetUnknown(visited.asked);
      });
  output.Count(counts);
  return result;
}

// The same for a whole range at once.
template <class Tree>
AgeResult Harvest(const Tree& tree, const typename Tree::Walk& walk,
                  GfnRange range, AgeAction action, AgeMode mode,
                  const AgeOutput& output) {
  WalkCursor cursor(range);
  return HarvestSome(tree, walk, cursor, kNoBudget, action, mode, output);
}

}  // namespace ptage

#endif  // PTAGE_HARVEST_H_
