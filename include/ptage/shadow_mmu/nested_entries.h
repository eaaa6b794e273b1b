// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The entries of nested guests, of whichever tree, from the side of L1's
// frames: how one comes into the rmap of its frame and leaves it, and what is
// asked and done frame by frame. Included by shadow_mmu.h.
//
// Contract
//   * An entry is in its rmap from before it is present until after it is
//     frozen for good (rmap.h), and is counted for as long.
//   * A large leaf that is split is in its rmap, and counted as a large one,
//     until its parts are in theirs and present. So who looks for all that maps
//     a frame, and does not hold the lock all the while, looks for the large
//     ones first (Age, ForEachEntry):
//       asker: small rmaps: nothing   | split: the access goes from the large
//                                     | leaf to the parts
//       asker: large rmaps: nothing, and calls the page cold
//     Who finds the large leaf gone, from its rmap or from the count, has read
//     that with acquire from a release that came after the parts were added:
//     [lockless.1], [single.1], [bit.1] and [list.1] of rmaps, [count.2] of the
//     count; or finds the table, by [rmap.1], which was published later still.
//   * Age is for any thread that is inside a walk. Who calls anything else
//     holds the MMU lock as shadow_mmu.h says. So an entry is frozen only by a
//     thread that holds it, and none is waited for.
//   * What zaps flushes nothing: `flush` collects the frames of L2, for the
//     caller, who keeps the lock until he has flushed them.

#ifndef PTAGE_SHADOW_MMU_NESTED_ENTRIES_H_
#define PTAGE_SHADOW_MMU_NESTED_ENTRIES_H_

#include <cstddef>
#include <cstdint>

#include "ptage/fault_lock.h"
#include "ptage/hold.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/once/thread.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/rmap/range.h"
#include "ptage/sharded_count.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::internal {

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
class NestedEntries {
 public:
  using Entry = SpteCell<F>;
  using Word = typename F::Word;
  using Walk = LocklessWalk<R>;

  static constexpr Level kSmall{1};
  static constexpr int kRmapsAtOnce = 4096;

  // All outlive this.
  NestedEntries(M& memory, D& rmaps, Memslots<F, R>& memslots)
      : memory_(memory), rmaps_(rmaps), memslots_(memslots) {}

  // Leaves that are mapped; and those of one rmap.
  [[nodiscard]] std::uint64_t live() const { return live_.Count(); }
  [[nodiscard]] std::uint32_t Count(RmapHead& head) {
    return rmaps_.Count(head);
  }
  // The frames of L2 that `entry`, of a page of so many, is for.
  [[nodiscard]] GfnRange NestedFramesOf(const Entry& entry,
                                        std::uint64_t frames) {
    const Gfn nested = TranslatedFrame<F>(memory_, entry);
    return GfnRange{nested, nested + frames};
  }

  // --- One entry, and one rmap: that of the page at `level` from `gfn` on.

  // Lets `leaf` map the page. Precondition: the caller has frozen the entry,
  // which was empty. Not kDone: it is frozen still.
  RmapAdd Map(RmapHead& head, Entry& entry, Gfn gfn, Level level, Word leaf);
  // Hands on the bits of a leaf that the caller has frozen, and is about to
  // empty, and takes it out of its rmap.
  void Unmap(const Walk& walk, const TakenLeaf<F>& leaf, ZapSink sink);
  // Zaps every entry of the rmap. Returns how many.
  std::uint64_t ZapRmap(RmapHead& head, Gfn gfn, Level level, FlushLater& flush,
                        ZapSink sink);

  // What Split of an indirect tree asks for: the rmaps of the parts of a leaf
  // that maps the page at `level` from `gfn` on, in `slot`.
  class Parts {
   public:
    Parts(NestedEntries& entries, Memslot<F>& slot, Gfn gfn, Level level)
        : entries_(entries), slot_(slot), gfn_(gfn), level_(level) {}

    bool Add(Entry& part, unsigned index) {
      const Level level = level_.Below();
      const Gfn gfn = gfn_ + index * FramesAt<F>(level);
      return entries_.Join(slot_.HeadOf(gfn, level), part, gfn, level) ==
             RmapAdd::kDone;
    }
    void Remove(Entry& entry);

   private:
    NestedEntries& entries_;
    Memslot<F>& slot_;
    const Gfn gfn_;
    const Level level_;
  };

  // --- All that maps a frame of a range. See shadow_mmu.h.

  AgeResult Age(const Walk& walk, GfnRange range, AgeAction action,
                AgeMode mode, const AgeOutput& output, AgeCounts& counts);
  std::uint64_t ZapFrames(const Walk& walk, GfnRange range, FlushLater& flush,
                          ZapSink sink);
  [[nodiscard]] std::size_t EntriesOf(const Walk& walk, GfnRange page);
  TakeOutcome FreezeEntries(const Walk& walk, GfnRange page,
                            HeldLeaves<F>& held)
    requires EnumerableRmaps<D>;
  template <class Visitor>
  void ForEachEntry(const Walk& walk, GfnRange range, FaultLock& mmu_lock,
                    Visitor&& visit)
    requires EnumerableRmaps<D>;
  // `split(entry, level, parts)` splits one, in its tree: StructureOutcome.
  template <class Split>
  Resized SplitLarge(const Walk& walk, GfnRange range, Level level,
                     Split&& split);

