// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What refaults teach: how soon a page is used again, by its tier and by how
// long it has not been used; and so which pages to do without.
//
// Contract
//   Record: any threads at any time. Refresh and what reads its outcome: one
//   thread at a time.
//
//   * Every use of a page is recorded, of those in memory and of those that
//     come back to it, so that what is learned does not depend on what was
//     evicted.
//   * A rank is the most uses that a page can be expected to get for the time
//     that it is kept, over all times for which it could be kept: the index of
//     J. C. Gittins ("Bandit Processes and Dynamic Allocation Indices", J. R.
//     Statist. Soc. B 41(2), 1979), which N. Beckmann and others rank objects
//     in caches by ("LHD: Improving Cache Hit Rate by Maximizing Hit Density",
//     NSDI 2018, has an estimate of it). Pages of a loop that is longer than
//     memory rank higher the older they are; pages that come and go at random,
//     by their tier; those of a scan, low.
//   * Old times are forgotten: each Forget leaves four fifths.
//
//   Progress: wait-free.

#ifndef PTAGE_LRU_REUSE_MODEL_H_
#define PTAGE_LRU_REUSE_MODEL_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/lru/page_word.h"
#include "ptage/once.h"

namespace ptage {

// What was learned of reuse. Record, and reading, by any threads; Refresh and
// Forget by one at a time.
class ReuseModel {
 public:
  // Ages up to 15 ticks stand alone; above there are four to an octave.
  static constexpr unsigned kAges = 68;
  [[nodiscard]] static constexpr unsigned AgeClassOf(std::uint32_t age) {
    if (age < kAlone) return age;
    const auto octave = static_cast<unsigned>(std::bit_width(age)) - 1;
    const unsigned age_class =
        kAlone + (octave - 4) * 4 + (age >> (octave - 2) & 3);
    return age_class < kAges ? age_class : kAges - 1;
  }
  // The least age of the class; also of the class after the last.
  [[nodiscard]] static constexpr std::uint32_t LeastAge(unsigned age_class) {
    if (age_class < kAlone) return age_class;
    const unsigned octave = (age_class - kAlone) / 4 + 4;
    return (4 + (age_class - kAlone) % 4) << (octave - 2);
  }

  // Ranks are below this; who ranks lowest goes first.
  static constexpr unsigned kRanks = 640;

  ReuseModel() {
    for (unsigned tier = 0; tier < kPageTiers; ++tier) {
      WriteOnce(began_[tier], 0u, kRelaxed);
      WriteOnce(changed_[tier], 1u, kRelaxed);
      for (auto& count : uses_[tier]) WriteOnce(count, 0u, kRelaxed);
    }
    Refresh();
  }
  ReuseModel(const ReuseModel&) = delete;
  ReuseModel& operator=(const ReuseModel&) = delete;

  // A page was found in use.
  void Record(const PageUse& use) {
    if (use.before != kTierNever) {
      FetchAdd(uses_[use.before][AgeClassOf(use.age)], 1u, kRelaxed);
      SetChanged(use.before);
    }
    FetchAdd(began_[use.after], 1u, kRelaxed);
    SetChanged(use.after);
  }
  // Learns from what was recorded.
  void Refresh();
  // Forgets a fifth of what was recorded.
  void Forget();

  // The rank of a page in `tier` that was used `age` ticks ago, as of the last
  // Refresh.
  [[nodiscard]] unsigned RankOf(unsigned tier, std::uint32_t age) const {
    return rank_[tier][AgeClassOf(age)];
  }
  // How many pages entered a tier, or of these were used again at such an age,
  // as far as it is not forgotten.
  [[nodiscard]] std::uint32_t Began(unsigned tier) const {
    return ReadOnce(began_[tier], kRelaxed);
  }
  [[nodiscard]] std::uint32_t Uses(unsigned tier, std::uint32_t age) const {
    return ReadOnce(uses_[tier][AgeClassOf(age)], kRelaxed);
  }

