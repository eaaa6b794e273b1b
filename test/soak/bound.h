// SPDX-License-Identifier: MIT OR Apache-2.0
//
// How large a failure rate could be, given what was seen.

#ifndef PTAGE_TEST_SOAK_BOUND_H_
#define PTAGE_TEST_SOAK_BOUND_H_

#include <cmath>
#include <cstdint>

namespace ptage::soak {

// The exact (Clopper-Pearson) one-sided upper bound: the rate at which so few
// failures in `trials` would be seen with a probability of `1 - confidence`.
// Without a failure it is 1 - (1 - confidence)^(1 / trials), about 3 / trials
// at 95 %. 1 where nothing was tried. It takes trials to be independent, which
// the visits of one scan are not quite.
[[nodiscard]] inline double UpperBound(std::uint64_t failures,
                                       std::uint64_t trials,
                                       double confidence = 0.95) {
  if (failures >= trials) return 1;
  const auto n = static_cast<double>(trials);
  const double log_risk = std::log1p(-confidence);
  if (failures == 0) return -std::expm1(log_risk / n);
  // The logarithm of the probability of `failures` at most, at rate p.
  const auto log_at_most = [&](double p) {
    double term = n * std::log1p(-p);  // of none
    double sum = 1;                    // relative to the largest term so far
    double largest = term;
    for (std::uint64_t i = 1; i <= failures; ++i) {
      const auto k = static_cast<double>(i);
      term += std::log((n - k + 1) / k) + std::log(p) - std::log1p(-p);
      if (term > largest) {
        sum = sum * std::exp(largest - term) + 1;
        largest = term;
      } else {
        sum += std::exp(term - largest);
      }
    }
    return largest + std::log(sum);
  };
  double low = static_cast<double>(failures) / n;
  double high = 1;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (log_at_most(middle) > log_risk ? low : high) = middle;
  }
  return high;
}

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_BOUND_H_
