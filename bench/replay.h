// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a vCPU refers to, and when: a guest filled with copies of a trace's
// pages side by side, the trace replayed in one copy after another, a burst of
// 1,024 references at a time. A record is one reference, whatever its repeat
// count: a processor answers repeats without its TLB.

#ifndef PTAGE_BENCH_REPLAY_H_
#define PTAGE_BENCH_REPLAY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bench/access.h"
#include "bench/trace.h"
#include "ptage/config.h"
#include "ptage/types.h"

namespace ptage::bench {

inline constexpr std::uint64_t kBurst = 1024;

[[nodiscard]] constexpr Rights NeededFor(Access access) {
  switch (access) {
    case Access::kRead:
      return Rights::kRead;
    case Access::kWrite:
      return Rights::kWrite;
    case Access::kFetch:
      return Rights::kExecute;
  }
  return Rights::kAll;
}

// A reference: a page of the trace and what the access needs.
class Step {
 public:
  Step(std::uint32_t page, Rights needed)
      : packed_(page << 3 | static_cast<unsigned>(needed)) {
    PTAGE_ASSERT(page < std::uint32_t{1} << 29);
  }
  [[nodiscard]] std::uint64_t page() const { return packed_ >> 3; }
  [[nodiscard]] Rights needed() const {
    return static_cast<Rights>(packed_ & 7);
  }

 private:
  std::uint32_t packed_;
};

// Bursts, numbered from 0 without end. Immutable.
class Replay {
 public:
  // 1,024 references in the copy whose first page is `base`.
  struct Burst {
    const Step* first;
    std::uint64_t base;
  };

  // Preconditions: at least one burst of records, and room for one copy. The
  // records after the last whole burst are left out.
  Replay(std::string name, const Trace& trace, std::uint64_t pages)
      : name_(std::move(name)),
        footprint_(trace.pages),
        copies_(pages / trace.pages),
        bursts_(trace.records.size() / kBurst) {
    PTAGE_ASSERT(copies_ != 0 && bursts_ != 0);
    steps_.reserve(bursts_ * kBurst);
    for (std::uint64_t i = 0; i < bursts_ * kBurst; ++i) {
      const Record& record = trace.records[i];
      steps_.emplace_back(record.page, NeededFor(record.kind));
    }
    // Turn by turn, the last turn in which a page was met.
    std::vector<std::uint64_t> met(trace.pages, ~std::uint64_t{0});
    for (std::uint64_t turn = 0; turn < bursts_; ++turn) {
      distinct_begin_.push_back(distinct_.size());
      for (std::uint64_t i = turn * kBurst; i < (turn + 1) * kBurst; ++i) {
        const std::uint32_t page = trace.records[i].page;
        if (std::exchange(met[page], turn) != turn) distinct_.push_back(page);
      }
    }
    distinct_begin_.push_back(distinct_.size());
  }

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint64_t copies() const { return copies_; }
  // Bursts after which every copy has been through the whole trace.
  [[nodiscard]] std::uint64_t Cycle() const { return bursts_ * copies_; }

  [[nodiscard]] Burst At(std::uint64_t number) const {
    return Burst{steps_.data() + TurnOf(number) * kBurst,
                 number % copies_ * footprint_};
  }

  // Calls `visit(page)`, at least once for each page, for references `from` …
  // `to` − 1 of a vCPU whose first is the first one of burst `first_burst`, and
  // whose next burst is `stride` after that.
  template <class Visit>
  void ForEachPage(std::uint64_t first_burst, std::uint64_t stride,
                   std::uint64_t from, std::uint64_t to, Visit&& visit) const {
    while (from < to) {
      const std::uint64_t number = first_burst + from / kBurst * stride;
      const std::uint64_t begin = from / kBurst * kBurst;
      const std::uint64_t end = std::min(to, begin + kBurst);
      const Burst burst = At(number);
      if (end - from == kBurst) {
        const std::uint64_t turn = TurnOf(number);
        for (std::uint64_t i = distinct_begin_[turn];
             i < distinct_begin_[turn + 1]; ++i) {
          visit(burst.base + distinct_[i]);
        }
      } else {
        for (std::uint64_t i = from - begin; i < end - begin; ++i) {
          visit(burst.base + burst.first[i].page());
        }
      }
      from = end;
    }
  }

 private:
  // Which burst of the trace it is.
  [[nodiscard]] std::uint64_t TurnOf(std::uint64_t number) const {
    return number / copies_ % bursts_;
  }

  const std::string name_;
  const std::uint64_t footprint_;
  const std::uint64_t copies_;
  const std::uint64_t bursts_;
  std::vector<Step> steps_;
  // The pages of each burst, once each; those of turn t begin at element
  // distinct_begin_[t].
  std::vector<std::uint32_t> distinct_;
  std::vector<std::uint64_t> distinct_begin_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_REPLAY_H_
