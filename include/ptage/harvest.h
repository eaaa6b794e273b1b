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
//   Of a block three things are taken as the vectors saw them: which entries
//   are cold or empty, which are frozen, and, where nothing is to be cleared,
//   which are young. Each was so when it was read, and entries of a direct tree
//   keep their frame while the walk lasts. An entry that is to be cleared is
//   read again, and changed by compare-and-swap against that value. Under a
//   type-stable reclaimer whatever looks young is read again by the rules of
//   page_table/tables.h.
//
//   Nothing here flushes a TLB, see spte.h. A cleared dirty bit speaks of later
//   writes only once every CPU was flushed.
//
//   Progress: wait-free, in entries of the range, in either mode.

#ifndef PTAGE_HARVEST_H_
#define PTAGE_HARVEST_H_

#include <bit>
#include <cstdint>
#include <type_traits>

#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/once/vector.h"
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

// One call of HarvestSome.
template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
class Harvester {
  using Tables = typename Tree::Tables;

 public:
  using F = typename Tree::Format;

  Harvester(const Tables& tables, GfnRange range, std::uint64_t budget,
            AgeAction action, AgeMode mode, Output& output)
      : tables_(tables),
        range_(range),
        action_(action),
        mode_(mode),
        output_(output),
        budget_(budget) {}
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
  [[nodiscard]] AgeResult result() const { return result_; }
  [[nodiscard]] const AgeCounts& counts() const { return counts_; }

 private:
  using Word = typename F::Word;
  using Entry = SpteCell<F>;
  using Here = typename Tables::Here;

  static constexpr Word kWanted =
      kBit == HarvestBit::kAccessed ? F::kAccessed : F::kDirty;
  // Nearly every entry that is present has it.
  static constexpr Word LowestPresentBit() {
    if constexpr (VectorTestable<F>) return F::kPresentBits & -F::kPresentBits;
    return 0;
  }
  static constexpr bool kStable = Tables::kStable;
  // False: tables of others (foreign.h), that may hold anything.
  static constexpr bool kTrusted = Tables::kTrusted;
  // Of another place's entries, under a type-stable reclaimer, none is taken
  // for young; a cold one may be counted. Not for dirty bits: a leaf that is
  // not accessed may have one.
  static constexpr ColdEntries kCold = kBit == HarvestBit::kAccessed
                                           ? ColdEntries::kUnchecked
                                           : ColdEntries::kChecked;

  static constexpr unsigned kPerTable = kEntriesPerTable<F>;
  static constexpr bool kInBlocks =
      VectorTestable<F> && kPerTable % kBlock == 0;
  static constexpr unsigned kBlocks = kInBlocks ? kPerTable / kBlock : 1;
  // Leaf tables that are gathered before any is read.
  static constexpr unsigned kGroup = 64;
  // Scattered ones of them that are read side by side: eight streams keep
  // memory busier than any prefetch from one table to the next
  // (docs/harvest.md). The first block of each is fetched while the eight
  // before are read.
  static constexpr unsigned kSide = 8;

  struct LeafTable {
    Table<F>* table;
    Gfn base;
  };

  // Tables above the leaves' level. Each of these returns the first frame of
  // `range` that is left, or its end.
  Gfn HarvestTable(Table<F>& table, Level level, Gfn base, GfnRange range);
  // Adds leaf tables to the group as long as the entries of a table of level 2
  // lead to some, and skips empty entries; returns the first that is neither.
  std::uint64_t Gather(Here& here, Table<F>& table, Gfn base, GfnRange range,
                       std::uint64_t index);
  // A table of level 1, from where the range begins.
  Gfn HarvestPart(Table<F>& table, Gfn base, GfnRange range);

  // Whole tables of level 1, whose entries are paid for: the group that waits.
  void HarvestGroup();
  // As many of them as go into eights; returns how many.
  unsigned HarvestSideBySide();
  // The t-th, which was read beside others.
  void HarvestSeen(unsigned t, const BlockSeen (&seen)[kBlocks][kSide]);
  // Some that follow one another, by their frames and in memory.
  void HarvestRun(const LeafTable& first, unsigned tables);

  // Counts that stay in registers.
  struct Tally {
    std::uint64_t examined = 0;
    std::uint64_t young = 0;
  };
  void Add(const Tally& tally) {
    counts_.examined += tally.examined;
    counts_.young += tally.young;
    result_.young |= tally.young != 0;
  }

  // Consecutive entries of a table of level 1, `first` being the first one's
  // frame: kBlock of them, as they were read; up to kBlock; and, of these, the
  // ones that looked young or frozen.
  void HarvestBlock(Entry* entries, Gfn first, const BlockSeen& seen,
                    Tally& tally);
  void HarvestEntries(Entry* entries, unsigned count, Gfn first);
  void TakeYoung(Entry* entries, Gfn first, std::uint64_t young,
                 std::uint64_t frozen);
  Here HereAt(const Entry* entries, Gfn first) const {
    return tables_.HereOf(*entries, first, Level{1});
  }

