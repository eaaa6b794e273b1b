// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A set-associative TLB that replaces the least recently used entry: no more
// than what a trace's expected hit rate needs.

#ifndef PTAGE_TOOLS_TRACE_TLB_MODEL_H_
#define PTAGE_TOOLS_TRACE_TLB_MODEL_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace ptage::trace {

class TlbModel {
 public:
  static constexpr std::size_t kSets = 64;
  static constexpr std::size_t kWays = 8;

  TlbModel() { Flush(); }

  void Flush() {
    for (Set& set : sets_) set.fill(kNone);
  }

  // Whether the page was held. It is held from now on, as the last used.
  bool Translate(std::uint32_t page) {
    Set& set = sets_[page % kSets];
    auto way = std::find(set.begin(), set.end(), page);
    const bool hit = way != set.end();
    if (!hit) --way;
    std::move_backward(set.begin(), way, way + 1);
    set.front() = page;
    return hit;
  }

 private:
  // Pages of one set, the last used first.
  using Set = std::array<std::uint32_t, kWays>;
  // No trace has as many pages.
  static constexpr std::uint32_t kNone =
      std::numeric_limits<std::uint32_t>::max();

  std::array<Set, kSets> sets_;
};

}  // namespace ptage::trace

#endif  // PTAGE_TOOLS_TRACE_TLB_MODEL_H_
