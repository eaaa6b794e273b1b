// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Whole leaf tables, which a harvest gathers before any is read: those that
// follow one another in memory are read as one run, scattered ones side by
// side. Included by harvest.h.
//
// Contract
//   As harvest.h says; one group is used for one range, by one thread. Tables
//   are answered in the order in which they were added, all of them when
//   Harvest returns.

#ifndef PTAGE_HARVEST_LEAF_TABLES_H_
#define PTAGE_HARVEST_LEAF_TABLES_H_

#include <cstdint>

#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/once/vector.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::internal {

// `Entries` is an EntryHarvester.
template <class Entries, Loads kLoads>
class LeafTables {
  using F = typename Entries::F;

 public:
  // As an EntryHarvester.
  template <class Output>
  LeafTables(const typename Entries::Tables& tables, GfnRange range,
             AgeAction action, AgeMode mode, Output& output)
      : entries_(tables, range, action, mode, output) {}

  // Adds a table of level 1, `base` being its first frame.
  void Add(Table<F>& table, Gfn base) {
    group_[waiting_++] = LeafTable{&table, base};
    if (waiting_ == kGroup) Harvest();
  }
  // Those that wait.
  void Harvest();

  // What they are harvested by.
  [[nodiscard]] Entries& entries() { return entries_; }

 private:
  using Word = typename F::Word;
  using Entry = SpteCell<F>;
  using Tally = typename Entries::Tally;

  // Nearly every entry that is present has it.
  static constexpr Word LowestPresentBit() {
    if constexpr (VectorTestable<F>) return F::kPresentBits & -F::kPresentBits;
    return 0;
  }
  static constexpr unsigned kPerTable = kEntriesPerTable<F>;
  static constexpr bool kInBlocks =
      VectorTestable<F> && kPerTable % kBlock == 0;
  static constexpr unsigned kBlocks = kInBlocks ? kPerTable / kBlock : 1;
  static constexpr unsigned kGroup = 64;
  // Scattered ones that are read side by side: eight streams keep memory busier
  // than any prefetch from one table to the next (docs/harvest.md). The first
  // block of each is fetched while the eight before are read.
  static constexpr unsigned kSide = 8;

  struct LeafTable {
    Table<F>* table;
    Gfn base;
  };

  // As many of them as go into eights; returns how many.
  unsigned HarvestSideBySide();
  // The t-th, which was read beside others.
  void HarvestSeen(unsigned t, const BlockSeen (&seen)[kBlocks][kSide]);
  // Some that follow one another, by their frames and in memory.
  void HarvestRun(const LeafTable& first, unsigned tables);

  Entries entries_;
  unsigned waiting_ = 0;
  LeafTable group_[kGroup];
};

// ---------------------------------------------------------------------------

template <class Entries, Loads kLoads>
void LeafTables<Entries, kLoads>::Harvest() {
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

template <class Entries, Loads kLoads>
void LeafTables<Entries, kLoads>::HarvestRun(const LeafTable& first,
                                             unsigned tables) {
  if constexpr (!kInBlocks) {
    for (unsigned t = 0; t < tables; ++t) {
      entries_.HarvestAll(first.table[t].entries, kPerTable,
                          first.base + t * kPerTable);
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
      SeeBlocks<1, kLoads>(block, LowestPresentBit(), Entries::kWanted, seen);
      entries_.HarvestBlock(entries, gfn, seen[0], tally);
      entries += kBlock;
      gfn = gfn + kBlock;
    }
    entries_.Add(tally);
  }
}

template <class Entries, Loads kLoads>
unsigned LeafTables<Entries, kLoads>::HarvestSideBySide() {
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
        SeeBlocks<kSide, kLoads>(blocks, LowestPresentBit(), Entries::kWanted,
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

template <class Entries, Loads kLoads>
void LeafTables<Entries, kLoads>::HarvestSeen(
    unsigned t, const BlockSeen (&seen)[kBlocks][kSide]) {
  const LeafTable leaf = group_[t];
  Tally tally;
  for (unsigned b = 0; b < kBlocks; ++b) {
    entries_.HarvestBlock(&leaf.table->entries[b * kBlock],
                          leaf.base + b * kBlock, seen[b][t % kSide], tally);
  }
  entries_.Add(tally);
}

}  // namespace ptage::internal

#endif  // PTAGE_HARVEST_LEAF_TABLES_H_
