// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The shadow MMU of nested guests: one tree that translates frames of L2
// straight to host frames, reached from the frames of L1 through rmaps.
//
// Contract
//   * Fault, ZapFrames and ZapNested change entries and rmaps; the caller holds
//     the MMU lock, exclusively, for each. So an entry is frozen only by a
//     thread that holds the lock, and is never waited for under it.
//   * Age: any thread, not holding the MMU lock. It asks every entry of every
//     rmap of the range by the rules of the discipline: fast-only is wait-free
//     and leaves unknown what the discipline cannot answer; slow waits as the
//     discipline says. AgeSkippingCold too is for any thread; it waits for the
//     flush, if it is exact, and for nothing else.
//   * An entry is in its rmap from before it is present until after it is
//     frozen for good (rmap.h). No entry is out of date with L1's tables, if
//     L1's changes are told by ZapNested before they count as done (vm.h).
//   * With no live entry Age visits nothing.
//
// Sites (order · partner)
//   [shadow.1] relaxed count of live entries: an entry that is present for the
//              whole of a question was counted before it

#ifndef PTAGE_SHADOW_MMU_H_
#define PTAGE_SHADOW_MMU_H_

#include <algorithm>
#include <cstdint>

#include "absl/synchronization/mutex.h"
#include "ptage/fast_fault.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/prune_nested.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/rmap/range.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

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

 public:
  using Tree = PageTable<F, M, R, Fl, absl::Mutex>;
  using Walk = typename Tree::Walk;
  static constexpr bool kFastAging = D::kFastAging;

  // All outlive the MMU. Check valid(). `flusher` is asked for ranges of L2
  // frames, as Gfn.
  ShadowMmu(M& memory, R& reclaimer, Fl& flusher, D& rmaps,
            Memslots<F, R>& memslots)
      : memory_(memory),
        reclaimer_(reclaimer),
        flusher_(flusher),
        rmaps_(rmaps),
        memslots_(memslots),
        tree_(memory, reclaimer, flusher, TableKind::kIndirect),
        live_(0) {}
  ~ShadowMmu();

  [[nodiscard]] bool valid() const { return tree_.valid(); }
  // For lookups, and the root, for a walker. Its frames are those of L2.
  [[nodiscard]] const Tree& tree() const { return tree_; }
  // Leaves that are mapped.
  [[nodiscard]] std::uint64_t live() const { return ReadOnce(live_, kRelaxed); }

  // Maps the 4 KiB page `nested` to the frame behind `gfn`, which is in `slot`;
  // accessed, and dirty if `access` writes. An rmap that is full is zapped
  // first. Precondition: the slot grants `access`.
  [[nodiscard]] FaultOutcome Fault(const Walk& walk, NestedGfn nested,
                                   Memslot<F>& slot, Gfn gfn, Rights access);

  // Tests or clears every entry that maps a frame of `range`.
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output);

  // The same, of what is under inner entries that were accessed since they were
  // cleared, by the rules of prune_nested.h: it looks at the tree, and at no
  // rmap. Not for the slow question.
  AgeResult AgeSkippingCold(GfnRange range, Pruning pruning, AgeAction action,
                            const AgeOutput& output)
    requires(kInner == InnerAging::kSkipCold);

  // Zaps every entry that maps a frame of `range`, and flushes. Returns how
  // many.
  std::uint64_t ZapFrames(const Walk& walk, GfnRange range, ZapSink sink);

  // Zaps every entry for these frames of L2, and flushes. Returns how many.
  std::uint64_t ZapNested(const Walk& walk, NestedRange range, ZapSink sink);

  // Entries that map the page at `level` around `gfn`. Precondition: the MMU
  // lock is held, or no other thread uses the MMU.
  [[nodiscard]] std::uint32_t CountEntries(Memslot<F>& slot, Gfn gfn,
                                           Level level) {
    return rmaps_.Count(slot.HeadOf(gfn, level));
  }

 private:
  static constexpr Level kOnly{1};

  // Zaps every entry of one rmap; `flush` grows to cover their frames.
  std::uint64_t ZapRmap(RmapHead& head, Gfn gfn, Level level, GfnRange& flush,
                        ZapSink sink);
  void Unmap(RmapHead& head, SpteCell<F>& entry, typename F::Word taken,
             Gfn gfn, Level level, ZapSink sink);
  void FlushCollected(GfnRange flush) {
    if (!flush.Empty()) flusher_.Flush(flush);
  }

  M& memory_;
  R& reclaimer_;
  Fl& flusher_;
  D& rmaps_;
  Memslots<F, R>& memslots_;
  Tree tree_;
  // [shadow.1] written under the MMU lock.
  Cell<std::uint64_t> live_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
