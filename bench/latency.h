// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Latencies, counted in buckets that are about 5 % wide: small enough to be
// written down for millions of samples, fine enough to be drawn.

#ifndef PTAGE_BENCH_LATENCY_H_
#define PTAGE_BENCH_LATENCY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ptage::bench {

// Not for concurrent use.
class LatencyBuckets {
 public:
  LatencyBuckets() : counts_(Bounds().size(), 0) {}

  void Add(std::uint32_t ns) {
    const auto above = std::upper_bound(Bounds().begin(), Bounds().end(), ns);
    ++counts_[static_cast<std::size_t>(above - Bounds().begin())];
  }

  // "below_ns": […], "count": […]: the buckets that hold any samples, in
  // increasing order; each holds those below its bound, and not below the bound
  // of the bucket before, be that written or not.
  [[nodiscard]] std::string JsonMembers() const {
    std::string below;
    std::string count;
    const char* separator = "";
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] == 0) continue;
      absl::StrAppend(&below, separator, Bounds()[i]);
      absl::StrAppend(&count, separator, counts_[i]);
      separator = ", ";
    }
    return absl::StrCat("\"below_ns\": [", below, "], \"count\": [", count,
                        "]");
  }

 private:
  // 1, 2, … while nanoseconds are coarser than 5 %. The last is above any
  // sample.
  static const std::vector<std::uint64_t>& Bounds() {
    static const std::vector<std::uint64_t> bounds = [] {
      std::vector<std::uint64_t> all;
      std::uint64_t bound = 1;
      for (; bound < std::uint64_t{1} << 32; bound += 1 + bound / 21) {
        all.push_back(bound);
      }
      all.push_back(bound);
      return all;
    }();
    return bounds;
  }

  std::vector<std::uint64_t> counts_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_LATENCY_H_
