// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which pages nested guests wrote: dirty.h, for the entries of a ShadowMmu,
// which are found through the rmaps of L1's frames. What L2 writes is L1's
// memory: who copies that while it runs must ask here too (Vm::ClearDirty asks
// both).
//
// Contract
//   As dirty.h says, of entries for leaves, with these words:
//   * A range is one of L1's frames, and so is the answer. A frame that several
//     entries map is told of if one of them is dirty.
//   * The MMU lock is held exclusively, a while at a time. So no entry is
//     frozen, none comes or goes while it is looked at, and none is changed but
//     by compare-and-swap: by walkers, aging and fast faults.
//       collector: asks an rmap, lets the lock go | fault: adds an entry to it
//     is one that was not there during the whole call, and which is dirty if it
//     was written.
//   * What these functions changed is to be flushed by frames of L2, of every
//     nested guest. They ask `flusher` for that, once for each call, or not at
//     all: a FlushLater collects it.
//   * A nested write fault that finds its page protected makes it writable and
//     dirty (ShadowMmu::Fault). A read fault that is granted more leaves it
//     protected. A fault that maps a page anew protects nothing, as one of
//     TdpMmu: what it wrote is in the dirty bit.
//
//   Progress: they wait for the MMU lock, and repeat where another thread
//   changed an entry.
//
// Sites (order · partner)
//   [shadow_dirty.1] relaxed compare-and-swap in ChangeEntries
//                    · none: nothing is published by it

#ifndef PTAGE_SHADOW_DIRTY_H_
#define PTAGE_SHADOW_DIRTY_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/dirty.h"
#include "ptage/fault_lock.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// As ClearDirty, WriteProtect and LiftProtection of dirty.h, for what maps a
// frame of `range`. `Shadow` is a ShadowMmu, `mmu_lock` its MMU lock, which the
// caller does not hold.
template <class Shadow, Flusher Fl>
AgeCounts ClearNestedDirty(Shadow& shadow, const typename Shadow::Walk& walk,
                           FaultLock& mmu_lock, Fl& flusher, GfnRange range,
                           const AgeOutput& output);

// What is told of is protected, too.
template <class Shadow, Flusher Fl>
  requires WriteProtectable<typename Shadow::Tree::Format>
AgeCounts WriteProtectNested(Shadow& shadow, const typename Shadow::Walk& walk,
                             FaultLock& mmu_lock, Fl& flusher, GfnRange range,
                             const AgeOutput& output);

// Returns how many entries are no longer protected.
template <class Shadow>
  requires WriteProtectable<typename Shadow::Tree::Format>
std::uint64_t LiftNestedProtection(Shadow& shadow,
                                   const typename Shadow::Walk& walk,
                                   FaultLock& mmu_lock, GfnRange range);

// ---------------------------------------------------------------------------

namespace internal {

// Leaves wholly inside the range are made clean.
template <SpteFormat F>
class Cleaning {
 public:
  using Word = typename F::Word;

  Cleaning(GfnRange range, const AgeOutput& output)
      : range_(range), output_(output) {}

  [[nodiscard]] Word Wanted(Word seen, GfnRange covers) const {
    return IsDirty<F>(seen) && range_.Contains(covers) ? Cleaned<F>(seen)
                                                       : seen;
  }
  void Done(Word seen, Word, GfnRange covers) {
    ++counts_.examined;
    if (!IsDirty<F>(seen)) return;
    ++counts_.young;
    output_.SetYoung(range_.Clip(covers));
  }

  [[nodiscard]] const AgeCounts& counts() const { return counts_; }

 private:
  const GfnRange range_;
  const AgeOutput& output_;
  AgeCounts counts_;
};

// Gives each entry for a frame of `range` the value that `change` wants, as
// ChangeLeaves does. `changed` collects the frames of L2 whose entries were.
template <class Shadow, class Change>
void ChangeEntries(Shadow& shadow, const typename Shadow::Walk& walk,
                   FaultLock& mmu_lock, GfnRange range, Change&& change,
                   FlushLater& changed) {
  using F = typename Shadow::Tree::Format;
  using Word = typename F::Word;
  shadow.ForEachEntry(
      walk, range, mmu_lock, [&](SpteCell<F>& entry, GfnRange covers) {
        for (;;) {
          // What its installer wrote is ordered by the lock.
          const Word seen = ReadOnce(entry, kRelaxed);
          PTAGE_ASSERT(F::IsPresent(seen));
          const Word wanted = change.Wanted(seen, covers);
          // [shadow_dirty.1] relaxed: nothing is published by it.
          if (wanted != seen && !TryCmpxchg(entry, seen, wanted, kRelaxed)) {
            continue;
          }
          change.Done(seen, wanted, covers);
          if (wanted != seen) {
            changed.Flush(shadow.NestedFramesOf(entry, covers.Frames()));
          }
          return;
        }
      });
}

}  // namespace internal

template <class Shadow, Flusher Fl>
AgeCounts ClearNestedDirty(Shadow& shadow, const typename Shadow::Walk& walk,
                           FaultLock& mmu_lock, Fl& flusher, GfnRange range,
                           const AgeOutput& output) {
  internal::Cleaning<typename Shadow::Tree::Format> cleaning(range, output);
  FlushLater changed;
  internal::ChangeEntries(shadow, walk, mmu_lock, range, cleaning, changed);
  changed.FlushAll(flusher);
  output.Count(cleaning.counts());
  return cleaning.counts();
}

template <class Shadow, Flusher Fl>
  requires WriteProtectable<typename Shadow::Tree::Format>
AgeCounts WriteProtectNested(Shadow& shadow, const typename Shadow::Walk& walk,
                             FaultLock& mmu_lock, Fl& flusher, GfnRange range,
                             const AgeOutput& output) {
  internal::Protection<typename Shadow::Tree::Format> protection(range, output);
  FlushLater changed;
  internal::ChangeEntries(shadow, walk, mmu_lock, range, protection, changed);
  changed.FlushAll(flusher);
  output.Count(protection.counts());
  return protection.counts();
}

template <class Shadow>
  requires WriteProtectable<typename Shadow::Tree::Format>
std::uint64_t LiftNestedProtection(Shadow& shadow,
                                   const typename Shadow::Walk& walk,
                                   FaultLock& mmu_lock, GfnRange range) {
  internal::Lifting<typename Shadow::Tree::Format> lifting;
  FlushLater unneeded;
  internal::ChangeEntries(shadow, walk, mmu_lock, range, lifting, unneeded);
  return lifting.lifted();
}

}  // namespace ptage

#endif  // PTAGE_SHADOW_DIRTY_H_
