// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Memory for tables, for tests of the core.

#ifndef PTAGE_TEST_TABLES_H_
#define PTAGE_TEST_TABLES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::test {

// An arena with the block that it needs. Table i has the frame 0x1000 + i.
template <SpteFormat F>
class OwnedTables {
 public:
  explicit OwnedTables(std::size_t count)
      : tables_(count),
        infos_(count),
        gfns_(count * kEntriesPerTable<F>),
        arena_(tables_.data(), infos_.data(), gfns_.data(), count,
               Pfn{0x1000}) {}

  TableArena<F>& arena() { return arena_; }

  // A table by itself, as a tree would set it up, of empty entries.
  Table<F>& Make(TableKind kind, Gfn base, Level level) {
    Table<F>* const table = arena_.Allocate(kind);
    TableInfo<F>& info = arena_.InfoOf(table);
    info.base.Set(base.value);
    info.level.Set(level.value);
    info.kind.Set(static_cast<std::uint32_t>(kind));
    for (auto& entry : table->entries) WriteOnce(entry, F::kEmpty, kRelaxed);
    return *table;
  }

 private:
  std::vector<Table<F>> tables_;
  std::vector<TableInfo<F>> infos_;
  std::vector<Cell<std::uint64_t>> gfns_;
  TableArena<F> arena_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_TABLES_H_
