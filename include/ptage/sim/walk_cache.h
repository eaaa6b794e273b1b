// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A paging-structure cache: remembers inner entries, so that a walk may start
// below the root (Intel SDM volume 3A, 4.10.3 "Paging-Structure Caches").
//
// Contract
//   Belongs to one vCPU; see translation_cache.h. Direct-mapped, `kEntries` for
//   each level of tables but the root's.
//
//   What it costs the one who clears accessed bits of inner entries: a walk
//   that starts from a cached entry reads none above it, and sets no accessed
//   bit in any of them, nor in the cached one, until the next flush.

#ifndef PTAGE_SIM_WALK_CACHE_H_
#define PTAGE_SIM_WALK_CACHE_H_

#include <bit>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::sim {

template <SpteFormat F, unsigned kEntries = 32>
class WalkCache {
 public:
  static_assert(std::has_single_bit(kEntries), "entries are found by masking");

  [[nodiscard]] WalkedTable<F> FindTable(Gfn gfn) {
    for (Level level{1}; level < Level{F::kLevels}; level = level.Above()) {
      const Entry& entry = EntryFor(gfn, level);
      if (entry.walked.table != nullptr &&
          entry.number == NumberOf(gfn, level)) {
        return entry.walked;
      }
    }
    return WalkedTable<F>{};
  }

  // Precondition: the table is not a root.
  void AddTable(Gfn gfn, const WalkedTable<F>& walked) {
    PTAGE_ASSERT(walked.level < Level{F::kLevels});
    EntryFor(gfn, walked.level) = Entry{NumberOf(gfn, walked.level), walked};
  }

  void Forget(Gfn gfn) {
    for (Level level{1}; level < Level{F::kLevels}; level = level.Above()) {
      Entry& entry = EntryFor(gfn, level);
      if (entry.number == NumberOf(gfn, level)) entry = Entry{};
    }
  }

  void Flush() {
    for (auto& level : entries_) {
      for (Entry& entry : level) entry = Entry{};
    }
  }

 private:
  struct Entry {
    std::uint64_t number = 0;
    WalkedTable<F> walked;
  };

  // The number of the table of `level` that holds the path to `gfn`, counted
  // among all that the address space has room for.
  static std::uint64_t NumberOf(Gfn gfn, Level level) {
    return gfn.value / FramesAt<F>(level.Above());
  }
  Entry& EntryFor(Gfn gfn, Level level) {
    return entries_[level.value - 1][NumberOf(gfn, level) % kEntries];
  }

  // By level of the table that the entry points to, lowest first; none for a
  // root.
  Entry entries_[F::kLevels - 1][kEntries];
};

}  // namespace ptage::sim

#endif  // PTAGE_SIM_WALK_CACHE_H_
