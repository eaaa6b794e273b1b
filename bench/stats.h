// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The statistics of the benchmarks: medians, spreads, percentiles that refuse
// too few samples, and ratios of figures that were measured in turn, with what
// may be said about a goal. Pure functions; nothing here is shared.

#ifndef PTAGE_BENCH_STATS_H_
#define PTAGE_BENCH_STATS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ptage/config.h"

namespace ptage::bench {

// The value below which a share `q` of the samples lies, between neighbours by
// linear interpolation (Hyndman and Fan 1996, type 7). Precondition: `samples`
// is not empty; 0 <= q <= 1.
[[nodiscard]] inline double Quantile(std::vector<double> samples, double q);

[[nodiscard]] inline double Median(const std::vector<double>& samples) {
  return Quantile(samples, 0.5);
}

// (Q3 − Q1) ÷ median; 0 if the median is 0.
[[nodiscard]] inline double Spread(const std::vector<double>& samples);

// Samples from which a percentile may be taken: 100 ÷ (1 − p).
[[nodiscard]] inline std::size_t SamplesFor(double p) {
  return static_cast<std::size_t>(std::llround(100.0 / (1.0 - p)));
}

// The smallest sample that a share `p` of all does not exceed (nearest rank).
// Nothing from too few: a p99 of 1,000 samples is decided by ten of them.
// Precondition: 0 < p < 1. Reorders `samples`.
[[nodiscard]] inline std::optional<double> Percentile(
    std::vector<std::uint32_t>& samples, double p);

// Lower and upper end.
struct Interval {
  double low;
  double high;

