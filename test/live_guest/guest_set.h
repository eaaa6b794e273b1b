// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which pages the guest touches: known to it and to who watches it.

#ifndef PTAGE_TEST_LIVE_GUEST_GUEST_SET_H_
#define PTAGE_TEST_LIVE_GUEST_GUEST_SET_H_

#include <cstdint>

namespace ptage::test {

// Where the guest maps its pages: small ones and, behind them, large ones, and
// those that another thread of it uses all the time.
inline constexpr std::uint64_t kSmallBase = 0x1000'0000'0000;
inline constexpr std::uint64_t kLargeBase = 0x2000'0000'0000;
inline constexpr std::uint64_t kBusyBase = 0x3000'0000'0000;
inline constexpr std::uint64_t kSmallPages = 16'384;
inline constexpr std::uint64_t kLargePages = 32;
inline constexpr std::uint64_t kBusyPages = 16;

// The i-th of some pages out of `all`, a power of two: each is another one as
// long as i < all. They lie apart, or one after the other for an even seed.
constexpr std::uint64_t PageOf(std::uint64_t seed, std::uint64_t i,
                               std::uint64_t all) {
  const std::uint64_t step = seed % 2 == 0 ? 1 : 2 * (seed * 37 % 997) + 1;
  return (seed * 7919 + i * step) % all;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_LIVE_GUEST_GUEST_SET_H_
