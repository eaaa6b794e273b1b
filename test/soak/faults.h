// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The kinds of fault, their names, and how often each happened. A fault is
// counted where it takes effect, never where it is planned.

#ifndef PTAGE_TEST_SOAK_FAULTS_H_
#define PTAGE_TEST_SOAK_FAULTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace ptage::soak {

enum class Fault : unsigned {
  kDelayInSection,    // 1 to 50 µs between two steps of a walk
  kYieldInWalk,       // the CPU given away between two steps of a walk
  kStalledWalk,       // a walk that does nothing for a second
  kLostCpu,           // a thread was preempted, by the kernel's own count
  kSignalInSection,   // a handler interrupted a walk, and walked
  kThreadExit,        // a thread ended, and another took over
  kDeathInWalk,       // a thread ended inside a walk
  kNoFirstChunk,      // no memory for the chunk that makes a list
  kNoLaterChunk,      // none for a longer one
  kNoTable,           // none for a table
  kWriterBurst,       // an update of the head that all writers update
  kStalledWriter,     // a writer stopped in an update, its head locked
  kFrozenWriter,      // a writer stopped with an entry frozen
  kTableReused,       // a removed table came back under another group
  kStarvedReclaimer,  // nothing was reclaimed for a while, though asked for
  kCapReached,        // a list was full, and was zapped
  kFork,              // a forked child walked, wrote and reclaimed
};
inline constexpr std::size_t kFaults = 17;

[[nodiscard]] constexpr absl::string_view NameOf(Fault fault) {
  constexpr absl::string_view kNames[kFaults] = {"delay_in_section",
                                                 "yield_in_walk",
                                                 "stalled_walk",
                                                 "lost_cpu",
                                                 "signal_in_section",
                                                 "thread_exit",
                                                 "death_in_walk",
                                                 "no_first_chunk",
                                                 "no_later_chunk",
                                                 "no_table",
                                                 "writer_burst",
                                                 "stalled_writer",
                                                 "frozen_writer",
                                                 "table_reused",
                                                 "starved_reclaimer",
                                                 "cap_reached",
                                                 "fork"};
  return kNames[static_cast<unsigned>(fault)];
}

// One thread's, or a sum of theirs.
class FaultCounts {
 public:
  void Add(Fault fault, std::uint64_t n = 1) {
    counts_[static_cast<unsigned>(fault)] += n;
  }
  [[nodiscard]] std::uint64_t Of(Fault fault) const {
    return counts_[static_cast<unsigned>(fault)];
  }
  FaultCounts& operator+=(const FaultCounts& other) {
    for (std::size_t i = 0; i < kFaults; ++i) counts_[i] += other.counts_[i];
    return *this;
  }

 private:
  std::array<std::uint64_t, kFaults> counts_{};
};

// Faults that can happen to the setup `S` and did not.
template <class S>
[[nodiscard]] std::vector<Fault> Starved(const FaultCounts& counts) {
  std::vector<Fault> starved;
  for (unsigned i = 0; i < kFaults; ++i) {
    const auto fault = static_cast<Fault>(i);
    if (S::CanHappen(fault) && counts.Of(fault) == 0) starved.push_back(fault);
  }
  return starved;
}

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_FAULTS_H_
