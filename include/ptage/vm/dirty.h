// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which frames of a VM were written: what direct entries, nested ones and the
// history know, as one answer. Included by vm.h.
//
// Contract
//   As dirty.h says of the direct MMUs, shadow_dirty.h of the nested one, and
//   page_history.h of the history, which is asked last. All is flushed at once,
//   at the end: a write that comes after that is told of by the next call.

#ifndef PTAGE_VM_DIRTY_H_
#define PTAGE_VM_DIRTY_H_

#include <cstdint>

#include "ptage/dirty.h"
#include "ptage/fault_lock.h"
#include "ptage/mmu.h"
#include "ptage/reclaim.h"
#include "ptage/shadow_dirty.h"
#include "ptage/types.h"

namespace ptage::internal {

// `State` is a VmState. See Vm, of all.
template <class State>
AgeCounts ClearDirty(State& state, GfnRange range, const AgeOutput& output);
template <class State>
AgeCounts WriteProtect(State& state, GfnRange range, const AgeOutput& output);
template <class State>
std::uint64_t LiftProtection(State& state, GfnRange range);

// ---------------------------------------------------------------------------

// `collect(walk, flusher)`, which asks the tables, then the history; and the
// flush of both.
template <class State, class Collect>
AgeCounts CollectDirty(State& state, GfnRange range, const AgeOutput& output,
                       Collect&& collect) {
  const typename State::Walk walk(state.reclaimer, WalkEntry::kWait);
  FlushLater flush;
  const AgeCounts counts = collect(walk, flush);
  if (state.history.TakeWritten(range, output)) {
    // What was recorded need not be flushed yet:
    //   zapper: records the write | collector: takes it, returns
    //   CPU: writes through what  | the page is copied
    //     it has cached           |
    // and nobody is told of that. So it is flushed here; and who zaps nested
    // entries holds the lock until it has flushed.
    flush.Flush(range);
    const FaultLock::Shared wait(state.fault_lock);
  }
  flush.FlushAll(state.flusher);
  return counts;
}

template <class State>
AgeCounts ClearDirty(State& state, GfnRange range, const AgeOutput& output) {
  return CollectDirty(
      state, range, output, [&](const auto& walk, FlushLater& flush) {
        AgeCounts counts = state.spaces.ClearDirty(walk, range, output, flush);
        counts += ClearNestedDirty(state.shadow, walk, state.fault_lock, flush,
                                   range, output);
        return counts;
      });
}

template <class State>
AgeCounts WriteProtect(State& state, GfnRange range, const AgeOutput& output) {
  return CollectDirty(
      state, range, output, [&](const auto& walk, FlushLater& flush) {
        AgeCounts counts =
            state.spaces.WriteProtect(walk, range, output, flush);
        counts += WriteProtectNested(state.shadow, walk, state.fault_lock,
                                     flush, range, output);
        return counts;
      });
}

template <class State>
std::uint64_t LiftProtection(State& state, GfnRange range) {
  const typename State::Walk walk(state.reclaimer, WalkEntry::kWait);
  return state.spaces.LiftProtection(walk, range) +
         LiftNestedProtection(state.shadow, walk, state.fault_lock, range);
}

}  // namespace ptage::internal

#endif  // PTAGE_VM_DIRTY_H_
