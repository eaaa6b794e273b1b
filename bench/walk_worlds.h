// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Direct page tables to be harvested: in the order of their frames in memory or
// shuffled, with a set share of young entries; and other ways to harvest them.

#ifndef PTAGE_BENCH_WALK_WORLDS_H_
#define PTAGE_BENCH_WALK_WORLDS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "bench/huge_array.h"
#include "bench/locks.h"
#include "bench/window.h"
#include "ptage/foreign.h"
#include "ptage/harvest.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "ptage/walk.h"

namespace ptage::bench {

enum class TableOrder {
  kInOrder,   // a table for frames that follow lies behind
  kShuffled,  // anywhere, as an allocator that has run for a while has it
};

// Table memory that hands its tables out in that order.
class OrderedTables {
 public:
  OrderedTables(std::size_t count, TableOrder order, std::uint64_t seed)
      : tables_(count),
        infos_(std::make_unique<TableInfo<Ept>[]>(count)),
        free_(count) {
    std::iota(free_.rbegin(), free_.rend(), std::size_t{0});
    if (order == TableOrder::kShuffled) {
      internal::SplitMix random(seed);
      for (std::size_t left = count; left > 1; --left) {
        std::swap(free_[left - 1], free_[random.Below(left)]);
      }
    }
  }

  [[nodiscard]] Table<Ept>* Allocate(TableKind) {
    if (free_.empty()) return nullptr;
    Table<Ept>* const table = &tables_[free_.back()];
    free_.pop_back();
    return table;
  }
  void Free(Table<Ept>* table) { free_.push_back(IndexOf(*table->entries)); }
  [[nodiscard]] TableInfo<Ept>& InfoOf(const Table<Ept>* table) {
    return infos_[IndexOf(*table->entries)];
  }
  [[nodiscard]] Table<Ept>* TableOf(const SpteCell<Ept>& entry) {
    return &tables_[IndexOf(entry)];
  }
  [[nodiscard]] Pfn FrameOf(const Table<Ept>* table) {
    return Pfn{IndexOf(*table->entries)};
  }
  [[nodiscard]] Table<Ept>* TableAt(Pfn pfn) {
    return pfn.value < tables_.size() ? &tables_[pfn.value] : nullptr;
  }

  [[nodiscard]] const void* begin() { return tables_.data(); }
  [[nodiscard]] std::uint64_t bytes() {
    return tables_.size() * sizeof(Table<Ept>);
  }

 private:
  [[nodiscard]] std::size_t IndexOf(const SpteCell<Ept>& entry) {
    return static_cast<std::size_t>(
               reinterpret_cast<std::uintptr_t>(&entry) -
               reinterpret_cast<std::uintptr_t>(tables_.data())) /
           sizeof(Table<Ept>);
  }

  HugeArray<Table<Ept>> tables_;
  std::unique_ptr<TableInfo<Ept>[]> infos_;
  std::vector<std::size_t> free_;
};

// A tree whose leaf tables are full, with `young` of each million entries
// accessed.
class WalkWorld {
 public:
  using Tree = PageTable<Ept, OrderedTables, EpochDomain<>>;

  WalkWorld(std::size_t leaf_tables, TableOrder order, std::uint64_t young,
            std::uint64_t seed)
      : memory_(leaf_tables + leaf_tables / kEntriesPerTable<Ept> + 4, order,
                seed),
        tree_(memory_, domain_, flusher_, TableKind::kDirect),
        range_{Gfn{0}, Gfn{leaf_tables * kEntriesPerTable<Ept>}},
        lines_(leaf_tables) {
    const LocklessWalk walk(domain_);
    for (std::size_t t = 0; t < leaf_tables; ++t) {
      const Gfn gfn{t * kEntriesPerTable<Ept>};
      if (!walk ||
          tree_.Map(walk, gfn, Level{1}, Leaf(gfn)) != MapOutcome::kDone) {
        std::abort();
      }
      tables_.push_back(memory_.TableOf(*tree_.Lookup(walk, gfn).entry));
    }
    internal::SplitMix random(seed);
    for (std::size_t t = 0; t < leaf_tables; ++t) {
      for (unsigned i = 0; i < kEntriesPerTable<Ept>; ++i) {
        const bool is_young = random.Below(1'000'000) < young;
        const Gfn gfn{t * kEntriesPerTable<Ept> + i};
        WriteOnce(tables_[t]->entries[i],
                  Leaf(gfn) | (is_young ? Ept::kAccessed : 0), kRelaxed);
        if (is_young) {
          young_.push_back(
              static_cast<std::uint32_t>(t * kEntriesPerTable<Ept> + i));
        }
      }
    }
  }

  [[nodiscard]] Tree& tree() { return tree_; }
  [[nodiscard]] EpochDomain<>& domain() { return domain_; }
  [[nodiscard]] GfnRange range() const { return range_; }
  [[nodiscard]] std::size_t tables() const { return tables_.size(); }
  [[nodiscard]] std::size_t young() const { return young_.size(); }
  [[nodiscard]] const void* begin() { return memory_.begin(); }

