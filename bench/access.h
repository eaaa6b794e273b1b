// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The three ways in which a program refers to a page.

#ifndef PTAGE_BENCH_ACCESS_H_
#define PTAGE_BENCH_ACCESS_H_

#include <cstdint>

namespace ptage::bench {

// The values are part of the trace format (bench/trace.h).
enum class Access : std::uint8_t {
  kRead = 0,
  kWrite = 1,
  // An instruction fetch.
  kFetch = 2,
};

inline constexpr unsigned kAccessKinds = 3;

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_ACCESS_H_
