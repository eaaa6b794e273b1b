// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Whether a thread lost its CPU for longer than a window can bear.
//
// The operating system's count of involuntary switches alone would not do: a
// kernel thread takes the CPU for 20 to 50 microseconds some fifty times a
// second, hardly more than the timer's interrupt, which nobody counts. A long
// time between two looks at the clock alone would not do either: the thread may
// have waited for another, which is what is measured. So where it may have
// waited, both are asked.

#ifndef PTAGE_BENCH_PREEMPTION_H_
#define PTAGE_BENCH_PREEMPTION_H_

#include <sys/resource.h>

#include <cstdint>

namespace ptage::bench {

// Times that the calling thread was taken off its CPU against its will.
struct InvoluntarySwitches {
  long operator()() const {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
  }
};

// What a thread may have done between two looks at the clock.
enum class Between { kWork, kWaiting };

// Used by the thread that it watches. Times are in any one unit.
template <class Switches = InvoluntarySwitches>
class PreemptionWatch {
 public:
  // Work never takes as long as `limit` from one look to the next.
  PreemptionWatch(std::uint64_t limit, std::uint64_t now, Switches switches)
      : limit_(limit),
        switches_(switches),
        last_(now),
        counted_(now),
        count_(switches_()) {}

  void Look(std::uint64_t now, Between between) {
    const std::uint64_t gap = now - last_;
    last_ = now;
    if (gap > limit_) {
      const long count = switches_();
      lost_ = lost_ || between == Between::kWork || count != count_;
      Counted(now, count);
    } else if (now - counted_ > kStale * limit_) {
      // A short switch from before is no evidence against a wait to come.
      Counted(now, switches_());
    }
  }

  [[nodiscard]] bool lost() const { return lost_; }

 private:
  // Limits from one count to the next: the call costs less than 1 % of that.
  static constexpr std::uint64_t kStale = 4;

  void Counted(std::uint64_t now, long count) {
    counted_ = now;
    count_ = count;
  }

  const std::uint64_t limit_;
  Switches switches_;
  std::uint64_t last_;
  std::uint64_t counted_;
  long count_;
  bool lost_ = false;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_PREEMPTION_H_
