// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The shadow MMU of nested guests: a tree for each, that translates frames of
// L2 straight to host frames; all are reached from the frames of L1 through one
// set of rmaps.
//
// Contract
//   * Fault, ZapFrames, ZapNested, RemoveTables, SplitLarge, and Freeze with
//     what follows it, change entries and rmaps; the caller holds the MMU lock,
//     exclusively, or, for Fault, shared where the discipline's writers keep
//     each other apart. So an entry is frozen only by a thread that holds the
//     lock, no entry goes away while it is shared, and none is waited for under
//     it. A fault that has to zap answers that it needs the lock exclusively.
//   * Age: any thread, not holding the MMU lock. It asks every entry of every
//     rmap of the range by the rules of the discipline: fast-only is wait-free
//     and leaves unknown what the discipline cannot answer; slow waits as the
//     discipline says. AgeSkippingCold too is for any thread; it waits for the
//     flush, if it is exact, and for nothing else.
//   * An entry is in its rmap from before it is present until after it is
//     frozen for good (rmap.h). No entry is out of date with L1's tables, if
//     L1's changes are told by ZapNested before they count as done (vm.h).
//   * An entry grants what both stages grant: the slot, and L1's tables when it
//     was built. It is given more by a fault that finds that L1 allows more by
//     then; it loses rights by being zapped alone.
//   * With no live entry Age visits nothing, and with no large one nothing but
//     the rmaps of small pages.
//
// Here is what an MMU does by frames of L2, in the guests' trees; what is done
// by frames of L1, through the rmaps, is in shadow_mmu/nested_entries.h.
//
// Sites (order · partner)
//   [shadow.1] relaxed compare-and-swap    · none: nothing is published by it
//              in GrantMore
//   [shadow.2] release store in AddGuest   · [shadow.3]
//   [shadow.3] acquire load in guests      · [shadow.2]

#ifndef PTAGE_SHADOW_MMU_H_
#define PTAGE_SHADOW_MMU_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "ptage/dirty.h"
#include "ptage/fast_fault.h"
#include "ptage/fault_lock.h"
#include "ptage/hold.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/once/mutex.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/prune_nested.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/shadow_mmu/nested_entries.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// How the MMU lock is held.
enum class MmuLock { kShared, kExclusive };

// kInner: off unless asked for. With kSkipCold a fault costs one more locked
// operation, and AgeSkippingCold is there.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner = InnerAging::kIgnore>
class ShadowMmu : public AgeQuestions<ShadowMmu<F, M, R, Fl, D, kInner>> {
  static_assert(!kTypeStable<R>,
                "ShadowMmu: rmaps and their chunks need a reclaimer that waits "
                "for walks; TypeStable does not");
  static_assert(kInner == InnerAging::kIgnore || Prunable<F>,
                "ShadowMmu: the format's walkers mark no inner entries");

  using Entries = internal::NestedEntries<F, M, R, D>;

 public:
  using Tree = PageTable<F, M, R, Fl, HostedMutex>;
  using Walk = typename Tree::Walk;
  static constexpr bool kFastAging = D::kFastAging;
  // How most faults need the MMU lock.
  static constexpr MmuLock kFaultLock =
      D::kParallelWriters ? MmuLock::kShared : MmuLock::kExclusive;

  // All outlive the MMU. Check valid(). `flusher` is asked for ranges of L2
  // frames, as Gfn.
  ShadowMmu(M& memory, R& reclaimer, Fl& flusher, D& rmaps,
            Memslots<F, R>& memslots)
      : memory_(memory),
        reclaimer_(reclaimer),
        flusher_(flusher),
        entries_(memory, rmaps, memslots),
        guests_(0) {
    (void)AddGuest();
  }
  // Precondition: no other thread uses the MMU, and no CPU its tables.
  ~ShadowMmu();

  // False if there was no memory for the first guest's root.
  [[nodiscard]] bool valid() const { return guests() != 0; }

  // One more nested guest; nothing if there are kMostGuests, or no memory for a
  // root. It is there as long as the MMU: one that ends is emptied, by
  // ZapNested of all its frames, and may be given to the next. Precondition:
  // the MMU lock is held, exclusively.
  static constexpr std::uint32_t kMostGuests = 16;
  [[nodiscard]] std::optional<NestedGuest> AddGuest();
  // How many there are.
  [[nodiscard]] std::uint32_t guests() const {
    // [shadow.3] acquire, pairs with [shadow.2].
    return ReadOnce(guests_, kAcquire);
  }

