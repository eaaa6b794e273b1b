// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A nested guest (L2) that has less memory than it uses, on the library's own
// parts: a process, a VM behind it by a chain, whose nested tables L2 is run
// on, the LRU, its aging client and its eviction. How often pages come back
// depends on who answers for nested entries.
//
// L2's frame n is L1's frame n and the process's page n, one entry each. L1
// does not use them itself, so that what L2 uses is young in nested entries
// alone, but for the process's own entry, by the fault. One thread.

#ifndef PTAGE_BENCH_POLICY_NESTED_H_
#define PTAGE_BENCH_POLICY_NESTED_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "bench/policy/machine.h"
#include "bench/policy/page_list.h"
#include "ptage/config.h"
#include "ptage/lru.h"
#include "ptage/lru/aging.h"
#include "ptage/lru/eviction.h"
#include "ptage/lru/page_word.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/mmu.h"
#include "ptage/notifier.h"
#include "ptage/primary_mmu.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "ptage/vm.h"

namespace ptage::bench {

// Who answers for the accesses of a nested guest.
enum class NestedAnswers {
  kAlways,     // aging and eviction
  kEvictions,  // eviction, which asks every entry; aging is told of none
  kNever,      // neither: nested entries are only taken down
};

struct NestedCost {
  std::uint64_t accesses = 0;
  // Pages that came back.
  std::uint64_t refaults = 0;
  std::uint64_t evictions = 0;
  // Pages that the evictor claimed, and found in use.
  std::uint64_t spared = 0;

  [[nodiscard]] double RefaultsPerThousand() const {
    return 1000 * static_cast<double>(refaults) / static_cast<double>(accesses);
  }
};

class NestedMachine {
  using F = Ept;
  using Domain = EpochDomain<4>;
  using Chunks = RmapChunks<F>;
  using Pool = GracePool<Chunks, Domain>;
  using Rmaps = Lockless<F, TableArena<F>, Pool>;
  using GuestVm = Vm<F, TableArena<F>, Domain, sim::VcpuSet, Rmaps>;
  using Chain = NotifierChain<Domain>;
  struct NoFlush {
    void Flush(GfnRange) {}
  };
  using Host = PrimaryMmu<X86_64, TableArena<X86_64>, Domain, NoFlush, Chain>;
  using L2Vcpu = sim::Vcpu<F, TableArena<F>>;

 public:
  // Precondition: 1 GiB of pages at most.
  NestedMachine(std::uint32_t pages, std::uint32_t frames,
                NestedAnswers answers);
  NestedMachine(const NestedMachine&) = delete;
  NestedMachine& operator=(const NestedMachine&) = delete;

  NestedCost Run(const std::vector<Page>& references, Sampling sampling);

 private:
  // Answers for the process's entries and the direct ones, as if there were no
  // others.
  struct DirectOnly {
    Host& host;
    GuestVm& vm;

    AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                  const AgeOutput& output) {
      return vm.tdp().Age(range, action, mode, output);
    }
    AgeResult TestClearYoungFastOnly(GfnRange range, const AgeOutput& output) {
      AgeResult result = host.AgeOwn(range, AgeAction::kTestAndClear,
                                     AgeMode::kFastOnly, output);
      result |=
          Age(range, AgeAction::kTestAndClear, AgeMode::kFastOnly, output);
      return result;
    }
  };
  // The VM in the chain, where nobody answers for nested entries.
  class DirectNotifier final : public Notifier {
   public:
    explicit DirectNotifier(NestedMachine& machine) : machine_(machine) {}
    AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                  const AgeOutput& output) override {
      return machine_.direct_.Age(range, action, mode, output);
    }
    std::uint64_t Invalidate(GfnRange range, ZapSink sink) override {
      return machine_.vm_.Invalidate(range, sink);
    }
    [[nodiscard]] bool fast() const override { return true; }

   private:
    NestedMachine& machine_;
  };

  template <SpteFormat Format>
  struct Tables {
    explicit Tables(std::size_t count)
        : tables(count),
          infos(count),
          gfns(count * kEntriesPerTable<Format>),
          arena(tables.data(), infos.data(), gfns.data(), count, Pfn{0}) {}
    std::vector<Table<Format>> tables;
    std::vector<TableInfo<Format>> infos;
    std::vector<Cell<std::uint64_t>> gfns;
    TableArena<Format> arena;
  };

  static constexpr std::size_t kChunks = 16;

  // A fault of L2, and of the process, where the page is not in memory.
  void Fault(Page page);
  void EvictOne();

  const std::uint32_t frames_;
  const GfnRange all_;
  const NestedAnswers answers_;
  Tables<F> guest_tables_;
  Tables<X86_64> host_tables_;
  std::vector<Chunks::First> firsts_;
  std::vector<Chunks::Later> laters_;
  Domain domain_;
  Pool pool_;
  Rmaps rmaps_;
  sim::VcpuSet cpus_;
  NoFlush no_flush_;
  absl::Mutex mmu_lock_;
  GuestVm vm_;
  Chain chain_;
  Host host_;
  DirectOnly direct_;
  VmNotifier<GuestVm> exact_;
  DirectNotifier blind_;
  L2Vcpu vcpu_;
  Lru<> lru_;
  LruMarks<> marks_;
  AgingClient<Host> aging_;
  AgingClient<DirectOnly> aging_direct_;
  std::vector<bool> known_;
  std::uint32_t used_ = 0;
  NestedCost cost_;
};

