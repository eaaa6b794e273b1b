// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which frames of a guest hold its page tables, and how no entry of ours lets
// the guest write to one.
//
// Contract
//   Each frame has a mark, which counts the shadow tables that are built from
//   what the frame holds. Concurrently: faults add and publish leaves for the
//   frame, and give them more rights, by AddLeaf and AnnounceLeaf; who builds a
//   shadow table calls ProtectFrame; others age the leaves; CPUs access
//   through them. Nobody takes a leaf out of its rmap meanwhile, and calls of
//   ProtectFrame and UnprotectFrame of one frame exclude each other.
//
//   * When ProtectFrame returns, no leaf of the frame is writable, and none
//     becomes so until UnprotectFrame. CPUs may have one cached as writable
//     until the caller has flushed, which he does if any was.
//   * A leaf loses the right to write and nothing else: its accessed and dirty
//     bits stay, as it is changed by compare-and-swap on the value read.
//
//   Both sides write, and then look:
//     builder: marks the frame, then goes through the rmap
//     fault:   freezes the leaf, adds it to the rmap, then reads the mark, and
//              publishes it as writable only where there is none.
//   The mark's store and load and the head's store and load are sequentially
//   consistent (OrderedRmaps). So the builder finds the leaf, or the fault
//   finds the mark. Were any of the four less, both could read before the
//   other's write is out:
//     builder: marks (not yet out), finds no leaf | fault: adds (not yet out),
//                                                 |   finds no mark
//   Were the leaf added after the mark was read, or the rmap gone through
//   before the mark was there:
//     fault: finds no mark  | builder: marks, finds no leaf
//     fault: adds the leaf, publishes it as writable.
//   A leaf that is found frozen belongs to a fault that has perhaps read the
//   mark already. The builder waits for it. Were it passed by:
//     fault: adds, finds no mark  | builder: marks, finds the leaf frozen
//     fault: publishes it as writable.
//   A leaf that is there with fewer rights is given the right to write in the
//   same way: frozen, announced, and then the mark is read. Were the mark read
//   first, or the leaf not announced, it would be as above.
//
//   Progress: AddLeaf and AnnounceLeaf wait for writers of the same head;
//   ProtectFrame waits for the owners of frozen leaves, none of whom waits for
//   it, and repeats where another thread changed a leaf.
//
// Sites (order · partner)
//   [protect.1] sequentially consistent store      · [protect.2]
//               in ProtectFrame
//   [protect.2] sequentially consistent load       · [protect.1]
//               in HoldsTable
//   [protect.3] relaxed compare-and-swap           · none: nothing is published
//               in ProtectLeaf                       by it

#ifndef PTAGE_LEGACY_SHADOW_PROTECTED_FRAMES_H_
#define PTAGE_LEGACY_SHADOW_PROTECTED_FRAMES_H_

#include <concepts>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Formats whose leaves can be made read-only and stay dirty: F::kWritable is
// what lets a leaf be written. Not those in which a dirty page is a writable
// one (ARM64 with hardware dirty management), or whose walkers set no bits:
// faults give a leaf its rights there that was made without them.
template <class F>
concept ProtectableFormat =
    SpteFormat<F> && !kMarkedByFaults<F> &&
    requires {
      { F::kWritable } -> std::convertible_to<typename F::Word>;
    } &&
    !Allows(
        F::RightsOf((F::MakeLeaf(Pfn{0}, Level{1}, Rights::kAll) | F::kDirty) &
                    ~F::kWritable),
        Rights::kWrite);

// Of a frame: shadow tables that are built from it. Zero-filled memory is a
// valid array of marks of frames that hold no table.
struct TableMark {
  Cell<std::uint32_t> tables{0u};  // how many
};

// Whether the frame holds a table, to who owns a leaf of it that he has just
// added or announced. To others it says what was so a moment ago.
[[nodiscard]] inline bool HoldsTable(const TableMark& mark) {
  // [protect.2] sequentially consistent, pairs with [protect.1].
  return ReadOnce(mark.tables, kSeqCst) != 0;
}

// Counts one more shadow table of the frame, whose small leaves are in the rmap
// of `head`; null if it has none. Returns how many leaves were writable. They
// were so for the last time when the caller has flushed, if any was; until
// then the frame's second shadow table must not be built either.
template <OrderedRmaps D>
  requires ProtectableFormat<typename D::Format>
std::uint64_t ProtectFrame(TableMark& mark, D& rmaps, RmapHead* head);

// Counts one less. Leaves stay as they are; a fault may make them writable.
// Precondition: nobody adds or announces leaves meanwhile; what keeps faults
// out orders this as well.
inline void UnprotectFrame(TableMark& mark) {
  const std::uint32_t tables = ReadOnce(mark.tables, kRelaxed);
  PTAGE_ASSERT(tables != 0);
  WriteOnce(mark.tables, tables - 1, kRelaxed);
}

// Adds `leaf`, which the caller has frozen and recorded, to its rmap.
// `writable` says whether it may be published with the right to write.
template <OrderedRmaps D>
[[nodiscard]] RmapAdd AddLeaf(const TableMark& mark, D& rmaps, RmapHead& head,
                              SpteCell<typename D::Format>& leaf,
                              bool& writable) {
  const RmapAdd added = rmaps.Add(head, leaf);
  // After Add, see above.
  writable = added == RmapAdd::kDone && !HoldsTable(mark);
  return added;
}

// The same of a leaf that is in its rmap and that the caller has frozen.
// Returns whether it may be published as writable.
template <OrderedRmaps D>
[[nodiscard]] bool AnnounceLeaf(const TableMark& mark, D& rmaps,
                                RmapHead& head) {
  rmaps.Announce(head);
  return !HoldsTable(mark);
}

// ---------------------------------------------------------------------------

namespace internal {

// False: the leaf is frozen.
template <ProtectableFormat F>
bool ProtectLeaf(SpteCell<F>& leaf, std::uint64_t& writable) {
  using Word = typename F::Word;
  for (;;) {
    // Relaxed: that it is as it was added, or later, is what Visit says.
    const Word seen = ReadOnce(leaf, kRelaxed);
    if (IsFrozen<F>(seen)) return false;
    if (!F::IsPresent(seen) || !Allows(F::RightsOf(seen), Rights::kWrite)) {
      return true;
    }
    // [protect.3] relaxed. By a store, the dirty bit of a write between would
    // be lost.
    if (TryCmpxchg(leaf, seen, static_cast<Word>(seen & ~F::kWritable),
                   kRelaxed)) {
      ++writable;
      return true;
    }
  }
}

}  // namespace internal

template <OrderedRmaps D>
  requires ProtectableFormat<typename D::Format>
std::uint64_t ProtectFrame(TableMark& mark, D& rmaps, RmapHead* head) {
  const std::uint32_t tables = ReadOnce(mark.tables, kRelaxed);
  // [protect.1] sequentially consistent, pairs with [protect.2]: the fault
  // finds the mark, or Visit finds its leaf.
  WriteOnce(mark.tables, tables + 1, kSeqCst);
  std::uint64_t writable = 0;
  if (tables != 0 || head == nullptr) return writable;
  while (!rmaps.Visit(*head, [&](SpteCell<typename D::Format>& leaf) {
    return internal::ProtectLeaf<typename D::Format>(leaf, writable);
  })) {
    SpinPause();
  }
  return writable;
}

}  // namespace ptage

#endif  // PTAGE_LEGACY_SHADOW_PROTECTED_FRAMES_H_