 private:
  static constexpr unsigned kAlone = 16;

  // A point of a curve: uses expected, for how many ticks of keeping.
  struct Point {
    double ticks;
    double uses;
  };

  void RefreshTier(unsigned tier);
  // Refresh looks again at the tier. One that looks just now may see the mark
  // and not yet what was counted: then that is learned with the next.
  void SetChanged(unsigned tier) {
    if (ReadOnce(changed_[tier], kRelaxed) == 0) {
      WriteOnce(changed_[tier], 1u, kRelaxed);
    }
  }
  // Sixteen ranks to an octave, from 2^-36 uses a tick up.
  [[nodiscard]] static unsigned Quantized(float uses_per_tick) {
    const std::uint32_t steps =
        std::bit_cast<std::uint32_t>(uses_per_tick) >> 19;
    constexpr std::uint32_t kLowest = (127 - 36) * 16;
    if (steps <= kLowest) return 0;
    return steps - kLowest < kRanks ? steps - kLowest : kRanks - 1;
  }

  Cell<std::uint32_t> began_[kPageTiers];
  Cell<std::uint32_t> uses_[kPageTiers][kAges];
  Cell<std::uint32_t> changed_[kPageTiers];
  std::uint16_t rank_[kPageTiers][kAges] = {};
};

// ---------------------------------------------------------------------------

inline void ReuseModel::Refresh() {
  for (unsigned tier = 0; tier < kPageTiers; ++tier) {
    if (ReadOnce(changed_[tier], kRelaxed) == 0) continue;
    WriteOnce(changed_[tier], 0u, kRelaxed);
    RefreshTier(tier);
  }
}

inline void ReuseModel::RefreshTier(unsigned tier) {
  // Of a tier that nothing is known of: a use now and then, the sooner the
  // likelier.
  double uses[kAges];
  double all = 0;
  for (unsigned age = 0; age < kAges; ++age) {
    const double counted = ReadOnce(uses_[tier][age], kRelaxed);
    all += counted;
    uses[age] = counted + 0.02 / (1 + age);
  }
  // Those that were never used again, or not yet. Counts that are read while
  // others add to them need not fit.
  const double began = ReadOnce(began_[tier], kRelaxed);
  double left = 0.01 + (began > all ? began - all : 0);

  // Going down in age: what is kept from `start` on, for longer and longer, has
  // so many uses for so many ticks, a curve; its steepest line from the start
  // is the rank, and that is the first edge of its upper hull.
  Point hull[kAges + 1];
  unsigned corners = 1;
  hull[0] = Point{0, 0};
  Point start{0, 0};
  const auto slope = [&](const Point& end) {
    return (end.uses - start.uses) / (end.ticks - start.ticks);
  };
  for (unsigned age = kAges; age-- != 0;) {
    const double before = left + uses[age];
    const double width = LeastAge(age + 1) - LeastAge(age);
    start.ticks -= width * (left + before) / 2;
    start.uses -= uses[age];
    left = before;
    double steepest = slope(hull[corners - 1]);
    while (corners >= 2) {
      const double next = slope(hull[corners - 2]);
      if (steepest > next) break;
      steepest = next;
      --corners;
    }
    rank_[tier][age] =
        static_cast<std::uint16_t>(Quantized(static_cast<float>(steepest)));
    hull[corners++] = start;
  }
}

inline void ReuseModel::Forget() {
  const auto lessen = [](Cell<std::uint32_t>& count) {
    // Rounded up, so that a few do not stay for ever. No addition is lost.
    const std::uint32_t fifth = (ReadOnce(count, kRelaxed) + 4) / 5;
    FetchAdd(count, 0u - fifth, kRelaxed);
  };
  for (unsigned tier = 0; tier < kPageTiers; ++tier) {
    lessen(began_[tier]);
    SetChanged(tier);
    for (auto& count : uses_[tier]) lessen(count);
  }
}

}  // namespace ptage

#endif  // PTAGE_LRU_REUSE_MODEL_H_
