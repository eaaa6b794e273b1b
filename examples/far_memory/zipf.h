// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Random numbers: even ones, and ranks that are the rarer the higher they are,
// as keys of a database are asked for.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_ZIPF_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_ZIPF_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "examples/far_memory/record.h"

namespace ptage::far_memory {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t Next() { return Mix(++state_); }
  // In [0, 1).
  double NextFraction() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

// Rank r of 0 … count − 1 comes with a probability in proportion to
// (r + 1)^−0.99. By rejection from the curve that lies above (W. Hörmann,
// G. Derflinger, "Rejection-Inversion to Generate Variates from Monotone
// Discrete Distributions", 1996), so that nothing has to be added up before.
class Zipf {
 public:
  explicit Zipf(std::uint64_t count)
      : count_(static_cast<double>(count)),
        low_(Integral(1.5) - 1),
        high_(Integral(count_ + 0.5)) {}

  std::uint64_t Next(Random& random) const {
    for (;;) {
      const double u = high_ + random.NextFraction() * (low_ - high_);
      const double x = InverseOfIntegral(u);
      const double k = std::clamp(std::floor(x + 0.5), 1.0, count_);
      if (u >= Integral(k + 0.5) - std::pow(k, -kSkew)) {
        return static_cast<std::uint64_t>(k) - 1;
      }
    }
  }

 private:
  static constexpr double kSkew = 0.99;

  static double Integral(double x) {
    return std::pow(x, 1 - kSkew) / (1 - kSkew);
  }
  static double InverseOfIntegral(double y) {
    return std::pow(y * (1 - kSkew), 1 / (1 - kSkew));
  }

  const double count_;
  const double low_;
  const double high_;
};

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_ZIPF_H_
