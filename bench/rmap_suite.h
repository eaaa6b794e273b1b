// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The group `rmap`, as far as one thread measures it: what it takes to ask
// rmaps of one entry and of many, and to change them, under each discipline.
//
// Entries are cold and the question clears: a head costs its loads, and the
// lock where there is one; what a clear costs is another matter
// (`walk/dense/clear`). Each side is given the distance of prefetching and the
// chunk size that serve it best, found by a pass of each.

#ifndef PTAGE_BENCH_RMAP_SUITE_H_
#define PTAGE_BENCH_RMAP_SUITE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/clock.h"
#include "bench/huge_array.h"
#include "bench/measurements.h"
#include "bench/metrics.h"
#include "bench/report.h"
#include "bench/rmap_steps.h"
#include "bench/rmap_worlds.h"
#include "bench/round_table.h"
#include "bench/rounds.h"
#include "bench/stats.h"
#include "bench/streams.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/rmap/range.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::bench {

struct RmapPlan {
  // Entries of what does not fit into the caches, and of what does.
  std::size_t entries = std::size_t{1} << 24;
  std::size_t cached_entries = std::size_t{1} << 12;
  // Entries that a measurement asks, and eight times the updates that it makes,
  // at least: enough to be seen on the clock.
  std::size_t least = std::size_t{1} << 20;
  std::uint64_t rounds = 15;
  // Of a round of `rmap/many/steps`, at least.
  std::uint64_t scans = 100'000;
  std::uint64_t seed = 1;
  // Whether the metric is asked for.
  std::function<bool(const std::string& id)> wanted;
  // False: stop.
  std::function<bool()> go_on;
  // Told what comes next; empty: nobody is.
  std::function<void(const std::string&)> doing = {};
};

class RmapSuite {
 public:
  // Both outlive the suite.
  RmapSuite(const RmapPlan& plan, const TickRate& rate)
      : plan_(plan), rate_(rate) {}

  // Adds `rmap/…`, and to the table what everything took.
  void Run(Figures& figures);

  // Nanoseconds a head, and how each side was helped.
  [[nodiscard]] std::string Table() const { return table_.ToString(); }
  // The same figures.
  [[nodiscard]] const std::vector<Measurement>& measurements() const {
    return table_.measurements();
  }

 private:
  static constexpr std::size_t kDistances[] = {0, 4, 8, 16, 32};

  // One side of a comparison: how to do it once, in nanoseconds a head.
  struct Side {
    std::string name;
    std::function<double()> once;
  };

  [[nodiscard]] bool Wants(const std::string& prefix) const;

  // Nanoseconds that `work()` takes, ÷ `items`.
  template <class Work>
  double Time(std::size_t items, Work&& work) const {
    const std::uint64_t begin = Ticks();
    work();
    return rate_.Seconds(Ticks() - begin) * 1e9 / static_cast<double>(items);
  }

  // Asks all heads, `repeats` times.
  template <class World>
  Side Asked(const std::string& name, World& world, std::size_t ahead,
             std::size_t repeats) {
    return Side{ahead == 0 ? name : absl::StrCat(name, ", fetched ", ahead),
                [this, &world, ahead, repeats] {
                  AgeCounts counts;
                  return Time(world.size() * repeats, [&] {
                    for (std::size_t i = 0; i < repeats; ++i) {
                      world.AskAll(ahead, counts);
                    }
                  });
                }};
  }
  // The same by AgeRange, which fetches by itself.
  template <class World>
  Side AskedAsRange(const std::string& name, World& world,
                    std::size_t repeats) {
    return Side{absl::StrCat(name, ", as a range"), [this, &world, repeats] {
                  AgeCounts counts;
                  return Time(world.size() * repeats, [&] {
                    for (std::size_t i = 0; i < repeats; ++i) {
                      AgeRange(world.rmaps(), world.heads(),
                               RmapFrame{Gfn{0}, Level{1}}, world.size(),
                               AgeAction::kTestAndClear, AgeMode::kSlow,
                               AgeOutput{}, counts);
                    }
                  });
                }};
  }
  // The best of the distances.
  template <class World>
  Side Best(const std::string& name, World& world, std::size_t repeats) {
    Side best;
    double least = 0;
    for (const std::size_t ahead : kDistances) {
      Side side = Asked(name, world, ahead, repeats);
      side.once();
      const double time = std::min(side.once(), side.once());
      if (least == 0 || time < least) {
        least = time;
        best = std::move(side);
      }
    }
    return best;
  }
  Side Fastest(std::vector<Side> sides) {
    const auto time = [](Side& side) {
      side.once();
      return std::min(side.once(), side.once());
    };
    std::vector<double> times;
    for (Side& side : sides) times.push_back(time(side));
    return std::move(sides[static_cast<std::size_t>(std::distance(
        times.begin(), std::min_element(times.begin(), times.end())))]);
  }

