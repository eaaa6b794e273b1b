// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Figures of contenders that were measured in the same rounds, against each
// other. Pure functions; nothing here is shared.

#ifndef PTAGE_BENCH_PAIRED_H_
#define PTAGE_BENCH_PAIRED_H_

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include "bench/report.h"
#include "bench/stats.h"
#include "ptage/config.h"

namespace ptage::bench {

// One figure a round, in order; 0 where the window was dropped.
using Series = std::vector<double>;

// The figures of the rounds that were kept.
[[nodiscard]] inline std::vector<double> Kept(const Series& series) {
  std::vector<double> kept;
  for (const double figure : series) {
    if (figure != 0) kept.push_back(figure);
  }
  return kept;
}

// `above` ÷ `below`, of the rounds that kept both. Precondition: as many rounds
// in each.
[[nodiscard]] inline std::vector<double> PairedRatios(const Series& above,
                                                      const Series& below) {
  PTAGE_ASSERT(above.size() == below.size());
  std::vector<double> ratios;
  for (std::size_t round = 0; round < above.size(); ++round) {
    if (above[round] == 0 || below[round] == 0) continue;
    ratios.push_back(above[round] / below[round]);
  }
  return ratios;
}

// The position of the series with the largest median; of equals, the first.
// Nothing if none has a figure. Not the best of each round: that would be
// whichever noise favoured.
[[nodiscard]] inline std::optional<std::size_t> BestOf(
    const std::vector<const Series*>& all) {
  std::optional<std::size_t> best;
  double best_median = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::vector<double> kept = Kept(*all[i]);
    if (kept.empty()) continue;
    const double median = Median(kept);
    if (best.has_value() && median <= best_median) continue;
    best = i;
    best_median = median;
  }
  return best;
}

// What `above` ÷ `below` comes to.
[[nodiscard]] inline Figure PairedFigure(const Series& above,
                                         const Series& below) {
  constexpr std::size_t kLeast = 5;
  const std::vector<double> ratios = PairedRatios(above, below);
  if (ratios.size() < kLeast) return Figure{.missing = "too few windows"};
  return Figure{.summary = Summarize(ratios)};
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_PAIRED_H_
