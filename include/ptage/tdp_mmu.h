// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The direct MMU: one tree that translates guest frames (two-dimensional
// paging).
//
// Contract
//   Any threads may fault, age, zap and remove concurrently. Fault installs
//   under whatever keeps the memslot's frame valid (vm.h: the MMU lock,
//   shared); nothing else here takes that lock. Aging is wait-free in both
//   modes, but for the slow one's wait for a place to begin its walk. What
//   zaps, removes, splits or promotes waits as page_table.h says, and for the
//   flush; so does what collects dirty pages, as dirty.h says; AgeSkippingCold
//   for the flush, if it is exact.
//
//   A write fault that finds its page write-protected makes it writable and
//   dirty, in its entry, by compare-and-swap alone: the next ClearDirty or
//   WriteProtect tells of it.

#ifndef PTAGE_TDP_MMU_H_
#define PTAGE_TDP_MMU_H_

#include <cstdint>

#include "absl/synchronization/mutex.h"
#include "ptage/dirty.h"
#include "ptage/fast_fault.h"
#include "ptage/harvest.h"
#include "ptage/hold.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// kInner: off unless asked for. With kSkipCold a fault costs one more locked
// operation, and AgeSkippingCold is there.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner = InnerAging::kIgnore>
class TdpMmu : public AgeQuestions<TdpMmu<F, M, R, Fl, kInner>> {
  static_assert(kInner == InnerAging::kIgnore || Prunable<F>,
                "TdpMmu: the format's walkers mark no inner entries");

 public:
  using Tree = PageTable<F, M, R, Fl, absl::Mutex>;
  using Walk = typename Tree::Walk;
  static constexpr bool kFastAging = true;

  // All outlive the MMU. Check valid().
  TdpMmu(M& memory, R& reclaimer, Fl& flusher)
      : reclaimer_(reclaimer),
        flusher_(flusher),
        tree_(memory, reclaimer, flusher, TableKind::kDirect) {}

  // False if there was no memory for the root.
  [[nodiscard]] bool valid() const { return tree_.valid(); }
  // Split, promote and lookups; and the root, for a walker.
  [[nodiscard]] Tree& tree() { return tree_; }

  // Maps `pfn` at the page of size `level` that `gfn` lies in, `pfn` being the
  // frame behind `gfn`; accessed, and dirty if `access` writes. Where a table
  // stands in the way, maps a smaller page. Where a leaf is there, fixes it
  // (fast_fault.h); a write to a page that is write-protected is granted.
  // Precondition: `granted` has `access`.
  [[nodiscard]] FaultOutcome Fault(const Walk& walk, Gfn gfn, Pfn pfn,
                                   Level level, Rights granted, Rights access);

