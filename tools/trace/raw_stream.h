// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the emulator plugin hands to record_trace: a file of RawRecord in the
// order of their first references, the last of which says how it ended. Both
// ends run on one machine, so the layout is the machine's own.

#ifndef PTAGE_TOOLS_TRACE_RAW_STREAM_H_
#define PTAGE_TOOLS_TRACE_RAW_STREAM_H_

#include <cstdint>

namespace ptage::trace {

// log2 of the page size of x86-64's smallest page.
inline constexpr unsigned kPageBits = 12;

struct RawRecord {
  // page * 4 + bench::Access; or kEndOfStream.
  std::uint64_t page_and_kind;
  // References it stands for; in the last record an Ending.
  std::uint32_t repeat;
  std::uint32_t unused;
};

inline constexpr std::uint64_t kEndOfStream = ~std::uint64_t{0};

// Why recording ended. The values are part of the trace format
// (bench/trace.h).
enum class Ending : std::uint32_t {
  kProgramEnded = 0,
  // --max-references or --max-records was reached and the program stopped.
  kLimit = 1,
  // The program replaced itself by another one (execve), unrecorded.
  kReplaced = 2,
};

}  // namespace ptage::trace

#endif  // PTAGE_TOOLS_TRACE_RAW_STREAM_H_
