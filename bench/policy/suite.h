// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The group `policy`: how often each policy misses, on every workload at every
// size of memory, and what it costs to evict a page.

#ifndef PTAGE_BENCH_POLICY_SUITE_H_
#define PTAGE_BENCH_POLICY_SUITE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/clock.h"
#include "bench/policy/accessed_bits.h"
#include "bench/policy/every_access.h"
#include "bench/policy/machine.h"
#include "bench/policy/ours.h"
#include "bench/policy/workloads.h"
#include "bench/report.h"
#include "bench/stats.h"
#include "bench/table.h"

namespace ptage::bench {

// Memory, in percent of the pages that a workload refers to.
inline constexpr std::uint32_t kPolicySizes[] = {5, 10, 20, 35, 50};

inline constexpr const char* kBitsNames[] = {"clock", "gclock", "two_lists",
                                             "generations"};
inline constexpr const char* kAllNames[] = {"lru", "arc", "s3fifo", "sieve",
                                            "lfu"};

// A workload at one size.
struct PolicyCell {
  std::string workload;
  std::uint32_t percent = 0;
  bool tuned = true;
  bool recorded = false;
  std::uint64_t references = 0;
  std::map<std::string, PolicyCost> runs;  // by name

  [[nodiscard]] double Misses(const std::string& name) const {
    return static_cast<double>(runs.at(name).misses);
  }
  template <std::size_t kCount>
  [[nodiscard]] double Best(const char* const (&names)[kCount]) const {
    double best = Misses(names[0]);
    for (const char* name : names) best = std::min(best, Misses(name));
    return best;
  }
};

// The library's policy as the metrics take it.
inline constexpr OurOptions kOurs{.look_around = false, .filter = false};

class PolicySuite {
 public:
  using Progress = std::function<bool(const std::string&)>;

  explicit PolicySuite(const TickRate& rate) : rate_(rate) {}

  // Replays a workload at every size; false if `go_on` says so.
  bool Run(const Workload& workload, bool variants, const Progress& go_on);

  void AddFigures(Figures& figures) const;
  // Misses of each policy as shares of the bound's; geometric means, of all
  // workloads and of those that chose no constant; costs; and ours by kinds of
  // workloads.
  [[nodiscard]] std::string Table() const;
  [[nodiscard]] const std::vector<PolicyCell>& cells() const { return cells_; }

 private:
  // Workloads of which means are reported apart.
  struct Kind {
    const char* name;
    const char* counter;
    bool tuned;
    bool recorded;

    [[nodiscard]] bool Has(const PolicyCell& cell) const {
      return cell.tuned == tuned && cell.recorded == recorded;
    }
  };
  static constexpr Kind kKinds[] = {
      {"recorded, tuning", "tuning_recorded", true, true},
      {"generated, tuning", "tuning_generated", true, false},
      {"recorded, held out", "held_out_recorded", false, true},
      {"generated, held out", "held_out_generated", false, false}};

  template <class Include>
  [[nodiscard]] double GeometricMean(
      Include&& include,
      const std::function<double(const PolicyCell&)>& ratio) const {
    double sum = 0;
    std::size_t count = 0;
    for (const PolicyCell& cell : cells_) {
      if (!include(cell)) continue;
      sum += std::log(ratio(cell));
      ++count;
    }
    return count == 0 ? 0 : std::exp(sum / static_cast<double>(count));
  }
  [[nodiscard]] double NsPerEviction(const PolicyCost& cost) const {
    return cost.evictions == 0 ? 0
                               : rate_.Nanoseconds(cost.ticks) /
                                     static_cast<double>(cost.evictions);
  }
  [[nodiscard]] std::string KindsTable() const;
  void RunBits(const Workload& workload, std::uint32_t frames,
               Sampling sampling, const std::string& suffix, PolicyCell& cell);
  void RunOurs(const Workload& workload, std::uint32_t frames,
               Sampling sampling, OurOptions options, const std::string& name,
               PolicyCell& cell);

