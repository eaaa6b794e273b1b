// SPDX-License-Identifier: MIT OR Apache-2.0
//
// `policy/nested/refaults`: how often the pages of a nested guest come back
// where aging is told of its accesses, against where only eviction is, on every
// workload at several sizes of memory.

#ifndef PTAGE_BENCH_POLICY_NESTED_SUITE_H_
#define PTAGE_BENCH_POLICY_NESTED_SUITE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/policy/every_access.h"
#include "bench/policy/machine.h"
#include "bench/policy/nested.h"
#include "bench/policy/workloads.h"
#include "bench/report.h"
#include "bench/stats.h"
#include "bench/table.h"

namespace ptage::bench {

// Memory, in percent of the pages that L2 uses: over-committed from 3 : 1 down
// to 10 : 9.
inline constexpr std::uint32_t kNestedSizes[] = {33, 50, 67, 80, 90};
// References of a generated workload, from its beginning.
inline constexpr std::size_t kNestedReferences = std::size_t{1} << 18;
// Of a cell with fewer refaults than this the ratio is chance.
inline constexpr std::uint64_t kFewRefaults = 32;

struct NestedCell {
  std::string workload;
  std::uint32_t percent = 0;
  // By NestedAnswers.
  NestedCost always;
  NestedCost evictions;
  NestedCost never;
  std::uint64_t bound = 0;  // refaults of Belady's
};

class NestedSuite {
 public:
  using Progress = std::function<bool(const std::string&)>;

  // Replays a workload at every size; false if `go_on` says so.
  bool Run(const Workload& workload, const Progress& go_on);

  void AddFigures(Figures& figures) const;
  [[nodiscard]] std::string Table() const;
  [[nodiscard]] const std::vector<NestedCell>& cells() const { return cells_; }

 private:
  using Count = std::function<std::uint64_t(const NestedCell&)>;

  // Of `above` ÷ `below`, over cells with more than a few of the latter; none
  // at all count as one.
  [[nodiscard]] Figure GeometricMean(const Count& above,
                                     const Count& below) const;

  std::vector<NestedCell> cells_;
};

// ---------------------------------------------------------------------------

inline bool NestedSuite::Run(const Workload& workload, const Progress& go_on) {
  std::vector<Page> references = workload.references;
  if (!workload.recorded && references.size() > kNestedReferences) {
    references.resize(kNestedReferences);
  }
  const std::set<Page> used(references.begin(), references.end());
  for (const std::uint32_t percent : kNestedSizes) {
    if (!go_on(absl::StrCat("nested: ", workload.name, " ", percent, " %"))) {
      return false;
    }
    const auto frames =
        std::max(static_cast<std::uint32_t>(used.size() * percent / 100), 4u);
    const auto run = [&](NestedAnswers answers) {
      NestedMachine machine(workload.pages, frames, answers);
      return machine.Run(references, kDefaultSampling);
    };
    Belady belady(workload.pages, frames, references);
    std::uint64_t misses = 0;
    for (const Page page : references) misses += belady.Access(page) ? 0u : 1u;
    cells_.push_back(NestedCell{.workload = workload.name,
                                .percent = percent,
                                .always = run(NestedAnswers::kAlways),
                                .evictions = run(NestedAnswers::kEvictions),
                                .never = run(NestedAnswers::kNever),
                                .bound = misses - used.size()});
  }
  return true;
}

inline Figure NestedSuite::GeometricMean(const Count& above,
                                         const Count& below) const {
  double sum = 0;
  std::size_t count = 0;
  constexpr std::uint64_t kOne = 1;
  for (const NestedCell& cell : cells_) {
    if (below(cell) < kFewRefaults) continue;
    const auto some = static_cast<double>(std::max(above(cell), kOne));
    sum += std::log(some / static_cast<double>(below(cell)));
    ++count;
  }
  const double mean = count == 0 ? 0 : std::exp(sum / double(count));
  return Figure{.summary = Summary{.median = mean, .samples = count}};
}

inline void NestedSuite::AddFigures(Figures& figures) const {
  if (cells_.empty()) return;
  const auto always = [](const NestedCell& cell) {
    return cell.always.refaults;
  };
  const auto evictions = [](const NestedCell& cell) {
    return cell.evictions.refaults;
  };
  const auto never = [](const NestedCell& cell) { return cell.never.refaults; };
  const auto bound = [](const NestedCell& cell) { return cell.bound; };
  figures["policy/nested/refaults"] = GeometricMean(always, evictions);
  figures["policy/nested/refaults_vs_never"] = GeometricMean(always, never);
  figures["policy/nested/bound"] = GeometricMean(bound, evictions);
  for (const NestedCell& cell : cells_) {
    const double without = cell.evictions.RefaultsPerThousand();
    if (without == 0) continue;
    figures[absl::StrCat("policy/nested/", cell.workload, "/", cell.percent,
                         "/refaults")] = Figure{
        .summary = {.median = cell.always.RefaultsPerThousand() / without,
                    .samples = 1},
        .counters = {
            {"always", cell.always.RefaultsPerThousand()},
            {"evictions", without},
            {"never", cell.never.RefaultsPerThousand()},
            {"bound", 1000 * double(cell.bound) / double(cell.always.accesses)},
        }};
  }
}

inline std::string NestedSuite::Table() const {
  if (cells_.empty()) return "";
  TextTable table({"refaults of L2, ‰ of accesses", "aged",
                   "only evictions ask", "nobody asks", "bound",
                   "aged ÷ only evictions", "spared: aged", "only evictions"});
  for (const NestedCell& cell : cells_) {
    const double aged = cell.always.RefaultsPerThousand();
    const double without = cell.evictions.RefaultsPerThousand();
    table.Add({absl::StrCat(cell.workload, " ", cell.percent, " %"),
               absl::StrFormat("%.2f", aged), absl::StrFormat("%.2f", without),
               absl::StrFormat("%.2f", cell.never.RefaultsPerThousand()),
               absl::StrFormat("%.2f", 1000 * double(cell.bound) /
                                           double(cell.always.accesses)),
               without == 0 ? "-" : absl::StrFormat("%.3f", aged / without),
               absl::StrCat(cell.always.spared),
               absl::StrCat(cell.evictions.spared)});
  }
  return table.ToString();
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_POLICY_NESTED_SUITE_H_
