// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The library's generational LRU (ptage/lru.h) as a policy: it learns from
// refaults how long pages go unused, and takes those that will longest.
//
// For each page that goes, two are aged, round and round; so a page is looked
// at twice while as many are evicted as there is room for.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_GENERATIONS_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_GENERATIONS_H_

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "examples/far_memory/policy.h"
#include "examples/far_memory/resident_set.h"
#include "ptage/lru.h"
#include "ptage/lru/page_word.h"
#include "ptage/types.h"

namespace ptage::far_memory {

class Generations {
 public:
  static constexpr absl::string_view kName = "generations";

  // For pages 0 … pages − 1, fewer than 2^32, of which `limit` fit into memory.
  Generations(std::uint64_t pages, std::uint64_t limit)
      : batch_(std::clamp<std::uint64_t>(limit / 16, 1, 512)),
        there_(pages),
        lru_(static_cast<LruPage>(pages)) {}

  void Touched(Gfn gfn, Touch touch) {
    if (touch == Touch::kLoaded) {
      there_.Add(gfn);
      (void)lru_.Add(PageOf(gfn));
    } else {
      // Its accessed bit says so too, but only to who ages it.
      (void)lru_.MarkReferenced(PageOf(gfn));
    }
  }
  [[nodiscard]] GfnRange ToAge();
  void Age(GfnRange range, Bitmap young) {
    lru_.Promote(PageOf(range.begin), young);
  }
  [[nodiscard]] std::optional<Gfn> PickVictim();
  void Forget(Gfn gfn) {
    there_.Remove(gfn);
    (void)lru_.Free(PageOf(gfn));
  }

 private:
  static constexpr std::uint64_t kAgedForEach = 2;

  static LruPage PageOf(Gfn gfn) { return static_cast<LruPage>(gfn.value); }
  std::optional<LruPage> Claim();

  const std::uint64_t batch_;  // pages in memory that are aged together
  ResidentSet there_;
  Lru<> lru_;
  Gfn hand_;
  std::uint64_t owed_ = 0;  // pages that are to be aged
};

static_assert(ReplacementPolicy<Generations>);

// ---------------------------------------------------------------------------

inline GfnRange Generations::ToAge() {
  if (owed_ < batch_) return {};
  owed_ -= batch_;
  const GfnRange window = there_.Window(hand_, batch_);
  // The hand was at the end: all pages have been asked.
  if (window.begin < hand_) lru_.EndPass();
  hand_ = window.end;
  return window;
}

inline std::optional<LruPage> Generations::Claim() {
  // One that was marked is passed by, and its mark taken: with little memory
  // all of them may be.
  for (int time = 0; time < 2; ++time) {
    if (const std::optional<LruPage> page = lru_.Claim()) return page;
  }
  const GfnRange all = there_.Window(Gfn{0}, ~std::uint64_t{0});
  for (int time = 0; time < 2; ++time) {
    for (Gfn gfn = all.begin; gfn < all.end; gfn = there_.Next(gfn + 1)) {
      if (lru_.Claim(PageOf(gfn)) == ClaimOutcome::kClaimed) return PageOf(gfn);
    }
  }
  return std::nullopt;
}

inline std::optional<Gfn> Generations::PickVictim() {
  owed_ += kAgedForEach;
  const std::optional<LruPage> page = Claim();
  if (!page.has_value()) return std::nullopt;
  lru_.Release(*page, EvictionVerdict::kEvicted);
  const Gfn gfn{*page};
  there_.Remove(gfn);
  return gfn;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_GENERATIONS_H_
