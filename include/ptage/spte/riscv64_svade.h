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

// `Entries` without Svadu: first accesses fault, and first writes.
template <class Entries>
struct RiscvSvade : Entries {
  // Walkers set no bits.
  static constexpr bool kHardwareAccessed = false;
  static constexpr bool kHardwareDirty = false;
};

// By their names in the manual; x4 are the second stage's (there a guest-page
// fault).
using RiscvSv39Svade = RiscvSvade<RiscvSv39>;
using RiscvSv48Svade = RiscvSvade<RiscvSv48>;
using RiscvSv57Svade = RiscvSvade<RiscvSv57>;
using RiscvSv39x4Svade = RiscvSvade<RiscvSv39x4>;
using RiscvSv48x4Svade = RiscvSvade<RiscvSv48x4>;
using RiscvSv57x4Svade = RiscvSvade<RiscvSv57x4>;

static_assert(SpteFormat<RiscvSv39Svade>);
static_assert(SpteFormat<RiscvSv48Svade>);
static_assert(SpteFormat<RiscvSv57Svade>);
static_assert(SpteFormat<RiscvSv39x4Svade>);
static_assert(SpteFormat<RiscvSv48x4Svade>);
static_assert(SpteFormat<RiscvSv57x4Svade>);

}  // namespace ptage

#endif  // PTAGE_SPTE_RISCV64_SVADE_H_