  // Runs the sides in turn, and puts a line of each into the table.
  RoundFigures InTurn(const std::string& heading, const std::vector<Side>& all);

  // `id` is the time of side `below` ÷ that of side `above`, or the other way
  // round where a smaller figure is the better one.
  static void Put(const std::string& id, const RoundFigures& times,
                  std::size_t above, std::size_t below, Figures& figures);

  void RunSingle(Layout layout, Figures& figures);
  void RunRuns(const std::string& id, Layout layout, Figures& figures);
  template <unsigned kPerHead>
  void RunMany(std::size_t entries, const std::string& suffix,
               Figures& figures);
  void RunWrite(unsigned entries, Figures& figures);
  void RunSteps(Figures& figures);

  const RmapPlan& plan_;
  const TickRate& rate_;
  RoundTable table_{"rmap", "rmaps", "ns per head"};
};

// ---------------------------------------------------------------------------

inline bool RmapSuite::Wants(const std::string& prefix) const {
  // The ids that begin so.
  for (const Metric& metric : AllMetrics()) {
    if (metric.id.rfind(prefix, 0) == 0 && plan_.wanted(metric.id)) return true;
  }
  return false;
}

inline RoundFigures RmapSuite::InTurn(const std::string& heading,
                                      const std::vector<Side>& all) {
  if (plan_.doing) plan_.doing(heading);
  std::vector<Measured> things;
  for (const Side& side : all) things.push_back({side.name, side.once});
  return table_.Run(heading, things, plan_.rounds, plan_.seed, plan_.go_on);
}

inline void RmapSuite::Put(const std::string& id, const RoundFigures& times,
                           std::size_t above, std::size_t below,
                           Figures& figures) {
  constexpr std::size_t kLeast = 5;
  const std::vector<double> ratios = times.Ratios(above, below);
  figures[id] = ratios.size() < kLeast ? Figure{.missing = "too few rounds"}
                                       : Figure{.summary = Summarize(ratios)};
}

inline void RmapSuite::RunSingle(Layout layout, Figures& figures) {
  const bool random = layout == Layout::kShuffled;
  const std::string base =
      random ? "rmap/single/random/" : "rmap/single/sequential/";
  if (!Wants(base)) return;
  ColdEntries entries(plan_.entries);
  const std::vector<std::uint32_t> head_of =
      HeadOfEach(plan_.entries, 1, layout, plan_.seed);
  LocklessWorld<7, 14> ours(entries, head_of, plan_.entries);
  BitLockedWorld<6> bit(entries, head_of, plan_.entries);
  SingleEntryWorld<6> single(entries, head_of, plan_.entries);
  // What no discipline can do without: an address, and the load behind it.
  HugeArray<const SpteCell<Ept>*> addresses(plan_.entries);
  for (std::size_t k = 0; k < plan_.entries; ++k) {
    addresses[head_of[k]] = &entries[k];
  }
  const Side limit{"loads of the entries alone", [&] {
                     return Time(plan_.entries, [&] {
                       std::uint64_t all = 0;
                       for (std::size_t i = 0; i < plan_.entries; ++i) {
                         all |= ReadOnce(*addresses[i], kRelaxed);
                       }
                       asm volatile("" : : "r"(all));
                     });
                   }};
  const RoundFigures times =
      InTurn(random ? "one entry each, in random places"
                    : "one entry each, in the order of the heads",
             {AskedAsRange("Lockless", ours, 1), Asked("BitLocked", bit, 0, 1),
              Best("BitLocked", bit, 1), limit,
              AskedAsRange("SingleEntryLockless", single, 1),
              Asked("Lockless, head by head", ours, 0, 1)});
  Put(base + "vs_bit_locked", times, 1, 0, figures);
  if (!random) return;
  Put(base + "vs_bit_locked_prefetched", times, 2, 0, figures);
  Put(base + "vs_limit", times, 0, 3, figures);
}