  const TickRate& rate_;
  std::vector<PolicyCell> cells_;
};

// ---------------------------------------------------------------------------

namespace internal {

template <class Policy>
PolicyCost CountMisses(Policy policy, const std::vector<Page>& references) {
  PolicyCost cost;
  for (const Page page : references) cost.misses += policy.Access(page) ? 0 : 1;
  return cost;
}

template <class Bits>
PolicyCost RunOnMachine(const Workload& workload, std::uint32_t frames,
                        Sampling sampling) {
  Machine machine(workload.pages, frames);
  BitsPolicy<Bits> policy(machine, frames);
  return machine.Run(policy, workload.references, sampling);
}

}  // namespace internal

inline void PolicySuite::RunBits(const Workload& workload, std::uint32_t frames,
                                 Sampling sampling, const std::string& suffix,
                                 PolicyCell& cell) {
  using internal::RunOnMachine;
  cell.runs["clock" + suffix] =
      RunOnMachine<ClockHand>(workload, frames, sampling);
  cell.runs["gclock" + suffix] =
      RunOnMachine<Gclock>(workload, frames, sampling);
  cell.runs["two_lists" + suffix] =
      RunOnMachine<TwoLists>(workload, frames, sampling);
  cell.runs["generations" + suffix] =
      RunOnMachine<Generations>(workload, frames, sampling);
}

inline void PolicySuite::RunOurs(const Workload& workload, std::uint32_t frames,
                                 Sampling sampling, OurOptions options,
                                 const std::string& name, PolicyCell& cell) {
  Machine machine(workload.pages, frames);
  OurPolicy policy(machine, options);
  cell.runs[name] = machine.Run(policy, workload.references, sampling);
}

inline bool PolicySuite::Run(const Workload& workload, bool variants,
                             const Progress& go_on) {
  const std::vector<Page>& references = workload.references;
  const std::uint32_t pages = workload.pages;
  for (const std::uint32_t percent : kPolicySizes) {
    if (!go_on(absl::StrCat(workload.name, " ", percent, " %"))) return false;
    PolicyCell cell{.workload = workload.name,
                    .percent = percent,
                    .tuned = workload.tuned,
                    .recorded = workload.recorded,
                    .references = references.size(),
                    .runs = {}};
    const std::uint32_t frames =
        std::max(pages * percent / 100, std::uint32_t{4});
    using internal::CountMisses;
    cell.runs["lru"] = CountMisses(ExactLru(pages, frames), references);
    cell.runs["arc"] = CountMisses(Arc(pages, frames), references);
    cell.runs["s3fifo"] = CountMisses(S3Fifo(pages, frames), references);
    cell.runs["sieve"] = CountMisses(Sieve(pages, frames), references);
    cell.runs["lfu"] = CountMisses(Lfu(pages, frames), references);
    cell.runs["belady"] =
        CountMisses(Belady(pages, frames, references), references);
    RunBits(workload, frames, kDefaultSampling, "", cell);
    RunOurs(workload, frames, kDefaultSampling, kOurs, "ours", cell);
    // What CLOCK costs where nobody samples for it.
    cell.runs["clock/none"] =
        internal::RunOnMachine<ClockHand>(workload, frames, kSamplings[0]);
    RunOurs(workload, frames, kSamplings[0],
            OurOptions{.look_around = true, .filter = false},
            "ours/none/look_around", cell);
    if (variants) {
      for (const Sampling& sampling : kSamplings) {
        const std::string name = sampling.name;
        if (name != "default") {
          RunOurs(workload, frames, sampling, kOurs, "ours/" + name, cell);
          RunBits(workload, frames, sampling, "/" + name, cell);
        }
        if (name != "none") {
          RunOurs(workload, frames, sampling,
                  OurOptions{.look_around = true, .filter = false},
                  "ours/" + name + "/look_around", cell);
          RunOurs(workload, frames, sampling,
                  OurOptions{.look_around = true, .filter = true},
                  "ours/" + name + "/look_around/filter", cell);
        }
      }
    }
    cells_.push_back(std::move(cell));
  }
  return true;
}

inline void PolicySuite::AddFigures(Figures& figures) const {
  if (cells_.empty()) return;
  const auto every = [](const PolicyCell&) { return true; };
  const auto held_out = [](const PolicyCell& cell) { return !cell.tuned; };
  const auto add = [&](const std::string& id,
                       const std::function<double(const PolicyCell&)>& ratio) {
    Figure& made = figures[id];
    made.summary = Summary{.median = GeometricMean(every, ratio),
                           .samples = cells_.size()};
    made.counters = {{"held_out", GeometricMean(held_out, ratio)}};
    for (const Kind& kind : kKinds) {
      made.counters.emplace_back(
          kind.counter,
          GeometricMean([&](const PolicyCell& cell) { return kind.Has(cell); },
                        ratio));
    }
  };
  add("policy/geomean/misses_vs_clock", [](const PolicyCell& cell) {
    return cell.Misses("ours") / cell.Misses("clock");
  });
  add("policy/geomean/misses_vs_best_bits", [](const PolicyCell& cell) {
    return cell.Misses("ours") / cell.Best(kBitsNames);
  });
  add("policy/geomean/misses_vs_best_all", [](const PolicyCell& cell) {
    return cell.Misses("ours") / cell.Best(kAllNames);
  });
  for (const PolicyCell& cell : cells_) {
    const std::string base =
        absl::StrCat("policy/", cell.workload, "/", cell.percent, "/");
    const auto report = [&](const char* figure, double ratio) {
      Figure& made = figures[base + figure];
      made.summary = Summary{.median = ratio, .samples = 1};
      made.counters = {{"references", static_cast<double>(cell.references)},
                       {"tuned", cell.tuned ? 1 : 0}};
      for (const auto& [name, cost] : cell.runs) {
        made.counters.emplace_back("misses_" + name,
                                   static_cast<double>(cost.misses));
      }
    };
    const double ours = cell.Misses("ours");
    report("misses_vs_clock", ours / cell.Misses("clock"));
    report("misses_vs_best_bits", ours / cell.Best(kBitsNames));
    report("misses_vs_best_all", ours / cell.Best(kAllNames));
    report("misses_vs_belady", ours / cell.Misses("belady"));
  }
  // Of the cells in which ours misses no more than CLOCK, though neither is
  // told more than it asks for.
  std::vector<double> costs;
  for (const PolicyCell& cell : cells_) {
    const PolicyCost& ours = cell.runs.at("ours/none/look_around");
    const PolicyCost& clock = cell.runs.at("clock/none");
    if (ours.misses > clock.misses) continue;
    costs.push_back(NsPerEviction(ours) / NsPerEviction(clock));
  }
  if (!costs.empty()) {
    figures["policy/cost"] = Figure{.summary = Summarize(costs)};
  }
}

inline std::string PolicySuite::Table() const {
  if (cells_.empty()) return "";
  std::vector<std::string> names;
  for (const auto& [name, cost] : cells_[0].runs) names.push_back(name);

  // Cells.
  std::vector<std::string> header = {"misses ÷ the bound's", "bound", "ours"};
  header.insert(header.end(), std::begin(kBitsNames), std::end(kBitsNames));
  header.insert(header.end(), std::begin(kAllNames), std::end(kAllNames));
  const std::vector<std::string> columns(header.begin() + 2, header.end());
  TextTable table(header);
  for (const PolicyCell& cell : cells_) {
    std::vector<std::string> row = {
        absl::StrCat(cell.workload, cell.tuned ? " " : "* ", cell.percent,
                     " %"),
        absl::StrCat(cell.runs.at("belady").misses)};
    for (const std::string& name : columns) {
      row.push_back(
          absl::StrFormat("%.3f", cell.Misses(name) / cell.Misses("belady")));
    }
    table.Add(std::move(row));
  }
  std::string text = table.ToString();
  absl::StrAppend(&text, "*: held out, no constant was chosen by it\n\n");

  // Means.
  TextTable means({"geometric means", "÷ clock", "÷ best bits", "÷ best all",
                   "÷ the bound", "held out: ÷ clock", "÷ best bits",
                   "÷ best all", "÷ the bound", "ns/eviction", "asked",
                   "sampled", "cmpxchgs"});
  for (const std::string& name : names) {
    std::vector<std::string> row = {name};
    for (const bool tuned : {true, false}) {
      const auto include = [&](const PolicyCell& cell) {
        return tuned || !cell.tuned;
      };
      const auto add =
          [&](const std::function<double(const PolicyCell&)>& below) {
            row.push_back(absl::StrFormat(
                "%.3f", GeometricMean(include, [&](const PolicyCell& cell) {
                  return cell.Misses(name) / below(cell);
                })));
          };
      add([](const PolicyCell& cell) { return cell.Misses("clock"); });
      add([](const PolicyCell& cell) { return cell.Best(kBitsNames); });
      add([](const PolicyCell& cell) { return cell.Best(kAllNames); });
      add([](const PolicyCell& cell) { return cell.Misses("belady"); });
    }
    PolicyCost sum;
    for (const PolicyCell& cell : cells_) {
      const PolicyCost& cost = cell.runs.at(name);
      sum.evictions += cost.evictions;
      sum.asked += cost.asked;
      sum.sampled += cost.sampled;
      sum.cmpxchgs += cost.cmpxchgs;
      sum.ticks += cost.ticks;
    }
    const auto each = [&](std::uint64_t count) {
      return sum.evictions == 0
                 ? "-"
                 : absl::StrFormat("%.2f",
                                   static_cast<double>(count) /
                                       static_cast<double>(sum.evictions));
    };
    row.push_back(
        sum.evictions == 0 ? "-" : absl::StrFormat("%.0f", NsPerEviction(sum)));
    row.push_back(each(sum.asked));
    row.push_back(each(sum.sampled));
    row.push_back(each(sum.cmpxchgs));
    means.Add(std::move(row));
  }
  return text + means.ToString() + "\n" + KindsTable();
}

inline std::string PolicySuite::KindsTable() const {
  TextTable table({"ours, geometric means", "cells", "÷ clock", "÷ best bits",
                   "÷ best all", "÷ the bound"});
  const auto add = [&](const char* name, const auto& include) {
    const auto mean =
        [&](const std::function<double(const PolicyCell&)>& below) {
          return absl::StrFormat(
              "%.3f", GeometricMean(include, [&](const PolicyCell& cell) {
                return cell.Misses("ours") / below(cell);
              }));
        };
    table.Add(
        {name,
         absl::StrCat(std::count_if(cells_.begin(), cells_.end(), include)),
         mean([](const PolicyCell& cell) { return cell.Misses("clock"); }),
         mean([](const PolicyCell& cell) { return cell.Best(kBitsNames); }),
         mean([](const PolicyCell& cell) { return cell.Best(kAllNames); }),
         mean([](const PolicyCell& cell) { return cell.Misses("belady"); })});
  };
  add("all", [](const PolicyCell&) { return true; });
  for (const Kind& kind : kKinds) {
    add(kind.name, [&](const PolicyCell& cell) { return kind.Has(cell); });
  }
  return table.ToString();
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_POLICY_SUITE_H_
