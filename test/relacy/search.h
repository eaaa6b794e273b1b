// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Runs a search: the shipped headers, on a few threads, through every
// interleaving and every value that a relaxed load may return, with the Relacy
// race detector.
//
// A search is a class
//
//   struct NobodyLosesABit : rl::test_suite<NobodyLosesABit, kThreads> {
//     static constexpr Plan kPlan = …;
//     void before();                  // alone, before the threads
//     void thread(unsigned index);
//     void after();                   // alone, after the threads
//   };
//
// which states its properties by Require. Between two accesses of a Cell or a
// Plain a thread runs alone, so ordinary members may keep score: what happened
// at an access is written down before anyone can interfere.
//
// What a search does not see: Relacy orders the stores to one word by time, and
// lets a load return the newest value or the one before (in a random search,
// two before). A full search is exhaustive within that.
//
// A search that cannot fail proves nothing. So each is also built against
// headers with an error planted in them (mutants.bzl), and must then be
// refuted, by the property that is named there.

#ifndef PTAGE_TEST_RELACY_SEARCH_H_
#define PTAGE_TEST_RELACY_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <type_traits>

#include "ptage/config.h"

namespace ptage::relacy {

enum class Schedule {
  kFull,    // every interleaving
  kBound,   // every one with at most `limit` preemptions
  kRandom,  // `limit` of them, the n-th drawn from the seed n
};

struct Plan {
  Schedule schedule;
  std::uint64_t limit = 0;
};

inline constexpr Plan kEveryInterleaving{Schedule::kFull};
constexpr Plan UpToPreemptions(std::uint64_t count) {
  return Plan{Schedule::kBound, count};
}
constexpr Plan RandomInterleavings(std::uint64_t count) {
  return Plan{Schedule::kRandom, count};
}

// Ends the search if `holds` is false. `property` is what mutants.bzl and
// docs/searches.md call it.
inline void Require(bool holds, const char* property) {
  if (!holds) {
    rl::ctx().fail_test(property, rl::test_result_user_assert_failed, RL_INFO);
  }
}

// A lock that blocks, for scenarios in which spinning is not the subject: a
// thread that waits is not scheduled, and the search is that much smaller.
class BlockingLock {
 public:
  void Lock() { mutex_.lock(RL_INFO); }
  void Unlock() { mutex_.unlock(RL_INFO); }

 private:
  rl::mutex mutex_;
};

// While one lives, in a search in which the heap is not the subject, memory
// comes from malloc. Else Relacy tries at each deletion whether the memory is
// used again at once or later, so that each doubles the search. It must outlive
// what is allocated meanwhile.
class UnwatchedHeap {
 public:
  UnwatchedHeap() { ++Depth::Of(rl::ctx()); }
  ~UnwatchedHeap() { --Depth::Of(rl::ctx()); }
  UnwatchedHeap(const UnwatchedHeap&) = delete;
  UnwatchedHeap& operator=(const UnwatchedHeap&) = delete;

 private:
  // Relacy has the count, and keeps it to itself.
  struct Depth : rl::context {
    static int& Of(rl::context& context) {
      return context.*(&Depth::disable_alloc_);
    }
  };
};

struct Outcome {
  std::uint64_t executions = 0;
  // What was violated: the argument of Require, the text of a PTAGE_ASSERT, or
  // Relacy's own words ("DATA RACE"). Empty if nothing was.
  std::string refuted_by;
  // The execution that did it, access by access.
  std::string trace;
};

namespace internal {

template <class Search>
using SchedulerOf = std::conditional_t<
    Search::kPlan.schedule == Schedule::kFull,
    rl::full_search_scheduler<Search::params::thread_count>,
    std::conditional_t<
        Search::kPlan.schedule == Schedule::kBound,
        rl::context_bound_scheduler<Search::params::thread_count>,
        rl::random_scheduler<Search::params::thread_count>>>;

constexpr rl::scheduler_type_e RelacyName(Schedule schedule) {
  switch (schedule) {
    case Schedule::kFull:
      return rl::sched_full;
    case Schedule::kBound:
      return rl::sched_bound;
    case Schedule::kRandom:
      break;
  }
  return rl::sched_random;
}

// "USER ASSERT FAILED (property)" → "property"; other verdicts in capitals.
inline std::string Verdict(const rl::test_params& params,
                           const std::string& output) {
  if (params.test_result != rl::test_result_user_assert_failed) {
    return rl::test_result_str(params.test_result);
  }
  const std::string line = output.substr(0, output.find('\n'));
  const std::size_t open = line.find('(');
  return line.substr(open + 1, line.rfind(')') - open - 1);
}

}  // namespace internal

template <class Search>
Outcome Explore() {
  constexpr Plan kPlan = Search::kPlan;
  using Scheduler = internal::SchedulerOf<Search>;
  // Relacy's string streams: inside a search the global allocator is its own.
  rl::ostringstream output;
  std::ostream nowhere(nullptr);
  rl::test_params params;
  params.search_type = internal::RelacyName(kPlan.schedule);
  params.output_stream = &output;
  params.progress_stream = &nowhere;
  if constexpr (kPlan.schedule == Schedule::kBound) {
    params.context_bound = static_cast<unsigned>(kPlan.limit);
  } else if constexpr (kPlan.schedule == Schedule::kRandom) {
    params.iteration_count = kPlan.limit;
  }

  rl::ostringstream state;
  Outcome outcome;
  const rl::test_result_e result =
      rl::run_test<Search, Scheduler>(params, state, /*second=*/false);
  outcome.executions = params.stop_iteration;
  if (result == rl::test_result_success) return outcome;
  // The last execution again, to write down what happened in it.
  params.initial_state = state.str();
  params.collect_history = true;
  rl::run_test<Search, Scheduler>(params, state, /*second=*/true);
  outcome.trace = output.str().c_str();
  outcome.refuted_by = internal::Verdict(params, outcome.trace);
  return outcome;
}

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_SEARCH_H_
