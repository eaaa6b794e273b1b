// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which passes tell of the last second, ten seconds, minute.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_WINDOWS_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_WINDOWS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "examples/live_guest/frame_table.h"

namespace ptage::live_guest {

// The times of passes that cleared accessed bits. What a pass found was
// accessed between the one before it and itself.
class Windows {
 public:
  // So long ago passes are forgotten.
  static constexpr std::uint64_t kLongest = 60'000;

  // Ascending.
  void Add(Stamp now) {
    times_.push_back(now);
    while (times_.size() > 2 && times_[1] + 2 * kLongest < now) {
      times_.pop_front();
    }
  }
  // Forgets them all: what comes next is the first.
  void Reset() { times_.clear(); }

  struct Window {
    Stamp since;         // the first pass that tells of it
    std::uint64_t took;  // milliseconds that it really has
  };
  // The passes that tell of the last `milliseconds`, to the nearest pass.
  // Nothing: no passes reach as far back, or they are too far apart.
  [[nodiscard]] std::optional<Window> Find(std::uint64_t milliseconds) const {
    if (times_.empty()) return std::nullopt;
    const std::uint64_t now = times_.back();
    // What a pass tells of begins with the one before.
    for (std::size_t i = 1; i < times_.size(); ++i) {
      const std::uint64_t took = now - times_[i - 1];
      const std::uint64_t shorter = now - times_[i];
      if (took <= milliseconds + (took - shorter) / 2) {
        const bool enough = 2 * took >= 2 * milliseconds - (took - shorter);
        if (!enough && i == 1) return std::nullopt;
        return Window{times_[i], took};
      }
    }
    return std::nullopt;
  }

 private:
  std::deque<Stamp> times_;
};

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_WINDOWS_H_
