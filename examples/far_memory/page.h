// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A page of the workload's data, in the pager's hands.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_PAGE_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_PAGE_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace ptage::far_memory {

inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::uint64_t kPagesPerMib = (1 << 20) / kPageBytes;

struct alignas(64) Page {
  std::array<std::byte, kPageBytes> bytes = {};

  friend bool operator==(const Page&, const Page&) = default;
};

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_PAGE_H_
