// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The group `mmu`: faults of one and of two vCPUs, each over memory of its own,
// against a page table under one lock; zaps while another thread ages; and what
// writes to its tables cost a guest without nested paging.
//
// The peer is run under several locks, and a figure is against the one that is
// fastest. Direct faults are those of TdpMmu; what a VM adds, which passes its
// gate and looks for the memslot, is in the table. Nested ones are the VM's. A
// vCPU here does nothing but fault,
// as when a guest starts: each of its pages once, in order.

#ifndef PTAGE_BENCH_MMU_SUITE_H_
#define PTAGE_BENCH_MMU_SUITE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "bench/clock.h"
#include "bench/contender.h"
#include "bench/figures.h"
#include "bench/guest.h"
#include "bench/legacy_world.h"
#include "bench/measurements.h"
#include "bench/metrics.h"
#include "bench/mmu_worlds.h"
#include "bench/preemption.h"
#include "bench/report.h"
#include "bench/round_table.h"
#include "bench/rounds.h"
#include "bench/team.h"
#include "bench/walk_suite.h"
#include "bench/window.h"
#include "ptage/lock.h"
#include "ptage/once.h"

namespace ptage::bench {

class MmuSuite {
 public:
  // As WalkSuite.
  MmuSuite(const WalkPlan& plan, const TickRate& rate, Team& team)
      : plan_(plan),
        rate_(rate),
        team_(team),
        pages_(std::min<std::uint64_t>(kMostPages,
                                       plan.tables / 2 * kBlockFrames)),
        stop_(0),
        ready_(0) {}
  MmuSuite(const MmuSuite&) = delete;
  MmuSuite& operator=(const MmuSuite&) = delete;

  void Run(Figures& figures);

  [[nodiscard]] std::string Table() const { return table_.ToString(); }
  // The same figures.
  [[nodiscard]] const std::vector<Measurement>& measurements() const {
    return table_.measurements();
  }

 private:
  // Of a vCPU: 256 MiB. A window then takes a few milliseconds, and most are
  // not disturbed; those that are, are left out.
  static constexpr std::uint64_t kMostPages = 65'536;
  static constexpr std::uint64_t kRoundsForOne = 6;

  // In the spelling of BasicLock.
  class StdMutex {
   public:
    void Lock() { mutex_.lock(); }
    void Unlock() { mutex_.unlock(); }

   private:
    std::mutex mutex_;
  };

  // Calls `work(i)` for each i below `count`. False: the thread lost its CPU
  // for longer than any wait for another thread takes that does not sleep. One
  // that sleeps, in a lock, is what the lock costs.
  template <class Work>
  [[nodiscard]] bool Undisturbed(std::uint64_t count, Work&& work) const {
    constexpr std::uint64_t kAtOnce = 64;
    const std::uint64_t limit = rate_.FromNanoseconds(kStolenNs);
    ThreadSwitches switches;
    std::uint64_t last = Ticks();
    bool undisturbed = true;
    for (std::uint64_t i = 0; i < count;) {
      const std::uint64_t end = std::min(count, i + kAtOnce);
      for (; i < end; ++i) work(i);
      const std::uint64_t now = Ticks();
      if (now - last > limit) {
        undisturbed &= switches.SleptAndKeptItsCpu();
        last = Ticks();
      } else {
        last = now;
      }
    }
    return undisturbed;
  }
  // Waits until `threads` are there.
  void MeetAt(std::uint32_t threads) {
    FetchAdd(ready_, 1u, kRelaxed);
    while (ReadOnce(ready_, kRelaxed) != threads) SpinPause();
  }
  // What `once()` measures, which is 0 if it was disturbed, in so many tries.
  template <class Once>
  double UntilUndisturbed(Once&& once) const;

  [[nodiscard]] bool Wants(std::initializer_list<const char*> ids) const {
    return plan_.go_on() && std::any_of(ids.begin(), ids.end(), plan_.wanted);
  }
  RoundFigures InTurn(const std::string& heading,
                      const std::vector<Measured>& all) {
    if (plan_.doing) plan_.doing(heading);
    return table_.RunWarm(heading, all, kRoundsForOne * plan_.rounds,
                          plan_.seed, plan_.go_on);
  }

