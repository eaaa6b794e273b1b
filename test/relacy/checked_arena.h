// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The shipped arena, which tells when a table is used after it was freed, and
// whose free tables look as if they held live leaves.

#ifndef PTAGE_TEST_RELACY_CHECKED_ARENA_H_
#define PTAGE_TEST_RELACY_CHECKED_ARENA_H_

#include <cstddef>
#include <cstdint>

#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/types.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

inline constexpr Pfn kFirstTableFrame{0x100};

// What the memory held before anyone used it: a leaf of a page that nobody
// maps.
inline constexpr Pfn kGarbageFrame{0xBAD};

template <std::size_t kTables, class F = TinyFormat>
class CheckedArena {
 public:
  using Info = TableInfo<F>;

  CheckedArena() {
    for (std::size_t i = 0; i < kTables; ++i) {
      Fill(tables_[i]);
      infos_[i].base.Set(0);
      infos_[i].level.Set(1);
      infos_[i].kind.Set(static_cast<std::uint32_t>(TableKind::kIndirect));
      infos_[i].gfns = &gfns_[i * kEntriesPerTable<F>];
    }
    for (auto& gfn : gfns_) WriteOnce(gfn, 0, kRelaxed);
  }

  Table<F>* Allocate(TableKind kind) {
    Table<F>* const table = arena_.Allocate(kind);
    if (table != nullptr) in_use_[table - tables_] = true;
    return table;
  }
  void Free(Table<F>* table) {
    Require(in_use_[table - tables_], "a table is freed once");
    in_use_[table - tables_] = false;
    // A walk that still reads the record races with this, or takes what is
    // written here for a leaf.
    arena_.InfoOf(table).level.Set(0);
    Fill(*table);
    arena_.Free(table);
  }
  Info& InfoOf(const Table<F>* table) const {
    Require(in_use_[table - tables_], "no table is used after it was freed");
    return arena_.InfoOf(table);
  }
  Table<F>* TableOf(const Entry& entry) const {
    Table<F>* const table = arena_.TableOf(entry);
    Require(in_use_[table - tables_], "no table is used after it was freed");
    return table;
  }
  Pfn FrameOf(const Table<F>* table) const { return arena_.FrameOf(table); }
  Table<F>* TableAt(Pfn pfn) const {
    Table<F>* const table = arena_.TableAt(pfn);
    Require(table != nullptr && in_use_[table - tables_],
            "no table is used after it was freed");
    return table;
  }

  std::size_t InUse() { return arena_.InUse(); }

 private:
  static void Fill(Table<F>& table) {
    for (Entry& entry : table.entries) {
      WriteOnce(entry, YoungLeaf(kGarbageFrame), kRelaxed);
    }
  }

  Table<F> tables_[kTables];
  Info infos_[kTables];
  Cell<std::uint64_t> gfns_[kTables * kEntriesPerTable<F>];
  TableArena<F, BlockingLock> arena_{tables_, infos_, gfns_, kTables,
                                     kFirstTableFrame};
  bool in_use_[kTables] = {};
};

static_assert(TableMemory<CheckedArena<1>, TinyFormat>);

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_CHECKED_ARENA_H_
