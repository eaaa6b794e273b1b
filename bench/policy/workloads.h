// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the policies are replayed on: references to pages, recorded or
// generated. The same everywhere.

#ifndef PTAGE_BENCH_POLICY_WORKLOADS_H_
#define PTAGE_BENCH_POLICY_WORKLOADS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bench/policy/page_list.h"
#include "bench/trace.h"

namespace ptage::bench {

struct Workload {
  std::string name;
  std::uint32_t pages;
  std::vector<Page> references = {};
  // Whether constants of the library's policy were chosen by it.
  bool tuned = true;
  // Not generated.
  bool recorded = false;
};

// The records of a trace, in order. A record that repeats the page of the one
// before it is left out: no policy could tell.
[[nodiscard]] inline Workload FromTrace(std::string name, const Trace& trace) {
  Workload workload{
      .name = std::move(name), .pages = trace.pages, .recorded = true};
  for (const Record& record : trace.records) {
    if (workload.references.empty() ||
        workload.references.back() != record.page) {
      workload.references.push_back(record.page);
    }
  }
  return workload;
}

// All that are generated, of 4,096 pages and `length` references each. Five
// were used to choose constants:
//   zipf        pages at random, the k-th likeliest in proportion to 1 / k^0.9
//   scan        four times that over a quarter of the pages, then once 1,024
//               of the others in turn
//   loop        all pages in turn
//   phase       zipf (0.7) over a quarter of the pages; sixteen times, another
//               quarter, half of it new
//   mixed       one in four: half of the pages in turn; else zipf (1.0) over
//               the other half, which moves three times
// and five were not:
//   drift       zipf (0.8) whose pages move by one in every 128 references
//   two_loops   a loop over a tenth of the pages and one over the rest, by
//               turns of 512
//   bursts      a stretch of 64 pages anywhere, over and over, eight times
//   sawtooth    all pages up, then down
//   uniform     any page; a fifth of the pages gets half of the references
[[nodiscard]] inline std::vector<Workload> GeneratedWorkloads(
    std::size_t length);

// ---------------------------------------------------------------------------

namespace internal {

// SplitMix64 (G. Steele et al., OOPSLA 2014): the same numbers everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t operator()() {
    state_ += 0x9E37'79B9'7F4A'7C15;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ mixed >> 30) * 0xBF58'476D'1CE4'E5B9;
    mixed = (mixed ^ mixed >> 27) * 0x94D0'49BB'1331'11EB;
    return mixed ^ mixed >> 31;
  }
  Page Below(std::uint32_t end) {
    return static_cast<Page>((*this)() >> 32) % end;
  }

 private:
  std::uint64_t state_;
};

class Zipf {
 public:
  Zipf(std::uint32_t pages, double exponent) : sums_(pages) {
    double sum = 0;
    for (std::uint32_t i = 0; i < pages; ++i) {
      sum += std::pow(i + 1, -exponent);
      sums_[i] = sum;
    }
  }
  Page operator()(Random& random) const {
    const double where =
        static_cast<double>(random() >> 11) * 0x1p-53 * sums_.back();
    return static_cast<Page>(
        std::upper_bound(sums_.begin(), sums_.end() - 1, where) -
        sums_.begin());
  }

 private:
  std::vector<double> sums_;
};

// Calls `next(i)` for the i-th reference.
template <class Next>
Workload Generate(const char* name, bool tuned, std::uint32_t pages,
                  std::size_t length, Next&& next) {
  Workload workload{.name = name, .pages = pages, .tuned = tuned};
  workload.references.reserve(length);
  for (std::size_t i = 0; i < length; ++i) {
    workload.references.push_back(next(i) % pages);
  }
  return workload;
}

}  // namespace internal

inline std::vector<Workload> GeneratedWorkloads(std::size_t length) {
  using internal::Generate;
  using internal::Random;
  using internal::Zipf;
  constexpr std::uint32_t kPages = 4096;
  constexpr std::uint32_t kQuarter = kPages / 4;
  const auto low = [](std::size_t i) { return static_cast<Page>(i); };
  std::vector<Workload> all;
  Random random(1);

  const Zipf likely(kPages, 0.9);
  std::vector<Page> shuffled(kPages);
  for (Page page = 0; page < kPages; ++page) shuffled[page] = page;
  for (Page page = kPages; page > 1; --page) {
    std::swap(shuffled[page - 1], shuffled[random.Below(page)]);
  }
  all.push_back(Generate("zipf", true, kPages, length, [&](std::size_t) {
    return shuffled[likely(random)];
  }));

  const Zipf hot(kQuarter, 0.9);
  Page scanned = 0;
  all.push_back(Generate("scan", true, kPages, length, [&](std::size_t i) {
    if (i % 5120 < 4096) return hot(random);
    return kQuarter + scanned++ % (kPages - kQuarter);
  }));

  all.push_back(Generate("loop", true, kPages, length,
                         [&](std::size_t i) { return low(i % kPages); }));

  const Zipf phase(kQuarter, 0.7);
  all.push_back(Generate("phase", true, kPages, length, [&](std::size_t i) {
    return phase(random) + low(16 * i / length) * (kQuarter / 2);
  }));

  const Zipf mixed(kPages / 2, 1.0);
  Page looped = 0;
  all.push_back(Generate("mixed", true, kPages, length, [&](std::size_t i) {
    if (random.Below(4) == 0) return kPages / 2 + looped++ % (kPages / 2);
    return (mixed(random) + low(4 * i / length) * 200) % (kPages / 2);
  }));

  const Zipf drifting(kPages, 0.8);
  all.push_back(Generate("drift", false, kPages, length, [&](std::size_t i) {
    return drifting(random) + low(i / 128);
  }));

  Page small = 0;
  Page large = 0;
  all.push_back(
      Generate("two_loops", false, kPages, length, [&](std::size_t i) {
        constexpr Page kSmall = kPages / 10;
        if (i / 512 % 2 == 0) return small++ % kSmall;
        return kSmall + large++ % (kPages - kSmall);
      }));

  Page stretch = 0;
  all.push_back(Generate("bursts", false, kPages, length, [&](std::size_t i) {
    if (i % 512 == 0) stretch = random.Below(kPages / 64) * 64;
    return stretch + low(i % 64);
  }));

  all.push_back(Generate("sawtooth", false, kPages, length, [&](std::size_t i) {
    const Page turn = low(i % (2 * kPages));
    return turn < kPages ? turn : 2 * kPages - 1 - turn;
  }));

  all.push_back(Generate("uniform", false, kPages, length, [&](std::size_t) {
    constexpr Page kFifth = kPages / 5;
    return random.Below(2) == 0 ? random.Below(kFifth)
                                : kFifth + random.Below(kPages - kFifth);
  }));
  return all;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_POLICY_WORKLOADS_H_
