// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A virtual machine: its memslots; its secondary MMUs, a direct one for each of
// its address spaces and one for nested guests; faults by the invalidate
// sequence protocol; and the three questions over all.
//
// Contract
//   * Any threads may call any function concurrently, none of them inside a
//     walk or holding the MMU lock.
//   * Fault and NestedFault install under the MMU lock, shared. What zaps
//     nested entries holds it exclusively, and so does a nested fault that has
//     to zap first, or whose discipline cannot do with less. Where faults set
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

#ifndef PTAGE_VM_H_
#define PTAGE_VM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "ptage/address_spaces.h"
#include "ptage/config.h"
#include "ptage/dirty.h"
#include "ptage/fast_fault.h"
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
#include "ptage/shadow_dirty.h"
#include "ptage/shadow_mmu.h"
#include "ptage/spte.h"
#include "ptage/tdp_mmu.h"
#include "ptage/types.h"

namespace ptage {

// kInner: off unless asked for. With kSkipCold a fault costs one more locked
// operation, and AgeSkippingCold is there.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces = 1,
          InnerAging kInner = InnerAging::kIgnore>
class Vm : public AgeQuestions<Vm<F, M, R, Fl, D, kSpaces, kInner>> {
  static_assert(kSpaces <= SpaceSet::kMost);

 public:
  using Tdp = TdpMmu<F, M, R, Fl, kInner>;
  using Shadow = ShadowMmu<F, M, R, Fl, D, kInner>;
  using Walk = LocklessWalk<R>;

  // What the VM is made of; all outlive it. `mmu_lock` is the one that the
  // discipline was given, if it wants one; and if its chunks are retired, they
  // are to this very reclaimer, whose walks keep them.
  struct Parts {
    M& memory;
    R& reclaimer;
    Fl& flusher;
    D& rmaps;
    absl::Mutex& mmu_lock;
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
  // there is one, gets the bits of entries that a nested fault zaps to make
  // room; as other sinks it is called while the entry is frozen, and under the
  // MMU lock. Check valid().
  explicit Vm(const Parts& parts, Level largest_leaf = F::kLargestLeaf,
              std::function<void(const ZappedLeaf&)> fault_sink = nullptr);

  // False if there was no memory for the roots.
  [[nodiscard]] bool valid() const {
    return spaces_.valid() && shadow_.valid();
  }

  // Adds memory, for some address spaces to see: `base` lies behind the first
  // frame, and the others follow. InvalidArgument: the range is
  // empty, reversed or too far up, or the VM has none of the spaces;
  // AlreadyExists: it overlaps another slot, whoever sees that.
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
                                   AddressSpace space = AddressSpace::kFirst);

  // The same of a nested guest, which sees of L1's memory what the first space
  // does. `translate` walks L1's tables: what they say of
  // `nested`, nothing if L1 is to get the fault (kReflected). It is called
  // once, without a lock.
  using Translate = absl::FunctionRef<std::optional<NestedMapping>(NestedGfn)>;
  [[nodiscard]] FaultOutcome NestedFault(
      NestedGfn nested, Rights access, Translate translate,
      NestedGuest guest = NestedGuest::kFirst);

  // The same by L1's own tables in its memory. `walked` is what the walk came
  // to: where L1 gets the fault, why.
  template <CheckedFormat G, ForeignMemory L1>
  [[nodiscard]] FaultOutcome NestedFault(
      NestedGfn nested, Rights access, const GuestWalker<G, L1>& tables,
      GuestTranslation& walked, NestedGuest guest = NestedGuest::kFirst);

  // One more nested guest; nothing if there are too many, or no memory.
  [[nodiscard]] std::optional<NestedGuest> AddNestedGuest() {
    const FaultLock::Exclusive hold(fault_lock_);
    return shadow_.AddGuest();
  }

  // Tests or clears every entry, of all MMUs, that maps a frame of `range`; and
  // the history, if there is one. Bits for frames, and counts of entries, go to
  // `output`, which spans the range. Frames without memory are not young.
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output);

  // The same, of what is under inner entries that were accessed since they were
  // cleared, by the rules of prune.h; it costs what is in use in the range of
  // the direct MMUs, and in all of the nested one. What it does not know is
  // unknown, as where no walk could begin. An exact answer is never `was_fast`.
  AgeResult AgeSkippingCold(GfnRange range, Pruning pruning, AgeAction action,
                            const AgeOutput& output)
    requires(kInner == InnerAging::kSkipCold);

