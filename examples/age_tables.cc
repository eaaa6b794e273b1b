// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A page table whose pages are aged, twice: which were accessed since?
#include <cstdint>
#include <cstdio>

#include "ptage/core.h"
using namespace ptage;

int main() {
  alignas(4096) static Table<Ept> pages[8];  // where the tables lie
  static TableInfo<Ept> infos[8];
  TableArena<Ept> memory(pages, infos, nullptr, 8, Pfn{0});
  AnonymousEpochDomain<> domain;  // frees no table under a walk
  NoFlush cpus;                   // none caches these
  PageTable<Ept, TableArena<Ept>, AnonymousEpochDomain<>> tree(
      memory, domain, cpus, TableKind::kDirect);
  const LocklessWalk walk(domain);
  const auto leaf = Ept::MakeLeaf(Pfn{9}, Level{1}, Rights::kAll);
  (void)tree.Map(walk, Gfn{7}, Level{1}, leaf | Ept::kAccessed);  // by a CPU
  for (int pass = 1; pass <= 2; ++pass) {  // from any thread, without a lock
    std::uint64_t young = 0;               // bit i: page i
    Harvest(tree, walk, {Gfn{0}, Gfn{64}}, AgeAction::kTestAndClear,
            AgeMode::kFastOnly, AgeOutput{.young = Bitmap(&young, 64)});
    std::printf("pass %d: young %#x\n", pass, unsigned(young));
  }
}