// Entries that follow one another as their heads do: the limit is to read both
// once, in their order in memory, in the way that is faster here.
inline void RmapSuite::RunRuns(const std::string& id, Layout layout,
                               Figures& figures) {
  if (!plan_.wanted(id) || !plan_.go_on()) return;
  const std::size_t count = plan_.entries;
  ColdEntries entries(count);
  const std::vector<std::uint32_t> head_of =
      HeadOfEach(count, 1, layout, plan_.seed);
  for (std::size_t k = 0; k < count; ++k) {
    if (head_of[k] == kNowhere) WriteOnce(entries[k], Ept::Word{0}, kRelaxed);
  }
  LocklessWorld<7, 14> ours(entries, head_of, count);
  BitLockedWorld<6> bit(entries, head_of, count);
  SingleEntryWorld<6> single(entries, head_of, count);
  static_assert(sizeof(RmapHead) == sizeof(SpteCell<Ept>));
  const std::size_t bytes = count * sizeof(RmapHead);
  const Side in_turn{"heads and entries read as a stream", [&, bytes] {
                       return Time(count, [&] {
                         ReadStreams<1>({ours.heads()}, bytes);
                         ReadStreams<1>({&entries[0]}, bytes);
                       });
                     }};
  const Side side_by_side{
      "heads and entries read as two streams", [&, bytes] {
        return Time(
            count, [&] { ReadStreams<2>({ours.heads(), &entries[0]}, bytes); });
      }};
  const RoundFigures times =
      InTurn(id.substr(id.find("run")),
             {AskedAsRange("Lockless", ours, 1),
              Fastest({in_turn, side_by_side}), Best("BitLocked", bit, 1),
              AskedAsRange("SingleEntryLockless", single, 1)});
  Put(id, times, 1, 0, figures);
}

template <unsigned kPerHead>
void RmapSuite::RunMany(std::size_t count, const std::string& suffix,
                        Figures& figures) {
  const std::string id =
      absl::StrCat("rmap/many/", kPerHead, suffix, "/vs_bit_locked");
  if (!plan_.wanted(id) || !plan_.go_on()) return;
  const std::size_t heads = count / kPerHead;
  const std::size_t repeats = std::max<std::size_t>(1, plan_.least / count);
  ColdEntries entries(count);
  const std::vector<std::uint32_t> head_of =
      HeadOfEach(heads, kPerHead, Layout::kShuffled, plan_.seed);
  LocklessWorld<7, 14> ours(entries, head_of, heads);
  LocklessWorld<15, 14> ours_long(entries, head_of, heads);
  LocklessWorld<7, 30> ours_longer(entries, head_of, heads);
  LocklessWorld<15, 30> ours_longest(entries, head_of, heads);
  BitLockedWorld<6> bit(entries, head_of, heads);
  BitLockedWorld<14> bit_long(entries, head_of, heads);
  BitLockedWorld<30> bit_longer(entries, head_of, heads);
  SingleEntryWorld<6> single(entries, head_of, heads);
  const RoundFigures times = InTurn(
      absl::StrCat(kPerHead, " entries each", suffix.empty() ? "" : ", cached"),
      {Fastest({Best("Lockless 7 + 14", ours, repeats),
                AskedAsRange("Lockless 7 + 14", ours, repeats),
                Best("Lockless 15 + 14", ours_long, repeats),
                AskedAsRange("Lockless 15 + 14", ours_long, repeats),
                Best("Lockless 7 + 30", ours_longer, repeats),
                AskedAsRange("Lockless 7 + 30", ours_longer, repeats),
                Best("Lockless 15 + 30", ours_longest, repeats),
                AskedAsRange("Lockless 15 + 30", ours_longest, repeats)}),
       Fastest({Best("BitLocked 6", bit, repeats),
                Best("BitLocked 14", bit_long, repeats),
                Best("BitLocked 30", bit_longer, repeats)}),
       Best("SingleEntryLockless 6, and its lock", single, repeats)});
  Put(id, times, 1, 0, figures);
}

