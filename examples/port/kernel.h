// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A kernel that is none: the few things that one has to give for ptage's core
// to work in it, under the names that it might have for them. hosted_kernel.cc
// plays it in a process; docs/porting.md says what a real one must look after.

#ifndef PTAGE_EXAMPLES_PORT_KERNEL_H_
#define PTAGE_EXAMPLES_PORT_KERNEL_H_

#include <cstddef>
#include <cstdint>

namespace kernel {

// --- Memory ------------------------------------------------------------------

inline constexpr std::size_t kPageBytes = 4096;
// Beside each page there is so much room for who owns it.
inline constexpr std::size_t kRoomBytes = 128;

// A page, aligned to its size; null if there is none left. Does not sleep.
void* AllocatePage();
void FreePage(void* page);
void* RoomOf(const void* page);
std::uint64_t FrameOf(const void* page);
// Null if the frame is no page's.
void* PageAt(std::uint64_t frame);

// --- Reclaim -----------------------------------------------------------------

// Embedded in what is freed later.
struct RcuNode {
  RcuNode* next;
  void (*call)(RcuNode*);
};

// A section, in which the calling thread must not sleep. Sections nest.
void RcuEnter();
void RcuExit();
// Calls `call(node)` when every section that has begun is over.
void RcuCall(RcuNode* node, void (*call)(RcuNode*));

// --- Flush, clock, yield -----------------------------------------------------

// No CPU uses a translation of these pages any more that it has read before.
void FlushTlb(std::uint64_t first_page, std::uint64_t pages);
// Nanoseconds, from whenever on.
std::uint64_t ClockNs();
// Lets others have the CPU. Outside of sections.
void Yield();

}  // namespace kernel

#endif  // PTAGE_EXAMPLES_PORT_KERNEL_H_
