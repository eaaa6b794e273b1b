// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest without nested paging, as small as it can be: its frames, what its
// shadow tables are made of, and a CPU that walks them.

#ifndef PTAGE_TEST_RELACY_SHADOWED_H_
#define PTAGE_TEST_RELACY_SHADOWED_H_

#include <cstddef>
#include <cstdint>

#include "ptage/legacy_shadow/tables.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/rmap/lockless.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/checked_arena.h"
#include "test/relacy/guarded_format.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// The guest's memory: two pages, which are in a slot, a root, and a table of
// leaves, which are in none. Page kA may become a table too.
inline constexpr GfnRange kPages{kA, Gfn{2}};
inline constexpr Gfn kRootFrame{2};
inline constexpr Gfn kTableFrame{3};
inline constexpr std::uint64_t kGuestFrames = 4;
inline constexpr TableRole kRootRole{kRootFrame, Level{2}, Rights::kAll};
inline constexpr TableRole kTableRole{kTableFrame, Level{1}, Rights::kAll};
inline constexpr TableRole kPageRole{kA, Level{1}, Rights::kAll};

// Where its shadow tables lie, and the rmaps of what they map.
template <std::size_t kTables>
using ShadowArena = CheckedArena<kTables, GuardedFormat>;
template <class Arena>
using ShadowRmaps =
    Lockless<GuardedFormat, Arena, GuardedPool, RmapWriters::kLockHeadInOrder>;

inline bool IsWritable(Word word) {
  return GuardedFormat::IsPresent(word) &&
         Allows(GuardedFormat::RightsOf(word), Rights::kWrite);
}

// A CPU that has all of a path cached until it is flushed.
class ShadowCpu {
 public:
  // Calls `use(word)` with the leaf that it has, or finds, behind the entry of
  // the root; if it finds it, it marks it for an access of that kind, and calls
  // `marked(word)` first.
  template <class Arena, class Marked, class Use>
  void Walk(Arena& arena, Entry& root, unsigned index, AccessKind kind,
            Marked&& marked, Use&& use) {
    ScopedLock<BlockingLock> hold(walking_);
    if (!GuardedFormat::IsPresent(inner_)) inner_ = ReadOnce(root, kAcquire);
    if (!GuardedFormat::IsPresent(inner_)) return;
    if (!GuardedFormat::IsPresent(leaf_)) {
      Entry& leaf =
          arena.TableAt(GuardedFormat::FrameOf(inner_))->entries[index];
      const Word seen = ReadOnce(leaf, kAcquire);
      if (!AccessSeen(leaf, seen, kind)) return;
      leaf_ = seen;
      marked(seen);
    }
    use(leaf_);
  }
  // A Flusher. Waits for a walk under way.
  void Flush(GfnRange) {
    ScopedLock<BlockingLock> hold(walking_);
    inner_ = leaf_ = GuardedFormat::kEmpty;
  }

 private:
  BlockingLock walking_;
  Word inner_ = GuardedFormat::kEmpty;
  Word leaf_ = GuardedFormat::kEmpty;
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_SHADOWED_H_
