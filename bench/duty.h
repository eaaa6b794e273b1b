// SPDX-License-Identifier: MIT OR Apache-2.0
//
// When a thread works that is to work for a share of the time. Times are in any
// one unit.

#ifndef PTAGE_BENCH_DUTY_H_
#define PTAGE_BENCH_DUTY_H_

#include <cstdint>

namespace ptage::bench {

class DutyBudget {
 public:
  // Works for `duty` of the time, in pieces of `slice`, each of which begins
  // when it is paid for. The first comes early by `head_start` of work: let
  // that be a random part of a slice, and pieces fall anywhere in short
  // windows.
  DutyBudget(double duty, std::uint64_t slice, std::uint64_t head_start)
      : duty_(duty), slice_(slice), head_start_(head_start) {}

  // Whether to work at time `elapsed`, having worked for `worked` of it.
  // Neither falls from one call to the next.
  [[nodiscard]] bool MayWork(std::uint64_t elapsed, std::uint64_t worked) {
    if (duty_ >= 1 || worked < slice_end_) return true;
    const double paid =
        duty_ * static_cast<double>(elapsed) + static_cast<double>(head_start_);
    if (static_cast<double>(worked + slice_) > paid) return false;
    slice_end_ = worked + slice_;
    return true;
  }

 private:
  const double duty_;
  const std::uint64_t slice_;
  const std::uint64_t head_start_;
  // Of time worked.
  std::uint64_t slice_end_ = 0;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_DUTY_H_
