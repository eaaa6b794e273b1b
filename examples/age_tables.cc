// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Page tables whose pages are aged, twice: which were accessed since?
#include <cstdio>

#include "ptage/core.h"
using namespace ptage;

int main() {
  alignas(4096) static Table<Ept> pages[8];  // where the tables lie
  static TableInfo<Ept> infos[8];
  TableArena<Ept> memory(pages, infos, nullptr, 8, Pfn{0});
  AnonymousEpochDomain<> domain;  // frees no table under a walk
  NoFlush cpus;                   // none caches these
  PageTable<Ept, decltype(memory), decltype(domain)> tree(memory, domain, cpus,
                                                          TableKind::kDirect);
  const LocklessWalk walk(domain);
  for (unsigned i = 7; i < 10; ++i) {  // mapped, and accessed: a CPU sets this
    const auto leaf = Ept::MakeLeaf(Pfn{i}, Level{1}, Rights::kAll);
    (void)tree.Map(walk, Gfn{i}, Level{1}, leaf | Ept::kAccessed);
  }
  for (int pass = 1; pass <= 2; ++pass) {  // from any thread, without a lock
    RunsOutput young([](GfnRange run, RunKind) {
      std::printf("%d from %d on\n", int(run.Frames()), int(run.begin.value));
    });
    const AgeResult all =
        Harvest(tree, walk, {Gfn{0}, Gfn{1024}}, AgeAction::kTestAndClear,
                AgeMode::kFastOnly, young);
    std::printf("pass %d: young %d, complete %d\n", pass, all.young,
                all.complete);
  }
}
