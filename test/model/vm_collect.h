// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What aging, and the collection of dirty pages, answer and leave, on maps.

#ifndef PTAGE_TEST_MODEL_VM_COLLECT_H_
#define PTAGE_TEST_MODEL_VM_COLLECT_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "ptage/prune.h"
#include "ptage/types.h"
#include "test/model/vm_maps.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_state.h"

namespace ptage::test {

// One entry is asked, which maps `frames`.
inline void AskOne(ModelLeaf& leaf, GfnRange frames, GfnRange range,
                   AgeAction action, Outcome& outcome) {
  ++outcome.counts.examined;
  if (!leaf.accessed) return;
  ++outcome.counts.young;
  outcome.result.young = true;
  outcome.young.push_back(range.Clip(frames));
  // One bit for all of its frames.
  if (action == AgeAction::kTestAndClear && range.Contains(frames)) {
    leaf.MakeOld();
  }
}

inline void AgeDirect(VmMaps& maps, GfnRange range, AgeAction action,
                      Outcome& outcome) {
  maps.ForEach(kDirectTree, range, [&](GfnRange frames, ModelLeaf& leaf) {
    AskOne(leaf, frames, range, action, outcome);
  });
}

// `lists_are_fast`: fast-only answers for pages that have several entries.
inline void AgeNested(VmMaps& maps, unsigned guests, GfnRange range,
                      const Operation& how, bool lists_are_fast,
                      Outcome& outcome) {
  // The rmaps: who maps a page of L1.
  std::map<std::pair<std::uint64_t, Level>, std::vector<ModelLeaf*>> rmaps;
  for (unsigned guest = 0; guest < guests; ++guest) {
    maps.ForEach(TreeOf(guest), [&](GfnRange, ModelLeaf& leaf) {
      if (range.Overlaps(maps.FramesOf(leaf.gfn, leaf))) {
        rmaps[{leaf.gfn, leaf.level}].push_back(&leaf);
      }
    });
  }
  const std::uint64_t young_before = outcome.counts.young;
  for (const auto& [page, entries] : rmaps) {
    const GfnRange frames = maps.FramesOf(page.first, *entries.front());
    if (how.mode == AgeMode::kFastOnly && !lists_are_fast &&
        entries.size() > 1) {
      ++outcome.counts.unanswered;
      outcome.result.complete = false;
      outcome.unknown.push_back(range.Clip(frames));
      continue;
    }
    for (ModelLeaf* const leaf : entries) {
      AskOne(*leaf, frames, range, how.action, outcome);
    }
  }
  outcome.result.was_fast |=
      lists_are_fast && outcome.counts.young > young_before;
}

// Both MMUs, but for what is not asked.
inline void AgeSkippingCold(VmMaps& maps, unsigned guests, GfnRange range,
                            const Operation& how, bool lists_are_fast,
                            Outcome& outcome) {
  const bool is_best_effort = how.pruning == Pruning::kBestEffort;
  const bool behind_caches =
      is_best_effort && how.action == AgeAction::kTestAndClear;
  if (how.asked != Asked::kShadow) {
    maps.ForEach(kDirectTree, range, [&](GfnRange frames, ModelLeaf& leaf) {
      if (maps.IsSkipped(kDirectTree, frames.begin.value, leaf)) return;
      AskOne(leaf, frames, range, how.action, outcome);
    });
    outcome.result.was_fast = is_best_effort && outcome.counts.young != 0;
    if (behind_caches) maps.ClearBehindCaches(kDirectTree, range);
  }
  if (how.asked == Asked::kDirect) return;
  const std::uint64_t young_before = outcome.counts.young;
  for (unsigned guest = 0; guest < guests; ++guest) {
    const unsigned tree = TreeOf(guest);
    // All that it has, wherever it is in L1's memory.
    maps.ForEach(tree, [&](GfnRange nested, ModelLeaf& leaf) {
      if (maps.IsSkipped(tree, nested.begin.value, leaf)) return;
      const GfnRange frames = maps.FramesOf(leaf.gfn, leaf);
      if (range.Overlaps(frames)) {
        AskOne(leaf, frames, range, how.action, outcome);
      } else {
        ++outcome.counts.examined;
      }
    });
    if (behind_caches) maps.ClearBehindCaches(tree, maps.All());
  }
  outcome.result.was_fast |=
      is_best_effort && lists_are_fast && outcome.counts.young > young_before;
}

inline void WriteProtectDirect(VmMaps& maps, GfnRange range, Outcome& outcome) {
  maps.ForEach(kDirectTree, range, [&](GfnRange frames, ModelLeaf& leaf) {
    const bool whole = range.Contains(frames);
    const bool writable = Allows(leaf.rights, Rights::kWrite);
    ++outcome.counts.examined;
    if (leaf.dirty || (!whole && writable)) {
      ++outcome.counts.young;
      outcome.young.push_back(range.Clip(frames));
    }
    if (!whole) return;
    leaf.MakeClean();
    leaf.is_protected |= writable;
    leaf.rights = leaf.rights & Rights::kReadExecute;
  });
}

inline void LiftProtectionDirect(VmMaps& maps, GfnRange range,
                                 Outcome& outcome) {
  maps.ForEach(kDirectTree, range, [&](GfnRange, ModelLeaf& leaf) {
    if (!leaf.is_protected) return;
    ++outcome.count;
    leaf.is_protected = false;
    leaf.rights = leaf.rights | Rights::kWrite;
  });
}

inline void ClearDirtyDirect(VmMaps& maps, GfnRange range, Outcome& outcome) {
  maps.ForEach(kDirectTree, range, [&](GfnRange frames, ModelLeaf& leaf) {
    ++outcome.counts.examined;
    if (!leaf.dirty) return;
    ++outcome.counts.young;
    outcome.young.push_back(range.Clip(frames));
    if (range.Contains(frames)) leaf.MakeClean();
  });
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_COLLECT_H_
