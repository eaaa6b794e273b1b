// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which shadow tables go when their memory is wanted. Included by
// legacy_shadow.h.
//
// Contract
//   Callers hold the MMU lock exclusively, and are inside a walk. CPUs may use
//   the tables meanwhile: that one was used is a guess, which costs faults
//   where it is wrong, and no more.

#ifndef PTAGE_LEGACY_SHADOW_RECLAIM_H_
#define PTAGE_LEGACY_SHADOW_RECLAIM_H_

#include <cstddef>

#include "ptage/legacy_shadow/tables.h"
#include "ptage/mmu.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::internal {

// Removes tables of a ShadowTree until `count` are gone or none is left that is
// not loaded, in the order that LegacyShadow::Reclaim says. Returns how many.
template <class Tree>
std::size_t ReclaimTables(Tree& tree, const typename Tree::Walk& walk,
                          std::size_t count, ZapSink sink);

// ---------------------------------------------------------------------------

// Whether CPUs used the table since this was last asked.
template <SpteFormat F>
bool WasUsed(const ShadowTable<F>& table) {
  bool used = table.loads != 0;
  if constexpr (F::kInnerAccessed) {
    // A CPU that has it cached does not mark it again.
    for (SpteCell<F>* const parent : table.parents) {
      used |= AgeEntry<F>(*parent, AgeAction::kTestAndClear,
                          [] { return true; }) != SpteAge::kCold;
    }
  }
  return used;
}

template <class Tree>
std::size_t ReclaimTables(Tree& tree, const typename Tree::Walk& walk,
                          std::size_t count, ZapSink sink) {
  ShadowTables<typename Tree::Format>& tables = tree.tables();
  const std::size_t before = tree.size();
  {
    typename Tree::Removal removal(walk, sink);
    tree.TakeUnused(removal);
    (void)tree.Finish(removal);
  }
  std::size_t gone = before - tree.size();
  // Those at the bottom first, or one at the top would take all below with it.
  for (Level level = Tree::kSmall; level <= Tree::kTop; level = level.Above()) {
    // Twice around: what was used is passed over once.
    for (std::size_t turns = 2 * tables.size();
         turns > 0 && tables.size() != 0 && gone < count; --turns) {
      ShadowTable<typename Tree::Format>& oldest = tables.Oldest();
      if (oldest.role.level != level || WasUsed(oldest)) {
        tables.Renew(oldest);
        continue;
      }
      typename Tree::Removal removal(walk, sink);
      tree.TakeTable(removal, oldest);
      (void)tree.Finish(removal);
      gone = before - tree.size();
    }
  }
  return gone;
}

}  // namespace ptage::internal

#endif  // PTAGE_LEGACY_SHADOW_RECLAIM_H_
