// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The direct MMU: one tree that translates guest frames (two-dimensional
// paging).
//
// Contract
//   Any threads may fault, age, zap and remove concurrently. Fault installs
//   under whatever keeps the memslot's frame valid (vm.h: the MMU lock,
//   shared); nothing else here takes that lock. Aging is wait-free in both
//   modes, but for the slow one's wait for a place to begin its walk. Zap and
//   RemoveTables wait as page_table.h says, and for the flush; AgeSkippingCold
//   for the flush, if it is exact.

#ifndef PTAGE_TDP_MMU_H_
#define PTAGE_TDP_MMU_H_

#include <cstdint>

#include "absl/synchronization/mutex.h"
#include "ptage/fast_fault.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
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
  // (fast_fault.h). Precondition: `granted` has `access`.
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

 private:
  static ZappedLeaf Zapped(const TakenLeaf<F>& leaf) {
    return ZappedLeaf{.gfn = leaf.gfn,
                      .level = leaf.level,
                      .pfn = F::FrameOf(leaf.word),
                      .accessed = IsYoung<F>(leaf.word),
                      .dirty = IsDirty<F>(leaf.word)};
  }

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
        if constexpr (kMarkedByFaults<F>) {
          return OutcomeOf(FastFault(tree_, walk, gfn, access));
        }
        return FaultOutcome::kSpurious;
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

}  // namespace ptage

#endif  // PTAGE_TDP_MMU_H_
