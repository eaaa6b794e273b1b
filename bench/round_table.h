// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Things that are measured in turn, as lines of a table, and figures that are
// quotients of two of them.

#ifndef PTAGE_BENCH_ROUND_TABLE_H_
#define PTAGE_BENCH_ROUND_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/measurements.h"
#include "bench/report.h"
#include "bench/rounds.h"
#include "bench/stats.h"
#include "bench/table.h"

namespace ptage::bench {

// A table of what a suite measured. Not for concurrent use.
class RoundTable {
 public:
  // The `group` of its metrics; what the lines are called; the unit of all
  // figures.
  RoundTable(std::string group, std::string title, std::string unit)
      : group_(std::move(group)),
        unit_(std::move(unit)),
        table_({std::move(title), unit_, "spread"}) {}

  // Runs `rounds` of them under `heading`: a line each, of its median and
  // spread.
  RoundFigures Run(const std::string& heading, const std::vector<Measured>& all,
                   std::uint64_t rounds, std::uint64_t seed,
                   const std::function<bool()>& go_on) {
    RoundFigures times = RunInTurn(all, rounds, seed, go_on);
    table_.AddHeading(heading);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Summary summary = times.SummaryOf(i);
      table_.Add({absl::StrCat("  ", all[i].name),
                  absl::StrFormat("%.4g", summary.median),
                  absl::StrFormat("%.3f", summary.spread)});
      measurements_.push_back(Measurement{.group = group_,
                                          .heading = heading,
                                          .name = all[i].name,
                                          .unit = unit_,
                                          .summary = summary});
    }
    return times;
  }
  // The same after one that is not counted: it meets cold memory and code.
  RoundFigures RunWarm(const std::string& heading,
                       const std::vector<Measured>& all, std::uint64_t rounds,
                       std::uint64_t seed, const std::function<bool()>& go_on) {
    for (const Measured& thing : all) thing.once();
    return Run(heading, all, rounds, seed, go_on);
  }

  void Add(std::vector<std::string> row) { table_.Add(std::move(row)); }
  void AddHeading(std::string text) { table_.AddHeading(std::move(text)); }
  [[nodiscard]] std::string ToString() const { return table_.ToString(); }
  [[nodiscard]] const std::vector<Measurement>& measurements() const {
    return measurements_;
  }

 private:
  const std::string group_;
  const std::string unit_;
  TextTable table_;
  std::vector<Measurement> measurements_;
};

// Of values of single rounds; missing if there are too few.
inline Figure FigureOf(const std::vector<double>& values) {
  constexpr std::size_t kLeast = 5;
  if (values.size() < kLeast) return Figure{.missing = "too few rounds"};
  return Figure{.summary = Summarize(values)};
}

// The one thing ÷ the other.
inline Figure RatioOf(const RoundFigures& times, std::size_t above,
                      std::size_t below) {
  return FigureOf(times.Ratios(above, below));
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_ROUND_TABLE_H_
