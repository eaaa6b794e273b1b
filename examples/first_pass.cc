// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A tree of page tables, aged with the core alone.
#include <cstdio>

#include "ptage/core.h"

using namespace ptage;
using F = Ept;

int main() {
  static Table<F> tables[4];
  static TableInfo<F> infos[4];
  TableArena<F> memory(tables, infos, /*gfns=*/nullptr, 4, Pfn{0});
  AnonymousEpochDomain<> reclaimer;
  NoFlush flusher;  // no CPU caches these tables
  PageTable<F, TableArena<F>, AnonymousEpochDomain<>> tree(
      memory, reclaimer, flusher, TableKind::kDirect);
  const LocklessWalk walk(reclaimer);
  const auto leaf = F::MakeLeaf(Pfn{99}, Level{1}, Rights::kAll);
  if (tree.Map(walk, Gfn{7}, Level{1}, leaf | F::kAccessed) !=
      MapOutcome::kDone) {
    return 1;
  }
  for (int pass = 1; pass <= 2; ++pass) {
    const AgeResult result =
        Harvest(tree, walk, {Gfn{0}, Gfn{512}}, AgeAction::kTestAndClear,
                AgeMode::kFastOnly, AgeOutput{});
    std::printf("pass %d: young %d\n", pass, result.young);
  }
}
