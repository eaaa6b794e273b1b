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
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/report.h"
#include "bench/rounds.h"
#include "bench/stats.h"
#include "bench/table.h"

namespace ptage::bench {

// Runs `rounds` of them under `heading`: a line each, of its median and spread.
// One that is not counted comes before: it meets cold memory and code.
inline RoundFigures RunIntoTable(TextTable& table, const std::string& heading,
                                 const std::vector<Measured>& all,
                                 std::uint64_t rounds, std::uint64_t seed,
                                 const std::function<bool()>& go_on) {
  for (const Measured& thing : all) thing.once();
  RoundFigures times = RunInTurn(all, rounds, seed, go_on);
  table.AddHeading(heading);
  for (std::size_t i = 0; i < all.size(); ++i) {
    table.Add({absl::StrCat("  ", all[i].name),
               absl::StrFormat("%.4g", times.MedianOf(i)),
               absl::StrFormat("%.3f", times.SpreadOf(i))});
  }
  return times;
}

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