ShadowMmu<F, M, R, Fl, D, kInner>::~ShadowMmu() {
  // Gives the rmaps' chunks back. Nobody else uses the MMU any more.
  if (!valid()) return;
  const Walk walk(reclaimer_, WalkEntry::kWait);
  ZapNested(walk, NestedRange{NestedGfn{0}, NestedGfn{Tree::kFrames}},
            [](const ZappedLeaf&) {});
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
FaultOutcome ShadowMmu<F, M, R, Fl, D, kInner>::Fault(const Walk& walk,
                                                      NestedGfn nested,
                                                      Memslot<F>& slot, Gfn gfn,
                                                      Rights access) {
  PTAGE_ASSERT(Allows(slot.rights(), access));
  SpteCell<F>* entry = nullptr;
  switch (tree_.Claim(walk, Gfn{nested.value}, kOnly, entry)) {
    case MapOutcome::kDone:
      break;
    case MapOutcome::kPresent:
      if constexpr (kMarkedByFaults<F>) {
        return OutcomeOf(FastFault(tree_, walk, Gfn{nested.value}, access));
      }
      return FaultOutcome::kSpurious;
    case MapOutcome::kNoMemory:
      return FaultOutcome::kNoMemory;
    default:
      return FaultOutcome::kRetry;
  }
  // The entry is frozen: no other fault can record another frame for it.
  RecordFrame<F>(memory_, *entry, gfn);
  RmapHead& head = slot.HeadOf(gfn, kOnly);
  RmapAdd added = rmaps_.Add(head, *entry);
  if (added == RmapAdd::kFull) {
    GfnRange flush;
    ZapRmap(head, gfn, kOnly, flush, [](const ZappedLeaf&) {});
    FlushCollected(flush);
    added = rmaps_.Add(head, *entry);
  }
  if (added != RmapAdd::kDone) {
    Empty<F>(*entry);
    return FaultOutcome::kNoMemory;
  }
  WriteOnce(live_, live() + 1, kRelaxed);
  Publish<F>(
      *entry,
      Used<F>(F::MakeLeaf(slot.FrameOf(gfn), kOnly, slot.rights()), access));
  if constexpr (kInner == InnerAging::kSkipCold) {
    MarkParent(tree_, walk, Gfn{nested.value});
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
  AgeResult result;
  AgeCounts counts;
  memslots_.ForEach(walk, range, [&](Memslot<F>& slot, GfnRange part) {
    result |= AgeRange(rmaps_, &slot.HeadOf(part.begin, kOnly),
                       RmapFrame{part.begin, kOnly}, part.Frames(), action,
                       mode, output, counts);
  });
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
  AgeResult result =
      PruneNested(tree_, walk, flusher_, GfnRange{Gfn{0}, Gfn{Tree::kFrames}},
                  pruning, action, range, counted);
  output.Count(counts);
  result.was_fast =
      kFastAging && counts.young != 0 && pruning == Pruning::kBestEffort;
  return result;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
void ShadowMmu<F, M, R, Fl, D, kInner>::Unmap(RmapHead& head,
                                              SpteCell<F>& entry,
                                              typename F::Word taken, Gfn gfn,
                                              Level level, ZapSink sink) {
  // Frozen: its bits go to the caller before the rmap stops answering for it.
  sink(ZappedLeaf{.gfn = gfn,
                  .level = level,
                  .pfn = F::FrameOf(taken),
                  .accessed = IsYoung<F>(taken),
                  .dirty = IsDirty<F>(taken)});
  const bool removed = rmaps_.Remove(head, entry);
  PTAGE_ASSERT(removed);
  WriteOnce(live_, live() - 1, kRelaxed);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
std::uint64_t ShadowMmu<F, M, R, Fl, D, kInner>::ZapRmap(RmapHead& head,
                                                         Gfn gfn, Level level,
                                                         GfnRange& flush,
                                                         ZapSink sink) {
  std::uint64_t zapped = 0;
  while (SpteCell<F>* const entry = rmaps_.Any(head)) {
    const Gfn nested = TranslatedFrame<F>(memory_, *entry);
    // The MMU lock keeps faults out, so one flush may serve for many; only a
    // walker's accessed or dirty bit makes the loop go round.
    const ZapOutcome outcome = ptage::Zap<F>(
        *entry, [] {},
        [&](typename F::Word taken) {
          Unmap(head, *entry, taken, gfn, level, sink);
        });
    PTAGE_ASSERT(outcome == ZapOutcome::kZapped);
    const GfnRange frames{nested, nested + FramesAt<F>(level)};
    flush = flush.Empty() ? frames
                          : GfnRange{std::min(flush.begin, frames.begin),
                                     std::max(flush.end, frames.end)};
    ++zapped;
  }
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
std::uint64_t ShadowMmu<F, M, R, Fl, D, kInner>::ZapFrames(const Walk& walk,
                                                           GfnRange range,
                                                           ZapSink sink) {
  if (live() == 0) return 0;
  std::uint64_t zapped = 0;
  GfnRange flush;
  memslots_.ForEach(walk, range, [&](Memslot<F>& slot, GfnRange part) {
    for (Gfn gfn = part.begin; gfn < part.end; gfn = gfn + 1) {
      zapped += ZapRmap(slot.HeadOf(gfn, kOnly), gfn, kOnly, flush, sink);
    }
  });
  FlushCollected(flush);
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          RmapDiscipline D, InnerAging kInner>
std::uint64_t ShadowMmu<F, M, R, Fl, D, kInner>::ZapNested(const Walk& walk,
                                                           NestedRange range,
                                                           ZapSink sink) {
  const GfnRange frames{Gfn{range.begin.value}, Gfn{range.end.value}};
  const std::uint64_t zapped = tree_.Zap(
      walk, frames, ZapFlush::kByCaller, [&](const TakenLeaf<F>& leaf) {
        const Gfn gfn = RecordedFrame<F>(memory_, leaf.entry);
        Memslot<F>* const slot = memslots_.Find(walk, gfn);
        PTAGE_ASSERT(slot != nullptr);
        Unmap(slot->HeadOf(gfn, leaf.level), leaf.entry, leaf.word, gfn,
              leaf.level, sink);
      });
  if (zapped != 0) flusher_.Flush(frames);
  return zapped;
}

}  // namespace ptage

#endif  // PTAGE_SHADOW_MMU_H_
