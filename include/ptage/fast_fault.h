// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The fast fault: gives a leaf that aging parked, or that nobody has written
// yet, what the access needs, without a lock.
//
// Contract
//   For formats whose walkers fault where a leaf lacks its accessed or dirty
//   bit (kMarkedByFaults, spte.h); others have nothing to be set, and are
//   answered too. Concurrently, any threads may fault, age, zap, freeze and
//   install.
//
//   * One compare-and-swap, on the value that was read. It adds the accessed
//     bit, for a write the dirty bit, and what a walker needs beside them, as
//     far as the leaf grants it. Nothing is taken away, and no right is added
//     that was not granted when the leaf was made.
//   * It never touches an entry that is empty or frozen: a mapping that went
//     away does not come back, and needs no look at invalidations. A leaf that
//     is fixed while one is open is zapped later, with its bits; one that an
//     evictor has yet to freeze makes him find it young.
//   * A write becomes possible by a write's fault alone, and the dirty bit
//     comes with it in the same step.
//   * After kFixed no other CPU needs a flush: what it may have cached grants
//     less, and costs it a fault at most. The CPU that faulted drops what it
//     holds for the page: x86 processors do by themselves (Intel SDM 3C,
//     29.4.3.1), on others software does, for this CPU and page alone.
//   * Under a type-stable reclaimer the leaf may stand for another place of the
//     same frame by then: it is as mapped there, and used a little too early.
//
//   Progress: wait-free.
//
// Sites (order · partner)
//   [fast_fault.1] relaxed compare-and-swap  · none: nothing is published by it
//                  in FastFaultSeen

#ifndef PTAGE_FAST_FAULT_H_
#define PTAGE_FAST_FAULT_H_

#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

enum class FastFaultOutcome {
  kFixed,         // the access may be tried again
  kSpurious,      // so it may, and nothing had to be done
  kLostRace,      // the entry was changed meanwhile: try the access again
  kNotHere,       // no leaf: the slow path maps one
  kNotPermitted,  // the leaf does not grant the access: the slow path decides
};

// Whether it is for the slow path to go on.
[[nodiscard]] constexpr bool NeedsSlowPath(FastFaultOutcome outcome) {
  return outcome == FastFaultOutcome::kNotHere ||
         outcome == FastFaultOutcome::kNotPermitted;
}

// Of one entry, from which `seen`, no inner entry, was just read.
template <SpteFormat F>
[[nodiscard]] FastFaultOutcome FastFaultSeen(SpteCell<F>& entry,
                                             typename F::Word seen,
                                             Rights access);

// Of the leaf that covers `gfn`, at whatever level.
template <class Tree>
[[nodiscard]] FastFaultOutcome FastFault(const Tree& tree,
                                         const typename Tree::Walk& walk,
                                         Gfn gfn, Rights access) {
  using F = typename Tree::Format;
  if (gfn.value >= Tree::kFrames) return FastFaultOutcome::kNotHere;
  const FoundEntry<F> found = tree.Lookup(walk, gfn);
  return FastFaultSeen<F>(*found.entry, found.word, access);
}

// ---------------------------------------------------------------------------

template <SpteFormat F>
FastFaultOutcome FastFaultSeen(SpteCell<F>& entry, typename F::Word seen,
                               Rights access) {
  if (!F::IsPresent(seen)) return FastFaultOutcome::kNotHere;
  if (!Allows(F::RightsOf(seen), access)) {
    return FastFaultOutcome::kNotPermitted;
  }
  if (Allows(LiveRights<F>(seen), access)) return FastFaultOutcome::kSpurious;
  // Were this a store:
  //   fault: reads a parked leaf   | zapper: freezes it, hands on its bits
  //   fault: stores it, young      | zapper: empties it: the access is lost
  // or, the zapper being done, the mapping of a page that is another's by now
  // comes back. Against another fault:
  //   read fault: reads it clean   | write fault: makes it dirty
  //   read fault: stores it clean, and the write is lost.
  // Were the bits set by an OR without comparison, they would also come into an
  // entry that is frozen or empty.
  // [fast_fault.1] relaxed: nothing is published by it. Who reads the entry
  // after it sees what the installer wrote, as before it.
  return TryCmpxchg(entry, seen, Used<F>(seen, access), kRelaxed)
             ? FastFaultOutcome::kFixed
             : FastFaultOutcome::kLostRace;
}

}  // namespace ptage

#endif  // PTAGE_FAST_FAULT_H_
