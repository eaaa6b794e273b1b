// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A virtual machine: its memslots and both secondary MMUs, faults by the
// invalidate sequence protocol, and the three questions over both.
//
// Contract
//   * Any threads may call any function concurrently, none of them inside a
//     walk or holding the MMU lock.
//   * Fault and NestedFault install under the MMU lock, shared; what zaps
//   nested
//     entries holds it exclusively, and so does a nested fault that has to zap
//     first, or whose discipline cannot do with less. Where faults set accessed
//     and dirty bits, both first try without it (fast_fault.h). A fault that
//     meets a frozen entry, an open invalidation or an ended one answers
//     kRetry.
//   * When Invalidate returns, no entry maps a frame of the range as it was
//     before, no CPU uses such a translation, and each accessed and dirty bit
//     is with the sink: the frames' data may be read, and the frames given
//     away.
//   * Slots may be added, removed and moved while all of this goes on. When one
//     was removed or moved, what Invalidate says holds of its frames.
//   * Age takes no lock in fast-only mode, and is wait-free. Slow waits as
//     ShadowMmu's discipline says; the direct MMU never does.

#ifndef PTAGE_VM_H_
#define PTAGE_VM_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "ptage/config.h"
#include "ptage/fast_fault.h"
#include "ptage/fault_lock.h"
#include "ptage/guest_walk.h"
#include "ptage/invalidate.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/shadow_mmu.h"
#include "ptage/spte.h"
#include "ptage/tdp_mmu.h"
#include "ptage/types.h"

namespace ptage {

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
class Vm : public AgeQuestions<Vm<F, M, R, Fl, D>> {
 public:
  using Tdp = TdpMmu<F, M, R, Fl>;
  using Shadow = ShadowMmu<F, M, R, Fl, D>;
  using Walk = LocklessWalk<R>;

  // What the VM is made of; all outlive it. `mmu_lock` is the one that the
  // discipline was given, if it wants one; and if its chunks are retired, they
  // are to this very reclaimer, whose walks keep them.
  struct Parts {
    M& memory;
    R& reclaimer;
    Fl& flusher;
    D& rmaps;
    absl::Mutex& mmu_lock;
  };

  // `largest_leaf` bounds what Fault maps in the direct MMU. `fault_sink`, if
  // there is one, gets the bits of entries that a nested fault zaps to make
  // room; as other sinks it is called while the entry is frozen, and under the
  // MMU lock. Check valid().
  explicit Vm(const Parts& parts, Level largest_leaf = F::kLargestLeaf,
              std::function<void(const ZappedLeaf&)> fault_sink = nullptr);

  // False if there was no memory for the roots.
  [[nodiscard]] bool valid() const { return tdp_.valid() && shadow_.valid(); }

  // Adds memory. InvalidArgument: the range is empty, reversed or too far up;
  // AlreadyExists: it overlaps another slot.
  absl::Status AddMemslot(GfnRange frames, Pfn base, Rights rights) {
    absl::MutexLock lock(&slots_lock_);
    return memslots_.Add(frames, base, rights, Gfn{Tdp::Tree::kFrames});
  }

  // Takes the memory of exactly these frames away, as Invalidate does with what
  // maps it; faults find no slot afterwards. NotFound: there is no such slot.
  absl::Status RemoveMemslot(GfnRange frames, ZapSink sink);

  // The same, and gives it to as many frames from `to` on. InvalidArgument and
  // AlreadyExists as AddMemslot; then nothing was done.
  absl::Status MoveMemslot(GfnRange frames, Gfn to, ZapSink sink);

  // A guest's access that the direct tables did not allow.
  [[nodiscard]] FaultOutcome Fault(Gfn gfn, Rights access);

  // The same of a nested guest. `translate` walks L1's tables: what they say of
  // `nested`, nothing if L1 is to get the fault (kReflected). It is called
  // once, without a lock.
  using Translate = absl::FunctionRef<std::optional<NestedMapping>(NestedGfn)>;
  [[nodiscard]] FaultOutcome NestedFault(
      NestedGfn nested, Rights access, Translate translate,
      NestedGuest guest = NestedGuest::kFirst);