  // Nanoseconds of a fault, were all by one thread: `vcpus` fault `pages_` each
  // into an empty world.
  template <class World>
  double FaultAll(World& world, std::size_t vcpus);
  template <class World>
  [[nodiscard]] Measured Faults(const std::string& name, World& world,
                                std::size_t vcpus) {
    return {name, [this, &world, vcpus] {
              return UntilUndisturbed([&] { return FaultAll(world, vcpus); });
            }};
  }
  // Nanoseconds of a zap. Meanwhile, again and again, the other thread calls
  // `other()`, as before the first zap.
  template <class Other>
  double ZapAll(VmWorld& world, const std::vector<std::uint64_t>& order,
                Other&& other);
  void RunFaults(GuestKind kind, std::size_t vcpus, const char* id,
                 Figures& figures);
  void RunScaling(Figures& figures);
  void RunZaps(Figures& figures);
  // Lines of the table alone.
  void RunLegacy();
  // Nanoseconds of a call of `work(i)`, after `prepare()`.
  template <class Prepare, class Work>
  [[nodiscard]] Measured ForEachEntry(const std::string& name,
                                      Prepare&& prepare, Work&& work) {
    return {name, [this, prepare, work] {
              return UntilUndisturbed([&] {
                prepare();
                const std::uint64_t begin = Ticks();
                const bool undisturbed =
                    Undisturbed(LegacyWorld::kEntries, work);
                const std::uint64_t ticks = Ticks() - begin;
                if (!undisturbed) return 0.0;
                return rate_.Nanoseconds(ticks) /
                       static_cast<double>(LegacyWorld::kEntries);
              });
            }};
  }

  const WalkPlan& plan_;
  const TickRate& rate_;
  Team& team_;
  const std::uint64_t pages_;
  Cell<std::uint32_t> stop_;
  Cell<std::uint32_t> ready_;

  RoundTable table_{"mmu", "mmu", "ns"};
};

// ---------------------------------------------------------------------------

template <class Once>
double MmuSuite::UntilUndisturbed(Once&& once) const {
  constexpr int kTries = 8;
  double ns = 0;
  for (int tries = 0; ns == 0 && tries < kTries && plan_.go_on(); ++tries) {
    ns = once();
  }
  return ns;
}

template <class World>
double MmuSuite::FaultAll(World& world, std::size_t vcpus) {
  world.Reset();
  WriteOnce(ready_, 0u, kRelaxed);
  struct Part {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool undisturbed = true;
  };
  Part parts[2];
  const auto fault = [&](std::size_t vcpu) {
    const std::uint64_t first = vcpu * pages_;
    Part& part = parts[vcpu];
    MeetAt(static_cast<std::uint32_t>(vcpus));
    part.begin = Ticks();
    part.undisturbed =
        Undisturbed(pages_, [&](std::uint64_t i) { world.Fault(first + i); });
    part.end = Ticks();
  };
  if (vcpus > 1) {
    team_.Start([&](std::size_t member) {
      if (member + 1 < vcpus) fault(member + 1);
    });
  }
  fault(0);
  if (vcpus == 1) parts[1] = parts[0];
  if (vcpus > 1) team_.Join();
  const auto [first, second] = std::minmax(parts[0].begin, parts[1].begin);
  if (!parts[0].undisturbed || !parts[1].undisturbed ||
      second - first > rate_.FromNanoseconds(kStolenNs)) {
    return 0;
  }
  const double ns =
      rate_.Nanoseconds(std::max(parts[0].end, parts[1].end) - first);
  return ns / static_cast<double>(vcpus * pages_);
}

inline void MmuSuite::RunFaults(GuestKind kind, std::size_t vcpus,
                                const char* id, Figures& figures) {
  if (!Wants({id})) return;
  if (team_.size() + 1 < vcpus) {
    figures[id] = Figure{.missing = "too few CPUs"};
    return;
  }
  const std::uint64_t pages = vcpus * pages_;
  VmWorld vm(kind, pages);
  LockedPageTable<StdMutex> under_std(kind, pages);
  LockedPageTable<absl::Mutex> under_absl(kind, pages);
  LockedPageTable<SpinLock> under_spin(kind, pages);
  TdpWorld tdp(pages);
  std::vector<Measured> sides = {
      Faults("a page table under std::mutex", under_std, vcpus),
      Faults("a page table under absl::Mutex", under_absl, vcpus),
      Faults("a page table under a spin lock", under_spin, vcpus),
      Faults("a VM's", vm, vcpus)};
  if (kind == GuestKind::kTdp) {
    sides.push_back(Faults("the direct MMU's", tdp, vcpus));
  }
  const RoundFigures times = InTurn(
      absl::StrFormat("a fault, %s, %d vCPUs", NameOf(kind), vcpus), sides);
  std::size_t best = 0;
  for (const std::size_t other : {1u, 2u}) {
    if (times.MedianOf(other) == 0) continue;
    if (times.MedianOf(best) == 0 ||
        times.MedianOf(other) < times.MedianOf(best)) {
      best = other;
    }
  }
  figures[id] = RatioOf(times, best, sides.size() - 1);
}

inline void MmuSuite::RunScaling(Figures& figures) {
  if (!Wants({"mmu/fault/scaling"})) return;
  if (team_.size() == 0) {
    figures["mmu/fault/scaling"] = Figure{.missing = "too few CPUs"};
    return;
  }
  VmWorld vm(GuestKind::kTdp, 2 * pages_);
  TdpWorld tdp(2 * pages_);
  const RoundFigures times = InTurn(
      "a fault, tdp, memory for two vCPUs",
      {Faults("the direct MMU's, by one", tdp, 1),
       Faults("the direct MMU's, by two", tdp, 2),
       Faults("a VM's, by one", vm, 1), Faults("a VM's, by two", vm, 2)});
  figures["mmu/fault/scaling"] = RatioOf(times, 0, 1);
}

template <class Other>
double MmuSuite::ZapAll(VmWorld& world, const std::vector<std::uint64_t>& order,
                        Other&& other) {
  for (const std::uint64_t page : order) world.Fault(page);
  WriteOnce(stop_, 0u, kRelaxed);
  WriteOnce(ready_, 0u, kRelaxed);
  team_.Start([&](std::size_t member) {
    if (member != 0) return;
    other();
    MeetAt(2);
    while (ReadOnce(stop_, kRelaxed) == 0) other();
  });
  MeetAt(2);
  const std::uint64_t begin = Ticks();
  const bool undisturbed =
      Undisturbed(pages_, [&](std::uint64_t i) { world.Zap(order[i]); });
  const std::uint64_t ticks = Ticks() - begin;
  WriteOnce(stop_, 1u, kRelaxed);
  team_.Join();
  if (!undisturbed) return 0;
  return rate_.Nanoseconds(ticks) / static_cast<double>(pages_);
}

// Pages in a random order, one by one.
inline void MmuSuite::RunZaps(Figures& figures) {
  if (!Wants({"mmu/zap_under_aging"})) return;
  if (team_.size() == 0) {
    figures["mmu/zap_under_aging"] = Figure{.missing = "too few CPUs"};
    return;
  }
  VmWorld world(GuestKind::kTdp, pages_);
  std::vector<std::uint64_t> order(pages_);
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  internal::SplitMix random(plan_.seed);
  for (std::size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[random.Below(left)]);
  }
  const auto zaps = [&](const char* name, auto other) {
    return Measured{
        name, [&, other] {
          return UntilUndisturbed([&] { return ZapAll(world, order, other); });
        }};
  };
  const RoundFigures times =
      InTurn("a zap of a page, tdp",
             {zaps("nobody ages", [] { SpinPause(); }),
              zaps("aged meanwhile", [&world] { world.Age(); }),
              zaps("read meanwhile", [&world] { world.Read(); })});
  figures["mmu/zap_under_aging"] = RatioOf(times, 0, 1);
}

