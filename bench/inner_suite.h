// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The part of the group `walk` that is about accessed bits of inner entries:
// dense tables aged at their parents, and the profile of a large space.

#ifndef PTAGE_BENCH_INNER_SUITE_H_
#define PTAGE_BENCH_INNER_SUITE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/clock.h"
#include "bench/inner_worlds.h"
#include "bench/measurements.h"
#include "bench/metrics.h"
#include "bench/report.h"
#include "bench/round_table.h"
#include "bench/rounds.h"
#include "bench/team.h"
#include "bench/walk_suite.h"
#include "bench/window.h"
#include "ptage/once.h"
#include "ptage/sim/vcpu.h"
#include "ptage/types.h"

namespace ptage::bench {

class InnerSuite {
 public:
  // As WalkSuite.
  InnerSuite(const WalkPlan& plan, const TickRate& rate, Team& team)
      : plan_(plan), rate_(rate), team_(team), stop_(0) {}
  InnerSuite(const InnerSuite&) = delete;
  InnerSuite& operator=(const InnerSuite&) = delete;

  void Run(Figures& figures);

  [[nodiscard]] std::string Table() const { return table_.ToString(); }
  // The same figures.
  [[nodiscard]] const std::vector<Measurement>& measurements() const {
    return table_.measurements();
  }

 private:
  static constexpr std::size_t kDenseTables = 2048;
  static constexpr unsigned kOneIn = 16;

  [[nodiscard]] bool Wants(std::initializer_list<const char*> ids) const {
    return plan_.go_on() && std::any_of(ids.begin(), ids.end(), plan_.wanted);
  }
  // Microseconds that `work()` takes.
  template <class Work>
  [[nodiscard]] double Time(Work&& work) const {
    const std::uint64_t begin = Ticks();
    work();
    return rate_.Seconds(Ticks() - begin) * 1e6;
  }
  RoundFigures InTurn(const std::string& heading,
                      const std::vector<Measured>& all) {
    if (plan_.doing) plan_.doing(heading);
    return table_.RunWarm(heading, all, plan_.rounds, plan_.seed, plan_.go_on);
  }

  // Of all pages of some rounds in which a vCPU uses 97 of 100 pages of most
  // tables, the share that is called what it was.
  [[nodiscard]] double AccuracyOf(void (DenseWorld::*age)()) const;
  enum class VcpuIs { kBusy, kIdle };
  Figure HotParents(unsigned one_in, double accuracy, VcpuIs vcpu_is);
  void RunHotParents(Figures& figures);

  // Of rounds: the largest space's time ÷ the smallest's; shares, of all sizes.
  struct Profiles {
    std::vector<double> cost;
    std::vector<double> precision;
    std::vector<double> recall;
  };
  // Of spaces of so many GiB.
  Profiles Profiled(const std::string& heading, std::uint64_t granules,
                    const std::vector<std::uint64_t>& sizes);
  void RunProfile(Figures& figures);