  // For lookups, and the root, for a walker. Its frames are those of L2.
  [[nodiscard]] const Tree& tree(
      NestedGuest guest = NestedGuest::kFirst) const {
    PTAGE_ASSERT(static_cast<std::uint32_t>(guest) < guests());
    return *trees_[static_cast<std::uint32_t>(guest)];
  }
  // Leaves that are mapped.
  [[nodiscard]] std::uint64_t live() const { return entries_.live(); }

  // Maps the page that `nested` lies in to the memory behind the frame of L1
  // that L1's tables name, which is in `slot`; accessed, and dirty if `access`
  // writes. It is the largest page that is one in L1's tables, in the slot and
  // in the host, unless a table stands in the way. An rmap that is full is
  // zapped first, and an entry that L1 has replaced without a word: by another
  // frame, by smaller pages of which this one is allowed more, or by one that
  // is allowed other things; `sink` gets their bits. Nothing: that was to be
  // done, and the lock is shared; nothing was changed. Preconditions: slot and
  // L1 grant `access`; `lock` is how the MMU lock is held, which is kFaultLock
  // or kExclusive.
  [[nodiscard]] std::optional<FaultOutcome> Fault(
      const Walk& walk, NestedGfn nested, Memslot<F>& slot,
      NestedMapping mapping, Rights access, MmuLock lock, ZapSink sink,
      NestedGuest guest = NestedGuest::kFirst);

  // Tests or clears every entry that maps a frame of `range`.
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output);

  // The same, of what is under inner entries that were accessed since they were
  // cleared, by the rules of prune_nested.h: it looks at the tree, and at no
  // rmap. Not for the slow question.
  AgeResult AgeSkippingCold(GfnRange range, Pruning pruning, AgeAction action,
                            const AgeOutput& output)
    requires(kInner == InnerAging::kSkipCold);

  // Splits every entry that maps a frame of `range`, which are L1's, by a page
  // larger than `level`, in whichever tree: a level at a time, and only what
  // covers the range. Each part has the rights of the large leaf, its accessed
  // and dirty bits and its protection, and is in the rmap of its own frame.
  // no_memory: for a table or for an rmap, or an rmap of a part is full; the
  // leaf is as it was then, and so are those that come after it. Flushes for
  // each that is split. Precondition: the MMU lock is held, exclusively.
  using Resized = ptage::Resized;
  Resized SplitLarge(const Walk& walk, GfnRange range, Level level);

  // Zaps every entry that maps a frame of `range`, and flushes. Returns how
  // many.
  std::uint64_t ZapFrames(const Walk& walk, GfnRange range, ZapSink sink);

  // As hold.h says, for every entry that maps a frame of a page of L1.
  // EntriesOf counts them. Precondition of all: the MMU lock is held,
  // exclusively, from the first one on until nothing is held any more.
  [[nodiscard]] std::size_t EntriesOf(const Walk& walk, GfnRange page) {
    return entries_.EntriesOf(walk, page);
  }
  TakeOutcome Freeze(const Walk& walk, GfnRange page, HeldLeaves<F>& held)
    requires EnumerableRmaps<D>
  {
    return entries_.FreezeEntries(walk, page, held);
  }
  void Flush(const HeldLeaves<F>& held);
  void UnmapLeaf(const Walk& walk, const TakenLeaf<F>& leaf, ZapSink sink) {
    entries_.Unmap(walk, leaf, sink);
  }

  // Zaps every entry for these frames of L2, and flushes. Returns how many.
  std::uint64_t ZapNested(const Walk& walk, NestedRange range, ZapSink sink,
                          NestedGuest guest = NestedGuest::kFirst);

  // Calls `visit(entry, frames)` for every entry that maps a frame of `range`:
  // `frames` are all that it maps, of L1. Holds `mmu_lock`, which is the MMU
  // lock, exclusively meanwhile, but lets it go every kRmapsAtOnce rmaps; what
  // is there during all of the call is visited, and not frozen. Precondition:
  // the caller does not hold it.
  static constexpr int kRmapsAtOnce = Entries::kRmapsAtOnce;
  template <class Visitor>
  void ForEachEntry(const Walk& walk, GfnRange range, FaultLock& mmu_lock,
                    Visitor&& visit)
    requires EnumerableRmaps<D>
  {
    if (live() != 0) entries_.ForEachEntry(walk, range, mmu_lock, visit);
  }
  // The frames of L2 that `entry`, of a page of so many, is for.
  [[nodiscard]] GfnRange NestedFramesOf(const SpteCell<F>& entry,
                                        std::uint64_t frames) {
    return entries_.NestedFramesOf(entry, frames);
  }

  // Removes the tables that lie wholly in `range`, with what they map, so that
  // a large page may be mapped there. Returns how many.
  std::uint64_t RemoveTables(const Walk& walk, NestedRange range, ZapSink sink,
                             NestedGuest guest = NestedGuest::kFirst);

  // Entries that map the page at `level` around `gfn`. Precondition: the MMU
  // lock is held, or no other thread uses the MMU.
  [[nodiscard]] std::uint32_t CountEntries(Memslot<F>& slot, Gfn gfn,
                                           Level level) {
    return entries_.Count(slot.HeadOf(gfn, level));
  }

 private:
  static constexpr Level kSmall{1};

  Tree& TreeOf(NestedGuest guest) {
    PTAGE_ASSERT(static_cast<std::uint32_t>(guest) < guests());
    return *trees_[static_cast<std::uint32_t>(guest)];
  }
  // The largest level at which one entry may map what is behind `nested`.
  static Level LevelFor(NestedGfn nested, const Memslot<F>& slot,
                        NestedMapping mapping);
  // Where an entry is there already. `largest`: LevelFor, or below.
  std::optional<FaultOutcome> GrantMore(const Walk& walk, NestedGfn nested,
                                        Level largest, Rights granted, Gfn gfn,
                                        Rights access, MmuLock lock,
                                        ZapSink sink, NestedGuest guest);

  M& memory_;
  R& reclaimer_;
  Fl& flusher_;
  // Of all trees.
  Entries entries_;
  // Of the guests. Written under the MMU lock, before the number of them is.
  std::unique_ptr<Tree> trees_[kMostGuests];
  Cell<std::uint32_t> guests_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
