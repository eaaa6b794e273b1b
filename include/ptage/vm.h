// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A virtual machine: its memslots; its secondary MMUs, a direct one for each of
// its address spaces and one for nested guests; faults by the invalidate
// sequence protocol; and the three questions over all.
//
// Contract
//   * Any threads may call any function concurrently, none of them inside a
//     walk or holding the MMU lock.
//   * Fault and NestedFault install under the MMU lock, shared. What zaps or
//     splits nested entries holds it exclusively, and so does a nested fault
//     that has to zap (to make room, or because L1 changed its tables, or gets
//     the fault), or whose discipline cannot do with less. Where faults set
//     accessed and dirty bits, both first try without it (fast_fault.h). A
//     fault that meets a frozen entry, an open invalidation or an ended one
//     answers kRetry.
//   * When Invalidate returns, no entry maps a frame of the range as it was
//     before, no CPU uses such a translation, and each accessed and dirty bit
//     is with the sink: the frames' data may be read, and the frames given
//     away.
//   * Slots may be added, removed and moved while all of this goes on. When one
//     was removed or moved, what Invalidate says holds of its frames.
//   * Each address space has direct tables of its own, for the slots that it
//     sees. Questions and invalidations are about frames of the guest, and so
//     about all spaces. An invalidation zaps in all before it flushes, once, by
//     a flusher that knows no spaces: every CPU drops what it has of the range,
//     of the space that it is in and of each that it may go back to.
//   * With a history, what a zap hands over is on record before its entry is
//     empty. Age and dirty collection ask the tables first and the history
//     after; so an access or a write shows although the page was unmapped, and
//     mapped again. It stays under the number that the frame had.
//   * ClearDirty and WriteProtect answer for all MMUs, by frames of the guest:
//     what a nested guest writes is written to L1's memory. They take the MMU
//     lock where there are nested entries (shadow_dirty.h), flush once, at the
//     end, and disturb no aging.
//   * TakeIfIdle takes a page from all MMUs, or leaves everything as it was. A
//     fault of the page answers kRetry meanwhile.
//   * Age takes no lock in fast-only mode, and is wait-free. Slow waits as
//     ShadowMmu's discipline says; the direct MMU never does.
//   * AgeSkippingCold takes no lock. It waits for nothing but flushes, if it is
//     exact: in each tree at most one for a batch of inner entries, and none
//     where all were clear. Of mapped pages nothing is lost, unless by a best
//     effort: what a CPU did by an inner entry that it had cached when that was
//     cleared is found by neither form until the inner entry is marked for
//     another page; the three questions find it. What is in the history is
//     found by both. It is no last word before an eviction: a nested guest's
//     access may show a round later where others ask for other frames
//     (prune_nested.h).
//
// How memory comes and goes, and what asks all MMUs, is here; faults, dirty
// pages and the taking of an idle page are each in a header of vm/, over the
// MMUs and what keeps faults out (vm/state.h).

#ifndef PTAGE_VM_H_
#define PTAGE_VM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "ptage/dirty.h"
#include "ptage/fault_lock.h"
#include "ptage/guest_walk.h"
#include "ptage/hold.h"
#include "ptage/invalidate.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/page_history.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/shadow_mmu.h"
#include "ptage/spte.h"
#include "ptage/tdp_mmu.h"
#include "ptage/types.h"
#include "ptage/vm/dirty.h"
#include "ptage/vm/faults.h"
#include "ptage/vm/state.h"
#include "ptage/vm/take.h"

namespace ptage {

// kInner: off unless asked for. With kSkipCold a fault costs one more locked
// operation, and AgeSkippingCold is there.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces = 1,
          InnerAging kInner = InnerAging::kIgnore>
class Vm : public AgeQuestions<Vm<F, M, R, Fl, D, kSpaces, kInner>> {
  static_assert(kSpaces <= SpaceSet::kMost);

  using State = internal::VmState<F, M, R, Fl, D, kSpaces, kInner>;

 public:
  using Tdp = TdpMmu<F, M, R, Fl, kInner>;
  using Shadow = ShadowMmu<F, M, R, Fl, D, kInner>;
  using Walk = LocklessWalk<R>;

  // What the VM is made of; all outlive it. `mmu_lock` is the one that the
  // discipline was given, if it wants one; and if its chunks are retired, they
  // are to this very reclaimer, whose walks keep them.
  struct Parts {
    M& memory;              // for tables
    R& reclaimer;           // of removed tables
    Fl& flusher;            // of all CPUs that run the guest
    D& rmaps;               // of nested entries
    absl::Mutex& mmu_lock;  // what faults share, and who zaps has alone
    // Gets what zaps hand over, and is asked with the tables. It outlives the
    // VM, too. Without one, there is nothing to pay for it.
    PageHistory* history = nullptr;
    // Whether these frames, of one slot, are where it says: not if a page among
    // them was evicted, or is being. Faults ask under the MMU lock, and map by
    // a smaller leaf, or answer kRetry, if not. It must not wait. Without one,
    // they are there always.
    std::function<bool(GfnRange)> may_map = nullptr;
  };

