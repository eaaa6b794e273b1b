// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Takes an idle page from all MMUs of a VM. Included by vm.h.
//
// Contract
//   As hold.h says. An invalidation of the page is open all the while, so that
//   faults are kept out. Entries are frozen from the nested MMU down to the
//   direct ones, and only then the history and whoever comes next are asked.

#ifndef PTAGE_VM_TAKE_H_
#define PTAGE_VM_TAKE_H_

#include <vector>

#include "ptage/fault_lock.h"
#include "ptage/hold.h"
#include "ptage/invalidate.h"
#include "ptage/mmu.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/types.h"

namespace ptage::internal {

// `State` is a VmState.
template <class State>
TakeOutcome TakeIfIdle(State& state, GfnRange page, ZapSink sink,
                       TakeRest rest) {
  using F = typename State::Format;
  using Held = HeldLeaves<F>;
  const ScopedInvalidation open(state.invalidations, page);
  const typename State::Walk walk(state.reclaimer, WalkEntry::kWait);
  const auto hand_over = [&](const ZappedLeaf& leaf) {
    state.history.Record(leaf);
    sink(leaf);
  };
  const auto unused = [&] {
    // After the entries were frozen: who zapped one has recorded its access.
    return state.history.Accessed(page) ? TakeOutcome::kInUse : rest();
  };
  const auto direct = [&] {
    std::vector<typename Held::Leaf> room(State::kSpaces * page.Frames());
    Held held(room.data(), room.size());
    return TakeHeld(
        held, state.spaces.Freeze(walk, page, held), unused,
        [&] { state.flusher.Flush(page); },
        [&](const TakenLeaf<F>& leaf) { hand_over(State::Tdp::Zapped(leaf)); });
  };
  if (state.shadow.live() == 0) return direct();
  // Nested entries are frozen under the lock alone. It is taken before anything
  // is frozen: whoever has it may wait for another's entries.
  const FaultLock::Exclusive hold(state.fault_lock);
  std::vector<typename Held::Leaf> room(state.shadow.EntriesOf(walk, page));
  Held held(room.data(), room.size());
  return TakeHeld(
      held, state.shadow.Freeze(walk, page, held), direct,
      [&] { state.shadow.Flush(held); },
      [&](const TakenLeaf<F>& leaf) {
        state.shadow.UnmapLeaf(walk, leaf, hand_over);
      });
}

}  // namespace ptage::internal

#endif  // PTAGE_VM_TAKE_H_
