// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the reclaim soak soaks: a process, a VM with a guest and a nested guest
// behind it, and an LRU of its pages.

#ifndef PTAGE_TEST_SOAK_RECLAIM_WORLD_H_
#define PTAGE_TEST_SOAK_RECLAIM_WORLD_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "ptage/lru.h"
#include "ptage/mmu.h"
#include "ptage/notifier.h"
#include "ptage/once.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/process.h"
#include "test/scheme.h"
#include "test/soak/reclaim/pages.h"
#include "test/soak/reclaim/tallies.h"
#include "test/soak/reclaim/uses.h"

namespace ptage::reclaim_soak {

inline constexpr GfnRange kAll{Gfn{0}, Gfn{kPages}};
// The guest's memory, in two slots. The second comes and goes.
inline constexpr GfnRange kFirstSlot{Gfn{0}, Gfn{kPages / 2}};
inline constexpr GfnRange kSecondSlot{Gfn{kPages / 2}, Gfn{kPages}};
// L2 calls page n n + 1000 and n + 2000.
inline constexpr std::uint64_t kNames = 2;
inline constexpr std::uint64_t kNameStep = 1000;

// CPU 0 is the process's, 1 and 2 are the guest's, 3 the nested guest's.
inline constexpr std::size_t kProcessCpu = 0;
inline constexpr std::size_t kNestedCpu = 3;

inline std::size_t PageOf(Gfn gfn) {
  return static_cast<std::size_t>(gfn.value);
}
inline GfnRange RangeOf(std::size_t page) { return {Gfn{page}, Gfn{page + 1}}; }

// Now and then its caller is off for a while, so that much may happen between
// two steps of what it does.
class Pauses {
 public:
  void MayPause(std::uint64_t one_in) {
    if (FetchAdd(turns_, std::uint64_t{1}, kRelaxed) % one_in != 0) return;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }

 private:
  Cell<std::uint64_t> turns_{0};
};

// Of either set; CPUs of the other one never run in it.
class Cpus : public sim::VcpuSet {
 public:
  Cpus() : VcpuSet(kCpus) {}
  void Flush(GfnRange range) {
    pauses_.MayPause(16);
    VcpuSet::Flush(range);
  }

 private:
  Pauses pauses_;
};

// The number of a page's claim, odd while an evictor has it. A zap that marks
// the page within a claim must keep the page.
class Claims {
 public:
  [[nodiscard]] std::uint64_t Of(std::size_t page) const {
    return ReadOnce(claims_[page], kRelaxed);
  }
  // For who has claimed the page.
  std::uint64_t Begin(std::size_t page) {
    return FetchAdd(claims_[page], std::uint64_t{1}, kRelaxed) + 1;
  }
  void End(std::size_t page) {
    FetchAdd(claims_[page], std::uint64_t{1}, kRelaxed);
  }
  void Marked(std::size_t page, std::uint64_t claim) {
    WriteOnce(marked_[page], claim, kRelaxed);
  }
  [[nodiscard]] std::uint64_t MarkedIn(std::size_t page) const {
    return ReadOnce(marked_[page], kRelaxed);
  }

 private:
  static std::vector<Cell<std::uint64_t>> Zeros() {
    return std::vector<Cell<std::uint64_t>>(kPages, Cell<std::uint64_t>(0));
  }
  std::vector<Cell<std::uint64_t>> claims_ = Zeros();
  std::vector<Cell<std::uint64_t>> marked_ = Zeros();
};

struct World {
  using Chain = NotifierChain<test::Scheme>;
  using Process = test::Process<Chain, Cpus>;
  using Rmaps = test::LocklessRmaps<Ept>;
  using Machine = test::Machine<Ept, Rmaps, Cpus>;
  using GuestVm = Machine::VmType;

  World() {
    ok = AddSlot(kFirstSlot) && AddSlot(kSecondSlot) &&
         process.others.Register(notifier).ok();
    process.resident = [this](Gfn gfn) { return pages.IsIn(PageOf(gfn)); };
  }

  bool AddSlot(GfnRange frames) {
    return vm
        .AddMemslot(frames, Process::kFirst + frames.begin.value, Rights::kAll)
        .ok();
  }
  bool AreIn(GfnRange frames) const {
    bool in = true;
    for (Gfn gfn = frames.begin; gfn < frames.end; gfn = gfn + 1) {
      in = in && pages.IsIn(PageOf(gfn));
    }
    return in;
  }
  // What a zap finds: the entry is frozen, and nobody can evict the page.
  void HandOver(const ZappedLeaf& leaf) {
    pauses.MayPause(64);
    const std::size_t page = PageOf(leaf.gfn);
    if (leaf.dirty) pages.MarkDirty(page);
    if (!leaf.accessed) return;
    const std::uint64_t claim = claims.Of(page);
    marks.MarkReferenced(RangeOf(page));
    // Within one claim. A mark before it is one that the claim asks.
    if (claim % 2 == 1 && claims.Of(page) == claim) claims.Marked(page, claim);
    uses.Told(page);
  }

  // One try of a fault, by a CPU that does not run.
  FaultOutcome Fault(std::size_t cpu, std::uint64_t name, Rights access,
                     Tallies& tallies) {
    const std::size_t page = name % kNameStep;
    switch (pages.BringIn(page, tallies)) {
      case Pages::Came::kNoFrame:
        return FaultOutcome::kRetry;
      case Pages::Came::kIn:
        // The last one let go of it before it was out.
        tallies.corrupt += lru.Add(static_cast<LruPage>(page)) ? 0 : 1;
        break;
      case Pages::Came::kElsewhere:
        break;
    }
    if (cpu == kProcessCpu) return process.Fault(name, access);
    if (cpu != kNestedCpu) return vm.Fault(Gfn{name}, access);
    return vm.NestedFault(NestedGfn{name}, access, [](NestedGfn asked) {
      return std::optional<NestedMapping>(Gfn{asked.value % kNameStep});
    });
  }

  Pauses pauses;
  Pages pages;
  Uses uses{kPages, kCpus};
  Claims claims;
  Lru<> lru{kPages};
  LruMarks<> marks{lru, Gfn{0}};
  test::Scheme chain_domain;
  Process process{chain_domain};
  Machine machine{64, 2048};
  GuestVm vm{{.memory = machine.arena,
              .reclaimer = machine.domain,
              .flusher = machine.flusher,
              .rmaps = machine.rmaps,
              .mmu_lock = machine.mmu_lock,
              .may_map = [this](GfnRange frames) { return AreIn(frames); }},
             Level{1},
             [this](const ZappedLeaf& leaf) { HandOver(leaf); }};
  VmNotifier<GuestVm> notifier{vm};
  bool ok = false;
};

}  // namespace ptage::reclaim_soak

#endif  // PTAGE_TEST_SOAK_RECLAIM_WORLD_H_