  // The same by L1's own tables in its memory. `walked` is what the walk came
  // to: where L1 gets the fault, why.
  template <CheckedFormat G, ForeignMemory L1>
  [[nodiscard]] FaultOutcome NestedFault(
      NestedGfn nested, Rights access, const GuestWalker<G, L1>& tables,
      GuestTranslation& walked, NestedGuest guest = NestedGuest::kFirst);

  // One more nested guest; nothing if there are too many, or no memory.
  [[nodiscard]] std::optional<NestedGuest> AddNestedGuest() {
    const FaultLock::Exclusive hold(fault_lock_);
    return shadow_.AddGuest();
  }

  // Tests or clears every entry, of both MMUs, that maps a frame of `range`.
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output);

  // Zaps every entry that maps a frame of `range`. Returns how many.
  std::uint64_t Invalidate(GfnRange range, ZapSink sink);

  // L1 is changing its tables for these frames of L2: calls `change()`, which
  // writes them, between zapping and letting faults in again. Returns the
  // entries zapped.
  std::uint64_t InvalidateNested(NestedRange range, ZapSink sink,
                                 absl::FunctionRef<void()> change,
                                 NestedGuest guest = NestedGuest::kFirst);

  [[nodiscard]] Tdp& tdp() { return tdp_; }
  [[nodiscard]] Shadow& shadow() { return shadow_; }
  [[nodiscard]] Memslots<F, R>& memslots() { return memslots_; }
  // What faults hold while they install.
  [[nodiscard]] FaultLock& fault_lock() { return fault_lock_; }

 private:
  // Zaps every entry that maps a frame of `range`, and flushes. Precondition:
  // an invalidation of it is open.
  std::uint64_t ZapAll(GfnRange range, ZapSink sink);

  // What a fault must know of its frame before it takes the lock. kMapped: go
  // on.
  FaultOutcome FindSlot(const Walk& walk, Gfn gfn, Rights access,
                        Memslot<F>*& slot) const;

  // A fault behind L1's translation. The snapshots are from before that.
  FaultOutcome TryNestedFault(NestedGfn nested, NestedMapping mapping,
                              Rights access, NestedGuest guest,
                              std::uint64_t snapshot,
                              std::uint64_t nested_snapshot);
  // The same under the MMU lock, which is `held`, as `lock` says. Nothing: it
  // is needed exclusively.
  std::optional<FaultOutcome> InstallNested(
      const Walk& walk, NestedGfn nested, Memslot<F>& slot,
      NestedMapping mapping, Rights access, const FaultLock::Held& held,
      MmuLock lock, NestedGuest guest, std::uint64_t snapshot,
      std::uint64_t nested_snapshot);

  // Of a nested fault that finds no memory. Two batches of chunks wait at most,
  // and a grace period ends by the second walk after it began.
  static constexpr int kTries = 4;