  // `largest_leaf` bounds what Fault maps in the direct MMU. `fault_sink`, if
  // there is one, gets the bits of entries that a nested fault zaps: to make
  // room, or because L1's tables have something else there, or get the fault.
  // As other sinks it is called while the entry is frozen, and under the MMU
  // lock. Check valid().
  explicit Vm(const Parts& parts, Level largest_leaf = F::kLargestLeaf,
              std::function<void(const ZappedLeaf&)> fault_sink = nullptr)
      : state_(parts),
        faults_(state_, parts.may_map, largest_leaf, std::move(fault_sink)) {}

  // False if there was no memory for the roots.
  [[nodiscard]] bool valid() const {
    return state_.spaces.valid() && state_.shadow.valid();
  }

  // Adds memory, for some address spaces to see: `base` lies behind the first
  // frame, and the others follow. InvalidArgument: the range is
  // empty, reversed or too far up, the VM has none of the spaces, or entries
  // cannot lead to the memory or grant the rights (memslot.h); AlreadyExists:
  // it overlaps another slot, whoever sees that.
  absl::Status AddMemslot(GfnRange frames, Pfn base, Rights rights,
                          SpaceSet spaces = SpaceSet::All());

  // Takes the memory of exactly these frames away, as Invalidate does with what
  // maps it; faults find no slot afterwards. NotFound: there is no such slot.
  absl::Status RemoveMemslot(GfnRange frames, ZapSink sink);

  // The same, and gives it to as many frames from `to` on. InvalidArgument and
  // AlreadyExists as AddMemslot; then nothing was done.
  absl::Status MoveMemslot(GfnRange frames, Gfn to, ZapSink sink);

  // A guest's access that the direct tables of the space did not allow. Waits
  // for a place to begin its walk, for the MMU lock, shared, and, where a table
  // is missing, as PageTable's Map does; never for an open invalidation or a
  // frozen entry: kRetry.
  [[nodiscard]] FaultOutcome Fault(Gfn gfn, Rights access,
                                   AddressSpace space = AddressSpace::kFirst) {
    return faults_.Fault(gfn, access, space);
  }

  // The same of a nested guest, which sees of L1's memory what the first space
  // does. `translate` walks L1's tables: what they say of `nested`, nothing if
  // L1 is to get the fault (kReflected). It is called once, without a lock. L1
  // also gets the fault for a frame beyond those that the shadow trees
  // translate, if what is there is memory of a slot.
  using Translate = absl::FunctionRef<std::optional<NestedMapping>(NestedGfn)>;
  [[nodiscard]] FaultOutcome NestedFault(
      NestedGfn nested, Rights access, Translate translate,
      NestedGuest guest = NestedGuest::kFirst) {
    return faults_.NestedFault(nested, access, translate, guest);
  }

  // The same by L1's own tables in its memory. `walked` is what the walk came
  // to: where L1 gets the fault, why. As new if the fault needed none.
  template <CheckedFormat G, ForeignMemory L1>
  [[nodiscard]] FaultOutcome NestedFault(
      NestedGfn nested, Rights access, const GuestWalker<G, L1>& tables,
      GuestTranslation& walked, NestedGuest guest = NestedGuest::kFirst) {
    return faults_.NestedFault(nested, access, tables, walked, guest);
  }

  // One more nested guest; nothing if there are too many, or no memory. Waits
  // for the MMU lock.
  [[nodiscard]] std::optional<NestedGuest> AddNestedGuest() {
    const FaultLock::Exclusive hold(state_.fault_lock);
    return state_.shadow.AddGuest();
  }

  // Tests or clears every entry, of all MMUs, that maps a frame of `range`; and
  // the history, if there is one. Bits for frames, and counts of entries, go to
  // `output`, which spans the range. Frames without memory are not young.
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output) {
    return state_.history.AskAll(range, action, output, [&] {
      return state_.spaces.Age(range, action, mode, output) |
             state_.shadow.Age(range, action, mode, output);
    });
  }

  // The same, of what is under inner entries that were accessed since they were
  // cleared, by the rules of prune.h; it costs what is in use in the range of
  // the direct MMUs, and in all of the nested one. What it does not know is
  // unknown, as where no walk could begin. An exact answer is never `was_fast`.
  AgeResult AgeSkippingCold(GfnRange range, Pruning pruning, AgeAction action,
                            const AgeOutput& output)
    requires(kInner == InnerAging::kSkipCold)
  {
    return state_.history.AskAll(range, action, output, [&] {
      return state_.spaces.AgeSkippingCold(range, pruning, action, output) |
             state_.shadow.AgeSkippingCold(range, pruning, action, output);
    });
  }