  // Tests or clears every leaf in `range`.
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output);

  // The same, of what is under inner entries that were accessed since they were
  // cleared, by the rules of prune.h. Not for the slow question.
  AgeResult AgeSkippingCold(GfnRange range, Pruning pruning, AgeAction action,
                            const AgeOutput& output)
    requires(kInner == InnerAging::kSkipCold);

  // Zaps every leaf that covers a frame of `range`. Returns how many.
  std::uint64_t Zap(const Walk& walk, GfnRange range, ZapFlush flush,
                    ZapSink sink);

  // Removes the tables that lie wholly in `range`. Returns how many.
  std::uint64_t RemoveTables(const Walk& walk, GfnRange range, ZapSink sink);

  // Zaps every leaf that covers a frame of `range`, whole subtrees from the top
  // with a flush for each, and frees their tables. Returns how many leaves.
  std::uint64_t ZapRecursive(const Walk& walk, GfnRange range, ZapSink sink);

  using Resized = ptage::Resized;
  // Splits every leaf that covers a frame of `range` down to leaves of `level`.
  // A fault may map a large page again meanwhile, if it is told to.
  Resized SplitLarge(const Walk& walk, GfnRange range, Level level);
  // Makes pages of `level` > 1 of those of the level below wherever all of one
  // lie in `range` and fit: consecutive frames from an aligned one, the same
  // rights, none write-protected.
  Resized PromoteSmall(const Walk& walk, GfnRange range, Level level);

  // As hold.h says, for the leaves of a page.
  TakeOutcome Freeze(const Walk& walk, GfnRange page, HeldLeaves<F>& held) {
    return FreezeLeaves(tree_, walk, page, held);
  }
  // A leaf that was taken, as sinks of an MMU get it.
  static ZappedLeaf Zapped(const TakenLeaf<F>& leaf) {
    return ZappedLeaf{.gfn = leaf.gfn,
                      .level = leaf.level,
                      .pfn = F::FrameOf(leaf.word),
                      .accessed = IsYoung<F>(leaf.word),
                      .dirty = IsDirty<F>(leaf.word)};
  }

  // As dirty.h says, for the leaves in `range`.
  AgeCounts ClearDirty(const Walk& walk, GfnRange range,
                       const AgeOutput& output) {
    return ClearDirty(walk, range, output, flusher_);
  }
  AgeCounts WriteProtect(const Walk& walk, GfnRange range,
                         const AgeOutput& output)
    requires(WriteProtectable<F>)
  {
    return WriteProtect(walk, range, output, flusher_);
  }
  // With another flusher in place of the MMU's: one that flushes once for many.
  template <Flusher Other>
  AgeCounts ClearDirty(const Walk& walk, GfnRange range,
                       const AgeOutput& output, Other& flusher) {
    return ptage::ClearDirty(tree_, walk, flusher, range, output);
  }
  template <Flusher Other>
  AgeCounts WriteProtect(const Walk& walk, GfnRange range,
                         const AgeOutput& output, Other& flusher)
    requires(WriteProtectable<F>)
  {
    return ptage::WriteProtect(tree_, walk, flusher, range, output);
  }
  // Flushes nothing.
  std::uint64_t LiftProtection(const Walk& walk, GfnRange range)
    requires(WriteProtectable<F>)
  {
    return ptage::LiftProtection(tree_, walk, range);
  }

 private:
  // A fault that found an entry there.
  FaultOutcome FaultOnPresent(const Walk& walk, Gfn gfn, Rights access);

  R& reclaimer_;
  Fl& flusher_;
  Tree tree_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner>
