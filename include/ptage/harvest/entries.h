// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a harvest makes of entries: of a block as vectors saw it, of some that
// follow one another, and of a single one. Included by harvest.h.
//
// Contract
//   As harvest.h says; one EntryHarvester is used for one range, by one thread.
//   What it is told of comes in ascending order, and is in the range; only what
//   an inner entry covers may reach beyond.
//
//   Of a block three things are taken as the vectors saw them: which entries
//   are cold or empty, which are frozen, and, where nothing is to be cleared,
//   which are young. Each was so when it was read, and entries of a direct tree
//   keep their frame while the walk lasts. An entry that is to be cleared is
//   read again, and changed by compare-and-swap against that value. Under a
//   type-stable reclaimer whatever looks young is read again by the rules of
//   page_table/tables.h.

#ifndef PTAGE_HARVEST_ENTRIES_H_
#define PTAGE_HARVEST_ENTRIES_H_

#include <bit>
#include <cstdint>

#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::internal {

// Tests, or tests and clears, one bit of the entries of a tree. kCold: what is
// asked, in a type-stable one, of those that are cold.
template <class TreeTables, typename TreeTables::Word kWantedBit,
          ColdEntries kCold, class Output>
class EntryHarvester {
 public:
  using Tables = TreeTables;
  using F = typename Tables::Format;
  using Word = typename F::Word;
  using Entry = SpteCell<F>;

  static constexpr Word kWanted = kWantedBit;

  EntryHarvester(const Tables& tables, GfnRange range, AgeAction action,
                 AgeMode mode, Output& output)
      : tables_(tables),
        range_(range),
        action_(action),
        mode_(mode),
        output_(output) {}
  EntryHarvester(const EntryHarvester&) = delete;
  EntryHarvester& operator=(const EntryHarvester&) = delete;

  // Counts that stay in registers, until they are added.
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
  // frame: kBlock of them, as they were read; and any number.
  void HarvestBlock(Entry* entries, Gfn first, const BlockSeen& seen,
                    Tally& tally);
  void HarvestAll(Entry* entries, std::uint64_t count, Gfn first);

  // One entry, of any level, as it was read.
  void HarvestEntry(Entry& entry, Word seen, Level level, GfnRange covers);

  [[nodiscard]] AgeResult result() const { return result_; }
  [[nodiscard]] const AgeCounts& counts() const { return counts_; }

 private:
  using Here = typename Tables::Here;

  static constexpr bool kStable = Tables::kStable;
  // False: tables of others (foreign.h), that may hold anything.
  static constexpr bool kTrusted = Tables::kTrusted;

  // Up to kBlock; and, of these, the ones that looked young or frozen.
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

  const Tables& tables_;
  const GfnRange range_;
  const AgeAction action_;
  const AgeMode mode_;
  Output& output_;
  AgeResult result_;
  AgeCounts counts_;
};

// ---------------------------------------------------------------------------

template <class TreeTables, typename TreeTables::Word kWantedBit,
          ColdEntries kCold, class Output>
[[gnu::always_inline]] inline void
EntryHarvester<TreeTables, kWantedBit, kCold, Output>::HarvestBlock(
    Entry* entries, Gfn first, const BlockSeen& seen, Tally& tally) {
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

template <class TreeTables, typename TreeTables::Word kWantedBit,
          ColdEntries kCold, class Output>
void EntryHarvester<TreeTables, kWantedBit, kCold, Output>::HarvestAll(
    Entry* entries, std::uint64_t count, Gfn first) {
  while (count != 0) {
    const auto some = static_cast<unsigned>(count < kBlock ? count : kBlock);
    HarvestEntries(entries, some, first);
    entries += some;
    first = first + some;
    count -= some;
  }
}

template <class TreeTables, typename TreeTables::Word kWantedBit,
          ColdEntries kCold, class Output>
void EntryHarvester<TreeTables, kWantedBit, kCold, Output>::HarvestEntries(
    Entry* entries, unsigned count, Gfn first) {
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

template <class TreeTables, typename TreeTables::Word kWantedBit,
          ColdEntries kCold, class Output>
void EntryHarvester<TreeTables, kWantedBit, kCold, Output>::TakeYoung(
    Entry* entries, Gfn first, std::uint64_t young, std::uint64_t frozen) {
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

template <class TreeTables, typename TreeTables::Word kWantedBit,
          ColdEntries kCold, class Output>
void EntryHarvester<TreeTables, kWantedBit, kCold, Output>::HarvestEntry(
    Entry& entry, Word seen, Level level, GfnRange covers) {
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

template <class TreeTables, typename TreeTables::Word kWantedBit,
          ColdEntries kCold, class Output>
void EntryHarvester<TreeTables, kWantedBit, kCold, Output>::LeaveMalformed(
    const Entry* entries, unsigned count, Gfn first, WordsSeen& seen) {
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

}  // namespace ptage::internal

#endif  // PTAGE_HARVEST_ENTRIES_H_