  R& reclaimer_;
  Fl& flusher_;
  // The MMU lock.
  FaultLock fault_lock_;
  const Level largest_leaf_;
  const std::function<void(const ZappedLeaf&)> fault_sink_;
  // Excludes changes of slots from each other.
  absl::Mutex slots_lock_;
  Memslots<F, R> memslots_;
  InvalidateSequence invalidations_;
  // By frames of L2, of whichever guest: a fault of another one at the same
  // frames is retried for nothing.
  InvalidateSequence nested_invalidations_;
  Tdp tdp_;
  Shadow shadow_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
Vm<F, M, R, Fl, D>::Vm(const Parts& parts, Level largest_leaf,
                       std::function<void(const ZappedLeaf&)> fault_sink)
    : reclaimer_(parts.reclaimer),
      flusher_(parts.flusher),
      fault_lock_(parts.mmu_lock),
      largest_leaf_(largest_leaf),
      fault_sink_(std::move(fault_sink)),
      memslots_(parts.reclaimer),
      invalidations_(fault_lock_),
      nested_invalidations_(fault_lock_),
      tdp_(parts.memory, parts.reclaimer, parts.flusher),
      shadow_(parts.memory, parts.reclaimer, parts.flusher, parts.rmaps,
              memslots_) {}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
FaultOutcome Vm<F, M, R, Fl, D>::FindSlot(const Walk& walk, Gfn gfn,
                                          Rights access,
                                          Memslot<F>*& slot) const {
  slot = memslots_.Find(walk, gfn);
  if (slot == nullptr) return FaultOutcome::kNoSlot;
  return Allows(slot->rights(), access) ? FaultOutcome::kMapped
                                        : FaultOutcome::kNotPermitted;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
FaultOutcome Vm<F, M, R, Fl, D>::Fault(Gfn gfn, Rights access) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  const std::uint64_t snapshot = invalidations_.Snapshot();
  Memslot<F>* slot = nullptr;
  const FaultOutcome found = FindSlot(walk, gfn, access, slot);
  if (found != FaultOutcome::kMapped) return found;
  const Pfn pfn = slot->FrameOf(gfn);
  const Level level = slot->LargestLevel(gfn, largest_leaf_);
  if constexpr (kMarkedByFaults<F>) {
    const FastFaultOutcome fast = FastFault(tdp_.tree(), walk, gfn, access);
    if (!NeedsSlowPath(fast)) return OutcomeOf(fast);
  }
  const FaultLock::Shared hold(fault_lock_);
  if (invalidations_.MustRetry(hold, snapshot, PageAround<F>(gfn, level))) {
    return FaultOutcome::kRetry;
  }
  return tdp_.Fault(walk, gfn, pfn, level, slot->rights(), access);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
FaultOutcome Vm<F, M, R, Fl, D>::NestedFault(NestedGfn nested, Rights access,
                                             Translate translate,
                                             NestedGuest guest) {
  if constexpr (kMarkedByFaults<F>) {
    // What maps the frame is in step with L1's tables, or zapped later: it need
    // not be translated again.
    const Walk walk(reclaimer_, WalkEntry::kWait);
    const FastFaultOutcome fast =
        FastFault(shadow_.tree(guest), walk, Gfn{nested.value}, access);
    if (!NeedsSlowPath(fast)) return OutcomeOf(fast);
  }
  const std::uint64_t snapshot = invalidations_.Snapshot();
  const std::uint64_t nested_snapshot = nested_invalidations_.Snapshot();
  const std::optional<NestedMapping> mapping = translate(nested);
  if (!mapping.has_value()) return FaultOutcome::kReflected;
  if (!Allows(mapping->rights, access)) return FaultOutcome::kReflected;
  FaultOutcome outcome = FaultOutcome::kNoMemory;
  // What the rmaps retired may be held back by this fault's own walk, or be on
  // its way back: each try is a walk of its own.
  for (int tries = 0; tries < kTries && outcome == FaultOutcome::kNoMemory;
       ++tries) {
    outcome = TryNestedFault(nested, *mapping, access, guest, snapshot,
                             nested_snapshot);
  }
  return outcome;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
template <CheckedFormat G, ForeignMemory L1>
FaultOutcome Vm<F, M, R, Fl, D>::NestedFault(NestedGfn nested, Rights access,
                                             const GuestWalker<G, L1>& tables,
                                             GuestTranslation& walked,
                                             NestedGuest guest) {
  static_assert(G::kIndexBits == F::kIndexBits && G::kPageBits == F::kPageBits,
                "Vm: L1's pages have other sizes than the shadow tables'");
  // The walk comes after the snapshots, so that what L1 invalidates behind it
  // makes the fault retry.
  const FaultOutcome outcome = NestedFault(
      nested, access,
      [&](NestedGfn asked) -> std::optional<NestedMapping> {
        walked = tables.Translate(Gfn{asked.value}, access);
        if (!walked) return std::nullopt;
        return NestedMapping(walked.gfn, walked.rights, walked.level);
      },
      guest);
  return walked.walk == GuestWalk::kBusy ? FaultOutcome::kRetry : outcome;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
FaultOutcome Vm<F, M, R, Fl, D>::TryNestedFault(
    NestedGfn nested, NestedMapping mapping, Rights access, NestedGuest guest,
    std::uint64_t snapshot, std::uint64_t nested_snapshot) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  Memslot<F>* slot = nullptr;
  const FaultOutcome found = FindSlot(walk, mapping.gfn, access, slot);
  if (found != FaultOutcome::kMapped) return found;
  if constexpr (Shadow::kFaultLock == MmuLock::kShared) {
    const FaultLock::Shared hold(fault_lock_);
    const std::optional<FaultOutcome> outcome =
        InstallNested(walk, nested, *slot, mapping, access, hold,
                      MmuLock::kShared, guest, snapshot, nested_snapshot);
    if (outcome.has_value()) return *outcome;
  }
  const FaultLock::Exclusive hold(fault_lock_);
  const std::optional<FaultOutcome> outcome =
      InstallNested(walk, nested, *slot, mapping, access, hold,
                    MmuLock::kExclusive, guest, snapshot, nested_snapshot);
  PTAGE_ASSERT(outcome.has_value());
  return *outcome;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
std::optional<FaultOutcome> Vm<F, M, R, Fl, D>::InstallNested(
    const Walk& walk, NestedGfn nested, Memslot<F>& slot, NestedMapping mapping,
    Rights access, const FaultLock::Held& held, MmuLock lock, NestedGuest guest,
    std::uint64_t snapshot, std::uint64_t nested_snapshot) {
  // Not more than L1's page is mapped.
  if (invalidations_.MustRetry(held, snapshot,
                               PageAround<F>(mapping.gfn, mapping.level)) ||
      nested_invalidations_.MustRetry(
          held, nested_snapshot,
          PageAround<F>(Gfn{nested.value}, mapping.level))) {
    return FaultOutcome::kRetry;
  }
  return shadow_.Fault(
      walk, nested, slot, mapping, access, lock,
      [&](const ZappedLeaf& leaf) {
        if (fault_sink_) fault_sink_(leaf);
      },
      guest);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
AgeResult Vm<F, M, R, Fl, D>::Age(GfnRange range, AgeAction action,
                                  AgeMode mode, const AgeOutput& output) {
  return tdp_.Age(range, action, mode, output) |
         shadow_.Age(range, action, mode, output);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
std::uint64_t Vm<F, M, R, Fl, D>::ZapAll(GfnRange range, ZapSink sink) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  std::uint64_t zapped = tdp_.Zap(walk, range, ZapFlush::kByCaller, sink);
  if (zapped != 0) flusher_.Flush(range);
  if (shadow_.live() != 0) {
    const FaultLock::Exclusive hold(fault_lock_);
    zapped += shadow_.ZapFrames(walk, range, sink);
  }
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
std::uint64_t Vm<F, M, R, Fl, D>::Invalidate(GfnRange range, ZapSink sink) {
  const ScopedInvalidation open(invalidations_, range);
  return ZapAll(range, sink);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
absl::Status Vm<F, M, R, Fl, D>::RemoveMemslot(GfnRange frames, ZapSink sink) {
  absl::MutexLock lock(&slots_lock_);
  const absl::Status held = memslots_.Holds(frames);
  if (!held.ok()) return held;
  // Were the slot taken out before the invalidation is open:
  //   fault: finds the slot | remover: takes it out, zaps what is there
  //   fault: installs an entry for memory that the caller has back.
  // And were it closed before that, a fault would find the slot after it.
  const ScopedInvalidation open(invalidations_, frames);
  ZapAll(frames, sink);
  return memslots_.Remove(frames);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
absl::Status Vm<F, M, R, Fl, D>::MoveMemslot(GfnRange frames, Gfn to,
                                             ZapSink sink) {
  constexpr Gfn kLimit{Tdp::Tree::kFrames};
  absl::MutexLock lock(&slots_lock_);
  const absl::Status can = memslots_.CanMove(frames, to, kLimit);
  if (!can.ok()) return can;
  const ScopedInvalidation open(invalidations_, frames);
  ZapAll(frames, sink);
  return memslots_.Move(frames, to, kLimit);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D>
std::uint64_t Vm<F, M, R, Fl, D>::InvalidateNested(
    NestedRange range, ZapSink sink, absl::FunctionRef<void()> change,
    NestedGuest guest) {
  const ScopedInvalidation open(
      nested_invalidations_,
      GfnRange{Gfn{range.begin.value}, Gfn{range.end.value}});
  std::uint64_t zapped = 0;
  {
    const Walk walk(reclaimer_, WalkEntry::kWait);
    const FaultLock::Exclusive hold(fault_lock_);
    zapped = shadow_.ZapNested(walk, range, sink, guest);
  }
  change();
  return zapped;
}

}  // namespace ptage

#endif  // PTAGE_VM_H_