  // Which frames of `range` were written since the last call that told of them:
  // dirty.h of the direct MMU, shadow_dirty.h of the nested one, both into one
  // `output`, with one flush. What a zap took is with its sink, and counts when
  // the call that zapped has returned; or it is in the history, and told of.
  // Returns counts of entries: examined and, as `young`, dirty. Waits for
  // owners of frozen entries, for the flush and, where there are nested
  // entries, for the MMU lock.
  AgeCounts ClearDirty(GfnRange range, const AgeOutput& output) {
    return internal::ClearDirty(state_, range, output);
  }
  AgeCounts WriteProtect(GfnRange range, const AgeOutput& output)
    requires(WriteProtectable<F>)
  {
    return internal::WriteProtect(state_, range, output);
  }
  // What WriteProtect left in `range` may be written again without a fault.
  // Returns how many entries that were. Waits as ClearDirty, but flushes
  // nothing.
  std::uint64_t LiftProtection(GfnRange range)
    requires(WriteProtectable<F>)
  {
    return internal::LiftProtection(state_, range);
  }

  // Zaps every entry that maps a frame of `range`. Returns how many. Waits for
  // the MMU lock, for owners of frozen entries, and for the flush. `sink` gets
  // each entry's bits, and must not wait for a fault.
  std::uint64_t Invalidate(GfnRange range, ZapSink sink) {
    const ScopedInvalidation open(state_.invalidations, range);
    return ZapAll(range, sink);
  }

  // As hold.h says, of all entries that map a frame of the page; a history that
  // knows of an access to it is one that uses it. Waits for the MMU lock, and
  // holds it meanwhile where there are nested entries.
  TakeOutcome TakeIfIdle(GfnRange page, ZapSink sink, TakeRest rest)
    requires EnumerableRmaps<D>
  {
    return internal::TakeIfIdle(state_, page, sink, rest);
  }

  // Splits what the MMUs map by leaves larger than the page. Waits as
  // PageTable's Split does, and for the MMU lock where there are nested
  // entries. False: there was no memory, or an invalidation kept it out. A
  // nested fault that finds the table in its way maps a small page.
  bool Split(GfnRange page);

  // L1 is changing its tables for these frames of L2: calls `change()`, which
  // writes them, between zapping and letting faults in again. Returns how many
  // entries were zapped. Waits as Invalidate; `change` is called without a
  // lock.
  std::uint64_t InvalidateNested(NestedRange range, ZapSink sink,
                                 absl::FunctionRef<void()> change,
                                 NestedGuest guest = NestedGuest::kFirst);

  // Gives back the tables that lie wholly in `range`, with what they map, of a
  // nested guest that L1 is done with, or for whose faults there is no memory:
  // L1 decides how many tables its guest takes, and while the VM lives nothing
  // else frees them. Faults build them again. Returns how many; their memory is
  // free after a grace period of the reclaimer. Waits for the MMU lock, and
  // holds it while it waits for flushes.
  std::uint64_t RemoveNestedTables(NestedRange range, ZapSink sink,
                                   NestedGuest guest = NestedGuest::kFirst);

  // For lookups, and the root, which a CPU walks that is in the space.
  [[nodiscard]] Tdp& tdp(AddressSpace space = AddressSpace::kFirst) {
    return state_.spaces[static_cast<std::size_t>(space)];
  }
  // The MMU of nested guests.
  [[nodiscard]] Shadow& shadow() { return state_.shadow; }
  // The memory that the guest has.
  [[nodiscard]] Memslots<F, R>& memslots() { return state_.memslots; }
  // What faults hold while they install.
  [[nodiscard]] FaultLock& fault_lock() { return state_.fault_lock; }

 private:
  // Zaps every entry that maps a frame of `range`, and flushes. Precondition:
  // an invalidation of it is open.
  std::uint64_t ZapAll(GfnRange range, ZapSink sink);

  State state_;
  internal::VmFaults<State> faults_;
  // Excludes changes of slots from each other.
  absl::Mutex slots_lock_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
absl::Status Vm<F, M, R, Fl, D, kSpaces, kInner>::AddMemslot(GfnRange frames,
                                                             Pfn base,
                                                             Rights rights,
                                                             SpaceSet spaces) {
  bool seen = false;
  for (std::uint32_t i = 0; i < kSpaces; ++i) {
    seen |= spaces.Has(AddressSpace{i});
  }
  if (!seen) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "memslot [%d, %d): none of the VM's %d address spaces sees it",
        frames.begin.value, frames.end.value, kSpaces));
  }
  absl::MutexLock lock(&slots_lock_);
  return state_.memslots.Add(frames, base, rights, Gfn{Tdp::Tree::kFrames},
                             spaces);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
