// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A set-associative translation lookaside buffer for pages of every size.
//
// Contract
//   Belongs to one vCPU; see translation_cache.h. One array holds pages of all
//   levels: a page is filed under its number (its frame ÷ the frames of its
//   level) and level. A lookup tries the smallest size first, and the larger
//   ones only if any such page was cached since the last flush.
//
//   Replacement is pseudo-LRU by one bit a way ("MRU bits", "not recently
//   used"): a use sets the way's bit, and clears all others when it would be
//   the last to be set; the victim is the lowest way without one. Unlike exact
//   LRU, a repeated use stores nothing.
//
//   A translation is cached without kWrite while its leaf is not dirty, so that
//   the first write through a clean entry misses and goes back to the table.

#ifndef PTAGE_SIM_TLB_H_
#define PTAGE_SIM_TLB_H_

#include <bit>
#include <cstdint>

#include "ptage/sim/translation_cache.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::sim {

template <SpteFormat F, unsigned kSets = 64, unsigned kWays = 8>
class Tlb {
 public:
  static_assert(std::has_single_bit(kSets), "sets are found by masking");
  static_assert(kWays >= 2 && kWays <= 32);

  Tlb() { Flush(); }

  [[nodiscard]] bool FindPage(Gfn gfn, Rights needed, Pfn& pfn) {
    return FindAt(gfn, Level{1}, needed, pfn) ||
           (large_levels_ != 0 && FindLarge(gfn, needed, pfn));
  }
  void AddPage(Gfn gfn, Level level, Pfn first, Rights granted);
  void Forget(Gfn gfn);
  void Flush();

 private:
  // Bits of a tag or a page that hold a level or rights.
  static constexpr unsigned kLowBits = 3;
  static_assert(F::kLevels < 1 << kLowBits);

  // Tags apart from pages, so that a lookup compares one cache line.
  struct alignas(64) Set {
    // Page number, and the level below it. 0: nothing cached, as no page is of
    // level 0.
    std::uint64_t tags[kWays];
    // First frame, and the rights below it.
    std::uint64_t pages[kWays];
  };

  static std::uint64_t PageNumber(Gfn gfn, Level level) {
    return gfn.value / FramesAt<F>(level);
  }
  static std::uint64_t TagOf(std::uint64_t page, Level level) {
    return page << kLowBits | static_cast<unsigned>(level.value);
  }
  // A mask of the ways of `set` that hold `tag`: one way at most.
  static unsigned WaysOf(const Set& set, std::uint64_t tag) {
    // Compared without a branch a way: which way it is cannot be predicted.
    unsigned ways = 0;
    for (unsigned way = 0; way < kWays; ++way) {
      ways |= static_cast<unsigned>(set.tags[way] == tag) << way;
    }
    return ways;
  }
  void Use(std::uint32_t& used, unsigned way) {
    const std::uint32_t bit = std::uint32_t{1} << way;
    if ((used & bit) != 0) return;
    used |= bit;
    if (used == kAllWays) used = bit;
  }
  bool FindAt(Gfn gfn, Level level, Rights needed, Pfn& pfn);
  bool FindLarge(Gfn gfn, Rights needed, Pfn& pfn);

  static constexpr std::uint32_t kAllWays =
      static_cast<std::uint32_t>((std::uint64_t{1} << kWays) - 1);

  Set sets_[kSets];
  // Per set, the ways used of late.
  std::uint32_t used_[kSets];
  // Bit n: a page of level n > 1 was cached since the last flush.
  std::uint32_t large_levels_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, unsigned kSets, unsigned kWays>
inline bool Tlb<F, kSets, kWays>::FindAt(Gfn gfn, Level level, Rights needed,
                                         Pfn& pfn) {
  const std::uint64_t page = PageNumber(gfn, level);
  const Set& set = sets_[page % kSets];
  const unsigned ways = WaysOf(set, TagOf(page, level));
  if (ways == 0) return false;
  const auto way = static_cast<unsigned>(std::countr_zero(ways));
  const std::uint64_t cached = set.pages[way];
  const auto granted = static_cast<Rights>(cached & ((1u << kLowBits) - 1));
  if (!Allows(granted, needed)) return false;
  Use(used_[page % kSets], way);
  pfn = Pfn{cached >> kLowBits} + gfn.value % FramesAt<F>(level);
  return true;
}

template <SpteFormat F, unsigned kSets, unsigned kWays>
bool Tlb<F, kSets, kWays>::FindLarge(Gfn gfn, Rights needed, Pfn& pfn) {
  for (Level level{2}; level <= F::kLargestLeaf; level = level.Above()) {
    if ((large_levels_ >> level.value & 1) != 0 &&
        FindAt(gfn, level, needed, pfn)) {
      return true;
    }
  }
  return false;
}

template <SpteFormat F, unsigned kSets, unsigned kWays>
void Tlb<F, kSets, kWays>::AddPage(Gfn gfn, Level level, Pfn first,
                                   Rights granted) {
  const std::uint64_t page = PageNumber(gfn, level);
  const std::uint64_t tag = TagOf(page, level);
  Set& set = sets_[page % kSets];
  std::uint32_t& used = used_[page % kSets];
  // A page that is cached with fewer rights keeps its way: never two ways for
  // one page. There is a way without a mark, since Use never leaves all marked.
  const unsigned ways = WaysOf(set, tag);
  const auto way = static_cast<unsigned>(std::countr_zero(
      ways != 0 ? ways : static_cast<unsigned>(~used & kAllWays)));
  set.tags[way] = tag;
  set.pages[way] = first.value << kLowBits | static_cast<unsigned>(granted);
  Use(used, way);
  if (level > Level{1}) large_levels_ |= 1u << level.value;
}

template <SpteFormat F, unsigned kSets, unsigned kWays>
void Tlb<F, kSets, kWays>::Forget(Gfn gfn) {
  for (Level level{1}; level <= F::kLargestLeaf; level = level.Above()) {
    const std::uint64_t page = PageNumber(gfn, level);
    Set& set = sets_[page % kSets];
    const unsigned ways = WaysOf(set, TagOf(page, level));
    if (ways != 0) set.tags[std::countr_zero(ways)] = 0;
  }
}

template <SpteFormat F, unsigned kSets, unsigned kWays>
void Tlb<F, kSets, kWays>::Flush() {
  for (Set& set : sets_) {
    for (std::uint64_t& tag : set.tags) tag = 0;
  }
  for (std::uint32_t& used : used_) used = 0;
  large_levels_ = 0;
}

}  // namespace ptage::sim

#endif  // PTAGE_SIM_TLB_H_
