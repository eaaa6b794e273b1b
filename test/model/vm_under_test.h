// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The VM that the model is about: with table memory, rmaps, software vCPUs and
// L1's tables, wired as a hypervisor would wire them. It does operations; what
// there is, its census tells.

#ifndef PTAGE_TEST_MODEL_VM_UNDER_TEST_H_
#define PTAGE_TEST_MODEL_VM_UNDER_TEST_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "ptage/dirty.h"
#include "ptage/fault_lock.h"
#include "ptage/guest_walk.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/sim/tlb.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/sim/walk_cache.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "ptage/vm.h"
#include "ptage/walk.h"
#include "test/machine.h"
#include "test/model/host_users.h"
#include "test/model/l1_tables.h"
#include "test/model/range_answer.h"
#include "test/model/vm_census.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_state.h"
#include "test/rmap_pool.h"
#include "test/scheme.h"

namespace ptage::test {

// Unless told otherwise, faults mark the entries above leaves where walkers do.
template <SpteFormat F, template <class> class Discipline,
          InnerAging kInner =
              Prunable<F> ? InnerAging::kSkipCold : InnerAging::kIgnore>
class VmUnderTest {
 public:
  using Format = F;
  using D = Discipline<F>;
  static constexpr std::size_t kRoots = kRootTables<F>;
  using Flusher = sim::VcpuSet;
  using VmType = Vm<F, Arena<F>, Scheme, Flusher, D, 1, kInner>;
  static constexpr unsigned kMostGuests = VmType::Shadow::kMostGuests;
  // Tables and chunks are never short.
  static constexpr std::size_t kTables = 384;
  static constexpr std::size_t kChunks = kMostEntries / 2;
  // Few entries make an rmap full.
  static constexpr std::uint32_t kCap = 10;

  static FormatFacts Facts() { return FactsOf<F>(kInner); }

  VmUnderTest()
      : facts_(Facts()),
        vcpus_(1 + kMostGuests),
        block_(kTables),
        arena_(block_.tables.data(), block_.infos.data(), block_.gfns.data(),
               kTables, Pfn{0x1000}),
        pool_(domain_, kChunks),
        rmaps_(MakeRmaps()),
        vm_({arena_, domain_, vcpus_, rmaps_, mmu_lock_}, F::kLargestLeaf,
            [](const ZappedLeaf& leaf) { made_room_.push_back(Of(leaf)); }),
        census_(facts_, vm_, arena_, domain_, rmaps_, mmu_lock_),
        host_(facts_),
        direct_(vcpus_, 0, arena_, *vm_.tdp().tree().root()) {
    AddGuest();
  }

  Outcome Apply(const Operation& operation);

  // Everything; L1's entries of one guest, if asked. Nobody else uses the VM.
  VmState State(std::optional<unsigned> l1_of);
  // Whether the rmaps hold nothing but what is in State.
  [[nodiscard]] bool RmapsAreExact() { return census_.RmapsAreExact(); }
  std::size_t TablesInUse() {
    FreeAll(domain_);
    return arena_.InUse();
  }
  unsigned guests() const { return static_cast<unsigned>(nested_.size()); }
  // When State was asked last: the leaf tables whose entry above was marked, in
  // order; and young leaves under those that were not.
  const std::vector<LeafTable>& marked() const { return census_.marked(); }
  const std::vector<LeafState>& hidden() const { return census_.hidden(); }
  // How often vCPUs were to flush.
  std::uint64_t Flushes() {
    return sim::FlushLine::Requests(vcpus_.LineOf(0).Read());
  }
  VmType& vm() { return vm_; }
  Scheme& domain() { return domain_; }

 private:
  // Small caches: what is cached changes often.
  using Vcpu =
      sim::Vcpu<F, Arena<F>,
                sim::SplitCache<F, sim::Tlb<F, 4, 4>, sim::WalkCache<F>>>;
  using Walk = LocklessWalk<Scheme>;
  struct Nested {
    Nested(const FormatFacts& facts, bool marked, Flusher& vcpus,
           std::size_t index, Arena<F>& arena, Table<F>& root)
        : l1(facts, marked), vcpu(vcpus, index, arena, root) {}
    L1Tables<F> l1;
    Vcpu vcpu;
  };