// ---------------------------------------------------------------------------

inline NestedMachine::NestedMachine(std::uint32_t pages, std::uint32_t frames,
                                    NestedAnswers answers)
    : frames_(frames),
      all_{Gfn{0}, Gfn{pages}},
      answers_(answers),
      guest_tables_(pages / kEntriesPerTable<F> + 16),
      host_tables_(pages / kEntriesPerTable<X86_64> + 8),
      firsts_(kChunks),
      laters_(kChunks),
      pool_(domain_, firsts_.data(), kChunks, laters_.data(), kChunks),
      rmaps_(guest_tables_.arena, pool_),
      cpus_(1),
      vm_({guest_tables_.arena, domain_, cpus_, rmaps_, mmu_lock_}, Level{1}),
      chain_(domain_),
      host_(host_tables_.arena, domain_, no_flush_, chain_, pages),
      direct_{host_, vm_},
      exact_(vm_),
      blind_(*this),
      vcpu_(cpus_, 0, guest_tables_.arena, *vm_.shadow().tree().root()),
      lru_(pages),
      marks_(lru_, Gfn{0}),
      aging_(host_, lru_, all_, AgingConfig{.filter = false}),
      aging_direct_(direct_, lru_, all_, AgingConfig{.filter = false}),
      known_(pages) {
  PTAGE_ASSERT(vm_.valid() && host_.valid() && frames != 0);
  const bool blind = answers == NestedAnswers::kNever;
  const bool ready =
      vm_.AddMemslot(all_, Pfn{0}, Rights::kAll).ok() &&
      host_.AddMapping(all_, Rights::kAll).ok() &&
      chain_.Register(blind ? static_cast<Notifier&>(blind_) : exact_).ok();
  PTAGE_ASSERT(ready);
  (void)ready;
}

inline void NestedMachine::EvictOne() {
  for (;;) {
    const std::optional<LruPage> page = lru_.Claim();
    if (!page.has_value()) continue;
    const Gfn gfn{*page};
    const Eviction done = Evict(
        host_, GfnRange{gfn, gfn + 1}, marks_, [](const ZappedLeaf&) {},
        [](bool) {});
    PTAGE_ASSERT(done.outcome != EvictOutcome::kLarge);
    if (done.outcome == EvictOutcome::kEvicted) {
      lru_.Release(*page, EvictionVerdict::kEvicted);
      ++cost_.evictions;
      return;
    }
    lru_.Release(*page, EvictionVerdict::kYoung);
    ++cost_.spared;
  }
}

inline void NestedMachine::Fault(Page page) {
  if (lru_.Read(page).state() == PageState::kAbsent) {
    cost_.refaults += known_[page] ? 1u : 0u;
    known_[page] = true;
    if (used_ == frames_) {
      EvictOne();
    } else {
      ++used_;
    }
    (void)lru_.Add(page);
    const FaultOutcome mapped = host_.Fault(
        Gfn{page}, Rights::kRead, [](Gfn gfn) -> std::optional<Host::Resident> {
          return Host::Resident{.pfn = Pfn{gfn.value}};
        });
    PTAGE_ASSERT(mapped == FaultOutcome::kMapped);
    (void)mapped;
  }
  const FaultOutcome mapped =
      vm_.NestedFault(NestedGfn{page}, Rights::kRead, [](NestedGfn nested) {
        return std::optional<NestedMapping>(Gfn{nested.value});
      });
  PTAGE_ASSERT(mapped == FaultOutcome::kMapped);
  (void)mapped;
}

inline NestedCost NestedMachine::Run(const std::vector<Page>& references,
                                     Sampling sampling) {
  const SampleClock clock(sampling, frames_);
  std::uint64_t since = 0;
  std::uint64_t evictions = 0;
  const sim::Running runs(vcpu_);
  for (const Page page : references) {
    ++cost_.accesses;
    while (!vcpu_.Translate(Gfn{page}, Rights::kRead)) {
      const sim::NotRunning stopped(vcpu_);
      Fault(page);
    }
    ++since;
    if (!clock.Due(since, cost_.evictions - evictions)) continue;
    since = 0;
    evictions = cost_.evictions;
    const sim::NotRunning stopped(vcpu_);
    if (answers_ == NestedAnswers::kAlways) {
      aging_.Pass();
    } else {
      aging_direct_.Pass();
    }
    // What is cached would be used without a mark.
    cpus_.Flush(all_);
  }
  return cost_;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_POLICY_NESTED_H_
