// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Things that are measured in turn: each once in a round, in an order that a
// seed shuffles, so that what the machine does meanwhile falls on all alike.

#ifndef PTAGE_BENCH_ROUNDS_H_
#define PTAGE_BENCH_ROUNDS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "bench/stats.h"
#include "bench/window.h"
#include "ptage/config.h"

namespace ptage::bench {

// What is measured: its name, and a function that does it once and returns the
// figure, larger than 0; 0 says that this one is to be left out.
struct Measured {
  std::string name;
  std::function<double()> once;
};

// Figures by thing and round.
class RoundFigures {
 public:
  explicit RoundFigures(std::size_t things) : figures_(things) {}

  void Add(std::size_t thing, double figure) {
    figures_[thing].push_back(figure);
  }

  // Of each round that has both, the one figure divided by the other.
  [[nodiscard]] std::vector<double> Ratios(std::size_t above,
                                           std::size_t below) const {
    PTAGE_ASSERT(figures_[above].size() == figures_[below].size());
    std::vector<double> ratios;
    for (std::size_t round = 0; round < figures_[above].size(); ++round) {
      const double top = figures_[above][round];
      const double bottom = figures_[below][round];
      if (top > 0 && bottom > 0) ratios.push_back(top / bottom);
    }
    return ratios;
  }
  // All 0 if every round was left out.
  [[nodiscard]] double MedianOf(std::size_t thing) const {
    const std::vector<double> kept = Kept(thing);
    return kept.empty() ? 0 : Median(kept);
  }
  [[nodiscard]] Summary SummaryOf(std::size_t thing) const {
    const std::vector<double> kept = Kept(thing);
    return kept.empty() ? Summary{} : Summarize(kept);
  }

 private:
  [[nodiscard]] std::vector<double> Kept(std::size_t thing) const {
    std::vector<double> kept;
    for (const double figure : figures_[thing]) {
      if (figure > 0) kept.push_back(figure);
    }
    return kept;
  }

  std::vector<std::vector<double>> figures_;
};

// Runs `rounds` of them, or fewer if `go_on()` becomes false; a round is run
// whole.
inline RoundFigures RunInTurn(const std::vector<Measured>& things,
                              std::uint64_t rounds, std::uint64_t seed,
                              const std::function<bool()>& go_on) {
  RoundFigures figures(things.size());
  internal::SplitMix random(seed);
  std::vector<std::size_t> order(things.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::uint64_t round = 0; round < rounds && go_on(); ++round) {
    for (std::size_t left = order.size(); left > 1; --left) {
      std::swap(order[left - 1], order[random.Below(left)]);
    }
    for (const std::size_t thing : order) {
      figures.Add(thing, things[thing].once());
    }
  }
  return figures;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_ROUNDS_H_