  // Which frames of `range` were written since the last call that told of them:
  // dirty.h of the direct MMU, shadow_dirty.h of the nested one, both into one
  // `output`, with one flush. What a zap took is with its sink, and counts when
  // the call that zapped has returned; or it is in the history, and told of.
  AgeCounts ClearDirty(GfnRange range, const AgeOutput& output);
  AgeCounts WriteProtect(GfnRange range, const AgeOutput& output)
    requires(WriteProtectable<F>);
  std::uint64_t LiftProtection(GfnRange range)
    requires(WriteProtectable<F>);

  // Zaps every entry that maps a frame of `range`. Returns how many. Waits for
  // the MMU lock, for owners of frozen entries, and for the flush. `sink` gets
  // each entry's bits, and must not wait for a fault.
  std::uint64_t Invalidate(GfnRange range, ZapSink sink);

  // As hold.h says, of all entries that map a frame of the page; a history that
  // knows of an access to it is one that uses it. Waits for the MMU lock, and
  // holds it meanwhile where there are nested entries.
  TakeOutcome TakeIfIdle(GfnRange page, ZapSink sink, TakeRest rest)
    requires EnumerableRmaps<D>;

  // Splits what the direct MMUs map by leaves larger than the page. Waits as
  // PageTable's Split does. False: there was no memory, or an invalidation kept
  // it out. A large page of a nested guest stays: faults would map it again.
  bool Split(GfnRange page);

  // L1 is changing its tables for these frames of L2: calls `change()`, which
  // writes them, between zapping and letting faults in again. Returns the
  // entries zapped.
  std::uint64_t InvalidateNested(NestedRange range, ZapSink sink,
                                 absl::FunctionRef<void()> change,
                                 NestedGuest guest = NestedGuest::kFirst);

  // For lookups, and the root, which a CPU walks that is in the space.
  [[nodiscard]] Tdp& tdp(AddressSpace space = AddressSpace::kFirst) {
    return spaces_[static_cast<std::size_t>(space)];
  }
  [[nodiscard]] Shadow& shadow() { return shadow_; }
  [[nodiscard]] Memslots<F, R>& memslots() { return memslots_; }
  // What faults hold while they install.
  [[nodiscard]] FaultLock& fault_lock() { return fault_lock_; }

 private:
  // Zaps every entry that maps a frame of `range`, and flushes. Precondition:
  // an invalidation of it is open.
  std::uint64_t ZapAll(GfnRange range, ZapSink sink);

  // Of a fault that holds the lock: the level at which it may map `gfn`, at
  // most `level`. None: it is to retry.
  std::optional<Level> LevelToMap(const FaultLock::Held& held,
                                  std::uint64_t snapshot, Gfn gfn,
                                  Level level) const {
    // Around a page that is not there, smaller leaves are mapped:
    //   evictor: takes one page out of 512   | its neighbours fault, for as
    //                                        | long as that page is away
    while (may_map_ && !may_map_(PageAround<F>(gfn, level))) {
      if (level == Level{1}) return std::nullopt;
      level = level.Below();
    }
    if (invalidations_.MustRetry(held, snapshot, PageAround<F>(gfn, level))) {
      return std::nullopt;
    }
    return level;
  }

  // `ask()`, which asks the tables, and then the history, if there is one.
  template <class Ask>
  AgeResult AskAll(GfnRange range, AgeAction action, const AgeOutput& output,
                   Ask&& ask) {
    return history_ == nullptr
               ? ask()
               : AgeWithHistory(*history_, range, action, output, ask);
  }

  // `zap(sink)`, where the sink has the history as a witness.
  template <class Zap>
  std::uint64_t Recorded(ZapSink sink, Zap&& zap) const;
  static void Record(PageHistory& history, const ZappedLeaf& leaf) {
    history.Record(GfnRange{leaf.gfn, leaf.gfn + FramesAt<F>(leaf.level)},
                   leaf.accessed, leaf.dirty);
  }

  // `collect(walk, flusher)`, which asks the tables, then the history; and the
  // flush of both.
  template <class Collect>
  AgeCounts CollectDirty(GfnRange range, const AgeOutput& output,
                         Collect&& collect);

  // What a fault must know of its frame before it takes the lock. kMapped: go
  // on.
  FaultOutcome FindSlot(const Walk& walk, Gfn gfn, Rights access,
                        Memslot<F>*& slot,
                        AddressSpace space = AddressSpace::kFirst) const;

