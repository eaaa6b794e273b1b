// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Whether a thread lost its CPU for longer than a window can bear.
//
// The operating system's count of involuntary switches would not do: a kernel
// thread takes the CPU for 20 to 50 microseconds some fifty times a second,
// hardly more than the timer's interrupt, which nobody counts. A long time
// between two looks at the clock alone would not do either: the thread may have
// waited for another, which is what is measured. So where it may have waited,
// the clock is held against the CPU time that it got: those who wait here spin.

#ifndef PTAGE_BENCH_PREEMPTION_H_
#define PTAGE_BENCH_PREEMPTION_H_

#include <sys/resource.h>
#include <time.h>

#include <cstdint>

#include "bench/clock.h"

namespace ptage::bench {

// CPU time of the calling thread, in ticks.
class ThreadTime {
 public:
  // `rate` outlives this.
  explicit ThreadTime(const TickRate& rate) : rate_(&rate) {}

  std::uint64_t operator()() const {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return rate_->FromNanoseconds(static_cast<double>(time.tv_sec) * 1e9 +
                                  static_cast<double>(time.tv_nsec));
  }

 private:
  const TickRate* rate_;
};

// How often the calling thread has given its CPU away since the last question,
// to wait, and how often it was taken.
class ThreadSwitches {
 public:
  ThreadSwitches() { (void)SleptAndKeptItsCpu(); }

  // Whether it waited at least once, and nobody took its CPU.
  [[nodiscard]] bool SleptAndKeptItsCpu() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    const bool slept = usage.ru_nvcsw != waited_;
    const bool kept = usage.ru_nivcsw == taken_;
    waited_ = usage.ru_nvcsw;
    taken_ = usage.ru_nivcsw;
    return slept && kept;
  }

 private:
  long waited_ = 0;
  long taken_ = 0;
};

// What a thread may have done between two looks at the clock.
enum class Between { kWork, kWaiting };

// Used by the thread that it watches. Times are in any one unit.
template <class Spent = ThreadTime>
class PreemptionWatch {
 public:
  // Work never takes as long as `limit` from one look to the next; `spent()` is
  // the time that the thread had a CPU.
  PreemptionWatch(std::uint64_t limit, std::uint64_t now, Spent spent)
      : limit_(limit),
        spent_(spent),
        last_(now),
        checked_(now),
        spent_then_(spent_()) {}

  void Look(std::uint64_t now, Between between) {
    const std::uint64_t gap = now - last_;
    last_ = now;
    if (gap <= limit_ && now - checked_ <= kStale * limit_) return;
    const std::uint64_t spent = spent_();
    lost_ = lost_ || (gap > limit_ && between == Between::kWork) ||
            now - checked_ > spent - spent_then_ + limit_;
    checked_ = now;
    spent_then_ = spent;
  }

  [[nodiscard]] bool lost() const { return lost_; }

 private:
  // Limits from one check to the next at most: asking for the time that was
  // spent takes less than 1 % of that.
  static constexpr std::uint64_t kStale = 4;

  const std::uint64_t limit_;
  Spent spent_;
  std::uint64_t last_;
  std::uint64_t checked_;
  std::uint64_t spent_then_;
  bool lost_ = false;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_PREEMPTION_H_
