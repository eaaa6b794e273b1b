// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What there is in a VM: its tables and leaves, and whether the rmaps of nested
// guests hold just these. Nobody else uses the VM meanwhile.

#ifndef PTAGE_TEST_MODEL_VM_CENSUS_H_
#define PTAGE_TEST_MODEL_VM_CENSUS_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/model/l1_tables.h"
#include "test/model/vm_state.h"
#include "test/scheme.h"

namespace ptage::test {

// `V` is a Vm over Scheme and Arena<F>, `D` its discipline.
template <SpteFormat F, class V, class D, InnerAging kInner>
class VmCensus {
 public:
  VmCensus(const FormatFacts& facts, V& vm, Arena<F>& arena, Scheme& domain,
           D& rmaps, absl::Mutex& mmu_lock)
      : facts_(facts),
        vm_(vm),
        arena_(arena),
        domain_(domain),
        rmaps_(rmaps),
        mmu_lock_(mmu_lock) {}

  // Everything but L1's entries.
  VmState Take();
  // Whether the rmaps hold nothing but what is in the trees.
  [[nodiscard]] bool RmapsAreExact();

  // When Take was called last: the leaf tables whose entry above was marked, in
  // order; and young leaves under those that were not.
  const std::vector<LeafTable>& marked() const { return marked_; }
  const std::vector<LeafState>& hidden() const { return hidden_; }

 private:
  // A page of L1: first frame and level.
  using Page = std::pair<std::uint64_t, int>;
  using Walk = LocklessWalk<Scheme>;

  Walk Enter() { return Walk(domain_, WalkEntry::kWait); }
  // `marked`: whether the entry above is.
  void AppendTable(unsigned tree, const Table<F>& table, Level level,
                   std::uint64_t base, bool marked, VmState& state);
  void AppendLeaf(const SpteCell<F>& entry, typename F::Word word,
                  LeafState leaf, VmState& state);
  // Each nested guest's leaf is in the rmap of the frame that its table
  // records, and that has no other entries.
  void CheckRmaps(VmState& state);

  const FormatFacts facts_;
  V& vm_;
  Arena<F>& arena_;
  Scheme& domain_;
  D& rmaps_;
  absl::Mutex& mmu_lock_;