FaultOutcome TdpMmu<F, M, R, Fl, kInner>::Fault(const Walk& walk, Gfn gfn,
                                                Pfn pfn, Level level,
                                                Rights granted, Rights access) {
  PTAGE_ASSERT(Allows(granted, access));
  for (;; level = level.Below()) {
    const std::uint64_t inside = gfn.value % FramesAt<F>(level);
    const typename F::Word leaf =
        Used<F>(F::MakeLeaf(Pfn{pfn.value - inside}, level, granted), access);
    switch (tree_.Map(walk, Gfn{gfn.value - inside}, level, leaf)) {
      case MapOutcome::kDone:
        if constexpr (kInner == InnerAging::kSkipCold) {
          if (level == Level{1}) MarkParent(tree_, walk, gfn);
        }
        return FaultOutcome::kMapped;
      case MapOutcome::kPresent:
      case MapOutcome::kLargePage:
        return FaultOnPresent(walk, gfn, access);
      case MapOutcome::kTable:
        continue;
      case MapOutcome::kRetry:
        return FaultOutcome::kRetry;
      case MapOutcome::kNoMemory:
        return FaultOutcome::kNoMemory;
    }
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner>
FaultOutcome TdpMmu<F, M, R, Fl, kInner>::FaultOnPresent(const Walk& walk,
                                                         Gfn gfn,
                                                         Rights access) {
  if constexpr (kMarkedByFaults<F>) {
    return OutcomeOf(FastFault(tree_, walk, gfn, access));
  }
  // Under a type-stable reclaimer nothing is protected.
  if constexpr (WriteProtectable<F> && !kTypeStable<R>) {
    if (!Allows(access, Rights::kWrite)) return FaultOutcome::kSpurious;
    const FoundEntry<F> found = tree_.Lookup(walk, gfn);
    if (IsProtected<F>(found.word)) {
      return GrantWrite<F>(*found.entry, found.word, [] {})
                 ? FaultOutcome::kMapped
                 : FaultOutcome::kRetry;
    }
  }
  return FaultOutcome::kSpurious;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner>
AgeResult TdpMmu<F, M, R, Fl, kInner>::Age(GfnRange range, AgeAction action,
                                           AgeMode mode,
                                           const AgeOutput& output) {
  const Walk walk(reclaimer_, EntryFor(mode));
  if (!walk) return Unanswered(range, output);
  AgeCounts counts;
  AgeOutput counted = output;
  counted.counts = &counts;
  AgeResult result = Harvest(tree_, walk, range, action, mode, counted);
  output.Count(counts);
  // Not for a frozen entry, which slow takes for young without having seen it.
  result.was_fast = counts.young != 0;
  return result;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner>
AgeResult TdpMmu<F, M, R, Fl, kInner>::AgeSkippingCold(GfnRange range,
                                                       Pruning pruning,
                                                       AgeAction action,
                                                       const AgeOutput& output)
  requires(kInner == InnerAging::kSkipCold)
{
  const Walk walk(reclaimer_, EntryFor(AgeMode::kFastOnly));
  if (!walk) return Unanswered(range, output);
  AgeCounts counts;
  AgeOutput counted = output;
  counted.counts = &counts;
  AgeResult result =
      Prune(tree_, walk, flusher_, range, pruning, action, counted);
  output.Count(counts);
  result.was_fast = counts.young != 0 && pruning == Pruning::kBestEffort;
  return result;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner>
std::uint64_t TdpMmu<F, M, R, Fl, kInner>::Zap(const Walk& walk, GfnRange range,
                                               ZapFlush flush, ZapSink sink) {
  return tree_.Zap(walk, range, flush,
                   [&](const TakenLeaf<F>& leaf) { sink(Zapped(leaf)); });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner>
std::uint64_t TdpMmu<F, M, R, Fl, kInner>::RemoveTables(const Walk& walk,
                                                        GfnRange range,
                                                        ZapSink sink) {
  return tree_.RemoveTables(
      walk, range, [&](const TakenLeaf<F>& leaf) { sink(Zapped(leaf)); });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner>
std::uint64_t TdpMmu<F, M, R, Fl, kInner>::ZapRecursive(const Walk& walk,
                                                        GfnRange range,
                                                        ZapSink sink) {
  std::uint64_t zapped = 0;
  (void)tree_.RemoveTables(walk, range, [&](const TakenLeaf<F>& leaf) {
    ++zapped;
    sink(Zapped(leaf));
  });
  // What is left at the edges, large leaves among it, and what came meanwhile.
  return zapped + Zap(walk, range, ZapFlush::kEach, sink);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner>
auto TdpMmu<F, M, R, Fl, kInner>::SplitLarge(const Walk& walk, GfnRange range,
                                             Level level) -> Resized {
  Resized resized;
  for (Gfn gfn = range.begin; gfn < range.end && !resized.no_memory;) {
    const FoundEntry<F> found = tree_.Lookup(walk, gfn);
    if (IsFrozen<F>(found.word)) {
      // It may come back as a large leaf.
      SpinPause();
      continue;
    }
    const std::uint64_t frames = FramesAt<F>(found.level);
    const Gfn first{gfn.value / frames * frames};
    if (!F::IsPresent(found.word) || found.level <= level) {
      gfn = first + frames;
      continue;
    }
    switch (tree_.Split(walk, first, found.level)) {
      case StructureOutcome::kDone:
        ++resized.done;
        break;
      case StructureOutcome::kUnsuitable:
        // It became something else: look again.
        break;
      case StructureOutcome::kNoMemory:
        resized.no_memory = true;
    }
  }
  return resized;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          InnerAging kInner>
auto TdpMmu<F, M, R, Fl, kInner>::PromoteSmall(const Walk& walk, GfnRange range,
                                               Level level) -> Resized {
  PTAGE_ASSERT(level > Level{1} && level <= F::kLargestLeaf);
  Resized resized;
  const std::uint64_t frames = FramesAt<F>(level);
  for (Gfn gfn{(range.begin.value + frames - 1) / frames * frames};
       gfn + frames <= range.end; gfn = gfn + frames) {
    const FoundEntry<F> found = tree_.Lookup(walk, gfn);
    // Not worth the lock: nothing there, or as large already.
    if (!F::IsPresent(found.word) || found.level != level.Below()) continue;
    if (tree_.Promote(walk, gfn, level) == StructureOutcome::kDone) {
      ++resized.done;
    }
  }
  return resized;
}

}  // namespace ptage

#endif  // PTAGE_TDP_MMU_H_
