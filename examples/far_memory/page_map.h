// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The software page table: what memory holds which page, and which bits each
// has. The library's own tree, in a format whose accessed and dirty bits are
// set by faults (RISC-V Sv48, Svade): a page without A is not mapped, one
// without D is mapped read-only. So LiveRights of an entry is what the workload
// may be given, and FastFault is the whole of a fault on a page in memory.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_PAGE_MAP_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_PAGE_MAP_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/spte.h"
#include "ptage/spte/riscv64_svade.h"
#include "ptage/types.h"

namespace ptage::far_memory {

using Format = RiscvSv48Svade;

class PageMap {
 public:
  using Tree = PageTable<Format, TableArena<Format>, EpochDomain<>>;
  using Walk = Tree::Walk;

  // For pages 0 … pages − 1, all of which map nothing.
  explicit PageMap(std::uint64_t pages)
      : tables_(TablesFor(pages)),
        infos_(tables_.size()),
        memory_(tables_.data(), infos_.data(), nullptr, tables_.size(), Pfn{0}),
        tree_(memory_, reclaimer_, flusher_, TableKind::kDirect) {
    PTAGE_ASSERT(tree_.valid());
  }

  [[nodiscard]] Tree& tree() { return tree_; }
  [[nodiscard]] EpochDomain<>& reclaimer() { return reclaimer_; }

  [[nodiscard]] FoundEntry<Format> Lookup(const Walk& walk, Gfn gfn) const {
    return tree_.Lookup(walk, gfn);
  }

 private:
  // Leaf tables, and the few above them.
  static std::size_t TablesFor(std::uint64_t pages) {
    constexpr std::uint64_t kPer = kEntriesPerTable<Format>;
    std::uint64_t tables = 1;
    for (std::uint64_t level = pages; level > 1;) {
      level = (level + kPer - 1) / kPer;
      tables += level;
    }
    return tables + Format::kLevels;
  }

  EpochDomain<> reclaimer_;
  NoFlush flusher_;  // no processor walks these tables
  std::vector<Table<Format>> tables_;
  std::vector<TableInfo<Format>> infos_;
  TableArena<Format> memory_;
  Tree tree_;
};

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_PAGE_MAP_H_
