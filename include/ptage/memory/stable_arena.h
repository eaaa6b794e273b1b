// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Table memory for a type-stable reclaimer: the arena, with an identity beside
// each table.
//
// Contract
//   As arena.h, for any number of direct trees of one format at a time; and
//   what walks of a type-stable reclaimer rely on: the block is the caller's
//   and outlives every walk, free tables are linked through their infos, which
//   no walk reads, and neither a page nor an identity is written by the arena.

#ifndef PTAGE_MEMORY_STABLE_ARENA_H_
#define PTAGE_MEMORY_STABLE_ARENA_H_

#include <cstddef>

#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

template <SpteFormat F, BasicLock L = SpinLock>
class StableArena : public TableArena<F, L> {
 public:
  // The block: as TableArena's, without frame records, and `count` identities
  // of tables that have never been used.
  StableArena(Table<F>* tables, TableInfo<F>* infos, TableIdentity* identities,
              std::size_t count, Pfn first)
      : TableArena<F, L>(tables, infos, /*gfns=*/nullptr, count, first),
        tables_(tables),
        identities_(identities) {}

  [[nodiscard]] TableIdentity& IdentityOf(const Table<F>* table) const {
    return identities_[table - tables_];
  }

 private:
  Table<F>* const tables_;
  TableIdentity* const identities_;
};

}  // namespace ptage

#endif  // PTAGE_MEMORY_STABLE_ARENA_H_
