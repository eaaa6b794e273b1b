// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The faults of a VM's guests, direct and nested. Included by vm.h.
//
// Contract
//   A fault takes a snapshot of the invalidate sequence, finds the memory
//   behind its frame without a lock, and installs under the MMU lock, but only
//   if no invalidation of what it would map is open, and none has ended since
//   (invalidate.h). A nested one does so for two stages: the frames of L2 that
//   L1's tables translate, and the frames of L1 that the slots do. So what it
//   found of either is not used after it was taken back.
//
//   A fault that L1 gets drops what was built for its frame, as a processor
//   drops what it has cached for an address that faults (SDM 3C 29.4.3.1). So
//   L1 need not tell of what it changes in answer.

#ifndef PTAGE_VM_FAULTS_H_
#define PTAGE_VM_FAULTS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "ptage/config.h"
#include "ptage/fast_fault.h"
#include "ptage/fault_lock.h"
#include "ptage/guest_walk.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/reclaim.h"
#include "ptage/shadow_mmu.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::internal {

// `State` is a VmState.
template <class State>
class VmFaults {
  using F = typename State::Format;
  using Shadow = typename State::Shadow;
  using Walk = typename State::Walk;

 public:
  // See Vm, of all.
  VmFaults(State& state, std::function<bool(GfnRange)> may_map,
           Level largest_leaf, std::function<void(const ZappedLeaf&)> sink)
      : state_(state),
        may_map_(std::move(may_map)),
        largest_leaf_(largest_leaf),
        sink_(std::move(sink)) {}

  FaultOutcome Fault(Gfn gfn, Rights access, AddressSpace space);

  using Translate = absl::FunctionRef<std::optional<NestedMapping>(NestedGfn)>;
  FaultOutcome NestedFault(NestedGfn nested, Rights access, Translate translate,
                           NestedGuest guest);
  template <CheckedFormat G, ForeignMemory L1>
  FaultOutcome NestedFault(NestedGfn nested, Rights access,
                           const GuestWalker<G, L1>& tables,
                           GuestTranslation& walked, NestedGuest guest);

 private:
  // Of a nested fault that finds no memory. Two batches of chunks wait at most,
  // and a grace period ends by the second walk after it began.
  static constexpr int kTries = 4;

  // What a fault must know of its frame before it takes the lock. kMapped: go
  // on.
  FaultOutcome FindSlot(const Walk& walk, Gfn gfn, Rights access,
                        Memslot<F>*& slot,
                        AddressSpace space = AddressSpace::kFirst) const;
  // Of a fault that holds the lock: the level at which it may map `gfn`, at
  // most `level`. None: it is to retry.
  std::optional<Level> LevelToMap(const FaultLock::Held& held,
                                  std::uint64_t snapshot, Gfn gfn,
                                  Level level) const;

  // A fault behind L1's translation. The snapshots are from before that.
  struct Translated {
    NestedGfn nested;
    NestedMapping mapping;
    Rights access;
    NestedGuest guest;
    std::uint64_t snapshot;
    std::uint64_t nested_snapshot;
  };
  FaultOutcome TryNestedFault(const Translated& fault);
  // The same under the MMU lock, which is `held`, as `lock` says. Nothing: it
  // is needed exclusively.
  std::optional<FaultOutcome> InstallNested(const Walk& walk, Memslot<F>& slot,
                                            const Translated& fault,
                                            const FaultLock::Held& held,
                                            MmuLock lock);
  // Whether the shadow trees translate the frame.
  static bool HasPlaceFor(NestedGfn nested) {
    return nested.value < Shadow::Tree::kFrames;
  }
  // Zaps what maps the frame, if anything does, for a fault that L1 gets.
  void Drop(NestedGfn nested, NestedGuest guest);

  // What a fault zaps.
  void Tell(const ZappedLeaf& leaf) const {
    state_.history.Record(leaf);
    if (sink_) sink_(leaf);
  }

