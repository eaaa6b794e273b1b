// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The VM that the model is about: with table memory, rmaps, software vCPUs and
// L1's tables, wired as a hypervisor would wire them. It does operations and
// tells what there is.

#ifndef PTAGE_TEST_MODEL_VM_UNDER_TEST_H_
#define PTAGE_TEST_MODEL_VM_UNDER_TEST_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
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
        host_(facts_),
        direct_(vcpus_, 0, arena_, *vm_.tdp().tree().root()) {
    AddGuest();
  }

  Outcome Apply(const Operation& operation);

  // Everything; L1's entries of one guest, if asked. Nobody else uses the VM.
  VmState State(std::optional<unsigned> l1_of);
  // Whether the rmaps hold nothing but what is in State.
  [[nodiscard]] bool RmapsAreExact();
  std::size_t TablesInUse() {
    FreeAll(domain_);
    return arena_.InUse();
  }
  unsigned guests() const { return static_cast<unsigned>(nested_.size()); }
  // When State was asked last: the leaf tables whose entry above was marked, in
  // order; and young leaves under those that were not.
  const std::vector<LeafTable>& marked() const { return marked_; }
  const std::vector<LeafState>& hidden() const { return hidden_; }
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
  // `marked`: whether the entry above is.
  void AppendTable(unsigned tree, const Table<F>& table, Level level,
                   std::uint64_t base, bool marked, VmState& state);
  void AppendLeaf(const SpteCell<F>& entry, typename F::Word word,
                  LeafState leaf, VmState& state);
  // Each nested guest's leaf is in the rmap of the frame that its table
  // records, and that has no other entries.
  void CheckRmaps(VmState& state);

  const FormatFacts facts_;
  Flusher vcpus_;
  TableBlock<F> block_;
  Arena<F> arena_;
  Scheme domain_;
  absl::Mutex mmu_lock_;
  RmapPool<D> pool_;
  D rmaps_;
  VmType vm_;
  HostUsers host_;
  Vcpu direct_;
  std::vector<std::unique_ptr<Nested>> nested_;

  // By faults of this thread.
  inline static thread_local std::vector<ZappedState> made_room_;
  // The host frames of slots, by their first frames.
  std::map<std::uint64_t, std::uint64_t> bases_;

  // A page of L1: first frame and level.
  using Page = std::pair<std::uint64_t, int>;
  // Leaves of nested guests, as State meets them; and the pages that had some
  // when it was asked before.
  std::vector<std::pair<SpteCell<F>*, Page>> met_;
  std::set<Page> mapped_;
  std::vector<LeafTable> marked_;
  std::vector<LeafState> hidden_;
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
  VmState state;
  marked_.clear();
  hidden_.clear();
  const auto append = [&](unsigned tree, const Table<F>* root) {
    for (unsigned i = 0; i < kRootTables<F>; ++i) {
      AppendTable(tree, root[i], Level{F::kLevels}, i * kFramesPerRootTable<F>,
                  /*marked=*/false, state);
    }
  };
  append(kDirectTree, vm_.tdp().tree().root());
  for (unsigned guest = 0; guest < guests(); ++guest) {
    append(TreeOf(guest), vm_.shadow().tree(NestedGuest{guest}).root());
  }
  state.live = vm_.shadow().live();
  CheckRmaps(state);
  const Walk walk = Enter();
  for (const LeafState& leaf : state.leaves) {
    const Memslot<F>* const slot = vm_.memslots().Find(walk, Gfn{leaf.gfn});
    if (slot == nullptr || slot->FrameOf(Gfn{leaf.gfn}) != Pfn{leaf.pfn}) {
      state.errors.push_back("in no slot: " + ToText(leaf));
    }
  }
  if (host_.stale() != 0) {
    state.errors.push_back("host frames were used that nobody had");
  }
  // Within a tree they are met in order of frames.
  std::sort(state.tables.begin(), state.tables.end());
  if (l1_of.has_value()) {
    const unsigned guest = *l1_of % guests();
    nested_[guest]->l1.AppendTo(guest, state.l1);
    std::sort(state.l1.begin(), state.l1.end());
  }
  return state;
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
void VmUnderTest<F, Discipline, kInner>::AppendTable(
    unsigned tree, const Table<F>& table, Level level, std::uint64_t base,
    bool marked, VmState& state) {
  using Word = typename F::Word;
  if (marked && level == Level{1}) marked_.emplace_back(tree, base);
  ForEachEntry<F>(table, F::kEmpty, [&](unsigned index, Word word) {
    const std::uint64_t first = base + index * FramesAt<F>(level);
    if (!F::IsPresent(word)) {
      state.errors.push_back(absl::StrCat(
          "tree ", tree, " frame 0x", absl::Hex(first), " level ", level.value,
          ": the word 0x", absl::Hex(word), " was left"));
    } else if (F::IsLeaf(word, level)) {
      AppendLeaf(table.entries[index], word,
                 LeafState{.tree = tree, .frame = first, .level = level.value},
                 state);
      if (kInner == InnerAging::kSkipCold && !marked && level == Level{1} &&
          state.leaves.back().accessed) {
        hidden_.push_back(state.leaves.back());
      }
    } else if (const Table<F>* child = arena_.TableAt(F::FrameOf(word))) {
      state.tables.push_back(TableState{tree, level.Below().value, first});
      AppendTable(tree, *child, level.Below(), first,
                  F::kInnerAccessed && (word & F::kAccessed) != 0, state);
    } else {
      state.errors.push_back(absl::StrCat("tree ", tree, " frame 0x",
                                          absl::Hex(first), ": no table"));
    }
  });
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
void VmUnderTest<F, Discipline, kInner>::AppendLeaf(const SpteCell<F>& entry,
                                                    typename F::Word word,
                                                    LeafState leaf,
                                                    VmState& state) {
  leaf.gfn = RecordedFrame<F>(arena_, entry).value;
  leaf.pfn = F::FrameOf(word).value;
  leaf.rights = F::RightsOf(word);
  leaf.live = LiveRights<F>(word);
  leaf.accessed = IsYoung<F>(word);
  leaf.dirty = IsDirty<F>(word);
  if constexpr (WriteProtectable<F>) leaf.is_protected = IsProtected<F>(word);
  state.leaves.push_back(leaf);
  if (leaf.tree != kDirectTree) {
    met_.emplace_back(const_cast<SpteCell<F>*>(&entry),
                      Page{leaf.gfn, leaf.level});
  }
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
void VmUnderTest<F, Discipline, kInner>::CheckRmaps(VmState& state) {
  const Walk walk = Enter();
  absl::MutexLock lock(&mmu_lock_);
  const auto wrong = [&](const char* what, Page page) {
    state.errors.push_back(absl::StrCat(what, " gfn 0x", absl::Hex(page.first),
                                        " level ", page.second));
  };
  std::map<Page, std::uint32_t> counts;
  for (const Page& page : mapped_) counts[page] = 0;
  for (const auto& [entry, page] : met_) {
    ++counts[page];
    const Gfn gfn{page.first};
    Memslot<F>* const slot = vm_.memslots().Find(walk, gfn);
    if (slot == nullptr ||
        !rmaps_.Contains(slot->HeadOf(gfn, Level{page.second}), *entry)) {
      wrong("an entry is not in the rmap of", page);
    }
  }
  mapped_.clear();
  met_.clear();
  for (const auto& [page, count] : counts) {
    const Gfn gfn{page.first};
    Memslot<F>* const slot = vm_.memslots().Find(walk, gfn);
    if (slot == nullptr) continue;
    if (rmaps_.Count(slot->HeadOf(gfn, Level{page.second})) != count) {
      wrong("there are other entries in the rmap of", page);
    }
    if (count != 0) mapped_.insert(page);
  }
}

template <SpteFormat F, template <class> class Discipline, InnerAging kInner>
bool VmUnderTest<F, Discipline, kInner>::RmapsAreExact() {
  const Walk walk = Enter();
  absl::MutexLock lock(&mmu_lock_);
  std::uint64_t entries = 0;
  vm_.memslots().ForEach(
      walk, GfnRange{Gfn{0}, Gfn{facts_.frames}},
      [&](Memslot<F>& slot, GfnRange part) {
        for (Level level{1}; level <= F::kLargestLeaf; level = level.Above()) {
          for (std::uint64_t page = facts_.FirstOf(part.begin.value, level);
               page < part.end.value; page += facts_.FramesAt(level)) {
            const Gfn at = std::max(part.begin, Gfn{page});
            entries += rmaps_.Count(slot.HeadOf(at, level));
          }
        }
      });
  return entries == vm_.shadow().live();
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_UNDER_TEST_H_