inline void RmapSuite::RunWrite(unsigned per_head, Figures& figures) {
  const std::string id = absl::StrCat("rmap/write/vs_bit_locked/", per_head);
  if (!plan_.wanted(id) || !plan_.go_on()) return;
  constexpr std::size_t kHeads = 256;
  const std::size_t repeats =
      std::max<std::size_t>(1, plan_.least / (8 * kHeads));
  ColdEntries entries(kHeads * per_head + 1);
  const std::vector<std::uint32_t> head_of =
      HeadOfEach(kHeads, per_head, Layout::kShuffled, plan_.seed);
  LocklessWorld<7, 14> ours(entries, head_of, kHeads);
  BitLockedWorld<6> bit(entries, head_of, kHeads);
  SpteCell<Ept>& added = entries[kHeads * per_head];
  const auto churn = [&](const char* name, auto& world) {
    return Side{name, [&] {
                  return Time(kHeads * repeats, [&] {
                    for (std::size_t i = 0; i < repeats; ++i) {
                      world.ChurnAll(added);
                    }
                  });
                }};
  };
  const RoundFigures times =
      InTurn(absl::StrCat("one more than ", per_head, " and back"),
             {churn("Lockless", ours), churn("BitLocked", bit)});
  Put(id, times, 1, 0, figures);
}

inline void RmapSuite::RunSteps(Figures& figures) {
  const std::string id = "rmap/many/steps";
  if (!plan_.wanted(id) || !plan_.go_on()) return;
  std::vector<double> most;
  std::uint64_t scans = 0;
  for (std::uint64_t round = 0; round < plan_.rounds && plan_.go_on();
       ++round) {
    const ScanSteps steps = StepsBesideAWriter(plan_.scans, plan_.seed + round);
    most.push_back(steps.most);
    scans += steps.scans;
  }
  if (most.empty()) {
    figures[id] = Figure{.missing = "too few rounds"};
    return;
  }
  figures[id] = Figure{.summary = Summarize(most)};
  table_.AddHeading(
      absl::StrCat("slots read, of those behind the head's word: "
                   "at most ",
                   *std::max_element(most.begin(), most.end()), " in ", scans,
                   " scans beside a writer"));
}

inline void RmapSuite::Run(Figures& figures) {
  RunSingle(Layout::kInOrder, figures);
  RunSingle(Layout::kShuffled, figures);
  RunRuns("rmap/run/vs_streaming", Layout::kInOrder, figures);
  RunRuns("rmap/run/vs_streaming/shuffled", Layout::kTablesShuffled, figures);
  RunRuns("rmap/run/vs_streaming/empty10", Layout::kTenthUnmapped, figures);
  RunRuns("rmap/run/vs_streaming/outliers1", Layout::kHundredthElsewhere,
          figures);
  RunMany<2>(plan_.entries, "", figures);
  RunMany<4>(plan_.entries, "", figures);
  RunMany<14>(plan_.entries, "", figures);
  RunMany<100>(plan_.entries, "", figures);
  RunMany<2>(plan_.cached_entries, "/cached", figures);
  RunMany<4>(plan_.cached_entries, "/cached", figures);
  RunMany<14>(plan_.cached_entries, "/cached", figures);
  RunMany<100>(plan_.cached_entries, "/cached", figures);
  RunWrite(1, figures);
  RunWrite(14, figures);
  RunSteps(figures);
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RMAP_SUITE_H_