 private:
  // The entry, frozen, is in the rmap from now on, and counted; or no longer.
  RmapAdd Join(RmapHead& head, Entry& entry, Gfn gfn, Level level);
  void Leave(RmapHead& head, Entry& entry, Level level);
  // Asks the large pages of `part`, which lies in the slot.
  void AgeLarge(Memslot<F>& slot, GfnRange part, AgeAction action, AgeMode mode,
                const AgeOutput& output, AgeCounts& counts, AgeResult& result);
  void Unmap(RmapHead& head, Entry& entry, Word taken, Gfn gfn, Level level,
             ZapSink sink);
  // Calls `visit(head, first frame, level)` for each rmap of `range`, those of
  // the largest pages first.
  template <class Visitor>
  void ForEachRmap(const Walk& walk, GfnRange range, Visitor&& visit);
  // Of pages that may be mapped.
  [[nodiscard]] Level Largest() const {
    return large_.Count() != 0 ? F::kLargestLeaf : kSmall;
  }

  M& memory_;
  D& rmaps_;
  Memslots<F, R>& memslots_;
  // All leaves, and the large ones.
  ShardedCount<> live_;
  ShardedCount<> large_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
RmapAdd NestedEntries<F, M, R, D>::Join(RmapHead& head, Entry& entry, Gfn gfn,
                                        Level level) {
  // The entry is frozen: no other fault can record another frame for it.
  RecordFrame<F>(memory_, entry, gfn);
  const RmapAdd added = rmaps_.Add(head, entry);
  if (added != RmapAdd::kDone) return added;
  live_.Add(ThisThreadNumber());
  if (level != kSmall) large_.Add(ThisThreadNumber());
  return added;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
void NestedEntries<F, M, R, D>::Leave(RmapHead& head, Entry& entry,
                                      Level level) {
  const bool removed = rmaps_.Remove(head, entry);
  PTAGE_ASSERT(removed);
  live_.Take(ThisThreadNumber());
  if (level != kSmall) large_.Take(ThisThreadNumber());
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
RmapAdd NestedEntries<F, M, R, D>::Map(RmapHead& head, Entry& entry, Gfn gfn,
                                       Level level, Word leaf) {
  const RmapAdd added = Join(head, entry, gfn, level);
  if (added == RmapAdd::kDone) Publish<F>(entry, leaf);
  return added;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
void NestedEntries<F, M, R, D>::Parts::Remove(Entry& entry) {
  const Level level =
      entries_.memory_.InfoOf(entries_.memory_.TableOf(entry)).AtLevel();
  const Gfn gfn = RecordedFrame<F>(entries_.memory_, entry);
  entries_.Leave(slot_.HeadOf(gfn, level), entry, level);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
void NestedEntries<F, M, R, D>::Unmap(RmapHead& head, Entry& entry, Word taken,
                                      Gfn gfn, Level level, ZapSink sink) {
  // Frozen: its bits go to the caller before the rmap stops answering for it.
  sink(ZappedLeaf{.gfn = gfn,
                  .level = level,
                  .pfn = F::FrameOf(taken),
                  .accessed = IsYoung<F>(taken),
                  .dirty = IsDirty<F>(taken)});
  Leave(head, entry, level);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
void NestedEntries<F, M, R, D>::Unmap(const Walk& walk,
                                      const TakenLeaf<F>& leaf, ZapSink sink) {
  const Gfn gfn = RecordedFrame<F>(memory_, leaf.entry);
  Memslot<F>* const slot = memslots_.Find(walk, gfn);
  PTAGE_ASSERT(slot != nullptr);
  Unmap(slot->HeadOf(gfn, leaf.level), leaf.entry, leaf.word, gfn, leaf.level,
        sink);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
std::uint64_t NestedEntries<F, M, R, D>::ZapRmap(RmapHead& head, Gfn gfn,
                                                 Level level, FlushLater& flush,
                                                 ZapSink sink) {
  std::uint64_t zapped = 0;
  while (Entry* const entry = rmaps_.Any(head)) {
    const GfnRange nested = NestedFramesOf(*entry, FramesAt<F>(level));
    // The MMU lock keeps faults out, so one flush may serve for many; only a
    // walker's accessed or dirty bit makes the loop go round.
    const ZapOutcome outcome = Zap<F>(
        *entry, [] {},
        [&](Word taken) { Unmap(head, *entry, taken, gfn, level, sink); });
    PTAGE_ASSERT(outcome == ZapOutcome::kZapped);
    flush.Flush(nested);
    ++zapped;
  }
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
AgeResult NestedEntries<F, M, R, D>::Age(const Walk& walk, GfnRange range,
                                         AgeAction action, AgeMode mode,
                                         const AgeOutput& output,
                                         AgeCounts& counts) {
  const bool large = Largest() != kSmall;
  AgeResult result;
  memslots_.ForEach(walk, range, [&](Memslot<F>& slot, GfnRange part) {
    // Before the small ones, which a large one may be split into meanwhile.
    if (large) {
      AgeLarge(slot, part, action, mode, output, counts, result);
    }
    result |= AgeRange(rmaps_, &slot.HeadOf(part.begin, kSmall),
                       RmapFrame{part.begin, kSmall}, part.Frames(), action,
                       mode, output, counts);
  });
  return result;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
void NestedEntries<F, M, R, D>::AgeLarge(Memslot<F>& slot, GfnRange part,
                                         AgeAction action, AgeMode mode,
                                         const AgeOutput& output,
                                         AgeCounts& counts, AgeResult& result) {
  for (Level level = F::kLargestLeaf; level > kSmall; level = level.Below()) {
    for (Gfn from = part.begin; from < part.end;) {
      const GfnRange page = PageAround<F>(from, level);
      const GfnRange asked = part.Clip(page);
      // One bit for all frames of the page: not to be cleared for some.
      const AgeAction here = asked == page ? action : AgeAction::kTest;
      const AgeResult answer =
          rmaps_.Age(slot.HeadOf(from, level), RmapFrame{page.begin, level},
                     here, mode, counts);
      if (answer.young) output.SetYoung(asked);
      if (!answer.complete) output.SetUnknown(asked);
      result |= answer;
      from = asked.end;
    }
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
template <class Visitor>
void NestedEntries<F, M, R, D>::ForEachRmap(const Walk& walk, GfnRange range,
                                            Visitor&& visit) {
  const Level largest = Largest();
  memslots_.ForEach(walk, range, [&](Memslot<F>& slot, GfnRange part) {
    for (Level level = largest; level >= kSmall; level = level.Below()) {
      for (Gfn from = part.begin; from < part.end;) {
        const GfnRange page = PageAround<F>(from, level);
        visit(slot.HeadOf(from, level), page.begin, level);
        from = page.end;
      }
    }
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
std::uint64_t NestedEntries<F, M, R, D>::ZapFrames(const Walk& walk,
                                                   GfnRange range,
                                                   FlushLater& flush,
                                                   ZapSink sink) {
  std::uint64_t zapped = 0;
  ForEachRmap(walk, range, [&](RmapHead& head, Gfn gfn, Level level) {
    zapped += ZapRmap(head, gfn, level, flush, sink);
  });
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
std::size_t NestedEntries<F, M, R, D>::EntriesOf(const Walk& walk,
                                                 GfnRange page) {
  std::size_t count = 0;
  ForEachRmap(walk, page,
              [&](RmapHead& head, Gfn, Level) { count += rmaps_.Count(head); });
  return count;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
TakeOutcome NestedEntries<F, M, R, D>::FreezeEntries(const Walk& walk,
                                                     GfnRange page,
                                                     HeldLeaves<F>& held)
  requires EnumerableRmaps<D>
{
  TakeOutcome outcome = TakeOutcome::kTaken;
  ForEachRmap(walk, page, [&](RmapHead& head, Gfn gfn, Level level) {
    rmaps_.ForEach(head, [&](Entry& entry) {
      if (outcome != TakeOutcome::kTaken) return;
      outcome = held.Take(page, entry, ReadOnce(entry, kRelaxed), gfn, level);
    });
  });
  return outcome;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
template <class Visitor>
void NestedEntries<F, M, R, D>::ForEachEntry(const Walk& walk, GfnRange range,
                                             FaultLock& mmu_lock,
                                             Visitor&& visit)
  requires EnumerableRmaps<D>
{
  const Level largest = Largest();
  memslots_.ForEach(walk, range, [&](Memslot<F>& slot, GfnRange part) {
    // In this order, for one may be split while the lock is not held.
    for (Level level = largest; level >= kSmall; level = level.Below()) {
      for (Gfn from = part.begin; from < part.end;) {
        const FaultLock::Exclusive hold(mmu_lock);
        for (int i = 0; i < kRmapsAtOnce && from < part.end; ++i) {
          const GfnRange page = PageAround<F>(from, level);
          rmaps_.ForEach(slot.HeadOf(from, level),
                         [&](Entry& entry) { visit(entry, page); });
          from = page.end;
        }
      }
    }
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, RmapDiscipline D>
template <class Split>
Resized NestedEntries<F, M, R, D>::SplitLarge(const Walk& walk, GfnRange range,
                                              Level level, Split&& split) {
  Resized resized;
  // What is split at one level is met again at the next.
  ForEachRmap(walk, range, [&](RmapHead& head, Gfn gfn, Level at) {
    if (at <= level || resized.no_memory) return;
    Parts parts(*this, *memslots_.Find(walk, gfn), gfn, at);
    while (Entry* const entry = rmaps_.Any(head)) {
      if (split(*entry, at, parts) != StructureOutcome::kDone) {
        resized.no_memory = true;
        return;
      }
      ++resized.done;
    }
  });
  return resized;
}

}  // namespace ptage::internal

#endif  // PTAGE_SHADOW_MMU_NESTED_ENTRIES_H_
