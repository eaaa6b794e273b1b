// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The group `mmu`: faults of one and of two vCPUs, each over memory of its own,
// against a page table under one lock; and zaps while another thread ages.
//
// The peer is run under several locks, and a figure is against the one that is
// fastest. A vCPU here does nothing but fault, as when a guest starts: each of
// its pages once, in order.

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
#include "bench/metrics.h"
#include "bench/mmu_worlds.h"
#include "bench/report.h"
#include "bench/rounds.h"
#include "bench/stats.h"
#include "bench/table.h"
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
        stop_(0) {}
  MmuSuite(const MmuSuite&) = delete;
  MmuSuite& operator=(const MmuSuite&) = delete;

  void Run(Figures& figures);

  [[nodiscard]] std::string Table() const { return table_.ToString(); }

 private:
  // Of a vCPU: 256 MiB.
  static constexpr std::uint64_t kMostPages = 65'536;

  // In the spelling of BasicLock.
  class StdMutex {
   public:
    void Lock() { mutex_.lock(); }
    void Unlock() { mutex_.unlock(); }

   private:
    std::mutex mutex_;
  };

  [[nodiscard]] bool Wants(std::initializer_list<const char*> ids) const {
    return plan_.go_on() && std::any_of(ids.begin(), ids.end(), plan_.wanted);
  }
  RoundFigures InTurn(const std::string& heading,
                      const std::vector<Measured>& all);
  static Figure Ratio(const RoundFigures& times, std::size_t above,
                      std::size_t below);

  // Nanoseconds of a fault, were all by one thread: `vcpus` fault `pages_` each
  // into an empty world.
  template <class World>
  [[nodiscard]] Measured Faults(const std::string& name, World& world,
                                std::size_t vcpus) const;
  void RunFaults(GuestKind kind, std::size_t vcpus, const char* id,
                 Figures& figures);
  void RunScaling(Figures& figures);
  void RunZaps(Figures& figures);

  const WalkPlan& plan_;
  const TickRate& rate_;
  Team& team_;
  const std::uint64_t pages_;
  Cell<std::uint32_t> stop_;
  TextTable table_{{"mmu", "ns", "spread"}};
};

// ---------------------------------------------------------------------------

inline RoundFigures MmuSuite::InTurn(const std::string& heading,
                                     const std::vector<Measured>& all) {
  for (const Measured& thing : all) thing.once();
  RoundFigures times = RunInTurn(all, plan_.rounds, plan_.seed, plan_.go_on);
  table_.AddHeading(heading);
  for (std::size_t i = 0; i < all.size(); ++i) {
    table_.Add({absl::StrCat("  ", all[i].name),
                absl::StrFormat("%.4g", times.MedianOf(i)),
                absl::StrFormat("%.3f", times.SpreadOf(i))});
  }
  return times;
}

inline Figure MmuSuite::Ratio(const RoundFigures& times, std::size_t above,
                              std::size_t below) {
  constexpr std::size_t kLeast = 5;
  const std::vector<double> ratios = times.Ratios(above, below);
  if (ratios.size() < kLeast) return Figure{.missing = "too few rounds"};
  return Figure{.summary = Summarize(ratios)};
}

template <class World>
Measured MmuSuite::Faults(const std::string& name, World& world,
                          std::size_t vcpus) const {
  return {name, [this, &world, vcpus] {
            world.Reset();
            const auto fault = [&](std::size_t vcpu) {
              const std::uint64_t first = vcpu * pages_;
              for (std::uint64_t i = 0; i < pages_; ++i) world.Fault(first + i);
            };
            const std::uint64_t begin = Ticks();
            if (vcpus > 1) {
              team_.Start([&](std::size_t member) {
                if (member + 1 < vcpus) fault(member + 1);
              });
            }
            fault(0);
            if (vcpus > 1) team_.Join();
            const double ns = rate_.Nanoseconds(Ticks() - begin);
            return ns / static_cast<double>(vcpus * pages_);
          }};
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
  LockedWorld<StdMutex> under_std(kind, pages);
  LockedWorld<absl::Mutex> under_absl(kind, pages);
  LockedWorld<SpinLock> under_spin(kind, pages);
  TdpWorld tdp(pages);
  std::vector<Measured> sides = {
      Faults("a VM's", vm, vcpus),
      Faults("a page table under std::mutex", under_std, vcpus),
      Faults("a page table under absl::Mutex", under_absl, vcpus),
      Faults("a page table under a spin lock", under_spin, vcpus)};
  if (kind == GuestKind::kTdp) {
    sides.push_back(Faults("the direct MMU's, frames held", tdp, vcpus));
  }
  const RoundFigures times = InTurn(
      absl::StrFormat("a fault, %s, %d vCPUs", NameOf(kind), vcpus), sides);
  std::size_t best = 1;
  for (const std::size_t other : {2u, 3u}) {
    if (times.MedianOf(other) < times.MedianOf(best)) best = other;
  }
  figures[id] = Ratio(times, best, 0);
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
      {Faults("a VM's, by one", vm, 1), Faults("by two", vm, 2),
       Faults("the direct MMU's, by one", tdp, 1), Faults("by two", tdp, 2)});
  figures["mmu/fault/scaling"] = Ratio(times, 0, 1);
}

// Pages in a random order, one by one; the other thread ages all the time, or
// works on memory of its own.
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
  const auto zaps = [&](const char* name, bool aged) {
    return Measured{name, [&, aged] {
                      for (const std::uint64_t page : order) world.Fault(page);
                      WriteOnce(stop_, 0u, kRelaxed);
                      team_.Start([&, aged](std::size_t member) {
                        if (member != 0) return;
                        while (ReadOnce(stop_, kRelaxed) == 0) {
                          if (aged) {
                            world.Age();
                          } else {
                            SpinPause();
                          }
                        }
                      });
                      const std::uint64_t begin = Ticks();
                      for (const std::uint64_t page : order) world.Zap(page);
                      const std::uint64_t ticks = Ticks() - begin;
                      WriteOnce(stop_, 1u, kRelaxed);
                      team_.Join();
                      return rate_.Nanoseconds(ticks) /
                             static_cast<double>(pages_);
                    }};
  };
  const RoundFigures times =
      InTurn("a zap of a page, tdp",
             {zaps("nobody ages", false), zaps("aged meanwhile", true)});
  figures["mmu/zap_under_aging"] = Ratio(times, 0, 1);
}

inline void MmuSuite::Run(Figures& figures) {
  RunFaults(GuestKind::kTdp, 1, "mmu/fault/tdp/1", figures);
  RunFaults(GuestKind::kTdp, 2, "mmu/fault/tdp/2", figures);
  RunFaults(GuestKind::kNested, 1, "mmu/fault/nested/1", figures);
  RunFaults(GuestKind::kNested, 2, "mmu/fault/nested/2", figures);
  RunScaling(figures);
  RunZaps(figures);
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_MMU_SUITE_H_