std::optional<NestedGuest> ShadowMmu<F, M, R, Fl, D, kInner>::AddGuest() {
  const std::uint32_t count = guests();
  if (count == kMostGuests) return std::nullopt;
  auto tree = std::make_unique<Tree>(memory_, reclaimer_, flusher_,
                                     TableKind::kIndirect);
  if (!tree->valid()) return std::nullopt;
  trees_[count] = std::move(tree);
  // [shadow.2] release, pairs with [shadow.3]: who counts the guest finds its
  // tree.
  WriteOnce(guests_, count + 1, kRelease);
  return NestedGuest{count};
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
ShadowMmu<F, M, R, Fl, D, kInner>::~ShadowMmu() {
  // Gives the rmaps' chunks back. Nobody else uses the MMU any more.
  if (!valid()) return;
  const Walk walk(reclaimer_, WalkEntry::kWait);
  for (std::uint32_t i = 0; i < guests(); ++i) {
    ZapNested(
        walk, NestedRange{NestedGfn{0}, NestedGfn{Tree::kFrames}},
        [](const ZappedLeaf&) {}, NestedGuest{i});
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
Level ShadowMmu<F, M, R, Fl, D, kInner>::LevelFor(NestedGfn nested,
                                                  const Memslot<F>& slot,
                                                  NestedMapping mapping) {
  const Level limit = slot.LargestLevel(mapping.gfn, mapping.level);
  Level level = kSmall;
  while (level < limit && nested.value % FramesAt<F>(level.Above()) ==
                              mapping.gfn.value % FramesAt<F>(level.Above())) {
    level = level.Above();
  }
  return level;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
std::optional<FaultOutcome> ShadowMmu<F, M, R, Fl, D, kInner>::GrantMore(
    const Walk& walk, NestedGfn nested, Level largest, Rights granted, Gfn gfn,
    Rights access, MmuLock lock, ZapSink sink, NestedGuest guest) {
  const FoundEntry<F> found = tree(guest).Lookup(walk, Gfn{nested.value});
  if (!F::IsPresent(found.word)) return FaultOutcome::kRetry;
  const std::uint64_t inside = nested.value % FramesAt<F>(found.level);
  if (RecordedFrame<F>(memory_, *found.entry) + inside != gfn) {
    // L1 has put another page there, and need not say so before it wants that
    // to count. A processor that faults drops what it has cached for the frame
    // (SDM 3C 29.4.3.1), and so finds the new one.
    if (lock == MmuLock::kShared) return std::nullopt;
    (void)ZapNested(walk, NestedRange{nested, nested + 1}, sink, guest);
    return FaultOutcome::kRetry;
  }
  const Rights has = F::RightsOf(found.word);
  if (Allows(has, access)) {
    if constexpr (kMarkedByFaults<F>) {
      return OutcomeOf(FastFaultSeen<F>(*found.entry, found.word, access));
    }
    return FaultOutcome::kSpurious;
  }
  typename F::Word more =
      F::MakeLeaf(F::FrameOf(found.word), found.level, granted);
  // L1 has put smaller pages there, and allows more of this one alone: the
  // other frames of the entry must not be given it. Or it has taken a right
  // away with the one that it gave:
  //   L1: what may be written is to be executed, and not written any more
  //   L2: executes it, which faults   | hypervisor: grants that as well
  //   L2: writes what it executes.
  if (found.level > largest || !Allows(F::RightsOf(more), has)) {
    if (lock == MmuLock::kShared) return std::nullopt;
    (void)ZapNested(walk, NestedRange{nested, nested + 1}, sink, guest);
    return FaultOutcome::kRetry;
  }
  more |= found.word & F::kDirty;
  if constexpr (kMarkedByFaults<F>) {
    more = Used<F>(more, access);
  } else {
    // Accessed if it was: to make it so is for the walk that comes next, which
    // marks the entries above as well, as prune.h wants it.
    more |= found.word & F::kAccessed;
    if (Allows(access, Rights::kWrite)) more |= F::kDirty;
  }
  if constexpr (WriteProtectable<F>) {
    // A page that is write-protected stays so until it is written.
    if (IsProtected<F>(found.word) && !Allows(access, Rights::kWrite)) {
      more = Protected<F>(more);
    }
  }
  // Nothing has to be flushed: a CPU that has the entry cached with fewer
  // rights faults once more, and finds it.
  // [shadow.1] relaxed: the page's record is as old as the entry.
  return TryCmpxchg(*found.entry, found.word, more, kRelaxed)
             ? FaultOutcome::kMapped
             : FaultOutcome::kRetry;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
std::optional<FaultOutcome> ShadowMmu<F, M, R, Fl, D, kInner>::Fault(
    const Walk& walk, NestedGfn nested, Memslot<F>& slot, NestedMapping mapping,
    Rights access, MmuLock lock, ZapSink sink, NestedGuest guest) {
  Tree& tree = TreeOf(guest);
  const Rights granted = slot.rights() & mapping.rights;
  PTAGE_ASSERT(Allows(granted, access) &&
               (D::kParallelWriters || lock == MmuLock::kExclusive));
  SpteCell<F>* entry = nullptr;
  Level level = LevelFor(nested, slot, mapping);
  for (bool claimed = false; !claimed;) {
    const std::uint64_t inside = nested.value % FramesAt<F>(level);
    switch (tree.Claim(walk, Gfn{nested.value - inside}, level, entry)) {
      case MapOutcome::kDone:
        claimed = true;
        break;
      case MapOutcome::kTable:
        level = level.Below();
        break;
      case MapOutcome::kPresent:
      case MapOutcome::kLargePage:
        return GrantMore(walk, nested, level, granted, mapping.gfn, access,
                         lock, sink, guest);
      case MapOutcome::kNoMemory:
        return FaultOutcome::kNoMemory;
      case MapOutcome::kRetry:
        return FaultOutcome::kRetry;
    }
  }
  const Gfn gfn{mapping.gfn.value - nested.value % FramesAt<F>(level)};
  RmapHead& head = slot.HeadOf(mapping.gfn, level);
  const typename F::Word leaf =
      Used<F>(F::MakeLeaf(slot.FrameOf(gfn), level, granted), access);
  RmapAdd added = entries_.Map(head, *entry, gfn, level, leaf);
  if (added == RmapAdd::kFull) {
    if (lock == MmuLock::kShared) {
      Empty<F>(*entry);
      return std::nullopt;
    }
    FlushLater flush;
    entries_.ZapRmap(head, gfn, level, flush, sink);
    flush.FlushAll(flusher_);
    added = entries_.Map(head, *entry, gfn, level, leaf);
  }
  if (added != RmapAdd::kDone) {
    Empty<F>(*entry);
    return FaultOutcome::kNoMemory;
  }
  if constexpr (kInner == InnerAging::kSkipCold) {
    if (level == kSmall) MarkParent(tree, walk, Gfn{nested.value});
  }
  return FaultOutcome::kMapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
AgeResult ShadowMmu<F, M, R, Fl, D, kInner>::Age(GfnRange range,
                                                 AgeAction action, AgeMode mode,
                                                 const AgeOutput& output) {
  if (live() == 0) return AgeResult{};
  const Walk walk(reclaimer_, EntryFor(mode));
  if (!walk) return Unanswered(range, output);
  AgeCounts counts;
  AgeResult result = entries_.Age(walk, range, action, mode, output, counts);
  output.Count(counts);
  result.was_fast = kFastAging && counts.young != 0;
  return result;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
AgeResult ShadowMmu<F, M, R, Fl, D, kInner>::AgeSkippingCold(
    GfnRange range, Pruning pruning, AgeAction action, const AgeOutput& output)
  requires(kInner == InnerAging::kSkipCold)
{
  if (live() == 0) return AgeResult{};
  const Walk walk(reclaimer_, EntryFor(AgeMode::kFastOnly));
  if (!walk) return Unanswered(range, output);
  AgeCounts counts;
  AgeOutput counted = output;
  counted.counts = &counts;
  AgeResult result;
  const std::uint32_t count = guests();
  for (std::uint32_t i = 0; i < count; ++i) {
    result |= PruneNested(*trees_[i], walk, flusher_,
                          GfnRange{Gfn{0}, Gfn{Tree::kFrames}}, pruning, action,
                          range, counted);
  }
  output.Count(counts);
  result.was_fast =
      kFastAging && counts.young != 0 && pruning == Pruning::kBestEffort;
  return result;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
auto ShadowMmu<F, M, R, Fl, D, kInner>::SplitLarge(const Walk& walk,
                                                   GfnRange range, Level level)
    -> Resized {
  return entries_.SplitLarge(
      walk, range, level, [&](SpteCell<F>& entry, Level at, auto& parts) {
        const Gfn nested = NestedFramesOf(entry, FramesAt<F>(at)).begin;
        // No table comes or goes while the lock is held.
        std::uint32_t i = 0;
        while (trees_[i]->Lookup(walk, nested).entry != &entry) {
          ++i;
          PTAGE_ASSERT(i < guests());
        }
        return trees_[i]->Split(walk, nested, at, parts);
      });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
std::uint64_t ShadowMmu<F, M, R, Fl, D, kInner>::ZapFrames(const Walk& walk,
                                                           GfnRange range,
                                                           ZapSink sink) {
  if (live() == 0) return 0;
  FlushLater flush;
  const std::uint64_t zapped = entries_.ZapFrames(walk, range, flush, sink);
  flush.FlushAll(flusher_);
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
void ShadowMmu<F, M, R, Fl, D, kInner>::Flush(const HeldLeaves<F>& held) {
  FlushLater flush;
  for (const auto& leaf : held) {
    flush.Flush(NestedFramesOf(*leaf.entry, FramesAt<F>(leaf.level)));
  }
  flush.FlushAll(flusher_);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
std::uint64_t ShadowMmu<F, M, R, Fl, D, kInner>::ZapNested(const Walk& walk,
                                                           NestedRange range,
                                                           ZapSink sink,
                                                           NestedGuest guest) {
  const GfnRange frames{Gfn{range.begin.value}, Gfn{range.end.value}};
  const std::uint64_t zapped = TreeOf(guest).Zap(
      walk, frames, ZapFlush::kByCaller,
      [&](const TakenLeaf<F>& leaf) { UnmapLeaf(walk, leaf, sink); });
  if (zapped != 0) flusher_.Flush(frames);
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
std::uint64_t ShadowMmu<F, M, R, Fl, D, kInner>::RemoveTables(
    const Walk& walk, NestedRange range, ZapSink sink, NestedGuest guest) {
  return TreeOf(guest).RemoveTables(
      walk, GfnRange{Gfn{range.begin.value}, Gfn{range.end.value}},
      [&](const TakenLeaf<F>& leaf) { UnmapLeaf(walk, leaf, sink); });
}

}  // namespace ptage

#endif  // PTAGE_SHADOW_MMU_H_