std::uint64_t Vm<F, M, R, Fl, D, kSpaces, kInner>::ZapAll(GfnRange range,
                                                          ZapSink sink) {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  return state_.history.Recorded(sink, [&](ZapSink recorded) {
    std::uint64_t zapped =
        state_.spaces.Zap(walk, range, ZapFlush::kByCaller, recorded);
    // Of what it finds empty, too, while another invalidation may yet have to
    // flush it:
    //   first: zaps, is about to flush | second: finds nothing to zap, returns
    //   CPU: uses what it has cached   | caller: gives the frame away.
    // Of nested entries the lock, until its holder has flushed, is waited for
    // by the end of the invalidation.
    if (zapped != 0 || state_.invalidations.OthersOpen()) {
      state_.flusher.Flush(range);
    }
    if (state_.shadow.live() != 0) {
      const FaultLock::Exclusive hold(state_.fault_lock);
      zapped += state_.shadow.ZapFrames(walk, range, recorded);
    }
    return zapped;
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
bool Vm<F, M, R, Fl, D, kSpaces, kInner>::Split(GfnRange page) {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const std::uint64_t snapshot = state_.invalidations.Snapshot();
  const Level level = LevelWithin<F>(page);
  bool done = true;
  {
    const FaultLock::Shared hold(state_.fault_lock);
    if (state_.invalidations.MustRetry(hold, snapshot, page)) return false;
    for (std::size_t i = 0; i < kSpaces; ++i) {
      done &= !state_.spaces[i].SplitLarge(walk, page, level).no_memory;
    }
  }
  if (state_.shadow.live() != 0) {
    // Nested entries are frozen under the lock alone. It is not held for the
    // direct ones: faults need not wait for these.
    const FaultLock::Exclusive hold(state_.fault_lock);
    if (state_.invalidations.MustRetry(hold, snapshot, page)) return false;
    done &= !state_.shadow.SplitLarge(walk, page, level).no_memory;
  }
  return done;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
absl::Status Vm<F, M, R, Fl, D, kSpaces, kInner>::RemoveMemslot(GfnRange frames,
                                                                ZapSink sink) {
  absl::MutexLock lock(&slots_lock_);
  const absl::Status held = state_.memslots.Holds(frames);
  if (!held.ok()) return held;
  // Were the slot taken out before the invalidation is open:
  //   fault: finds the slot | remover: takes it out, zaps what is there
  //   fault: installs an entry for memory that the caller has back.
  // And were it closed before that, a fault would find the slot after it.
  const ScopedInvalidation open(state_.invalidations, frames);
  ZapAll(frames, sink);
  return state_.memslots.Remove(frames);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
absl::Status Vm<F, M, R, Fl, D, kSpaces, kInner>::MoveMemslot(GfnRange frames,
                                                              Gfn to,
                                                              ZapSink sink) {
  constexpr Gfn kLimit{Tdp::Tree::kFrames};
  absl::MutexLock lock(&slots_lock_);
  const absl::Status can = state_.memslots.CanMove(frames, to, kLimit);
  if (!can.ok()) return can;
  const ScopedInvalidation open(state_.invalidations, frames);
  ZapAll(frames, sink);
  return state_.memslots.Move(frames, to, kLimit);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
std::uint64_t Vm<F, M, R, Fl, D, kSpaces, kInner>::InvalidateNested(
    NestedRange range, ZapSink sink, absl::FunctionRef<void()> change,
    NestedGuest guest) {
  const ScopedInvalidation open(
      state_.nested_invalidations,
      GfnRange{Gfn{range.begin.value}, Gfn{range.end.value}});
  std::uint64_t zapped = 0;
  {
    const Walk walk(state_.reclaimer, WalkEntry::kWait);
    const FaultLock::Exclusive hold(state_.fault_lock);
    zapped = state_.history.Recorded(sink, [&](ZapSink recorded) {
      return state_.shadow.ZapNested(walk, range, recorded, guest);
    });
  }
  change();
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
std::uint64_t Vm<F, M, R, Fl, D, kSpaces, kInner>::RemoveNestedTables(
    NestedRange range, ZapSink sink, NestedGuest guest) {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const FaultLock::Exclusive hold(state_.fault_lock);
  return state_.history.Recorded(sink, [&](ZapSink recorded) {
    return state_.shadow.RemoveTables(walk, range, recorded, guest);
  });
}

}  // namespace ptage

#endif  // PTAGE_VM_H_
