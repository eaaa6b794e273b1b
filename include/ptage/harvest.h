// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The one worker of aging a tree: tests, or tests and clears, every leaf of a
// range; leaf tables by blocks of 64 entries, scattered ones side by side.
//
// Contract
//   Concurrently, anything may happen to the tree, and other threads may
//   harvest it. What walk.h says of visits holds, and what spte.h says of each
//   entry: a young bit may be reported to two harvesters, never to none.
//
//   * Every bit that was cleared is in the output when the call returns, also
//     when it stops for its budget.
//   * A leaf that reaches beyond the range is tested, never cleared: its one
//     bit belongs to all its frames.
//   * A frozen entry is unknown to fast-only, young to slow, for every frame
//     under it.
//   * The output is told of frames in ascending order, of young ones and of
//     unknown ones each.
//
//   Nothing here flushes a TLB, see spte.h. A cleared dirty bit speaks of later
//   writes only once every CPU was flushed.
//
//   Progress: wait-free, in entries of the range, in either mode.
//
// How the tables above are walked is here; leaf tables that are whole are read
// together, by harvest/leaf_tables.h, and what is made of entries is in
// harvest/entries.h.

#ifndef PTAGE_HARVEST_H_
#define PTAGE_HARVEST_H_

#include <cstdint>
#include <type_traits>

#include "ptage/config.h"
#include "ptage/harvest/entries.h"
#include "ptage/harvest/leaf_tables.h"
#include "ptage/once/block.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "ptage/walk.h"

namespace ptage {

// The bit that is harvested: "young" below, and in all answers, means that an
// entry has it.
enum class HarvestBit { kAccessed, kDirty };

// Where answers go: AgeOutput, or one of harvest/outputs.h. Frames that it is
// told of lie in the range that was asked for; bit i of a set of lanes is the
// frame `first + i`.
template <class O>
concept HarvestOutput = requires(O& output, GfnRange range, Gfn first,
                                 std::uint64_t lanes, const AgeCounts& counts) {
  output.SetYoung(range);
  output.SetYoung(first, lanes);
  output.SetUnknown(range);
  output.SetUnknown(first, lanes);
  output.Count(counts);
};

// Ages leaves from the cursor on, until the range is done or `budget` entries
// were read, inner and empty ones too; one that is read twice counts once. The
// cursor is then at the first frame that is left. Precondition: `walk` began.
// Frames that the tree cannot translate are mapped by nothing: not young. Bits
// and counts go to `output`, which spans the range; `was_fast` of the answer is
// false, for an MMU to set. Direct trees, whose entries keep their frame while
// the walk lasts, and those of others (ForeignTree, foreign.h). kLoads is for
// comparisons: every processor has its best by default.
template <HarvestBit kBit = HarvestBit::kAccessed,
          Loads kLoads = Loads::kWidest, class Tree, HarvestOutput Output>
AgeResult HarvestSome(const Tree& tree, const typename Tree::Walk& walk,
                      WalkCursor& cursor, std::uint64_t budget,
                      AgeAction action, AgeMode mode, Output&& output);

// The same for a whole range at once.
template <HarvestBit kBit = HarvestBit::kAccessed,
          Loads kLoads = Loads::kWidest, class Tree, HarvestOutput Output>
AgeResult Harvest(const Tree& tree, const typename Tree::Walk& walk,
                  GfnRange range, AgeAction action, AgeMode mode,
                  Output&& output) {
  WalkCursor cursor(range);
  return HarvestSome<kBit, kLoads>(tree, walk, cursor, kNoBudget, action, mode,
                                   output);
}

// ---------------------------------------------------------------------------

namespace internal {

// One call of HarvestSome: comes to the entries, as the budget allows.
template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
class Harvester {
  using Tables = typename Tree::Tables;

 public:
  using F = typename Tree::Format;

  Harvester(const Tables& tables, GfnRange range, std::uint64_t budget,
            AgeAction action, AgeMode mode, Output& output)
      : tables_(tables),
        range_(range),
        budget_(budget),
        leaf_tables_(tables, range, action, mode, output) {}
  Harvester(const Harvester&) = delete;
  Harvester& operator=(const Harvester&) = delete;

  // Returns the first frame that is left.
  Gfn Run() {
    if (range_.Empty()) return range_.end;
    return VisitRoot(
        tables_, range_, [&](Table<F>& table, Gfn base, GfnRange part) {
          return HarvestTable(table, Level{F::kLevels}, base, part);
        });
  }
  // What they answered.
  [[nodiscard]] const auto& entries() { return leaf_tables_.entries(); }

 private:
  using Word = typename F::Word;
  using Entry = SpteCell<F>;
  using Here = typename Tables::Here;

