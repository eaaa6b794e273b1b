// SPDX-License-Identifier: MIT OR Apache-2.0
//
// CLOCK: a hand goes round the pages in the order of their numbers, spares
// those that were used since it came by last, and takes the first that was not.
//
// A page that the hand passes has to be aged, and to drop mappings one by one
// would be slow: so the hand has those in front of it aged together. One that
// is used between that and the hand is spared all the same, since its fault is
// told of.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_CLOCK_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_CLOCK_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "examples/far_memory/policy.h"
#include "examples/far_memory/resident_set.h"
#include "ptage/types.h"

namespace ptage::far_memory {

class Clock {
 public:
  static constexpr absl::string_view kName = "clock";

  // For pages 0 … pages − 1, of which `limit` fit into memory.
  Clock(std::uint64_t pages, std::uint64_t limit)
      : batch_(std::clamp<std::uint64_t>(limit / 16, 1, 512)),
        there_(pages),
        spared_(pages) {}

  void Touched(Gfn gfn, Touch) {
    there_.Add(gfn);
    spared_[gfn.value] = true;
  }
  [[nodiscard]] GfnRange ToAge();
  void Age(GfnRange range, Bitmap young) {
    for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + 1) {
      spared_[gfn.value] = young.Test(gfn - range.begin);
    }
  }
  [[nodiscard]] std::optional<Gfn> PickVictim();
  void Forget(Gfn gfn) { there_.Remove(gfn); }

 private:
  const std::uint64_t batch_;  // pages in memory that are aged together
  ResidentSet there_;
  std::vector<bool> spared_;
  // The hand is where this begins; all that it meets in it was aged.
  GfnRange window_;
};

static_assert(ReplacementPolicy<Clock>);

// ---------------------------------------------------------------------------

inline GfnRange Clock::ToAge() {
  if (there_.Next(window_.begin) < window_.end) return {};
  window_ = there_.Window(window_.end, batch_);
  return window_;
}

inline std::optional<Gfn> Clock::PickVictim() {
  for (;;) {
    const Gfn gfn = there_.Next(window_.begin);
    if (gfn >= window_.end) return std::nullopt;
    window_.begin = gfn + 1;
    if (!spared_[gfn.value]) {
      there_.Remove(gfn);
      return gfn;
    }
    spared_[gfn.value] = false;
  }
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_CLOCK_H_
