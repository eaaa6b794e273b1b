// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a pager did. In pages, if nothing else is said.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_STATS_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_STATS_H_

#include <cstdint>

namespace ptage::far_memory {

struct PagerStats {
  std::uint64_t resident = 0;       // in memory now
  std::uint64_t most_resident = 0;  // at any time
  std::uint64_t major_faults = 0;   // of pages that had to be loaded
  std::uint64_t zero_fills = 0;     // of these: never used before
  std::uint64_t minor_faults = 0;   // of pages that aging had unmapped
  std::uint64_t write_faults = 0;   // first writes to clean pages
  std::uint64_t other_faults = 0;   // by threads that came second
  std::uint64_t aging_passes = 0;
  std::uint64_t aged = 0;      // entries that passes of aging tested
  std::uint64_t unmapped = 0;  // of these: young, so they were unmapped
  std::uint64_t evictions = 0;
  std::uint64_t clean_evictions = 0;  // of these: the copy was still good
  std::uint64_t put_back = 0;         // evictions that had to be tried again
  std::uint64_t discarded = 0;        // thrown away by the workload
  std::uint64_t stored_pages = 0;     // copies in the store now
  std::uint64_t stored_bytes = 0;
};

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_STATS_H_