  // Tables of others: reports leaves that are malformed, and takes them, and
  // what happens to look frozen, out of what was seen.
  void LeaveMalformed(const Entry* entries, unsigned count, Gfn first,
                      WordsSeen& seen);

  // Tables of others: whether a leaf is well-formed.
  [[nodiscard]] bool Admits(Word leaf, Gfn first, Level level) const {
    if constexpr (kTrusted) {
      return true;
    } else {
      return tables_.AdmitsLeaf(leaf, first, level);
    }
  }

  // One entry, of any level, as it was read.
  void HarvestEntry(Entry& entry, Word seen, Level level, GfnRange covers);

  const Tables& tables_;
  const GfnRange range_;
  const AgeAction action_;
  const AgeMode mode_;
  Output& output_;
  std::uint64_t budget_;
  AgeResult result_;
  AgeCounts counts_;
  // Leaf tables that wait to be read together.
  unsigned waiting_ = 0;
  LeafTable group_[kGroup];
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
    HarvestGroup();
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
      HarvestEntry(entry, seen, level, covers);
    }
  }
  HarvestGroup();
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
    group_[waiting_++] = LeafTable{child, first};
    if (waiting_ == kGroup) HarvestGroup();
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
  const Gfn end = range.begin + entries;
  for (Gfn gfn = range.begin; gfn < end;) {
    const std::uint64_t left = end - gfn;
    const auto count = static_cast<unsigned>(left < kBlock ? left : kBlock);
    HarvestEntries(&table.entries[gfn - base], count, gfn);
    gfn = gfn + count;
  }
  return end;
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
void Harvester<kBit, kLoads, Tree, Output>::HarvestGroup() {
  bool scattered = false;
  for (unsigned i = 1; i < waiting_; ++i) {
    scattered |= group_[i].table != group_[i - 1].table + 1;
  }
  unsigned next = scattered ? HarvestSideBySide() : 0;
  while (next < waiting_) {
    unsigned run = 1;
    for (; next + run < waiting_; ++run) {
      const LeafTable& before = group_[next + run - 1];
      if (group_[next + run].table != before.table + 1 ||
          group_[next + run].base != before.base + kPerTable) {
        break;
      }
    }
    HarvestRun(group_[next], run);
    next += run;
  }
  waiting_ = 0;
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
void Harvester<kBit, kLoads, Tree, Output>::HarvestRun(const LeafTable& first,
                                                       unsigned tables) {
  if constexpr (!kInBlocks) {
    for (unsigned t = 0; t < tables; ++t) {
      const Gfn base = first.base + t * kPerTable;
      budget_ += kPerTable;
      (void)HarvestPart(first.table[t], base, GfnRange{base, base + kPerTable});
    }
  } else {
    // One loop over the blocks of all of them: a loop in a loop would have its
    // end mispredicted for each table.
    Entry* entries = first.table->entries;
    Gfn gfn = first.base;
    Tally tally;
    for (unsigned left = tables * kBlocks; left != 0; --left) {
      const Entry* const block[1] = {entries};
      BlockSeen seen[1];
      SeeBlocks<1, kLoads>(block, LowestPresentBit(), kWanted, seen);
      HarvestBlock(entries, gfn, seen[0], tally);
      entries += kBlock;
      gfn = gfn + kBlock;
    }
    Add(tally);
  }
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
unsigned Harvester<kBit, kLoads, Tree, Output>::HarvestSideBySide() {
  unsigned done = 0;
  if constexpr (kInBlocks) {
    // While some tables are read, those before them are worked on, so that
    // memory does not rest meanwhile.
    BlockSeen seen[2][kBlocks][kSide];
    unsigned worked_on = 0;
    for (unsigned turn = 0; waiting_ - done >= kSide; ++turn) {
      const LeafTable* const leaves = group_ + done;
      for (unsigned t = done + kSide; t < waiting_ && t < done + 2 * kSide;
           ++t) {
        for (unsigned i = 0; i < kBlock; i += 64 / sizeof(Entry)) {
          PrefetchLater(&group_[t].table->entries[i]);
        }
      }
      for (unsigned b = 0; b < kBlocks; ++b) {
        const Entry* blocks[kSide];
        for (unsigned t = 0; t < kSide; ++t) {
          blocks[t] = &leaves[t].table->entries[b * kBlock];
        }
        SeeBlocks<kSide, kLoads>(blocks, LowestPresentBit(), kWanted,
                                 seen[turn % 2][b]);
        while (turn > 0 &&
               worked_on < done - kSide + (b + 1) * kSide / kBlocks) {
          HarvestSeen(worked_on, seen[(turn - 1) % 2]);
          ++worked_on;
        }
      }
      done += kSide;
    }
    for (; worked_on < done; ++worked_on) {
      HarvestSeen(worked_on, seen[(done / kSide - 1) % 2]);
    }
  }
  return done;
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
void Harvester<kBit, kLoads, Tree, Output>::HarvestSeen(
    unsigned t, const BlockSeen (&seen)[kBlocks][kSide]) {
  const LeafTable leaf = group_[t];
  Tally tally;
  for (unsigned b = 0; b < kBlocks; ++b) {
    HarvestBlock(&leaf.table->entries[b * kBlock], leaf.base + b * kBlock,
                 seen[b][t % kSide], tally);
  }
  Add(tally);
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
[[gnu::always_inline]] inline void
Harvester<kBit, kLoads, Tree, Output>::HarvestBlock(Entry* entries, Gfn first,
                                                    const BlockSeen& seen,
                                                    Tally& tally) {
  bool admitted = seen.all;
  if constexpr (!kTrusted) {
    admitted = admitted && tables_.AdmitsBlock(entries);
  }
  if (!admitted) [[unlikely]] {
    HarvestEntries(entries, kBlock, first);
    return;
  }
  tally.examined += kBlock;
  if (kStable || action_ == AgeAction::kTestAndClear) {
    if (seen.has != 0) TakeYoung(entries, first, seen.has, 0);
    return;
  }
  // Most blocks, and nothing is left to be asked of an entry.
  tally.young += CountLanes(seen.has);
  output_.SetYoung(first, seen.has);
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
void Harvester<kBit, kLoads, Tree, Output>::HarvestEntries(Entry* entries,
                                                           unsigned count,
                                                           Gfn first) {
  if constexpr (VectorTestable<F>) {
    WordsSeen seen = SeeWords(entries, count, Word{F::kPresentBits}, kWanted,
                              Word{F::kFrozen});
    if constexpr (!kTrusted) LeaveMalformed(entries, count, first, seen);
    counts_.examined += CountLanes(seen.any);
    if ((seen.both | seen.equal) != 0) {
      TakeYoung(entries, first, seen.both, seen.equal);
    }
  } else {
    Here here = HereAt(entries, first);
    for (unsigned i = 0; i < count; ++i) {
      HarvestEntry(entries[i], here.template Read<kCold>(entries[i]), Level{1},
                   GfnRange{first + i, first + i + 1});
    }
  }
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
void Harvester<kBit, kLoads, Tree, Output>::TakeYoung(Entry* entries, Gfn first,
                                                      std::uint64_t young,
                                                      std::uint64_t frozen) {
  if (kStable || action_ == AgeAction::kTestAndClear) {
    const AgeAction action = action_;
    Here here = HereAt(entries, first);
    for (std::uint64_t rest = young; rest != 0; rest &= rest - 1) {
      const auto i = static_cast<unsigned>(std::countr_zero(rest));
      const Word seen = here.template Read<kCold>(entries[i]);
      const SpteAge age = AgeSeen<F, kWanted>(entries[i], seen, action, [&] {
        return Admits(seen, first + i, Level{1});
      });
      if (age == SpteAge::kYoung) continue;
      if (age == SpteAge::kLostRace) {
        ++counts_.lost_races;
        continue;
      }
      // Changed since the block was read; the later answer counts.
      const std::uint64_t lane = rest & -rest;
      young ^= lane;
      if (age == SpteAge::kFrozen) frozen |= lane;
      if (age != SpteAge::kCold) --counts_.examined;
    }
  }
  if (young != 0) {
    counts_.young += CountLanes(young);
    result_.young = true;
  }
  if (frozen != 0) {
    counts_.unanswered += CountLanes(frozen);
    const AgeResult answer = ToResult(SpteAge::kFrozen, mode_);
    result_ |= answer;
    if (answer.young) young |= frozen;
    if (!answer.complete) output_.SetUnknown(first, frozen);
  }
  if (young != 0) output_.SetYoung(first, young);
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
void Harvester<kBit, kLoads, Tree, Output>::HarvestEntry(Entry& entry,
                                                         Word seen, Level level,
                                                         GfnRange covers) {
  const bool whole = range_.Contains(covers);
  if (!Admits(seen, covers.begin, level)) return;
  const SpteAge age = AgeSeen<F, kWanted>(
      entry, seen, whole ? action_ : AgeAction::kTest, [] { return true; });
  const AgeResult answer = ToResult(age, mode_);
  result_ |= answer;
  counts_ += CountsOf(age);
  if (answer.young) output_.SetYoung(range_.Clip(covers));
  if (!answer.complete) output_.SetUnknown(range_.Clip(covers));
}

template <HarvestBit kBit, Loads kLoads, class Tree, class Output>
void Harvester<kBit, kLoads, Tree, Output>::LeaveMalformed(const Entry* entries,
                                                           unsigned count,
                                                           Gfn first,
                                                           WordsSeen& seen) {
  std::uint64_t left = 0;
  for (std::uint64_t rest = tables_.MalformedLeaves(entries, count); rest != 0;
       rest &= rest - 1) {
    const auto i = static_cast<unsigned>(std::countr_zero(rest));
    // Its owner may have mended it meanwhile.
    const Word now = ReadOnce(entries[i], kRelaxed);
    if (!F::IsPresent(now) || !Admits(now, first + i, Level{1})) {
      left |= rest & -rest;
    }
  }
  seen.any &= ~left;
  seen.both &= ~left;
  seen.equal = 0;
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
  output.Count(harvester.counts());
  return harvester.result();
}

}  // namespace ptage

#endif  // PTAGE_HARVEST_H_
