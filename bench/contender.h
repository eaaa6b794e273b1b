// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The ways of aging that the contended benchmark compares, and the locks that
// each makes faults and zaps take.

#ifndef PTAGE_BENCH_CONTENDER_H_
#define PTAGE_BENCH_CONTENDER_H_

#include <cstddef>
#include <iterator>

#include "ptage/types.h"

namespace ptage::bench {

// What the vCPU runs on.
enum class GuestKind {
  kTdp,     // direct tables
  kNested,  // an L2 guest: shadow tables, aged through rmaps
  kShadow,  // a guest without nested paging: the same, most rmaps being lists
};
inline constexpr GuestKind kGuestKinds[] = {GuestKind::kTdp, GuestKind::kNested,
                                            GuestKind::kShadow};

enum class Contender {
  kNone,         // a thread that spins on its own memory
  kReadOnly,     // reads the entries, clears nothing
  kBareClear,    // clears with plain stores: the lossy bound
  kFastOnly,     // the library's fast-only question
  kSlow,         // the VM's lock, for writing, for a whole sweep
  kTicket,       // a fair lock for each table
  kTrylock,      // the VM's lock if it is free, else no answer
  kBitLocked,    // the rmaps as they were merged: a spin bit in each head
  kSingleEntry,  // the rmaps as they were first proposed: no answer for lists
};

// What faults and zaps take besides the MMU lock, as upstream has it (vm.h). A
// vCPU that sets an accessed or dirty bit takes nothing, in any design.
enum class FaultLock {
  kMmuLock,    // nothing else
  kVmLock,     // a fair lock for the VM: shared for faults of direct tables
  kTableLock,  // a fair lock for each 512 frames
};

// Who excludes whom from an rmap.
enum class RmapLock {
  kLockless,        // ager: nobody
  kSingleLockless,  // ager: nobody; leaves lists unanswered
  kByCaller,        // ager and writers hold FaultLock's lock
  kBit,             // the head's own
};

// Whether the ager stores without comparing.
enum class ClearBy { kCompareAndSwap, kPlainStore };

struct ContenderTraits {
  const char* name;
  FaultLock fault_lock;
  RmapLock rmap_lock;
  ClearBy clear_by;
  AgeAction action;
  AgeMode mode;
};

[[nodiscard]] constexpr ContenderTraits TraitsOf(Contender contender) {
  constexpr auto kClear = AgeAction::kTestAndClear;
  switch (contender) {
    case Contender::kNone:
      return {"none",
              FaultLock::kMmuLock,
              RmapLock::kLockless,
              ClearBy::kCompareAndSwap,
              AgeAction::kTest,
              AgeMode::kFastOnly};
    case Contender::kReadOnly:
      return {"read_only",         FaultLock::kMmuLock,
              RmapLock::kLockless, ClearBy::kCompareAndSwap,
              AgeAction::kTest,    AgeMode::kFastOnly};
    case Contender::kBareClear:
      return {"bare_clear",
              FaultLock::kMmuLock,
              RmapLock::kLockless,
              ClearBy::kPlainStore,
              kClear,
              AgeMode::kFastOnly};
    case Contender::kFastOnly:
      return {"fast_only",
              FaultLock::kMmuLock,
              RmapLock::kLockless,
              ClearBy::kCompareAndSwap,
              kClear,
              AgeMode::kFastOnly};
    case Contender::kSlow:
      return {"slow",
              FaultLock::kVmLock,
              RmapLock::kByCaller,
              ClearBy::kCompareAndSwap,
              kClear,
              AgeMode::kSlow};
    case Contender::kTicket:
      return {"ticket",
              FaultLock::kTableLock,
              RmapLock::kByCaller,
              ClearBy::kCompareAndSwap,
              kClear,
              AgeMode::kSlow};
    case Contender::kTrylock:
      return {"trylock",
              FaultLock::kVmLock,
              RmapLock::kByCaller,
              ClearBy::kCompareAndSwap,
              kClear,
              AgeMode::kSlow};
    case Contender::kBitLocked:
      return {"bit_locked",   FaultLock::kMmuLock,
              RmapLock::kBit, ClearBy::kCompareAndSwap,
              kClear,         AgeMode::kSlow};
    case Contender::kSingleEntry:
      return {"single_entry",
              FaultLock::kMmuLock,
              RmapLock::kSingleLockless,
              ClearBy::kCompareAndSwap,
              kClear,
              AgeMode::kFastOnly};
  }
  return {};
}

// Whether `contender` exists for `kind`: direct tables have no rmaps.
[[nodiscard]] constexpr bool Exists(GuestKind kind, Contender contender) {
  return kind != GuestKind::kTdp || (contender != Contender::kBitLocked &&
                                     contender != Contender::kSingleEntry);
}

inline constexpr Contender kContenders[] = {
    Contender::kNone,     Contender::kReadOnly,  Contender::kBareClear,
    Contender::kFastOnly, Contender::kSlow,      Contender::kTicket,
    Contender::kTrylock,  Contender::kBitLocked, Contender::kSingleEntry};
inline constexpr std::size_t kContenderCount = std::size(kContenders);

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_CONTENDER_H_
