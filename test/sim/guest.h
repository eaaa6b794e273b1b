// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A tree of tables and the vCPUs that walk it, for the tests of sim/.

#ifndef PTAGE_TEST_SIM_GUEST_H_
#define PTAGE_TEST_SIM_GUEST_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::test {

template <SpteFormat F>
class Guest {
 public:
  using Memory = TableArena<F>;
  using Domain = EpochDomain<>;
  using Tree = PageTable<F, Memory, Domain, sim::VcpuSet>;
  using Walk = LocklessWalk<Domain>;
  using Word = typename F::Word;

  explicit Guest(std::size_t vcpus, std::size_t tables = 64,
                 TableKind kind = TableKind::kDirect)
      : pages_(tables),
        infos_(tables),
        gfns_(kind == TableKind::kIndirect ? tables * kEntriesPerTable<F> : 0),
        memory(pages_.data(), infos_.data(), gfns_.data(), tables,
               Pfn{0x10000}),
        cpus(vcpus),
        tree(memory, domain, cpus, kind) {}

  MapOutcome Map(Gfn gfn, Pfn pfn, Rights rights, Level level = Level{1}) {
    const Walk walk(domain, WalkEntry::kWait);
    return tree.Map(walk, gfn, level, F::MakeLeaf(pfn, level, rights));
  }
  // Indirect trees: a leaf for the nested frame, with these bits, that maps
  // `gfn`, which is backed by the frame of the same number.
  MapOutcome MapNested(Gfn nested, Gfn gfn, Word bits = 0,
                       Level level = Level{1}) {
    const Walk walk(domain, WalkEntry::kWait);
    SpteCell<F>* entry = nullptr;
    const MapOutcome outcome = tree.Claim(walk, nested, level, entry);
    if (outcome != MapOutcome::kDone) return outcome;
    RecordFrame<F>(memory, *entry, gfn);
    Publish<F>(*entry, F::MakeLeaf(Pfn{gfn.value}, level, Rights::kAll) | bits);
    return outcome;
  }
  // The entry at `level` on the path to `gfn`, for a tree that nobody changes.
  SpteCell<F>& EntryAt(Gfn gfn, Level level) {
    Table<F>* table = RootTableOf(tree.root(), gfn);
    Level at{F::kLevels};
    for (; at > level; at = at.Below()) {
      table =
          memory.TableAt(F::FrameOf(ReadOnce(Slot(table, gfn, at), kAcquire)));
    }
    return Slot(table, gfn, at);
  }
  Word WordAt(Gfn gfn, Level level) {
    return ReadOnce(EntryAt(gfn, level), kRelaxed);
  }
  void SetWordAt(Gfn gfn, Level level, Word word) {
    WriteOnce(EntryAt(gfn, level), word, kRelaxed);
  }

 private:
  static SpteCell<F>& Slot(Table<F>* table, Gfn gfn, Level level) {
    return table->entries[gfn.value / FramesAt<F>(level) % kEntriesPerTable<F>];
  }

  std::vector<Table<F>> pages_;
  std::vector<TableInfo<F>> infos_;
  std::vector<Cell<std::uint64_t>> gfns_;

 public:
  Memory memory;
  Domain domain;
  sim::VcpuSet cpus;
  Tree tree;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_SIM_GUEST_H_
