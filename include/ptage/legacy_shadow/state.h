// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the parts of a legacy MMU share: its shadow tables, the guest's memory,
// and what keeps faults out. Included by legacy_shadow.h.
//
// Contract
//   Any threads use it, as legacy_shadow.h says, and as each member does.

#ifndef PTAGE_LEGACY_SHADOW_STATE_H_
#define PTAGE_LEGACY_SHADOW_STATE_H_

#include <cstdint>

#include "ptage/fault_lock.h"
#include "ptage/guest_walk.h"
#include "ptage/invalidate.h"
#include "ptage/legacy_shadow/shadow_tree.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/mmu.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::internal {

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
struct LegacyState {
  using Format = F;
  using GuestFormat = G;
  using Reclamation = R;
  using Tree = ShadowTree<F, M, R, Fl, D>;
  using Walk = LocklessWalk<R>;
  using Walker = GuestWalker<G, L1>;

  // An address space as a CPU uses it: its table at the top.
  struct Root {
    Gfn frame;        // the guest's
    Table<F>* table;  // ours
  };

  // `parts` and `limits` are a LegacyShadow's.
  template <class Parts, class Limits>
  LegacyState(const Parts& parts, const Limits& limits)
      : reclaimer(parts.reclaimer),
        rmaps(parts.rmaps),
        guest(parts.guest),
        frames(limits.frames),
        physical_bits(limits.physical_bits),
        fault_lock(parts.mmu_lock),
        invalidations(fault_lock),
        tree(parts.memory, parts.reclaimer, parts.flusher, parts.rmaps,
             limits.frames, limits.tables) {}

  R& reclaimer;
  D& rmaps;
  const L1& guest;
  // As LegacyShadow's limits say.
  const std::uint64_t frames;
  const int physical_bits;
  // The MMU lock.
  FaultLock fault_lock;
  InvalidateSequence invalidations;
  Tree tree;
};

}  // namespace ptage::internal

#endif  // PTAGE_LEGACY_SHADOW_STATE_H_
