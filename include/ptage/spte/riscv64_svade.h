// SPDX-License-Identifier: MIT OR Apache-2.0
//
// RISC-V Sv39, Sv48 and Sv57 page tables where faults set the accessed and the
// dirty bit (Svade): an access by a leaf without A, and a write by one without
// D, is a page fault, and hardware sets nothing. RISC-V Privileged
// Architecture, 12.3.2 "Virtual Address Translation Process", step 9 (10.3.2,
// step 7, in editions before 2024), and chapter "Svade". The entries are those
// of riscv64.h. Pure functions; see spte.h for what threads may do.

#ifndef PTAGE_SPTE_RISCV64_SVADE_H_
#define PTAGE_SPTE_RISCV64_SVADE_H_

#include "ptage/spte.h"
#include "ptage/spte/riscv64.h"

namespace ptage {

// The same without Svadu: first accesses fault, and first writes.
template <int kLevelCount>
struct RiscvSvade : RiscvSv<kLevelCount> {
  // Walkers set no bits.
  static constexpr bool kHardwareAccessed = false;
  static constexpr bool kHardwareDirty = false;
};

// By their levels.
using RiscvSv39Svade = RiscvSvade<3>;
using RiscvSv48Svade = RiscvSvade<4>;
using RiscvSv57Svade = RiscvSvade<5>;

static_assert(SpteFormat<RiscvSv39Svade>);
static_assert(SpteFormat<RiscvSv48Svade>);
static_assert(SpteFormat<RiscvSv57Svade>);

}  // namespace ptage

#endif  // PTAGE_SPTE_RISCV64_SVADE_H_