inline void MmuSuite::RunLegacy() {
  if (!Wants({"mmu/fault/nested/1"})) return;
  LegacyWorld world;
  const auto plain = [&](std::uint64_t i) { world.WritePlain(i); };
  const auto trapped = [&](std::uint64_t i) { (void)world.WriteTrapped(i); };
  const auto fault = [&](std::uint64_t i) { world.Fault(i); };
  const auto forget = [&] { world.Forget(); };
  const auto shadow = [&] { world.Shadow(); };
  const auto build = [&] {
    world.Shadow();
    for (std::uint64_t i = 0; i < LegacyWorld::kEntries; ++i) world.Fault(i);
  };
  (void)InTurn(
      "a guest's write to an entry of its table",
      {ForEachEntry("plain: the table is not shadowed", forget, plain),
       ForEachEntry("trapped, nothing is built from it", shadow, trapped),
       ForEachEntry("trapped, and zapped", build, trapped),
       ForEachEntry("the fault that builds it again", shadow, fault)});
}

inline void MmuSuite::Run(Figures& figures) {
  RunFaults(GuestKind::kTdp, 1, "mmu/fault/tdp/1", figures);
  RunFaults(GuestKind::kTdp, 2, "mmu/fault/tdp/2", figures);
  RunFaults(GuestKind::kNested, 1, "mmu/fault/nested/1", figures);
  RunFaults(GuestKind::kNested, 2, "mmu/fault/nested/2", figures);
  RunScaling(figures);
  RunZaps(figures);
  RunLegacy();
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_MMU_SUITE_H_
