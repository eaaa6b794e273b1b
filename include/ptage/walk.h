// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A lockless walk over the leaves of a tree that can stop after a budget and go
// on later.
//
// Contract
//   Concurrently, anything may happen to the tree. Of the leaves that are
//   present during the whole walk each is visited once, or lies under an entry
//   that was frozen when the walk came by, and is then reported as such. Leaves
//   that come, go, split or are promoted meanwhile may be visited, at either
//   size, or not.
//
//   The walk keeps nothing but the next frame between two calls of WalkSome, so
//   it may leave its section in between, and what was zapped, split or removed
//   meanwhile does no harm.
//
//   Progress: wait-free, in entries of the range.

#ifndef PTAGE_WALK_H_
#define PTAGE_WALK_H_

#include <cstdint>

#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Entries that a walk may read, inner and empty ones too.
inline constexpr std::uint64_t kNoBudget = ~std::uint64_t{0};

// An entry that a walk meets.
template <SpteFormat F>
struct VisitedEntry {
  SpteCell<F>& entry;     // allocated until the walk ends
  typename F::Word seen;  // read with acquire: a leaf, or frozen
  Level level;            // of its table
  GfnRange covers;        // all the frames that it covers
  GfnRange asked;         // those of them that lie in the range of the walk
};

// Where a walk goes on: a value, for one thread at a time.
class WalkCursor {
 public:
  explicit constexpr WalkCursor(GfnRange range)
      : next_(range.begin), end_(range.end) {}

  // Whether the range is done.
  [[nodiscard]] constexpr bool Done() const { return next_ >= end_; }
  // What is left.
  [[nodiscard]] constexpr GfnRange Rest() const {
    return GfnRange{next_, next_ < end_ ? end_ : next_};
  }
  // Goes on at `next`, which is not before what is left.
  constexpr void MoveTo(Gfn next) { next_ = next; }

 private:
  Gfn next_;
  Gfn end_;
};

// Calls `visit(const VisitedEntry<F>&)` for each leaf and frozen entry from the
// cursor on, and moves the cursor behind the last, until the range is done or
// `budget` entries were read. A budget under the height of the tree does not
// get anywhere. `kCold`: see page_table/tables.h.
template <ColdEntries kCold = ColdEntries::kChecked, class Tree, class Visit>
void WalkSome(const Tree& tree, const typename Tree::Walk& walk,
              WalkCursor& cursor, std::uint64_t budget, Visit&& visit) {
  using F = typename Tree::Format;
  const GfnRange range = cursor.Rest();
  cursor.MoveTo(tree.template Visit<kCold>(
      walk, range, budget,
      [&](SpteCell<F>& entry, typename F::Word seen, Gfn gfn, Level level) {
        const GfnRange covers{gfn, gfn + FramesAt<F>(level)};
        visit(VisitedEntry<F>{entry, seen, level, covers, range.Clip(covers)});
        return true;
      }));
}

// The same for a whole range at once.
template <class Tree, class Visit>
void WalkAll(const Tree& tree, const typename Tree::Walk& walk, GfnRange range,
             Visit&& visit) {
  WalkCursor cursor(range);
  WalkSome(tree, walk, cursor, kNoBudget, visit);
}

}  // namespace ptage

#endif  // PTAGE_WALK_H_