  // A fault behind L1's translation. The snapshots are from before that.
  FaultOutcome TryNestedFault(NestedGfn nested, NestedMapping mapping,
                              Rights access, NestedGuest guest,
                              std::uint64_t snapshot,
                              std::uint64_t nested_snapshot);
  // The same under the MMU lock, which is `held`, as `lock` says. Nothing: it
  // is needed exclusively.
  std::optional<FaultOutcome> InstallNested(
      const Walk& walk, NestedGfn nested, Memslot<F>& slot,
      NestedMapping mapping, Rights access, const FaultLock::Held& held,
      MmuLock lock, NestedGuest guest, std::uint64_t snapshot,
      std::uint64_t nested_snapshot);

  // Of a nested fault that finds no memory. Two batches of chunks wait at most,
  // and a grace period ends by the second walk after it began.
  static constexpr int kTries = 4;

  R& reclaimer_;
  Fl& flusher_;
  // The MMU lock.
  FaultLock fault_lock_;
  PageHistory* const history_;
  const std::function<bool(GfnRange)> may_map_;
  const Level largest_leaf_;
  const std::function<void(const ZappedLeaf&)> fault_sink_;
  // Excludes changes of slots from each other.
  absl::Mutex slots_lock_;
  Memslots<F, R> memslots_;
  InvalidateSequence invalidations_;
  // By frames of L2, of whichever guest: a fault of another one at the same
  // frames is retried for nothing.
  InvalidateSequence nested_invalidations_;
  AddressSpaces<Tdp, kSpaces> spaces_;
  Shadow shadow_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
Vm<F, M, R, Fl, D, kSpaces, kInner>::Vm(const Parts& parts, Level largest_leaf,
                       std::function<void(const ZappedLeaf&)> fault_sink)
    : reclaimer_(parts.reclaimer),
      flusher_(parts.flusher),
      fault_lock_(parts.mmu_lock),
      history_(parts.history),
      may_map_(parts.may_map),
      largest_leaf_(largest_leaf),
      fault_sink_(history_ == nullptr
                      ? std::move(fault_sink)
                      : [history = history_, sink = std::move(fault_sink)](
                            const ZappedLeaf& leaf) {
                          Record(*history, leaf);
                          if (sink) sink(leaf);
                        }),
      memslots_(parts.reclaimer),
      invalidations_(fault_lock_),
      nested_invalidations_(fault_lock_),
      spaces_(parts.memory, parts.reclaimer, parts.flusher),
      shadow_(parts.memory, parts.reclaimer, parts.flusher, parts.rmaps,
              memslots_) {}

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
  return memslots_.Add(frames, base, rights, Gfn{Tdp::Tree::kFrames}, spaces);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
FaultOutcome Vm<F, M, R, Fl, D, kSpaces, kInner>::FindSlot(
    const Walk& walk, Gfn gfn, Rights access, Memslot<F>*& slot,
    AddressSpace space) const {
  slot = memslots_.Find(walk, gfn);
  if (slot == nullptr || !slot->spaces().Has(space)) {
    return FaultOutcome::kNoSlot;
  }
  return Allows(slot->rights(), access) ? FaultOutcome::kMapped
                                        : FaultOutcome::kNotPermitted;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
FaultOutcome Vm<F, M, R, Fl, D, kSpaces, kInner>::Fault(Gfn gfn, Rights access,
                                                        AddressSpace space) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  const std::uint64_t snapshot = invalidations_.Snapshot();
  Memslot<F>* slot = nullptr;
  const FaultOutcome found = FindSlot(walk, gfn, access, slot, space);
  if (found != FaultOutcome::kMapped) return found;
  Tdp& mmu = tdp(space);
  const Pfn pfn = slot->FrameOf(gfn);
  const Level level = slot->LargestLevel(gfn, largest_leaf_);
  if constexpr (kMarkedByFaults<F>) {
    const FastFaultOutcome fast = FastFault(mmu.tree(), walk, gfn, access);
    if (!NeedsSlowPath(fast)) return OutcomeOf(fast);
  }
  const FaultLock::Shared hold(fault_lock_);
  const std::optional<Level> allowed = LevelToMap(hold, snapshot, gfn, level);
  if (!allowed.has_value()) return FaultOutcome::kRetry;
  return mmu.Fault(walk, gfn, pfn, *allowed, slot->rights(), access);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
FaultOutcome Vm<F, M, R, Fl, D, kSpaces, kInner>::NestedFault(
    NestedGfn nested, Rights access, Translate translate, NestedGuest guest) {
  if constexpr (kMarkedByFaults<F>) {
    // What maps the frame is in step with L1's tables, or zapped later: it need
    // not be translated again.
    const Walk walk(reclaimer_, WalkEntry::kWait);
    const FastFaultOutcome fast =
        FastFault(shadow_.tree(guest), walk, Gfn{nested.value}, access);
    if (!NeedsSlowPath(fast)) return OutcomeOf(fast);
  }
  const std::uint64_t snapshot = invalidations_.Snapshot();
  const std::uint64_t nested_snapshot = nested_invalidations_.Snapshot();
  const std::optional<NestedMapping> mapping = translate(nested);
  if (!mapping.has_value()) return FaultOutcome::kReflected;
  if (!Allows(mapping->rights, access)) return FaultOutcome::kReflected;
  FaultOutcome outcome = FaultOutcome::kNoMemory;
  // What the rmaps retired may be held back by this fault's own walk, or be on
  // its way back: each try is a walk of its own.
  for (int tries = 0; tries < kTries && outcome == FaultOutcome::kNoMemory;
       ++tries) {
    outcome = TryNestedFault(nested, *mapping, access, guest, snapshot,
                             nested_snapshot);
  }
  return outcome;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
template <CheckedFormat G, ForeignMemory L1>
FaultOutcome Vm<F, M, R, Fl, D, kSpaces, kInner>::NestedFault(
    NestedGfn nested, Rights access, const GuestWalker<G, L1>& tables,
    GuestTranslation& walked, NestedGuest guest) {
  static_assert(G::kIndexBits == F::kIndexBits && G::kPageBits == F::kPageBits,
                "Vm: L1's pages have other sizes than the shadow tables'");
  // The walk comes after the snapshots, so that what L1 invalidates behind it
  // makes the fault retry.
  const FaultOutcome outcome = NestedFault(
      nested, access,
      [&](NestedGfn asked) -> std::optional<NestedMapping> {
        walked = tables.Translate(Gfn{asked.value}, access);
        if (!walked) return std::nullopt;
        return NestedMapping(walked.gfn, walked.rights, walked.level);
      },
      guest);
  return walked.walk == GuestWalk::kBusy ? FaultOutcome::kRetry : outcome;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
FaultOutcome Vm<F, M, R, Fl, D, kSpaces, kInner>::TryNestedFault(
    NestedGfn nested, NestedMapping mapping, Rights access, NestedGuest guest,
    std::uint64_t snapshot, std::uint64_t nested_snapshot) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  Memslot<F>* slot = nullptr;
  const FaultOutcome found = FindSlot(walk, mapping.gfn, access, slot);
  if (found != FaultOutcome::kMapped) return found;
  if constexpr (Shadow::kFaultLock == MmuLock::kShared) {
    const FaultLock::Shared hold(fault_lock_);
    const std::optional<FaultOutcome> outcome =
        InstallNested(walk, nested, *slot, mapping, access, hold,
                      MmuLock::kShared, guest, snapshot, nested_snapshot);
    if (outcome.has_value()) return *outcome;
  }
  const FaultLock::Exclusive hold(fault_lock_);
  const std::optional<FaultOutcome> outcome =
      InstallNested(walk, nested, *slot, mapping, access, hold,
                    MmuLock::kExclusive, guest, snapshot, nested_snapshot);
  PTAGE_ASSERT(outcome.has_value());
  return *outcome;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
std::optional<FaultOutcome> Vm<F, M, R, Fl, D, kSpaces, kInner>::InstallNested(
    const Walk& walk, NestedGfn nested, Memslot<F>& slot, NestedMapping mapping,
    Rights access, const FaultLock::Held& held, MmuLock lock, NestedGuest guest,
    std::uint64_t snapshot, std::uint64_t nested_snapshot) {
  // What the translation is of: L1's page, whole.
  if (nested_invalidations_.MustRetry(
          held, nested_snapshot,
          PageAround<F>(Gfn{nested.value}, mapping.level))) {
    return FaultOutcome::kRetry;
  }
  // Not more than that is mapped.
  const std::optional<Level> allowed =
      LevelToMap(held, snapshot, mapping.gfn,
                 slot.LargestLevel(mapping.gfn, mapping.level));
  if (!allowed.has_value()) return FaultOutcome::kRetry;
  mapping.level = *allowed;
  return shadow_.Fault(
      walk, nested, slot, mapping, access, lock,
      [&](const ZappedLeaf& leaf) {
        if (fault_sink_) fault_sink_(leaf);
      },
      guest);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
AgeResult Vm<F, M, R, Fl, D, kSpaces, kInner>::Age(GfnRange range,
                                                   AgeAction action,
                                                   AgeMode mode,
                                                   const AgeOutput& output) {
  return AskAll(range, action, output, [&] {
    return spaces_.Age(range, action, mode, output) |
           shadow_.Age(range, action, mode, output);
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
AgeResult Vm<F, M, R, Fl, D, kSpaces, kInner>::AgeSkippingCold(
    GfnRange range, Pruning pruning, AgeAction action, const AgeOutput& output)
  requires(kInner == InnerAging::kSkipCold)
{
  return AskAll(range, action, output, [&] {
    return spaces_.AgeSkippingCold(range, pruning, action, output) |
           shadow_.AgeSkippingCold(range, pruning, action, output);
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
template <class Collect>
AgeCounts Vm<F, M, R, Fl, D, kSpaces, kInner>::CollectDirty(
    GfnRange range, const AgeOutput& output, Collect&& collect) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  FlushLater flush;
  const AgeCounts counts = collect(walk, flush);
  if (history_ != nullptr &&
      history_->Written(range, AgeAction::kTestAndClear, output).young) {
    // What was recorded need not be flushed yet:
    //   zapper: records the write | collector: takes it, returns
    //   CPU: writes through what  | the page is copied
    //     it has cached           |
    // and nobody is told of that. So it is flushed here; and who zaps nested
    // entries holds the lock until it has flushed.
    flush.Flush(range);
    const FaultLock::Shared wait(fault_lock_);
  }
  flush.FlushAll(flusher_);
  return counts;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
AgeCounts Vm<F, M, R, Fl, D, kSpaces, kInner>::ClearDirty(
    GfnRange range, const AgeOutput& output) {
  return CollectDirty(range, output, [&](const Walk& walk, FlushLater& flush) {
    AgeCounts counts = spaces_.ClearDirty(walk, range, output, flush);
    counts +=
        ClearNestedDirty(shadow_, walk, fault_lock_, flush, range, output);
    return counts;
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
AgeCounts Vm<F, M, R, Fl, D, kSpaces, kInner>::WriteProtect(
    GfnRange range, const AgeOutput& output)
  requires(WriteProtectable<F>)
{
  return CollectDirty(range, output, [&](const Walk& walk, FlushLater& flush) {
    AgeCounts counts = spaces_.WriteProtect(walk, range, output, flush);
    counts +=
        WriteProtectNested(shadow_, walk, fault_lock_, flush, range, output);
    return counts;
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
std::uint64_t Vm<F, M, R, Fl, D, kSpaces, kInner>::LiftProtection(
    GfnRange range)
  requires(WriteProtectable<F>)
{
  const Walk walk(reclaimer_, WalkEntry::kWait);
  return spaces_.LiftProtection(walk, range) +
         LiftNestedProtection(shadow_, walk, fault_lock_, range);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
template <class Zap>
std::uint64_t Vm<F, M, R, Fl, D, kSpaces, kInner>::Recorded(ZapSink sink,
                                                            Zap&& zap) const {
  if (history_ == nullptr) return zap(sink);
  const auto recorded = [&](const ZappedLeaf& leaf) {
    Record(*history_, leaf);
    sink(leaf);
  };
  return zap(ZapSink(recorded));
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
std::uint64_t Vm<F, M, R, Fl, D, kSpaces, kInner>::ZapAll(GfnRange range,
                                                          ZapSink sink) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  return Recorded(sink, [&](ZapSink recorded) {
    std::uint64_t zapped =
        spaces_.Zap(walk, range, ZapFlush::kByCaller, recorded);
    // Of what it finds empty, too, while another invalidation may yet have to
    // flush it:
    //   first: zaps, is about to flush | second: finds nothing to zap, returns
    //   CPU: uses what it has cached   | caller: gives the frame away.
    // Of nested entries the lock, until its holder has flushed, is waited for
    // by the end of the invalidation.
    if (zapped != 0 || invalidations_.OthersOpen()) flusher_.Flush(range);
    if (shadow_.live() != 0) {
      const FaultLock::Exclusive hold(fault_lock_);
      zapped += shadow_.ZapFrames(walk, range, recorded);
    }
    return zapped;
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
std::uint64_t Vm<F, M, R, Fl, D, kSpaces, kInner>::Invalidate(GfnRange range,
                                                              ZapSink sink) {
  const ScopedInvalidation open(invalidations_, range);
  return ZapAll(range, sink);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
TakeOutcome Vm<F, M, R, Fl, D, kSpaces, kInner>::TakeIfIdle(GfnRange page,
                                                            ZapSink sink,
                                                            TakeRest rest)
  requires EnumerableRmaps<D>
{
  using Held = HeldLeaves<F>;
  const ScopedInvalidation open(invalidations_, page);
  const Walk walk(reclaimer_, WalkEntry::kWait);
  const auto hand_over = [&](const ZappedLeaf& leaf) {
    if (history_ != nullptr) Record(*history_, leaf);
    sink(leaf);
  };
  const auto unused = [&] {
    // After the entries were frozen: who zapped one has recorded its access.
    const bool used =
        history_ != nullptr &&
        history_->Accessed(page, AgeAction::kTest, AgeOutput{}).young;
    return used ? TakeOutcome::kInUse : rest();
  };
  const auto direct = [&] {
    std::vector<typename Held::Leaf> room(kSpaces * page.Frames());
    Held held(room.data(), room.size());
    return TakeHeld(
        held, spaces_.Freeze(walk, page, held), unused,
        [&] { flusher_.Flush(page); },
        [&](const TakenLeaf<F>& leaf) { hand_over(Tdp::Zapped(leaf)); });
  };
  if (shadow_.live() == 0) return direct();
  // Nested entries are frozen under the lock alone. It is taken before anything
  // is frozen: whoever has it may wait for another's entries.
  const FaultLock::Exclusive hold(fault_lock_);
  std::vector<typename Held::Leaf> room(shadow_.EntriesOf(walk, page));
  Held held(room.data(), room.size());
  return TakeHeld(
      held, shadow_.Freeze(walk, page, held), direct,
      [&] { shadow_.Flush(held); },
      [&](const TakenLeaf<F>& leaf) {
        shadow_.UnmapLeaf(walk, leaf, hand_over);
      });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
bool Vm<F, M, R, Fl, D, kSpaces, kInner>::Split(GfnRange page) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  const std::uint64_t snapshot = invalidations_.Snapshot();
  const FaultLock::Shared hold(fault_lock_);
  if (invalidations_.MustRetry(hold, snapshot, page)) return false;
  bool done = true;
  for (std::size_t i = 0; i < kSpaces; ++i) {
    done &= !spaces_[i].SplitLarge(walk, page, LevelWithin<F>(page)).no_memory;
  }
  return done;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
absl::Status Vm<F, M, R, Fl, D, kSpaces, kInner>::RemoveMemslot(GfnRange frames,
                                                                ZapSink sink) {
  absl::MutexLock lock(&slots_lock_);
  const absl::Status held = memslots_.Holds(frames);
  if (!held.ok()) return held;
  // Were the slot taken out before the invalidation is open:
  //   fault: finds the slot | remover: takes it out, zaps what is there
  //   fault: installs an entry for memory that the caller has back.
  // And were it closed before that, a fault would find the slot after it.
  const ScopedInvalidation open(invalidations_, frames);
  ZapAll(frames, sink);
  return memslots_.Remove(frames);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
absl::Status Vm<F, M, R, Fl, D, kSpaces, kInner>::MoveMemslot(GfnRange frames,
                                                              Gfn to,
                                                              ZapSink sink) {
  constexpr Gfn kLimit{Tdp::Tree::kFrames};
  absl::MutexLock lock(&slots_lock_);
  const absl::Status can = memslots_.CanMove(frames, to, kLimit);
  if (!can.ok()) return can;
  const ScopedInvalidation open(invalidations_, frames);
  ZapAll(frames, sink);
  return memslots_.Move(frames, to, kLimit);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, std::size_t kSpaces, InnerAging kInner>
std::uint64_t Vm<F, M, R, Fl, D, kSpaces, kInner>::InvalidateNested(
    NestedRange range, ZapSink sink, absl::FunctionRef<void()> change,
    NestedGuest guest) {
  const ScopedInvalidation open(
      nested_invalidations_,
      GfnRange{Gfn{range.begin.value}, Gfn{range.end.value}});
  std::uint64_t zapped = 0;
  {
    const Walk walk(reclaimer_, WalkEntry::kWait);
    const FaultLock::Exclusive hold(fault_lock_);
    zapped = Recorded(sink, [&](ZapSink recorded) {
      return shadow_.ZapNested(walk, range, recorded, guest);
    });
  }
  change();
  return zapped;
}

}  // namespace ptage

#endif  // PTAGE_VM_H_
