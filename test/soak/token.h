// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a leaf of the soak says about itself: its frame number names the entry,
// the page that it was mapped for, and which mapping of that entry it is. So
// whoever reads a word knows what he has met, however long ago it was written.

#ifndef PTAGE_TEST_SOAK_TOKEN_H_
#define PTAGE_TEST_SOAK_TOKEN_H_

#include <cstdint>

#include "ptage/types.h"

namespace ptage::soak {

// Pages that share one table, in whose entries they come and go.
inline constexpr unsigned kPagesPerGroup = 2;
inline constexpr unsigned kEntriesPerGroup = 64;
inline constexpr unsigned kGroups = 4;
inline constexpr unsigned kPages = kGroups * kPagesPerGroup;
// The group that entries of a freed table claim to be of.
inline constexpr unsigned kPoisonGroup = 7;
static_assert(kGroups <= kPoisonGroup);

// Bits of the frame number, low to high: entry 6, page of its group 1, group 3,
// mapping 30 (a thousand million of one entry before one comes again).
class Token {
 public:
  Token() = default;
  explicit constexpr Token(std::uint64_t bits) : bits_(bits) {}
  constexpr Token(unsigned group, unsigned page, unsigned entry,
                  std::uint64_t mapping)
      : bits_(entry | page << 6 | group << 7 |
              (mapping & ((std::uint64_t{1} << 30) - 1)) << 10) {}

  [[nodiscard]] constexpr std::uint64_t bits() const { return bits_; }
  [[nodiscard]] constexpr Pfn AsPfn() const { return Pfn{bits_}; }
  [[nodiscard]] constexpr unsigned Entry() const { return bits_ & 63; }
  [[nodiscard]] constexpr unsigned Page() const { return bits_ >> 6 & 1; }
  [[nodiscard]] constexpr unsigned Group() const { return bits_ >> 7 & 7; }
  // Of all pages, 0 … kPages − 1. Precondition: not poison.
  [[nodiscard]] constexpr unsigned GlobalPage() const {
    return Group() * kPagesPerGroup + Page();
  }

 private:
  std::uint64_t bits_ = 0;
};

[[nodiscard]] constexpr Gfn GfnOf(unsigned global_page) {
  return Gfn{0x100 + std::uint64_t{global_page}};
}

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_TOKEN_H_
