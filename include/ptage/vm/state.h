// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the parts of a VM share: its MMUs, its slots, what keeps faults out, and
// the history of what was zapped. Included by vm.h.
//
// Contract
//   Any threads use it, as vm.h says, and as each member does.
//
//   What a zap hands over is in the history before its entry is empty, and who
//   asks, asks the tables first (page_history.h): so all that is zapped goes
//   through the sinks of VmHistory. Without a history they cost nothing.

#ifndef PTAGE_VM_STATE_H_
#define PTAGE_VM_STATE_H_

#include <cstddef>
#include <cstdint>

#include "ptage/address_spaces.h"
#include "ptage/fault_lock.h"
#include "ptage/invalidate.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/page_history.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/shadow_mmu.h"
#include "ptage/spte.h"
#include "ptage/tdp_mmu.h"
#include "ptage/types.h"

namespace ptage::internal {

// The VM's history, if it has one.
template <SpteFormat F>
class VmHistory {
 public:
  explicit VmHistory(PageHistory* history) : history_(history) {}

  // For sinks.
  void Record(const ZappedLeaf& leaf) const {
    if (history_ == nullptr) return;
    history_->Record(GfnRange{leaf.gfn, leaf.gfn + FramesAt<F>(leaf.level)},
                     leaf.accessed, leaf.dirty);
  }
  // `zap(sink)`, where the sink has the history as a witness.
  template <class Zap>
  std::uint64_t Recorded(ZapSink sink, Zap&& zap) const {
    if (history_ == nullptr) return zap(sink);
    const auto recorded = [&](const ZappedLeaf& leaf) {
      Record(leaf);
      sink(leaf);
    };
    return zap(ZapSink(recorded));
  }

  // `ask()`, which asks the tables, and then the history.
  template <class Ask>
  AgeResult AskAll(GfnRange range, AgeAction action, const AgeOutput& output,
                   Ask&& ask) const {
    return history_ == nullptr
               ? ask()
               : AgeWithHistory(*history_, range, action, output, ask);
  }
  // Whether an access to the page is on record.
  [[nodiscard]] bool Accessed(GfnRange page) const {
    return history_ != nullptr &&
           history_->Accessed(page, AgeAction::kTest, AgeOutput{}).young;
  }
  // Tells of the writes to `range` that are on record, and forgets them. False
  // if there are none.
  bool TakeWritten(GfnRange range, const AgeOutput& output) const {
    return history_ != nullptr &&
           history_->Written(range, AgeAction::kTestAndClear, output).young;
  }

 private:
  PageHistory* const history_;
};

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kNumber, InnerAging kInner>
struct VmState {
  using Format = F;
  using Tdp = TdpMmu<F, M, R, Fl, kInner>;
  using Shadow = ShadowMmu<F, M, R, Fl, D, kInner>;
  using Walk = LocklessWalk<R>;
  static constexpr std::size_t kSpaces = kNumber;

  // `parts` are a Vm's.
  template <class Parts>
  explicit VmState(const Parts& parts)
      : reclaimer(parts.reclaimer),
        flusher(parts.flusher),
        fault_lock(parts.mmu_lock),
        history(parts.history),
        memslots(parts.reclaimer),
        invalidations(fault_lock),
        nested_invalidations(fault_lock),
        spaces(parts.memory, parts.reclaimer, parts.flusher),
        shadow(parts.memory, parts.reclaimer, parts.flusher, parts.rmaps,
               memslots) {}

  R& reclaimer;
  Fl& flusher;
  // The MMU lock.
  FaultLock fault_lock;
  const VmHistory<F> history;
  Memslots<F, R> memslots;
  InvalidateSequence invalidations;
  // By frames of L2, of whichever guest: a fault of another one at the same
  // frames is retried for nothing.
  InvalidateSequence nested_invalidations;
  AddressSpaces<Tdp, kSpaces> spaces;
  Shadow shadow;
};

}  // namespace ptage::internal

#endif  // PTAGE_VM_STATE_H_
