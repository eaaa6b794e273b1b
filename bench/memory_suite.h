// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the library's own data takes of memory: metrics of the group "memory".
// They are counted, in what a guest that is mapped from end to end has.

#ifndef PTAGE_BENCH_MEMORY_SUITE_H_
#define PTAGE_BENCH_MEMORY_SUITE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "bench/contender.h"
#include "bench/guest.h"
#include "bench/report.h"
#include "bench/stats.h"
#include "ptage/config.h"
#include "ptage/lru.h"
#include "ptage/memory.h"

namespace ptage::bench {

// Bytes of rmaps for each frame of a nested guest of so many pages, one in
// kAliasEvery of them a second name, in units of a word: heads for pages of
// every size, and lists.
[[nodiscard]] inline double RmapWordsPerFrame(std::uint64_t pages);

// What is kept of a table of a direct tree, beside the table, in tables.
[[nodiscard]] inline double TableInfoShare() {
  return double{sizeof(TableInfo<Format>)} / double{sizeof(Table<Format>)};
}

// Adds every figure of the group.
inline void AddMemoryFigures(Figures& figures);

// ---------------------------------------------------------------------------

inline double RmapWordsPerFrame(std::uint64_t pages) {
  NoFlush no_flush;
  Guest<NoFlush> guest(GuestKind::kNested, pages, no_flush);
  guest.Use(Contender::kFastOnly);
  const absl::Status populated = guest.Populate();
  PTAGE_ASSERT(populated.ok());
  return static_cast<double>(guest.RmapBytes()) /
         (static_cast<double>(pages) * double{sizeof(std::uint64_t)});
}

inline void AddMemoryFigures(Figures& figures) {
  // Shares are the same in guests of any size.
  constexpr std::uint64_t kPages = 1 << 16;
  const auto counted = [&](const char* id, double value) {
    figures[id].summary = Summary{.median = value, .samples = 1};
  };
  counted("memory/rmap/bytes_per_frame", RmapWordsPerFrame(kPages));
  counted("memory/lru/bytes_per_frame", double{Lru<>::kBytesPerPage});
  counted("memory/table_info/share", TableInfoShare());
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_MEMORY_SUITE_H_