  // Leaves of nested guests, as they are met; and the pages that had some
  // before.
  std::vector<std::pair<SpteCell<F>*, Page>> met_;
  std::set<Page> mapped_;
  std::vector<LeafTable> marked_;
  std::vector<LeafState> hidden_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, class V, class D, InnerAging kInner>
VmState VmCensus<F, V, D, kInner>::Take() {
  VmState state;
  marked_.clear();
  hidden_.clear();
  const auto append = [&](unsigned tree, const Table<F>* root) {
    for (unsigned i = 0; i < kRootTables<F>; ++i) {
      AppendTable(tree, root[i], Level{F::kLevels}, i * kFramesPerRootTable<F>,
                  /*marked=*/false, state);
    }
  };
  append(kDirectTree, vm_.tdp().tree().root());
  for (unsigned guest = 0; guest < vm_.shadow().guests(); ++guest) {
    append(TreeOf(guest), vm_.shadow().tree(NestedGuest{guest}).root());
  }
  state.live = vm_.shadow().live();
  CheckRmaps(state);
  const Walk walk = Enter();
  for (const LeafState& leaf : state.leaves) {
    const Memslot<F>* const slot = vm_.memslots().Find(walk, Gfn{leaf.gfn});
    if (slot == nullptr || slot->FrameOf(Gfn{leaf.gfn}) != Pfn{leaf.pfn}) {
      state.errors.push_back("in no slot: " + ToText(leaf));
    }
  }
  // Within a tree they are met in order of frames.
  std::sort(state.tables.begin(), state.tables.end());
  return state;
}

template <SpteFormat F, class V, class D, InnerAging kInner>
void VmCensus<F, V, D, kInner>::AppendTable(unsigned tree,
                                            const Table<F>& table, Level level,
                                            std::uint64_t base, bool marked,
                                            VmState& state) {
  using Word = typename F::Word;
  if (marked && level == Level{1}) marked_.emplace_back(tree, base);
  ForEachEntry<F>(table, F::kEmpty, [&](unsigned index, Word word) {
    const std::uint64_t first = base + index * FramesAt<F>(level);
    if (!F::IsPresent(word)) {
      state.errors.push_back(absl::StrCat(
          "tree ", tree, " frame 0x", absl::Hex(first), " level ", level.value,
          ": the word 0x", absl::Hex(word), " was left"));
    } else if (F::IsLeaf(word, level)) {
      AppendLeaf(table.entries[index], word,
                 LeafState{.tree = tree, .frame = first, .level = level.value},
                 state);
      if (kInner == InnerAging::kSkipCold && !marked && level == Level{1} &&
          state.leaves.back().accessed) {
        hidden_.push_back(state.leaves.back());
      }
    } else if (const Table<F>* child = arena_.TableAt(F::FrameOf(word))) {
      state.tables.push_back(TableState{tree, level.Below().value, first});
      AppendTable(tree, *child, level.Below(), first,
                  F::kInnerAccessed && (word & F::kAccessed) != 0, state);
    } else {
      state.errors.push_back(absl::StrCat("tree ", tree, " frame 0x",
                                          absl::Hex(first), ": no table"));
    }
  });
}

template <SpteFormat F, class V, class D, InnerAging kInner>
void VmCensus<F, V, D, kInner>::AppendLeaf(const SpteCell<F>& entry,
                                           typename F::Word word,
                                           LeafState leaf, VmState& state) {
  leaf.gfn = RecordedFrame<F>(arena_, entry).value;
  leaf.pfn = F::FrameOf(word).value;
  leaf.rights = F::RightsOf(word);
  leaf.live = LiveRights<F>(word);
  leaf.accessed = IsYoung<F>(word);
  leaf.dirty = IsDirty<F>(word);
  if constexpr (WriteProtectable<F>) leaf.is_protected = IsProtected<F>(word);
  state.leaves.push_back(leaf);
  if (leaf.tree != kDirectTree) {
    met_.emplace_back(const_cast<SpteCell<F>*>(&entry),
                      Page{leaf.gfn, leaf.level});
  }
}

template <SpteFormat F, class V, class D, InnerAging kInner>
void VmCensus<F, V, D, kInner>::CheckRmaps(VmState& state) {
  const Walk walk = Enter();
  absl::MutexLock lock(&mmu_lock_);
  const auto wrong = [&](const char* what, Page page) {
    state.errors.push_back(absl::StrCat(what, " gfn 0x", absl::Hex(page.first),
                                        " level ", page.second));
  };
  std::map<Page, std::uint32_t> counts;
  for (const Page& page : mapped_) counts[page] = 0;
  for (const auto& [entry, page] : met_) {
    ++counts[page];
    const Gfn gfn{page.first};
    Memslot<F>* const slot = vm_.memslots().Find(walk, gfn);
    if (slot == nullptr ||
        !rmaps_.Contains(slot->HeadOf(gfn, Level{page.second}), *entry)) {
      wrong("an entry is not in the rmap of", page);
    }
  }
  mapped_.clear();
  met_.clear();
  for (const auto& [page, count] : counts) {
    const Gfn gfn{page.first};
    Memslot<F>* const slot = vm_.memslots().Find(walk, gfn);
    if (slot == nullptr) continue;
    if (rmaps_.Count(slot->HeadOf(gfn, Level{page.second})) != count) {
      wrong("there are other entries in the rmap of", page);
    }
    if (count != 0) mapped_.insert(page);
  }
}

template <SpteFormat F, class V, class D, InnerAging kInner>
bool VmCensus<F, V, D, kInner>::RmapsAreExact() {
  const Walk walk = Enter();
  absl::MutexLock lock(&mmu_lock_);
  std::uint64_t entries = 0;
  vm_.memslots().ForEach(
      walk, GfnRange{Gfn{0}, Gfn{facts_.frames}},
      [&](Memslot<F>& slot, GfnRange part) {
        for (Level level{1}; level <= F::kLargestLeaf; level = level.Above()) {
          for (std::uint64_t page = facts_.FirstOf(part.begin.value, level);
               page < part.end.value; page += facts_.FramesAt(level)) {
            const Gfn at = std::max(part.begin, Gfn{page});
            entries += rmaps_.Count(slot.HeadOf(at, level));
          }
        }
      });
  return entries == vm_.shadow().live();
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_CENSUS_H_
