// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The pages that are in memory, in the order of their numbers, and a hand that
// goes round them.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_RESIDENT_SET_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_RESIDENT_SET_H_

#include <bit>
#include <cstdint>
#include <vector>

#include "ptage/types.h"

namespace ptage::far_memory {

// Not for concurrent use.
class ResidentSet {
 public:
  // Of pages 0 … pages − 1, none of which is in it.
  explicit ResidentSet(std::uint64_t pages)
      : pages_(pages), words_((pages + 63) / 64) {}

  void Add(Gfn gfn) { words_[gfn.value / 64] |= Bit(gfn); }
  void Remove(Gfn gfn) { words_[gfn.value / 64] &= ~Bit(gfn); }

  // The first from `from` on; one behind the last page if there is none.
  [[nodiscard]] Gfn Next(Gfn from) const;
  // From the first from `from` on, or, if there is none, from the first of all:
  // a range that `count` of them lie in, or fewer where they end. Empty if the
  // set is.
  [[nodiscard]] GfnRange Window(Gfn from, std::uint64_t count) const;

 private:
  static std::uint64_t Bit(Gfn gfn) {
    return std::uint64_t{1} << (gfn.value % 64);
  }

  const std::uint64_t pages_;
  std::vector<std::uint64_t> words_;
};

// ---------------------------------------------------------------------------

inline Gfn ResidentSet::Next(Gfn from) const {
  for (std::uint64_t page = from.value; page < pages_;) {
    const std::uint64_t rest = words_[page / 64] >> (page % 64);
    if (rest != 0) {
      return Gfn{page + static_cast<unsigned>(std::countr_zero(rest))};
    }
    page = (page / 64 + 1) * 64;
  }
  return Gfn{pages_};
}

inline GfnRange ResidentSet::Window(Gfn from, std::uint64_t count) const {
  const Gfn none{pages_};
  Gfn begin = Next(from);
  if (begin == none) begin = Next(Gfn{0});
  if (begin == none) return {};
  Gfn end = begin + 1;
  for (std::uint64_t more = 1; more < count; ++more) {
    const Gfn next = Next(end);
    if (next == none) break;
    end = next + 1;
  }
  return {begin, end};
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_RESIDENT_SET_H_
