// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The truth of a VM: what each operation does by the contracts of vm.h,
// tdp_mmu.h, shadow_mmu.h, prune.h, dirty.h, fast_fault.h and guest_walk.h, on
// maps under one mutex. Slow, and meant to be read.

#ifndef PTAGE_TEST_MODEL_VM_MODEL_H_
#define PTAGE_TEST_MODEL_VM_MODEL_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "ptage/guest_walk.h"
#include "ptage/mmu.h"
#include "ptage/types.h"
#include "test/model/l1_map.h"
#include "test/model/vm_collect.h"
#include "test/model/vm_maps.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_state.h"

namespace ptage::test {

// What the model must know of what it is compared with.
struct ModelOptions {
  FormatFacts facts;
  // Fast-only answers for lists.
  bool lists_are_fast = true;
  // Entries of an rmap, and nested guests, at most.
  std::uint32_t cap = 1000;
  std::uint32_t most_guests = 16;
  // Makes the model wrong, to see that it would be found out.
  bool forgets_dirty_of_splits = false;
};

// Whether L1 has accessed and dirty bits in its tables for this guest.
[[nodiscard]] constexpr bool MarksBits(unsigned guest) {
  return guest % 2 == 0;
}

struct ModelSlot {
  GfnRange frames;
  std::uint64_t base = 0;
  Rights rights = Rights::kAll;

  [[nodiscard]] std::uint64_t HostOf(std::uint64_t gfn) const {
    return base + (gfn - frames.begin.value);
  }
};

class VmModel {
 public:
  explicit VmModel(const ModelOptions& options)
      : options_(options), facts_(options.facts), maps_(options.facts) {
    AddGuest();
  }

  // What the operation answers. `real` is asked of one thing alone, whether an
  // access was answered from a cache, and that is checked.
  Outcome Apply(const Operation& operation, const Outcome& real);

  // Everything; L1's entries of one guest, if asked.
  VmState State(std::optional<unsigned> l1_of) const;

  // For who chooses operations, and counts what they met.
  VmMaps& maps() { return maps_; }
  const VmMaps& maps() const { return maps_; }
  const std::map<std::uint64_t, ModelSlot>& slots() const { return slots_; }
  unsigned guests() const { return static_cast<unsigned>(l1_.size()); }

 private:
  void Do(const Operation& operation, const Outcome& real, Outcome& outcome);
  const ModelSlot* SlotOf(std::uint64_t gfn) const {
    auto slot = slots_.upper_bound(gfn);
    if (slot == slots_.begin()) return nullptr;
    --slot;
    return slot->second.frames.Contains(Gfn{gfn}) ? &slot->second : nullptr;
  }
  // Inside the slot, and aligned alike in guest and host.
  bool Fits(const ModelSlot& slot, std::uint64_t gfn, Level level) const {
    const GfnRange page = facts_.PageAround(gfn, level);
    return slot.frames.Contains(page) &&
           slot.HostOf(page.begin.value) % facts_.FramesAt(level) == 0;
  }
  bool AlignedAlike(std::uint64_t a, std::uint64_t b, Level level) const {
    return a % facts_.FramesAt(level) == b % facts_.FramesAt(level);
  }
  void AddGuest() {
    l1_.emplace_back(facts_, MarksBits(static_cast<unsigned>(l1_.size())));
  }
  // In both MMUs, whatever maps a frame of L1.
  std::uint64_t ZapFrames(GfnRange range, std::vector<ZappedState>& sink) {
    return maps_.Zap(
        [&](unsigned, GfnRange, const ModelLeaf& leaf) {
          return range.Overlaps(maps_.FramesOf(leaf.gfn, leaf));
        },
        sink);
  }

  bool MarkedByFaults() const {
    return !facts_.hardware_accessed || !facts_.hardware_dirty;
  }
  // Whether a fault needs no more than the leaf.
  bool IsFixable(const ModelLeaf* leaf, Rights access) const {
    return leaf != nullptr && MarkedByFaults() && Allows(leaf->rights, access);
  }
  FaultOutcome Fix(ModelLeaf& leaf, Rights access) const {
    if (leaf.IsLive(facts_, access)) return FaultOutcome::kSpurious;
    leaf.Use(access);
    return FaultOutcome::kFixed;
  }
  FaultOutcome Fault(std::uint64_t gfn, Rights access);
  FaultOutcome NestedFault(const Operation& operation, Outcome& outcome);
  // Of a leaf that is there. `largest`: that the page could have by now.
  FaultOutcome GrantMore(ModelLeaf& leaf, const Operation& operation,
                         std::uint64_t gfn, Level largest, Rights granted,
                         Outcome& outcome);
  void Access(const Operation& operation, bool hit, Outcome& outcome);
  void Edit(const Operation& operation, Outcome& outcome);
  absl::StatusCode CanAdd(GfnRange frames, const ModelSlot* except) const;
  void ChangeSlots(const Operation& operation, Outcome& outcome);

