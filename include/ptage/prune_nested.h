// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Skips cold leaf tables of shadow and nested trees, as prune.h does in direct
// ones, and says which gfns the leaves under the others map.
//
// Contract
//   What prune.h says of parents, of both forms and of faults holds, in the
//   space that the tree translates: its *nested* frames. There are two ranges:
//   the nested frames whose entries are looked at, and the gfns that are asked
//   for. A leaf's gfns are those of its record (memory.h), in no order, and one
//   may have many leaves. No rmap is read, and no lock taken.
//
//   * A young leaf that maps nothing asked for keeps its bit, and its parent is
//     marked again: who asks for the other gfns finds it. If he asks meanwhile,
//     he may find the parent clear, and the leaf a round later.
//   * A large leaf of which either range has a part only is tested, never
//     cleared: its one bit belongs to all its frames.
//   * A frozen leaf is unknown, for the gfn of its record, and its parent is
//     marked again; above the leaf tables a frozen entry leaves all that is
//     asked for unknown.
//   * Several trees are asked one by one, into one output.
//
//   Which gfn an access is charged to. The record is read after the entry, and
//   the bit cleared by compare-and-swap on the value that was read. Meanwhile
//   the entry may have been given to another gfn:
//     ager: reads A's young entry | zapper: hands A's access on, empties it
//     ager: reads B's record      | fault: records B
//     ager: fails, since the word is not what it was
//   and B is called young while it is being mapped; A's access is with the
//   zapper. Only if both have one frame, with the same rights, the words are
//   the same:
//     ager: reads the young entry, and A's record
//                                 | zapper, fault: as above; B is accessed
//     ager: clears the bit: B's
//   So the record is read again when the bit was cleared, and B reported too.
//   Whoever comes and goes between the two looks, or is not asked for, is
//   charged to the frame, under another of its gfns, as rmap.h says.
//
//   Why a frozen leaf's record will do. Who takes a leaf leaves its record as
//   it is, until the entry was emptied and is another's; and then the access is
//   on record before the next record is written. So the record that is read
//   after "frozen" is that of the leaf that may come back, or says by
//   [memory.2] that its access was handed on. (Of an entry that was never
//   mapped it may be anything, and calls a gfn unknown for no reason.)
//
//   Progress: that of Prune.
//
// Sites (order · partner)
//   [nested.1] acquire compare-and-swap    · [spte.5]
//              in Clear

#ifndef PTAGE_PRUNE_NESTED_H_
#define PTAGE_PRUNE_NESTED_H_

#include <bit>
#include <cstdint>

#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Ages the leaves for the frames `nested` under young parents, and the large
// ones, in fast-only mode. `output` spans the gfns `asked`. `counts` speak of
// the entries that were read, whatever they map; one that is young and maps
// nothing asked for counts as examined alone. `was_fast` is for an MMU to set.
// `flusher` is the tree's; kBestEffort does not call it. Indirect trees.
template <class Tree, Flusher Fl>
  requires Prunable<typename Tree::Format>
AgeResult PruneNested(const Tree& tree, const typename Tree::Walk& walk,
                      Fl& flusher, GfnRange nested, Pruning pruning,
                      AgeAction action, GfnRange asked,
                      const AgeOutput& output);

// ---------------------------------------------------------------------------

namespace internal {

// The leaves of an indirect tree, and their parents' marks.
template <class Tree>
class NestedLeaves {
 public:
  NestedLeaves(const Tree& tree, const typename Tree::Walk& walk,
               AgeAction action, GfnRange asked, const AgeOutput& output)
      : tree_(tree),
        walk_(walk),
        action_(action),
        asked_(asked),
        output_(output) {}
  NestedLeaves(const NestedLeaves&) = delete;
  NestedLeaves& operator=(const NestedLeaves&) = delete;

  void Age(GfnRange hot) {
    VisitRoot(tree_.tables(), hot,
              [&](Table<F>& table, Gfn base, GfnRange part) {
                AgeTable(table, Level{F::kLevels}, base, part);
                return part.end;
              });
  }
  [[nodiscard]] AgeResult result() const { return result_; }
  [[nodiscard]] const AgeCounts& counts() const { return counts_; }

 private:
  using F = typename Tree::Format;
  using Word = typename F::Word;
  using Entry = SpteCell<F>;

  static constexpr unsigned kPerTable = kEntriesPerTable<F>;

  void AgeTable(Table<F>& table, Level level, Gfn base, GfnRange range) {
    if (level == Level{1}) {
      AgeLeafTable(table, base, range);
      return;
    }
    const std::uint64_t frames = FramesAt<F>(level);
    for (std::uint64_t i = (range.begin - base) / frames; i < kPerTable; ++i) {
      const GfnRange covers{base + i * frames, base + (i + 1) * frames};
      if (covers.begin >= range.end) return;
      const GfnRange part = range.Clip(covers);
      Entry& entry = table.entries[i];
      const Word seen = Tree::Tables::ReadEntry(entry);
      if (F::IsPresent(seen) && !F::IsLeaf(seen, level)) {
        AgeTable(tree_.tables().ChildOf(seen), level.Below(), covers.begin,
                 part);
      } else if (IsFrozen<F>(seen)) {
        // It may be an inner one.
        LeaveUnknown(asked_);
      } else if (F::IsPresent(seen)) {
        AgeLarge(entry, seen, covers, part);
      }
    }
  }