  const WalkPlan& plan_;
  const TickRate& rate_;
  Team& team_;
  Cell<std::uint32_t> stop_;
  RoundTable table_{"walk", "inner entries", "us a round"};
};

// ---------------------------------------------------------------------------

inline double InnerSuite::AccuracyOf(void (DenseWorld::*age)()) const {
  constexpr int kWarmUp = 3;
  constexpr int kRounds = 16;
  DenseWorld world(kDenseTables / 2, kOneIn, plan_.seed);
  internal::SplitMix random(plan_.seed);
  std::vector<unsigned> percent(world.tables());
  for (std::size_t t = 0; t < percent.size(); ++t)
    percent[t] = t % 8 == 0 ? 0 : 97;
  std::uint64_t right = 0;
  for (int round = 0; round < kWarmUp + kRounds; ++round) {
    // Some tables go cold, and others are used again.
    for (int i = 0; i < 8; ++i) {
      unsigned& changed = percent[random.Below(percent.size())];
      changed = changed == 0 ? 97 : 0;
    }
    std::vector<bool> used(world.frames());
    {
      const sim::Running<InnerGuest::Vcpu> running(world.vcpu());
      for (std::uint64_t gfn = 0; gfn < world.frames(); ++gfn) {
        if (random.Below(100) >= percent[gfn / kEntriesPerTable<Ept>]) continue;
        used[gfn] =
            static_cast<bool>(world.vcpu().Translate(Gfn{gfn}, Rights::kRead));
      }
    }
    world.ClearBitmap();
    (world.*age)();
    if (round < kWarmUp) continue;
    for (std::uint64_t gfn = 0; gfn < world.frames(); ++gfn) {
      right += world.young().Test(gfn) == used[gfn] ? 1 : 0;
    }
  }
  return static_cast<double>(right) /
         (kRounds * static_cast<double>(world.frames()));
}

// While a vCPU runs on another CPU, which has to answer the flush: the worse of
// one that marks entries of these tables all the time, which slows a pass over
// the leaves down, and of one that does nothing else.
inline void InnerSuite::RunHotParents(Figures& figures) {
  if (!Wants({"walk/hot_parent/clear", "walk/hot_parent/clear/unverified"})) {
    return;
  }
  constexpr double kKept = 0.95;
  const double accuracy = AccuracyOf(&DenseWorld::AgeAtParents) /
                          AccuracyOf(&DenseWorld::HarvestAll);
  for (const auto& [id, one_in] :
       {std::pair{"walk/hot_parent/clear", kOneIn},
        std::pair{"walk/hot_parent/clear/unverified", 0u}}) {
    if (team_.size() == 0) {
      figures[id] = Figure{.missing = "no CPU for a vCPU"};
    } else if (accuracy < kKept) {
      figures[id] =
          Figure{.missing = absl::StrFormat("accuracy %.3f", accuracy)};
    } else {
      const Figure busy = HotParents(one_in, accuracy, VcpuIs::kBusy);
      const Figure idle = HotParents(one_in, accuracy, VcpuIs::kIdle);
      const bool busy_is_worse =
          !busy.missing.empty() || busy.summary.median < idle.summary.median;
      figures[id] = busy_is_worse ? busy : idle;
    }
  }
}

inline Figure InnerSuite::HotParents(unsigned one_in, double accuracy,
                                     VcpuIs vcpu_is) {
  DenseWorld world(kDenseTables, one_in, plan_.seed);
  while (world.hot().Dense() < world.tables()) {
    world.AccessAll();
    world.AgeAtParents();
  }
  WriteOnce(stop_, 0u, kRelaxed);
  team_.Start([&](std::size_t member) {
    if (member != 0) return;
    const sim::Running<InnerGuest::Vcpu> running(world.vcpu());
    internal::SplitMix random(plan_.seed);
    while (ReadOnce(stop_, kRelaxed) == 0) {
      if (vcpu_is == VcpuIs::kIdle) {
        world.vcpu().Poll();
        SpinPause();
      } else {
        (void)world.vcpu().Translate(Gfn{random.Below(world.frames())},
                                     Rights::kRead);
      }
    }
  });
  const auto timed = [&](const char* name, void (DenseWorld::*age)()) {
    return Measured{name, [this, &world, age] {
                      world.AccessAll();
                      return Time([&] { (world.*age)(); });
                    }};
  };
  const RoundFigures times = InTurn(
      absl::StrFormat(
          "%d dense tables, %s, vCPU %s; %.3f of the accuracy", kDenseTables,
          one_in == 0 ? "none verified" : "one in 16 verified",
          vcpu_is == VcpuIs::kIdle ? "idle" : "busy in them", accuracy),
      {timed("harvested and cleared", &DenseWorld::HarvestAll),
       timed("at their parents, with the flush", &DenseWorld::AgeAtParents)});
  WriteOnce(stop_, 1u, kRelaxed);
  team_.Join();
  return RatioOf(times, 0, 1);
}

inline void InnerSuite::RunProfile(Figures& figures) {
  if (!Wants({"walk/profile/cost", "walk/profile/precision",
              "walk/profile/recall"})) {
    return;
  }
  const Profiles large =
      Profiled("8 regions of 2 GiB in use", 1024, {64, 1024, 16'384});
  (void)Profiled("8 regions of 64 MiB in use", 32, {1, 16, 256, 4096, 16'384});
  figures["walk/profile/cost"] = FigureOf(large.cost);
  figures["walk/profile/precision"] = FigureOf(large.precision);
  figures["walk/profile/recall"] = FigureOf(large.recall);
}

inline InnerSuite::Profiles InnerSuite::Profiled(
    const std::string& heading, std::uint64_t granules,
    const std::vector<std::uint64_t>& sizes) {
  std::vector<std::unique_ptr<WideWorld>> worlds;
  std::vector<Measured> sides;
  Profiles profiles;
  for (const std::uint64_t gibibytes : sizes) {
    if (gibibytes > plan_.widest) continue;
    worlds.push_back(
        std::make_unique<WideWorld>(gibibytes, granules, plan_.seed));
    sides.push_back(Measured{absl::StrFormat("profile of %d GiB", gibibytes),
                             [this, &world = *worlds.back(), &profiles] {
                               world.Use();
                               const double us = Time([&] { world.Round(); });
                               const WideWorld::Shares shares = world.Judge();
                               profiles.precision.push_back(shares.precision);
                               profiles.recall.push_back(shares.recall);
                               return us;
                             }});
  }
  profiles.cost = InTurn(heading, sides).Ratios(sides.size() - 1, 0);
  const auto worst = [](const std::vector<double>& shares) {
    return *std::min_element(shares.begin(), shares.end());
  };
  table_.Add({"  least precision and recall of a round",
              absl::StrFormat("%.3f", worst(profiles.precision)),
              absl::StrFormat("%.3f", worst(profiles.recall))});
  return profiles;
}

inline void InnerSuite::Run(Figures& figures) {
  RunHotParents(figures);
  RunProfile(figures);
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_INNER_SUITE_H_
