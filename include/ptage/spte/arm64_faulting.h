// SPDX-License-Identifier: MIT OR Apache-2.0
//
// ARM64 stage 2 tables where faults manage the dirty state (VTCR_EL2.HD clear),
// and the access flag too, unless hardware sets that (HA set), for each
// granule. Arm ARM (DDI 0487), D8.3 and D8.4.1 as arm64.h; D8.5.1 "Hardware
// management of the Access flag": without it, an access by a descriptor whose
// flag is clear is an Access flag fault. Pure functions; see spte.h for what
// threads may do.
//
// A page that may be written and is clean has no write permission: the first
// write is a permission fault, and that fault grants it (fast_fault.h). What
// hardware keeps in DBM for this is a bit of software's own here.

#ifndef PTAGE_SPTE_ARM64_FAULTING_H_
#define PTAGE_SPTE_ARM64_FAULTING_H_

#include <cstdint>

#include "ptage/spte.h"
#include "ptage/spte/arm64.h"
#include "ptage/types.h"

namespace ptage {

// Stage 2 of a granule without hardware's dirty state; with `kHardwareFlag` its
// access flag.
template <Arm64Granule kGranule, bool kHardwareFlag = false,
          int kAddressBits = kWholeTableBits<kGranule>>
struct Arm64Stage2Faulting : Arm64Stage2<kGranule, kAddressBits> {
  using Base = Arm64Stage2<kGranule, kAddressBits>;
  using Word = typename Base::Word;

  // Which bits walkers set.
  static constexpr bool kHardwareAccessed = kHardwareFlag;
  static constexpr bool kHardwareDirty = false;

  // The page may be written. Bits 58:55 are software's.
  static constexpr Word kMayWrite = Word{1} << 55;

  // As SpteFormat says: what is granted once a fault has set what is missing.
  static constexpr Rights RightsOf(Word word) {
    return (Base::RightsOf(word) & Rights::kReadExecute) |
           ((word & (kMayWrite | Base::kWrite)) != 0 ? Rights::kWrite
                                                     : Rights::kNone);
  }
  // As SpteFormat says: the first access faults, and the first write.
  static constexpr Word MakeLeaf(Pfn pfn, Level level, Rights rights) {
    return Base::MakeLeaf(pfn, level, rights & Rights::kReadExecute) |
           (Allows(rights, Rights::kWrite) ? kMayWrite : 0);
  }
};

// By the granule. First accesses fault, and first writes.
using Arm64FaultingOf4K = Arm64Stage2Faulting<Arm64Granule::k4K>;
using Arm64FaultingOf16K = Arm64Stage2Faulting<Arm64Granule::k16K>;
using Arm64FaultingOf64K = Arm64Stage2Faulting<Arm64Granule::k64K>;

// With roots of 2, 2 and 16 tables, as in arm64.h.
using Arm64FaultingOf4KWith40Bits =
    Arm64Stage2Faulting<Arm64Granule::k4K, false, 40>;
using Arm64FaultingOf16KWith48Bits =
    Arm64Stage2Faulting<Arm64Granule::k16K, false, 48>;
using Arm64FaultingOf64KWith46Bits =
    Arm64Stage2Faulting<Arm64Granule::k64K, false, 46>;

// Only writes fault.
using Arm64WriteFaultingOf4K = Arm64Stage2Faulting<Arm64Granule::k4K, true>;
using Arm64WriteFaultingOf16K = Arm64Stage2Faulting<Arm64Granule::k16K, true>;
using Arm64WriteFaultingOf64K = Arm64Stage2Faulting<Arm64Granule::k64K, true>;

static_assert(SpteFormat<Arm64FaultingOf4K>);
static_assert(SpteFormat<Arm64FaultingOf16K>);
static_assert(SpteFormat<Arm64FaultingOf64K>);
static_assert(SpteFormat<Arm64FaultingOf4KWith40Bits>);
static_assert(SpteFormat<Arm64FaultingOf16KWith48Bits>);
static_assert(SpteFormat<Arm64FaultingOf64KWith46Bits>);

}  // namespace ptage

#endif  // PTAGE_SPTE_ARM64_FAULTING_H_