  const ModelOptions options_;
  const FormatFacts facts_;
  mutable absl::Mutex mutex_;
  VmMaps maps_;
  std::map<std::uint64_t, ModelSlot> slots_;
  std::vector<L1Map> l1_;
  std::uint64_t nested_splits_ = 0;
};

// ---------------------------------------------------------------------------

inline Outcome VmModel::Apply(const Operation& operation, const Outcome& real) {
  absl::MutexLock lock(&mutex_);
  Outcome outcome;
  Do(operation, real, outcome);
  outcome.young = Together(std::move(outcome.young));
  outcome.unknown = Together(std::move(outcome.unknown));
  std::sort(outcome.zapped.begin(), outcome.zapped.end());
  std::sort(outcome.made_room.begin(), outcome.made_room.end());
  return outcome;
}

inline void VmModel::Do(const Operation& operation, const Outcome& real,
                        Outcome& outcome) {
  const GfnRange range = operation.Range();
  std::vector<ZappedState>& sink = outcome.zapped;
  switch (operation.op) {
    case Op::kAccess:
    case Op::kNestedAccess:
      return Access(operation, real.hit, outcome);
    case Op::kFault:
      outcome.faults.push_back(Fault(operation.frame, operation.rights));
      return;
    case Op::kNestedFault:
      outcome.faults.push_back(NestedFault(operation, outcome));
      return;
    case Op::kAge:
      if (operation.asked != Asked::kShadow) {
        AgeDirect(maps_, range, operation.action, outcome);
        outcome.result.was_fast = outcome.result.young;
      }
      if (operation.asked != Asked::kDirect) {
        AgeNested(maps_, guests(), range, operation, options_.lists_are_fast,
                  outcome);
      }
      return;
    case Op::kAgeSteps:
      return AgeDirect(maps_, facts_.PageAround(operation.frame, Level{2}),
                       operation.action, outcome);
    case Op::kAgeSkippingCold:
      return AgeSkippingCold(maps_, guests(), range, operation,
                             options_.lists_are_fast, outcome);
    case Op::kInvalidate:
      outcome.count = ZapFrames(range, sink);
      return;
    case Op::kInvalidateNested:
      outcome.count =
          maps_.ZapIn(TreeOf(operation.guest % guests()), range, sink);
      return;
    case Op::kZap:
      outcome.count = maps_.ZapIn(kDirectTree, range, sink);
      return;
    case Op::kZapRecursive:
      (void)maps_.RemoveTables(range, sink);
      (void)maps_.ZapIn(kDirectTree, range, sink);
      outcome.count = sink.size();
      return;
    case Op::kRemoveTables:
      outcome.count = maps_.RemoveTables(range, sink);
      return;
    case Op::kSplit:
      if (operation.asked != Asked::kShadow) {
        outcome.count =
            maps_.Split(VmMaps::SplitOf::kDirect, range, operation.level,
                        !options_.forgets_dirty_of_splits);
      }
      if (operation.asked != Asked::kDirect &&
          SplitFits(maps_.NestedPages(), facts_, range, operation.level,
                    options_.cap, nested_splits_)) {
        const std::uint64_t split =
            maps_.Split(VmMaps::SplitOf::kNested, range, operation.level,
                        !options_.forgets_dirty_of_splits);
        outcome.count += split;
        nested_splits_ += split;
      }
      return;
    case Op::kPromote:
      outcome.count = maps_.Promote(range, operation.level);
      return;
    case Op::kClearDirty:
      return ClearDirtyDirect(maps_, range, outcome);
    case Op::kWriteProtect:
      if (facts_.protectable) WriteProtectDirect(maps_, range, outcome);
      return;
    case Op::kLiftProtection:
      if (facts_.protectable) LiftProtectionDirect(maps_, range, outcome);
      return;
    case Op::kMap:
    case Op::kUnmap:
    case Op::kClearBits:
    case Op::kMalform:
    case Op::kMislead:
      return Edit(operation, outcome);
    case Op::kAddSlot:
    case Op::kRemoveSlot:
    case Op::kMoveSlot:
      return ChangeSlots(operation, outcome);
    case Op::kAddGuest:
      if (guests() == options_.most_guests) return;
      outcome.count = guests();
      return AddGuest();
  }
}

inline FaultOutcome VmModel::Fault(std::uint64_t gfn, Rights access) {
  ModelLeaf* const leaf = maps_.Find(kDirectTree, gfn);
  if (IsFixable(leaf, access)) return Fix(*leaf, access);
  const ModelSlot* const slot = SlotOf(gfn);
  if (slot == nullptr) return FaultOutcome::kNoSlot;
  if (!Allows(slot->rights, access)) return FaultOutcome::kNotPermitted;
  if (leaf != nullptr) {
    if (!Allows(access, Rights::kWrite) || !leaf->is_protected) {
      return FaultOutcome::kSpurious;
    }
    // Dirty, and not accessed before the walk that comes next.
    leaf->is_protected = false;
    leaf->rights = leaf->rights | Rights::kWrite;
    leaf->dirty = true;
    return FaultOutcome::kMapped;
  }
  Level level{1};
  while (level < facts_.largest && Fits(*slot, gfn, level.Above())) {
    level = level.Above();
  }
  ModelLeaf mapped{.level = maps_.Unhindered(kDirectTree, gfn, level),
                   .gfn = gfn,
                   .pfn = slot->HostOf(gfn),
                   .rights = slot->rights};
  mapped.Use(access);
  maps_.Map(kDirectTree, gfn, mapped);
  return FaultOutcome::kMapped;
}

inline FaultOutcome VmModel::NestedFault(const Operation& operation,
                                         Outcome& outcome) {
  const unsigned guest = operation.guest % guests();
  const std::uint64_t nested = operation.frame;
  const Rights access = operation.rights;
  ModelLeaf* const leaf = maps_.Find(TreeOf(guest), nested);
  if (IsFixable(leaf, access)) return Fix(*leaf, access);
  outcome.walked = l1_[guest].Walk(nested, access);
  if (!outcome.walked) {
    // A processor that faults keeps nothing of the address, whatever for.
    (void)maps_.ZapIn(TreeOf(guest), GfnRange{Gfn{nested}, Gfn{nested + 1}},
                      outcome.made_room);
    return FaultOutcome::kReflected;
  }
  const std::uint64_t gfn = outcome.walked.gfn.value;
  const ModelSlot* const slot = SlotOf(gfn);
  if (slot == nullptr) return FaultOutcome::kNoSlot;
  if (!Allows(slot->rights, access)) return FaultOutcome::kNotPermitted;
  const Rights granted = slot->rights & outcome.walked.rights;
  // One page in L1's tables, in the slot and in the host.
  Level level{1};
  while (level < outcome.walked.level && Fits(*slot, gfn, level.Above()) &&
         AlignedAlike(gfn, nested, level.Above())) {
    level = level.Above();
  }
  if (leaf != nullptr) {
    return GrantMore(*leaf, operation, gfn, level, granted, outcome);
  }
  level = maps_.Unhindered(TreeOf(guest), nested, level);
  if (maps_.RmapOf(gfn, level).size() >= options_.cap) {
    maps_.Zap(
        [&](unsigned tree, GfnRange, const ModelLeaf& other) {
          return maps_.IsInRmap(tree, other, gfn, level);
        },
        outcome.made_room);
  }
  ModelLeaf mapped{
      .level = level, .gfn = gfn, .pfn = slot->HostOf(gfn), .rights = granted};
  mapped.Use(access);
  maps_.Map(TreeOf(guest), nested, mapped);
  return FaultOutcome::kMapped;
}

inline FaultOutcome VmModel::GrantMore(ModelLeaf& leaf,
                                       const Operation& operation,
                                       std::uint64_t gfn, Level largest,
                                       Rights granted, Outcome& outcome) {
  const Gfn nested{operation.frame};
  const bool same =
      leaf.gfn + nested.value % facts_.FramesAt(leaf.level) == gfn;
  if (same && Allows(leaf.rights, operation.rights)) {
    return FaultOutcome::kSpurious;
  }
  // L1 has put another page there, or allows more of a part of it alone, or
  // other things than before.
  granted = facts_.representable(granted);
  if (!same || leaf.level > largest || !Allows(granted, leaf.rights)) {
    (void)maps_.ZapIn(TreeOf(operation.guest % guests()),
                      GfnRange{nested, nested + 1}, outcome.made_room);
    return FaultOutcome::kRetry;
  }
  leaf.rights = granted;
  leaf.written = false;
  if (MarkedByFaults()) {
    leaf.Use(operation.rights);
  } else {
    // Not accessed before the walk that comes next.
    leaf.dirty |= Allows(operation.rights, Rights::kWrite);
  }
  return FaultOutcome::kMapped;
}

inline void VmModel::Access(const Operation& operation, bool hit,
                            Outcome& outcome) {
  const bool nested = operation.op == Op::kNestedAccess;
  const unsigned tree =
      nested ? TreeOf(operation.guest % guests()) : kDirectTree;
  const Rights access = operation.rights;
  for (int tries = 0; tries < kMostTries; ++tries) {
    ModelLeaf* const leaf = maps_.Find(tree, operation.frame);
    // A cached translation may be used without a mark, as long as it is as the
    // entry is; and a write that the entry knows nothing of would be lost.
    outcome.hit = hit && tries == 0 && leaf != nullptr &&
                  Allows(leaf->rights, access) &&
                  (leaf->dirty || !Allows(access, Rights::kWrite));
    if (outcome.hit || (leaf != nullptr && leaf->IsLive(facts_, access))) {
      outcome.pfn = leaf->pfn + operation.frame % facts_.FramesAt(leaf->level);
      if (!outcome.hit) maps_.Walk(tree, operation.frame, *leaf, access);
      return;
    }
    const FaultOutcome fault = nested ? NestedFault(operation, outcome)
                                      : Fault(operation.frame, access);
    outcome.faults.push_back(fault);
    if (!GoesOn(fault)) return;
  }
}

inline void VmModel::Edit(const Operation& operation, Outcome& outcome) {
  const unsigned guest = operation.guest % guests();
  L1Map& l1 = l1_[guest];
  if (operation.told > Level{0}) {
    outcome.count = maps_.ZapIn(
        TreeOf(guest), facts_.PageAround(operation.frame, operation.told),
        outcome.zapped);
  }
  L1Map::Entry entry;
  switch (operation.op) {
    case Op::kMap:
      entry.kind = L1Kind::kPage;
      entry.gfn = facts_.FirstOf(operation.to, operation.level);
      entry.rights = facts_.representable(operation.rights);
      return l1.Put(operation.frame, operation.level, entry);
    case Op::kMalform:
      entry.kind = L1Kind::kMalformed;
      return l1.Put(operation.frame, operation.level, entry);
    case Op::kMislead:
      entry.kind = L1Kind::kMisleading;
      return l1.Put(operation.frame, operation.level, entry);
    case Op::kUnmap:
      return l1.Take(operation.frame, operation.level);
    default:
      return l1.ClearBits(operation.frame);
  }
}

inline absl::StatusCode VmModel::CanAdd(GfnRange frames,
                                        const ModelSlot* except) const {
  if (frames.Empty() || frames.end.value > facts_.frames) {
    return absl::StatusCode::kInvalidArgument;
  }
  for (const auto& [first, slot] : slots_) {
    if (&slot != except && slot.frames.Overlaps(frames)) {
      return absl::StatusCode::kAlreadyExists;
    }
  }
  return absl::StatusCode::kOk;
}

inline void VmModel::ChangeSlots(const Operation& operation, Outcome& outcome) {
  const GfnRange frames = operation.Range();
  if (operation.op == Op::kAddSlot) {
    outcome.status = CanAdd(frames, nullptr);
    if (outcome.status != absl::StatusCode::kOk) return;
    slots_[operation.frame] = ModelSlot{frames, operation.to, operation.rights};
    return;
  }
  const auto found = slots_.find(operation.frame);
  if (found == slots_.end() || found->second.frames != frames) {
    outcome.status = absl::StatusCode::kNotFound;
    return;
  }
  ModelSlot slot = found->second;
  if (operation.op == Op::kMoveSlot) {
    const Gfn to{operation.to};
    slot.frames = GfnRange{to, to + operation.frames};
    outcome.status = CanAdd(slot.frames, &found->second);
    if (outcome.status != absl::StatusCode::kOk) return;
  }
  ZapFrames(frames, outcome.zapped);
  slots_.erase(found);
  if (operation.op == Op::kMoveSlot) slots_[operation.to] = slot;
}

inline VmState VmModel::State(std::optional<unsigned> l1_of) const {
  absl::MutexLock lock(&mutex_);
  VmState state;
  maps_.AppendTo(state);
  if (l1_of.has_value()) {
    l1_[*l1_of % guests()].AppendTo(*l1_of % guests(), state.l1);
    std::sort(state.l1.begin(), state.l1.end());
  }
  return state;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_MODEL_H_