  void AgeLeafTable(Table<F>& table, Gfn base, GfnRange range) {
    for (Gfn first = range.begin; first < range.end;) {
      const std::uint64_t left = range.end - first;
      const auto count = static_cast<unsigned>(left < kBlock ? left : kBlock);
      Entry* const entries = &table.entries[first - base];
      const WordsSeen seen = SeeWords(entries, count, Word{F::kPresentBits},
                                      Word{F::kAccessed}, Word{F::kFrozen});
      counts_.examined += CountLanes(seen.any & ~seen.both);
      for (std::uint64_t rest = seen.both | seen.equal; rest != 0;
           rest &= rest - 1) {
        const auto lane = static_cast<unsigned>(std::countr_zero(rest));
        AgeLeaf(entries[lane], first + lane);
      }
      first = first + count;
    }
  }

  // One that looked young or frozen.
  void AgeLeaf(Entry& entry, Gfn nested) {
    const Word seen = Tree::Tables::ReadEntry(entry);
    if (IsFrozen<F>(seen)) {
      LeaveUnknown(asked_.Clip(MappedBy(entry, 1)));
      MarkAgain(nested);
      return;
    }
    if (!F::IsPresent(seen)) return;
    ++counts_.examined;
    if (!IsYoung<F>(seen)) return;
    // Were the record read before the entry:
    //   ager: reads A's record      | zapper: empties the entry
    //                               | fault: records B, who is accessed
    //   ager: reads the young entry, and clears it
    // and B's access is charged to A, and lost if only A is asked for. In this
    // order B's entry is seen with its record.
    const GfnRange frame = asked_.Clip(MappedBy(entry, 1));
    if (frame.Empty()) {
      MarkAgain(nested);
      return;
    }
    ReportYoung(frame);
    if (action_ == AgeAction::kTestAndClear) Clear(entry, seen, 1);
  }

  void AgeLarge(Entry& entry, Word seen, GfnRange covers, GfnRange part) {
    ++counts_.examined;
    if (!IsYoung<F>(seen)) return;
    const GfnRange all = MappedBy(entry, covers.Frames());
    const Gfn first = all.begin + (part.begin - covers.begin);
    const GfnRange frames = asked_.Clip(GfnRange{first, first + part.Frames()});
    if (frames.Empty()) return;
    ReportYoung(frames);
    const bool whole = frames == all;
    if (whole && action_ == AgeAction::kTestAndClear) {
      Clear(entry, seen, covers.Frames());
    }
  }

  // Clears an entry that was reported.
  void Clear(Entry& entry, Word seen, std::uint64_t frames) {
    // Were it cleared without comparison, another page's bit might be.
    // [nested.1] acquire, pairs with [spte.5]: the record of the entry that was
    // cleared is visible, if it was given to another gfn.
    if (!TryCmpxchg(entry, seen, static_cast<Word>(seen & ~F::kAccessed),
                    kAcquire)) {
      ++counts_.lost_races;
      return;
    }
    const GfnRange now = asked_.Clip(MappedBy(entry, frames));
    output_.SetYoung(now);
  }

  // The gfns that the entry's record names.
  GfnRange MappedBy(const Entry& entry, std::uint64_t frames) const {
    const Gfn first = RecordedFrame<F>(tree_.memory(), entry);
    return GfnRange{first, first + frames};
  }

  void ReportYoung(GfnRange frames) {
    ++counts_.young;
    result_.young = true;
    output_.SetYoung(frames);
  }
  void LeaveUnknown(GfnRange frames) {
    if (frames.Empty()) return;
    ++counts_.unanswered;
    result_.complete = false;
    output_.SetUnknown(frames);
  }
  // Marks the parent of a leaf that is left, or may come back, young. Once is
  // enough: who clears the parent after that looks at its leaves after that.
  void MarkAgain(Gfn nested) {
    if (action_ == AgeAction::kTest || marked_.Contains(nested)) return;
    MarkParent(tree_, walk_, nested);
    const Gfn first{nested.value / kPerTable * kPerTable};
    marked_ = GfnRange{first, first + kPerTable};
  }

  const Tree& tree_;
  const typename Tree::Walk& walk_;
  const AgeAction action_;
  const GfnRange asked_;
  const AgeOutput& output_;
  AgeResult result_;
  AgeCounts counts_;
  // The frames of the parent that was marked last.
  GfnRange marked_;
};

}  // namespace internal

template <class Tree, Flusher Fl>
  requires Prunable<typename Tree::Format>
AgeResult PruneNested(const Tree& tree, const typename Tree::Walk& walk,
                      Fl& flusher, GfnRange nested, Pruning pruning,
                      AgeAction action, GfnRange asked,
                      const AgeOutput& output) {
  static_assert(!Tree::Tables::kStable, "type-stable trees are direct");
  PTAGE_ASSERT(static_cast<bool>(walk) &&
               tree.tables().kind() == TableKind::kIndirect);
  internal::NestedLeaves<Tree> leaves(tree, walk, action, asked, output);
  internal::Pruner(tree, flusher, nested, pruning, action, leaves).Run();
  output.Count(leaves.counts());
  return leaves.result();
}

}  // namespace ptage

#endif  // PTAGE_PRUNE_NESTED_H_