  State& state_;
  const std::function<bool(GfnRange)> may_map_;
  const Level largest_leaf_;
  const std::function<void(const ZappedLeaf&)> sink_;
};

// ---------------------------------------------------------------------------

template <class State>
FaultOutcome VmFaults<State>::FindSlot(const Walk& walk, Gfn gfn, Rights access,
                                       Memslot<F>*& slot,
                                       AddressSpace space) const {
  slot = state_.memslots.Find(walk, gfn);
  if (slot == nullptr || !slot->spaces().Has(space)) {
    return FaultOutcome::kNoSlot;
  }
  return Allows(slot->rights(), access) ? FaultOutcome::kMapped
                                        : FaultOutcome::kNotPermitted;
}

template <class State>
std::optional<Level> VmFaults<State>::LevelToMap(const FaultLock::Held& held,
                                                 std::uint64_t snapshot,
                                                 Gfn gfn, Level level) const {
  // Around a page that is not there, smaller leaves are mapped:
  //   evictor: takes one page out of 512   | its neighbours fault, for as
  //                                        | long as that page is away
  while (may_map_ && !may_map_(PageAround<F>(gfn, level))) {
    if (level == Level{1}) return std::nullopt;
    level = level.Below();
  }
  if (state_.invalidations.MustRetry(held, snapshot,
                                     PageAround<F>(gfn, level))) {
    return std::nullopt;
  }
  return level;
}

template <class State>
FaultOutcome VmFaults<State>::Fault(Gfn gfn, Rights access,
                                    AddressSpace space) {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const std::uint64_t snapshot = state_.invalidations.Snapshot();
  Memslot<F>* slot = nullptr;
  const FaultOutcome found = FindSlot(walk, gfn, access, slot, space);
  if (found != FaultOutcome::kMapped) return found;
  typename State::Tdp& mmu = state_.spaces[static_cast<std::size_t>(space)];
  const Pfn pfn = slot->FrameOf(gfn);
  const Level level = slot->LargestLevel(gfn, largest_leaf_);
  if constexpr (kMarkedByFaults<F>) {
    const FastFaultOutcome fast = FastFault(mmu.tree(), walk, gfn, access);
    if (!NeedsSlowPath(fast)) return OutcomeOf(fast);
  }
  const FaultLock::Shared hold(state_.fault_lock);
  const std::optional<Level> allowed = LevelToMap(hold, snapshot, gfn, level);
  if (!allowed.has_value()) return FaultOutcome::kRetry;
  return mmu.Fault(walk, gfn, pfn, *allowed, slot->rights(), access);
}

template <class State>
FaultOutcome VmFaults<State>::NestedFault(NestedGfn nested, Rights access,
                                          Translate translate,
                                          NestedGuest guest) {
  if constexpr (kMarkedByFaults<F>) {
    // What maps the frame is in step with L1's tables, or zapped later: it need
    // not be translated again.
    const Walk walk(state_.reclaimer, WalkEntry::kWait);
    const FastFaultOutcome fast =
        FastFault(state_.shadow.tree(guest), walk, Gfn{nested.value}, access);
    if (!NeedsSlowPath(fast)) return OutcomeOf(fast);
  }
  const std::uint64_t snapshot = state_.invalidations.Snapshot();
  const std::uint64_t nested_snapshot = state_.nested_invalidations.Snapshot();
  const std::optional<NestedMapping> mapping = translate(nested);
  if (!mapping.has_value() || !Allows(mapping->rights, access)) {
    // Were it kept:
    //   L2: executes what it may write, which faults | L1: gets that; it may be
    //                                                |   executed, and no more
    //   L2: writes to it by the entry from before.   |   be written
    Drop(nested, guest);
    return FaultOutcome::kReflected;
  }
  const Translated fault{nested, *mapping, access,
                         guest,  snapshot, nested_snapshot};
  FaultOutcome outcome = FaultOutcome::kNoMemory;
  // What the rmaps retired may be held back by this fault's own walk, or be on
  // its way back: each try is a walk of its own.
  for (int tries = 0; tries < kTries && outcome == FaultOutcome::kNoMemory;
       ++tries) {
    outcome = TryNestedFault(fault);
  }
  return outcome;
}

