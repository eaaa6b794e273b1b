// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The kernel of kernel.h, played in a process: for one machine at a time, by
// any number of threads.

#ifndef PTAGE_EXAMPLES_PORT_HOSTED_KERNEL_H_
#define PTAGE_EXAMPLES_PORT_HOSTED_KERNEL_H_

#include <cstddef>
#include <cstdint>

#include "ptage/sim/vcpu_set.h"

namespace hosted {

// Starts the machine: so many pages, and CPUs to flush, which outlive it. The
// clock moves by `ns_per_look` with each look at it.
void Start(std::size_t pages, ptage::sim::VcpuSet& cpus,
           std::uint64_t ns_per_look);
// Ends it. No section is open. Returns the pages that nobody gave back.
std::size_t Stop();

struct Counts {
  std::uint64_t pages;   // given out now
  std::uint64_t calls;   // of RcuCall, and
  std::uint64_t called;  // those that were made
  std::uint64_t flushes;
  std::uint64_t yields;
  // Calls of Yield inside a section, which a kernel forbids.
  std::uint64_t wrong_yields;
  // The longest section, by the clock of the thread's own looks at it.
  std::uint64_t longest_section_ns;
};
Counts CountsNow();

}  // namespace hosted

#endif  // PTAGE_EXAMPLES_PORT_HOSTED_KERNEL_H_
