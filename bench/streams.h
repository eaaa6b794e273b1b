// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What this machine's memory and caches can deliver: the limits that scans are
// measured against. Nobody else is at work on what is read here.

#ifndef PTAGE_BENCH_STREAMS_H_
#define PTAGE_BENCH_STREAMS_H_

#include <cstddef>
#include <cstdint>

namespace ptage::bench {

// Reads as many bytes from each of `begins` once, in order and side by side, in
// the widest loads that there are.
// Precondition: a multiple of 512, aligned to 64.
template <std::size_t kStreams>
void ReadStreams(const void* const (&begins)[kStreams], std::size_t bytes) {
  using Line [[gnu::vector_size(64), gnu::may_alias]] = std::uint64_t;
  Line all[kStreams * 4] = {};
  for (std::size_t at = 0; at != bytes / sizeof(Line); at += 8) {
    for (std::size_t s = 0; s < kStreams; ++s) {
      const Line* const lines = static_cast<const Line*>(begins[s]) + at;
      for (std::size_t i = 0; i < 8; ++i) all[s * 4 + i % 4] |= lines[i];
    }
  }
  for (const Line& some : all) all[0] |= some;
  asm volatile("" : : "m"(all[0]));
}

// Adds up the words of so many bytes from `begin` on. Precondition: as above.
inline void SumStream(const void* begin, std::size_t bytes) {
  using Line [[gnu::vector_size(64), gnu::may_alias]] = std::uint64_t;
  const Line* const lines = static_cast<const Line*>(begin);
  Line sums[8] = {};
  for (std::size_t at = 0; at != bytes / sizeof(Line); at += 8) {
    for (std::size_t i = 0; i < 8; ++i) sums[i] += lines[at + i];
  }
  for (const Line& some : sums) sums[0] += some;
  asm volatile("" : : "m"(sums[0]));
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_STREAMS_H_
