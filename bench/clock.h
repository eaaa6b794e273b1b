// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Time as a benchmark wants it: cheap to read, the same on every CPU.

#ifndef PTAGE_BENCH_CLOCK_H_
#define PTAGE_BENCH_CLOCK_H_

#include <chrono>
#include <cstdint>

namespace ptage::bench {

// Ticks of a clock that never goes back and that all CPUs share: on x86-64 the
// time-stamp counter, which is invariant on every machine of the last decade.
[[nodiscard]] inline std::uint64_t Ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<std::uint64_t>(
      std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

// Ticks and seconds. Measured once, over 20 ms.
class TickRate {
 public:
  TickRate() {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point begin = Clock::now();
    const std::uint64_t first = Ticks();
    Clock::time_point now = begin;
    while (now - begin < std::chrono::milliseconds(20)) now = Clock::now();
    const auto ticks = static_cast<double>(Ticks() - first);
    per_ns_ =
        ticks / std::chrono::duration<double, std::nano>(now - begin).count();
  }

  [[nodiscard]] double Nanoseconds(std::uint64_t ticks) const {
    return static_cast<double>(ticks) / per_ns_;
  }
  [[nodiscard]] double Seconds(std::uint64_t ticks) const {
    return Nanoseconds(ticks) * 1e-9;
  }
  [[nodiscard]] std::uint64_t FromNanoseconds(double nanoseconds) const {
    return static_cast<std::uint64_t>(nanoseconds * per_ns_);
  }

 private:
  double per_ns_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_CLOCK_H_