  D MakeRmaps() {
    if constexpr (std::is_constructible_v<D, Arena<F>&, decltype(pool_.get())&,
                                          absl::Mutex&, std::uint32_t>) {
      return D(arena_, pool_.get(), mmu_lock_, kCap);
    } else {
      return D(arena_, pool_.get(), kCap);
    }
  }
  void AddGuest();
  static ZappedState Of(const ZappedLeaf& leaf) {
    return ZappedState{leaf.gfn.value, leaf.level.value, leaf.pfn.value,
                       leaf.accessed, leaf.dirty};
  }
  Walk Enter() { return Walk(domain_, WalkEntry::kWait); }
  absl::Status ChangeSlots(const Operation& operation, ZapSink sink);
  FaultOutcome Fault(const Operation& operation, Outcome& outcome);
  void Access(Vcpu& vcpu, const Operation& operation, Outcome& outcome);
  void Age(const Operation& operation, Outcome& outcome);
  void AgeSkippingCold(const Operation& operation, Outcome& outcome);
  void CollectDirty(const Operation& operation, Outcome& outcome);
  std::uint64_t Split(const Operation& operation);
  void Edit(const Operation& operation, Outcome& outcome, ZapSink sink);

  const FormatFacts facts_;
  Flusher vcpus_;
  TableBlock<F> block_;
  Arena<F> arena_;
  Scheme domain_;
  absl::Mutex mmu_lock_;
  RmapPool<D> pool_;
  D rmaps_;
  VmType vm_;
  VmCensus<F, VmType, D, kInner> census_;
  HostUsers host_;
  Vcpu direct_;
  std::vector<std::unique_ptr<Nested>> nested_;