  [[nodiscard]] double HalfWidth() const { return (high - low) / 2; }
};

// An interval that holds the median of what the samples were drawn from with a
// probability of at least 95 %, whatever the distribution (the sign test:
// Conover, Practical Nonparametric Statistics, 3.4). Nothing from fewer than
// six samples: no such interval exists.
[[nodiscard]] inline std::optional<Interval> MedianInterval(
    std::vector<double> samples);

// Ratios of two figures from the same rounds, and what they come to.
struct Summary {
  double median = 0;
  double spread = 0;
  std::size_t samples = 0;
  std::optional<Interval> interval = {};
};

// Precondition: `ratios` is not empty.
[[nodiscard]] inline Summary Summarize(const std::vector<double>& ratios) {
  return Summary{.median = Median(ratios),
                 .spread = Spread(ratios),
                 .samples = ratios.size(),
                 .interval = MedianInterval(ratios)};
}

// Joins neighbouring rounds until both sides have the samples that percentile
// `p` asks for, and returns the ratios of the percentiles of the joined ones.
// What is left over at the end joins the last. The outer vectors are parallel:
// element i of both comes from the same round.
[[nodiscard]] inline std::vector<double> PooledPercentileRatios(
    const std::vector<const std::vector<std::uint32_t>*>& above,
    const std::vector<const std::vector<std::uint32_t>*>& below, double p);

enum class GoalKind {
  kNone,  // reported
  kAtLeast,
  kAtMost,
  kFactor,  // no farther from 1 than a factor of the goal, either way
  kExactly,
};

enum class Verdict {
  kReported,
  kMet,
  kMissed,
  kUnmeasured,
  kElsewhere,  // another program measures it
  kNotBuilt,
};

// What a figure is.
enum class Evidence {
  kSampled,  // ratios of noisy measurements
  kCounted,  // a count of events ÷ another: it is what it is
};

// Goals within 5 % of 1 are judged on the 95 % interval, so that noise can
// neither meet nor miss them: its half must be no wider than the margin, which
// is the distance between the goal and 1, and it must lie on one side of the
// goal. A goal of 1 itself asks for parity: the margin is then 5 %, and it is
// missed only if the whole interval is on the wrong side. Other goals are
// judged on the median.
[[nodiscard]] inline Verdict Judge(GoalKind kind, double goal,
                                   Evidence evidence, const Summary& summary);

// ---------------------------------------------------------------------------

inline double Quantile(std::vector<double> samples, double q) {
  PTAGE_ASSERT(!samples.empty());
  std::sort(samples.begin(), samples.end());
  const double at = q * static_cast<double>(samples.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, samples.size() - 1);
  const double part = at - static_cast<double>(below);
  // Not the difference, which is undefined between infinities.
  if (part == 0) return samples[below];
  return samples[below] * (1 - part) + samples[above] * part;
}

inline double Spread(const std::vector<double>& samples) {
  const double median = Median(samples);
  if (median == 0) return 0;
  return (Quantile(samples, 0.75) - Quantile(samples, 0.25)) / median;
}

inline std::optional<double> Percentile(std::vector<std::uint32_t>& samples,
                                        double p) {
  if (samples.size() < SamplesFor(p)) return std::nullopt;
  // The product may lie above the whole number that it stands for.
  const double exact = p * static_cast<double>(samples.size());
  const auto rank = static_cast<std::size_t>(std::ceil(exact - 1e-6));
  const auto nth = samples.begin() + static_cast<std::ptrdiff_t>(rank - 1);
  std::nth_element(samples.begin(), nth, samples.end());
  return *nth;
}

inline std::optional<Interval> MedianInterval(std::vector<double> samples) {
  const std::size_t n = samples.size();
  // The k-th smallest and k-th largest miss the median with the probability of
  // fewer than k heads, or fewer than k tails, in n throws of a coin.
  const auto probability = [n](std::size_t heads) {
    const auto all = static_cast<double>(n);
    const auto some = static_cast<double>(heads);
    return std::exp(std::lgamma(all + 1) - std::lgamma(some + 1) -
                    std::lgamma(all - some + 1) - all * std::log(2.0));
  };
  std::size_t k = 0;
  double tail = 0;
  while (k < n / 2) {
    tail += probability(k);
    if (2 * tail > 0.05) break;
    ++k;
  }
  if (k == 0) return std::nullopt;
  std::sort(samples.begin(), samples.end());
  return Interval{samples[k - 1], samples[n - k]};
}

inline std::vector<double> PooledPercentileRatios(
    const std::vector<const std::vector<std::uint32_t>*>& above,
    const std::vector<const std::vector<std::uint32_t>*>& below, double p) {
  PTAGE_ASSERT(above.size() == below.size());
  const std::size_t wanted = SamplesFor(p);
  std::size_t left_above = 0;
  std::size_t left_below = 0;
  for (const auto* round : above) left_above += round->size();
  for (const auto* round : below) left_below += round->size();

  std::vector<double> ratios;
  std::vector<std::uint32_t> pool_above;
  std::vector<std::uint32_t> pool_below;
  for (std::size_t round = 0; round < above.size(); ++round) {
    pool_above.insert(pool_above.end(), above[round]->begin(),
                      above[round]->end());
    pool_below.insert(pool_below.end(), below[round]->begin(),
                      below[round]->end());
    left_above -= above[round]->size();
    left_below -= below[round]->size();
    const bool enough =
        pool_above.size() >= wanted && pool_below.size() >= wanted;
    const bool rest = left_above >= wanted && left_below >= wanted;
    if (!enough || (!rest && round + 1 != above.size())) continue;
    const double bottom = *Percentile(pool_below, p);
    if (bottom > 0) ratios.push_back(*Percentile(pool_above, p) / bottom);
    pool_above.clear();
    pool_below.clear();
  }
  return ratios;
}

inline Verdict Judge(GoalKind kind, double goal, Evidence evidence,
                     const Summary& summary) {
  if (kind == GoalKind::kNone) return Verdict::kReported;
  if (summary.samples == 0) return Verdict::kUnmeasured;
  const auto verdict = [](bool met) {
    return met ? Verdict::kMet : Verdict::kMissed;
  };
  const auto holds = [&](double figure) {
    switch (kind) {
      case GoalKind::kAtLeast:
        return figure >= goal;
      case GoalKind::kAtMost:
        return figure <= goal;
      case GoalKind::kFactor:
        return figure <= goal && figure >= 1 / goal;
      default:
        return figure == goal;
    }
  };
  constexpr double kNearOne = 0.05 + 1e-9;
  const bool parity = goal == 1;
  const double margin = parity ? kNearOne : std::abs(goal - 1);
  if (evidence == Evidence::kCounted || margin > kNearOne) {
    return verdict(holds(summary.median));
  }
  if (!summary.interval.has_value() || summary.interval->HalfWidth() > margin) {
    return Verdict::kUnmeasured;
  }
  const Interval& interval = *summary.interval;
  const bool low = holds(interval.low);
  const bool high = holds(interval.high);
  if (parity) return verdict(low || high);
  if (low && high) return Verdict::kMet;
  const bool apart = kind == GoalKind::kFactor
                         ? interval.low > goal || interval.high < 1 / goal
                         : !low && !high;
  return apart ? Verdict::kMissed : Verdict::kUnmeasured;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_STATS_H_