template <class State>
template <CheckedFormat G, ForeignMemory L1>
FaultOutcome VmFaults<State>::NestedFault(NestedGfn nested, Rights access,
                                          const GuestWalker<G, L1>& tables,
                                          GuestTranslation& walked,
                                          NestedGuest guest) {
  static_assert(G::kIndexBits == F::kIndexBits && G::kPageBits == F::kPageBits,
                "Vm: L1's pages have other sizes than the shadow tables'");
  static_assert(kFramesPerTree<G> <= kFramesPerTree<F>,
                "Vm: L1's tables translate more frames than the shadow tables");
  // Not every try walks. Were it left as it was:
  //   fault: its walk is busy, so it is to be tried again | another: maps the
  //                                                       |   page
  //   fault: finds it mapped, and the walk busy, again and again.
  walked = GuestTranslation{};
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

template <class State>
FaultOutcome VmFaults<State>::TryNestedFault(const Translated& fault) {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  Memslot<F>* slot = nullptr;
  const FaultOutcome found =
      FindSlot(walk, fault.mapping.gfn, fault.access, slot);
  if (found != FaultOutcome::kMapped) return found;
  // A processor lets through no address that the tables have no levels for.
  if (!HasPlaceFor(fault.nested)) return FaultOutcome::kReflected;
  if constexpr (Shadow::kFaultLock == MmuLock::kShared) {
    const FaultLock::Shared hold(state_.fault_lock);
    const std::optional<FaultOutcome> outcome =
        InstallNested(walk, *slot, fault, hold, MmuLock::kShared);
    if (outcome.has_value()) return *outcome;
  }
  const FaultLock::Exclusive hold(state_.fault_lock);
  const std::optional<FaultOutcome> outcome =
      InstallNested(walk, *slot, fault, hold, MmuLock::kExclusive);
  PTAGE_ASSERT(outcome.has_value());
  return *outcome;
}

template <class State>
std::optional<FaultOutcome> VmFaults<State>::InstallNested(
    const Walk& walk, Memslot<F>& slot, const Translated& fault,
    const FaultLock::Held& held, MmuLock lock) {
  NestedMapping mapping = fault.mapping;
  // What the translation is of: L1's page, whole.
  if (state_.nested_invalidations.MustRetry(
          held, fault.nested_snapshot,
          PageAround<F>(Gfn{fault.nested.value}, mapping.level))) {
    return FaultOutcome::kRetry;
  }
  // Not more than that is mapped.
  const std::optional<Level> allowed =
      LevelToMap(held, fault.snapshot, mapping.gfn,
                 slot.LargestLevel(mapping.gfn, mapping.level));
  if (!allowed.has_value()) return FaultOutcome::kRetry;
  mapping.level = *allowed;
  return state_.shadow.Fault(
      walk, fault.nested, slot, mapping, fault.access, lock,
      [&](const ZappedLeaf& leaf) { Tell(leaf); }, fault.guest);
}

template <class State>
void VmFaults<State>::Drop(NestedGfn nested, NestedGuest guest) {
  if (!HasPlaceFor(nested)) return;
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const auto found = state_.shadow.tree(guest).Lookup(walk, Gfn{nested.value});
  // Most are for frames that nothing maps: no lock for these.
  if (found.word == F::kEmpty) return;
  const FaultLock::Exclusive hold(state_.fault_lock);
  (void)state_.shadow.ZapNested(
      walk, NestedRange{nested, nested + 1},
      [&](const ZappedLeaf& leaf) { Tell(leaf); }, guest);
}

}  // namespace ptage::internal

#endif  // PTAGE_VM_FAULTS_H_