  // By faults of this thread.
  inline static thread_local std::vector<ZappedState> made_room_;
  // The host frames of slots, by their first frames.
  std::map<std::uint64_t, std::uint64_t> bases_;
  std::uint64_t nested_splits_ = 0;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
void VmUnderTest<F, Discipline, kInner>::AddGuest() {
  const unsigned guest = guests();
  nested_.push_back(std::make_unique<Nested>(
      facts_, guest % 2 == 0, vcpus_, 1 + guest, arena_,
      *vm_.shadow().tree(NestedGuest{guest}).root()));
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
Outcome VmUnderTest<F, Discipline, kInner>::Apply(const Operation& operation) {
  Outcome outcome;
  const GfnRange range = operation.Range();
  const auto note = [&](const ZappedLeaf& leaf) {
    outcome.zapped.push_back(Of(leaf));
  };
  const ZapSink sink = note;
  switch (operation.op) {
    case Op::kAccess:
      Access(direct_, operation, outcome);
      break;
    case Op::kNestedAccess:
      Access(nested_[operation.guest % guests()]->vcpu, operation, outcome);
      break;
    case Op::kFault:
    case Op::kNestedFault:
      outcome.faults.push_back(Fault(operation, outcome));
      break;
    case Op::kAge:
    case Op::kAgeSteps:
      Age(operation, outcome);
      break;
    case Op::kAgeSkippingCold:
      AgeSkippingCold(operation, outcome);
      break;
    case Op::kInvalidate:
      outcome.count = vm_.Invalidate(range, sink);
      break;
    case Op::kInvalidateNested:
      outcome.count = vm_.InvalidateNested(
          NestedRange{NestedGfn{range.begin.value}, NestedGfn{range.end.value}},
          sink, [] {}, NestedGuest{operation.guest % guests()});
      break;
    case Op::kZap:
      outcome.count = vm_.tdp().Zap(Enter(), range, ZapFlush::kEach, sink);
      break;
    case Op::kZapRecursive:
      outcome.count = vm_.tdp().ZapRecursive(Enter(), range, sink);
      break;
    case Op::kRemoveTables:
      outcome.count = vm_.tdp().RemoveTables(Enter(), range, sink);
      break;
    case Op::kSplit:
      outcome.count = Split(operation);
      break;
    case Op::kPromote:
      outcome.count =
          vm_.tdp().PromoteSmall(Enter(), range, operation.level).done;
      break;
    case Op::kClearDirty:
    case Op::kWriteProtect:
    case Op::kLiftProtection:
      CollectDirty(operation, outcome);
      break;
    case Op::kMap:
    case Op::kUnmap:
    case Op::kClearBits:
    case Op::kMalform:
    case Op::kMislead:
      Edit(operation, outcome, sink);
      break;
    case Op::kAddSlot:
    case Op::kRemoveSlot:
    case Op::kMoveSlot:
      outcome.status = ChangeSlots(operation, sink).code();
      break;
    case Op::kAddGuest:
      if (const auto guest = vm_.AddNestedGuest()) {
        outcome.count = static_cast<std::uint64_t>(*guest);
        AddGuest();
      }
      break;
  }
  outcome.made_room = std::move(made_room_);
  made_room_.clear();
  std::sort(outcome.zapped.begin(), outcome.zapped.end());
  std::sort(outcome.made_room.begin(), outcome.made_room.end());
  return outcome;
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
absl::Status VmUnderTest<F, Discipline, kInner>::ChangeSlots(
    const Operation& operation, ZapSink sink) {
  const GfnRange range = operation.Range();
  absl::Status status;
  if (operation.op == Op::kAddSlot) {
    if (!range.Empty()) host_.Begin(operation.to, range.Frames());
    status = vm_.AddMemslot(range, Pfn{operation.to}, operation.rights);
    if (status.ok()) bases_[operation.frame] = operation.to;
    if (!status.ok() && !range.Empty()) {
      host_.End(operation.to, range.Frames());
    }
    return status;
  }
  if (operation.op == Op::kRemoveSlot) {
    status = vm_.RemoveMemslot(range, sink);
    if (status.ok()) host_.End(bases_[operation.frame], range.Frames());
    return status;
  }
  status = vm_.MoveMemslot(range, Gfn{operation.to}, sink);
  if (status.ok()) bases_[operation.to] = bases_[operation.frame];
  return status;
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
FaultOutcome VmUnderTest<F, Discipline, kInner>::Fault(
    const Operation& operation, Outcome& outcome) {
  if (!IsNested(operation.op)) {
    return vm_.Fault(Gfn{operation.frame}, operation.rights);
  }
  const unsigned guest = operation.guest % guests();
  return nested_[guest]->l1.Fault(vm_, NestedGfn{operation.frame},
                                  operation.rights, NestedGuest{guest},
                                  outcome.walked);
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
void VmUnderTest<F, Discipline, kInner>::Access(Vcpu& vcpu,
                                                const Operation& operation,
                                                Outcome& outcome) {
  const std::uint64_t hits = vcpu.stats().Hits();
  for (int tries = 0; tries < kMostTries; ++tries) {
    {
      const sim::Running running(vcpu);
      const sim::Translation found =
          vcpu.Translate(Gfn{operation.frame}, operation.rights);
      if (found) {
        outcome.pfn = found.pfn.value;
        host_.Use(found.pfn.value);
        outcome.hit = vcpu.stats().Hits() != hits;
        return;
      }
    }
    const FaultOutcome fault = Fault(operation, outcome);
    outcome.faults.push_back(fault);
    if (!GoesOn(fault)) return;
  }
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
void VmUnderTest<F, Discipline, kInner>::Age(const Operation& operation,
                                             Outcome& outcome) {
  const GfnRange range = operation.op == Op::kAgeSteps
                             ? PageAround<F>(Gfn{operation.frame}, Level{2})
                             : operation.Range();
  RangeAnswer answer(range);
  const AgeOutput output = answer.output();
  if (operation.op == Op::kAgeSteps) {
    WalkCursor cursor(range);
    while (!cursor.Done()) {
      outcome.result |=
          HarvestSome(vm_.tdp().tree(), Enter(), cursor,
                      std::uint64_t{F::kLevels} + operation.frames,
                      operation.action, operation.mode, output);
    }
  } else if (operation.asked == Asked::kDirect) {
    outcome.result =
        vm_.tdp().Age(range, operation.action, operation.mode, output);
  } else if (operation.asked == Asked::kShadow) {
    outcome.result =
        vm_.shadow().Age(range, operation.action, operation.mode, output);
  } else {
    outcome.result = vm_.Age(range, operation.action, operation.mode, output);
  }
  answer.MoveTo(outcome);
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
void VmUnderTest<F, Discipline, kInner>::AgeSkippingCold(
    const Operation& operation, Outcome& outcome) {
  if constexpr (kInner == InnerAging::kSkipCold) {
    const GfnRange range = operation.Range();
    RangeAnswer answer(range);
    const auto ask = [&](auto& asked) {
      outcome.result = asked.AgeSkippingCold(range, operation.pruning,
                                             operation.action, answer.output());
    };
    if (operation.asked == Asked::kDirect) {
      ask(vm_.tdp());
    } else if (operation.asked == Asked::kShadow) {
      ask(vm_.shadow());
    } else {
      ask(vm_);
    }
    answer.MoveTo(outcome);
  }
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
void VmUnderTest<F, Discipline, kInner>::CollectDirty(
    const Operation& operation, Outcome& outcome) {
  const Walk walk = Enter();
  RangeAnswer answer(operation.Range());
  switch (operation.op) {
    case Op::kWriteProtect:
      if constexpr (WriteProtectable<F>) {
        vm_.tdp().WriteProtect(walk, operation.Range(), answer.output());
      }
      break;
    case Op::kLiftProtection:
      if constexpr (WriteProtectable<F>) {
        outcome.count = vm_.tdp().LiftProtection(walk, operation.Range());
      }
      break;
    default:
      vm_.tdp().ClearDirty(walk, operation.Range(), answer.output());
  }
  answer.MoveTo(outcome);
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
std::uint64_t VmUnderTest<F, Discipline, kInner>::Split(
    const Operation& operation) {
  const GfnRange range = operation.Range();
  const Walk walk = Enter();
  std::uint64_t split = 0;
  if (operation.asked != Asked::kShadow) {
    split = vm_.tdp().SplitLarge(walk, range, operation.level).done;
  }
  if (operation.asked == Asked::kDirect) return split;
  const FaultLock::Exclusive hold(vm_.fault_lock());
  std::vector<MappedPage> leaves;
  for (unsigned guest = 0; guest < vm_.shadow().guests(); ++guest) {
    std::uint64_t budget = ~std::uint64_t{0};
    (void)vm_.shadow()
        .tree(NestedGuest{guest})
        .Visit(walk, GfnRange{Gfn{0}, Gfn{facts_.frames}}, budget,
               [&](SpteCell<F>& entry, typename F::Word, Gfn, Level level) {
                 leaves.emplace_back(RecordedFrame<F>(arena_, entry).value,
                                     level);
                 return true;
               });
  }
  if (!SplitFits(leaves, facts_, range, operation.level, kCap,
                 nested_splits_)) {
    return split;
  }
  const Resized nested = vm_.shadow().SplitLarge(walk, range, operation.level);
  nested_splits_ += nested.done;
  return split + nested.done;
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
void VmUnderTest<F, Discipline, kInner>::Edit(const Operation& operation,
                                              Outcome& outcome, ZapSink sink) {
  const unsigned guest = operation.guest % guests();
  L1Tables<F>& l1 = nested_[guest]->l1;
  const auto change = [&] {
    L1Map::Entry entry{.kind = operation.op == Op::kMap ? L1Kind::kPage
                               : operation.op == Op::kMalform
                                   ? L1Kind::kMalformed
                                   : L1Kind::kMisleading,
                       .gfn = facts_.FirstOf(operation.to, operation.level),
                       .rights = facts_.representable(operation.rights)};
    if (operation.op == Op::kUnmap) {
      l1.Take(operation.frame, operation.level);
    } else if (operation.op == Op::kClearBits) {
      l1.ClearBits(operation.frame);
    } else {
      if (operation.op != Op::kMap) entry.gfn = 0, entry.rights = Rights{};
      l1.Put(operation.frame, operation.level, entry);
    }
  };
  if (operation.told == Level{0}) return change();
  const GfnRange told = facts_.PageAround(operation.frame, operation.told);
  outcome.count = vm_.InvalidateNested(
      NestedRange{NestedGfn{told.begin.value}, NestedGfn{told.end.value}}, sink,
      change, NestedGuest{guest});
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
VmState VmUnderTest<F, Discipline, kInner>::State(
    std::optional<unsigned> l1_of) {
  VmState state = census_.Take();
  if (host_.stale() != 0) {
    state.errors.push_back("host frames were used that nobody had");
  }
  if (l1_of.has_value()) {
    const unsigned guest = *l1_of % guests();
    nested_[guest]->l1.AppendTo(guest, state.l1);
    std::sort(state.l1.begin(), state.l1.end());
  }
  return state;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_UNDER_TEST_H_