  static constexpr Word kWanted =
      kBit == HarvestBit::kAccessed ? F::kAccessed : F::kDirty;
  // Of another place's entries, under a type-stable reclaimer, none is taken
  // for young; a cold one may be counted. Not for dirty bits: a leaf that is
  // not accessed may have one.
  static constexpr ColdEntries kCold = kBit == HarvestBit::kAccessed
                                           ? ColdEntries::kUnchecked
                                           : ColdEntries::kChecked;
  static constexpr unsigned kPerTable = kEntriesPerTable<F>;

  // Tables above the leaves' level. Each of these returns the first frame of
  // `range` that is left, or its end.
  Gfn HarvestTable(Table<F>& table, Level level, Gfn base, GfnRange range);
  // Adds leaf tables to the group as long as the entries of a table of level 2
  // lead to some, and skips empty entries; returns the first that is neither.
  std::uint64_t Gather(Here& here, Table<F>& table, Gfn base, GfnRange range,
                       std::uint64_t index);
  // A table of level 1, from where the range begins.
  Gfn HarvestPart(Table<F>& table, Gfn base, GfnRange range);

  const Tables& tables_;
  const GfnRange range_;
  std::uint64_t budget_;
  // Whole ones, whose entries are paid for.
  LeafTables<EntryHarvester<Tables, kWanted, kCold, Output>, kLoads>
      leaf_tables_;
};

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
Gfn Harvester<kBit, kLoads, Tree, Output>::HarvestTable(Table<F>& table,
                                                        Level level, Gfn base,
                                                        GfnRange range) {
  if (level == Level{1}) return HarvestPart(table, base, range);
  const std::uint64_t frames = FramesAt<F>(level);
  Here here(tables_, table, base, level);
  for (std::uint64_t index = (range.begin - base) / frames; index < kPerTable;
       ++index) {
    if (level == Level{2}) index = Gather(here, table, base, range, index);
    const GfnRange covers{base + index * frames, base + (index + 1) * frames};
    if (index == kPerTable || covers.begin >= range.end) break;
    leaf_tables_.Harvest();
    const GfnRange part = range.Clip(covers);
    if (budget_ == 0) return part.begin;
    --budget_;
    Entry& entry = table.entries[index];
    const Word seen = here.template Read<kCold>(entry);
    if (F::IsPresent(seen) && !F::IsLeaf(seen, level)) {
      Table<F>* const child = tables_.Follow(seen, covers.begin, level);
      if (child == nullptr) continue;
      const Gfn next = HarvestTable(*child, level.Below(), covers.begin, part);
      if (next < part.end) return next;
    } else if (F::IsPresent(seen) || IsFrozen<F>(seen)) {
      leaf_tables_.entries().HarvestEntry(entry, seen, level, covers);
    }
  }
  leaf_tables_.Harvest();
  return range.end;
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
std::uint64_t Harvester<kBit, kLoads, Tree, Output>::Gather(
    Here& here, Table<F>& table, Gfn base, GfnRange range,
    std::uint64_t index) {
  std::uint64_t budget = budget_;
  for (; index < kPerTable && budget > kPerTable; ++index) {
    const Gfn first = base + index * kPerTable;
    if (first < range.begin || first + kPerTable > range.end) break;
    const Word seen = here.template Read<kCold>(table.entries[index]);
    if (!F::IsPresent(seen) && !IsFrozen<F>(seen)) {
      --budget;
      continue;
    }
    if (!F::IsPresent(seen) || F::IsLeaf(seen, Level{2})) break;
    Table<F>* const child = tables_.Follow(seen, first, Level{2});
    if (child == nullptr) {
      --budget;
      continue;
    }
    budget -= 1 + kPerTable;
    leaf_tables_.Add(*child, first);
  }
  budget_ = budget;
  return index;
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
Gfn Harvester<kBit, kLoads, Tree, Output>::HarvestPart(Table<F>& table,
                                                       Gfn base,
                                                       GfnRange range) {
  const std::uint64_t entries =
      range.Frames() < budget_ ? range.Frames() : budget_;
  budget_ -= entries;
  leaf_tables_.entries().HarvestAll(&table.entries[range.begin - base], entries,
                                    range.begin);
  return range.begin + entries;
}

}  // namespace internal

template <HarvestBit kBit, Loads kLoads, class Tree, HarvestOutput Output>
AgeResult HarvestSome(const Tree& tree, const typename Tree::Walk& walk,
                      WalkCursor& cursor, std::uint64_t budget,
                      AgeAction action, AgeMode mode, Output&& output) {
  PTAGE_ASSERT(static_cast<bool>(walk));
  internal::Harvester<kBit, kLoads, Tree, std::remove_reference_t<Output>>
      harvester(tree.tables(), cursor.Rest(), budget, action, mode, output);
  cursor.MoveTo(harvester.Run());
  output.Count(harvester.entries().counts());
  return harvester.entries().result();
}

}  // namespace ptage

#endif  // PTAGE_HARVEST_H_