  // Leaves young entries only in every `distance`-th table; the parents of the
  // others are clear.
  void HeatEvery(std::size_t distance) {
    std::erase_if(young_, [&](std::uint32_t i) {
      if (i / kEntriesPerTable<Ept> % distance == 0) return false;
      SetAccessed(tables_[i / kEntriesPerTable<Ept>]
                      ->entries[i % kEntriesPerTable<Ept>],
                  false);
      return true;
    });
    hot_.clear();
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      SpteCell<Ept>& parent = *memory_.InfoOf(tables_[t]).parent.Get();
      SetAccessed(parent, t % distance == 0);
      if (t % distance == 0) hot_.push_back(&parent);
    }
  }

  // Makes the young entries young again, and the parents of hot tables.
  void Rearm() {
    for (SpteCell<Ept>* parent : hot_) SetAccessed(*parent, true);
    for (const std::uint32_t i : young_) {
      SetAccessed(tables_[i / kEntriesPerTable<Ept>]
                      ->entries[i % kEntriesPerTable<Ept>],
                  true);
    }
  }
  // Clears the bitmap that all of these write to. A line of it for a table.
  void ClearBitmap() { lines_.assign(lines_.size(), Line{}); }
  // Frames in the bitmap.
  [[nodiscard]] std::uint64_t Found() const {
    std::uint64_t found = 0;
    for (const Line& line : lines_) {
      for (const std::uint64_t word : line.words) found += CountLanes(word);
    }
    return found;
  }
  [[nodiscard]] AgeOutput Output() {
    return AgeOutput{.begin = range_.begin,
                     .young = Bitmap(lines_[0].words, range_.Frames())};
  }

  template <Loads kLoads = Loads::kWidest>
  void HarvestPiece(GfnRange range, AgeAction action) {
    const LocklessWalk walk(domain_);
    (void)Harvest<HarvestBit::kAccessed, kLoads>(tree_, walk, range, action,
                                                 AgeMode::kFastOnly, Output());
  }

  // Tests the same tables as if somebody else had built them.
  template <ForeignLeaves kLeaves>
  void HarvestForeign() {
    const ForeignTree<Ept, ForeignRam, kLeaves> tree(
        ram_, memory_.FrameOf(tree_.root()),
        {.physical_bits = 46, .most_tables = 2 * tables_.size()});
    (void)Harvest(tree, {}, range_, AgeAction::kTest, AgeMode::kFastOnly,
                  Output());
    if (tree.report().any) std::abort();
  }

  // Reads what is under young parents alone. No CPU walks these tables, so that
  // the flush is free.
  void SkipCold(AgeAction action) {
    const LocklessWalk walk(domain_);
    (void)Prune(tree_, walk, flusher_, range_, Pruning::kExact, action,
                Output());
  }

  // What a loop without vectors does: each entry in its table, by itself.
  void EachEntry(AgeAction action) {
    const AgeOutput output = Output();
    for (std::size_t t = 0; t < tables_.size(); ++t)
      AgeTable(t, action, output);
  }
  // The same, with a lock taken for each table.
  void EachEntryLocked(AgeAction action) {
    const AgeOutput output = Output();
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      const ScopedLock<TicketLock> hold(lock_);
      AgeTable(t, action, output);
    }
  }
  // The same, called back by a walk for each leaf.
  void EachLeafCalledBack(AgeAction action) {
    const AgeOutput output = Output();
    const LocklessWalk walk(domain_);
    WalkAll(tree_, walk, range_, [&](const VisitedEntry<Ept>& visited) {
      const SpteAge age = AgeSeen<Ept>(visited.entry, visited.seen, action,
                                       [] { return true; });
      if (ToResult(age, AgeMode::kFastOnly).young) {
        output.SetYoung(visited.asked);
      }
    });
  }

 private:
  struct alignas(64) Line {
    std::uint64_t words[8] = {};
  };

  static void SetAccessed(SpteCell<Ept>& entry, bool accessed) {
    const Ept::Word word = ReadOnce(entry, kRelaxed);
    WriteOnce(entry, accessed ? word | Ept::kAccessed : word & ~Ept::kAccessed,
              kRelaxed);
  }
  static Ept::Word Leaf(Gfn gfn) {
    return Ept::MakeLeaf(Pfn{0x100'0000 + gfn.value}, Level{1}, Rights::kAll);
  }
  void AgeTable(std::size_t t, AgeAction action, const AgeOutput& output) {
    for (unsigned i = 0; i < kEntriesPerTable<Ept>; ++i) {
      const SpteAge age =
          AgeEntry<Ept>(tables_[t]->entries[i], action, [] { return true; });
      if (ToResult(age, AgeMode::kFastOnly).young) {
        output.young.Set(t * kEntriesPerTable<Ept> + i);
      }
    }
  }

  OrderedTables memory_;
  EpochDomain<> domain_;
  NoFlush flusher_;
  Tree tree_;
  const RamBlock block_{
      0, memory_.bytes(),
      const_cast<std::byte*>(static_cast<const std::byte*>(memory_.begin()))};
  const ForeignRam ram_{&block_, 1};
  const GfnRange range_;
  std::vector<Table<Ept>*> tables_;  // in the order of their frames
  std::vector<std::uint32_t> young_;
  std::vector<SpteCell<Ept>*> hot_;  // parents
  std::vector<Line> lines_;
  TicketLock lock_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_WALK_WORLDS_H_
