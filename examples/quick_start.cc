// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Ages the memory of a small virtual machine: which pages did the guest use?
#include <cstdint>
#include <cstdio>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "ptage/ptage.h"

using namespace ptage;
using F = Ept;

int main() {
  // What the VM is made of; each part is a policy that you can replace.
  constexpr std::size_t kTables = 64, kChunks = 64;
  alignas(4096) static Table<F> tables[kTables];
  std::vector<TableInfo<F>> infos(kTables);
  std::vector<Cell<std::uint64_t>> gfns(kTables * kEntriesPerTable<F>);
  std::vector<RmapChunks<F>::First> firsts(kChunks);
  std::vector<RmapChunks<F>::Later> laters(kChunks);
  TableArena<F> memory(tables, infos.data(), gfns.data(), kTables, Pfn{0});
  EpochDomain<> reclaimer;
  GracePool<RmapChunks<F>, EpochDomain<>> pool(reclaimer, firsts.data(),
                                               kChunks, laters.data(), kChunks);
  Lockless<F, decltype(memory), decltype(pool)> rmaps(memory, pool);
  NoFlush flusher;  // no CPU caches these tables
  absl::Mutex lock;
  Vm<F, decltype(memory), EpochDomain<>, NoFlush, decltype(rmaps)> vm(
      {memory, reclaimer, flusher, rmaps, lock}, /*largest_leaf=*/Level{1});
  if (!vm.AddMemslot({Gfn{0}, Gfn{4096}}, Pfn{0x100000}, Rights::kAll).ok()) {
    return 1;
  }

  // The guest faults three pages in; each is born accessed.
  for (const std::uint64_t gfn : {7u, 8u, 600u}) {
    if (vm.Fault(Gfn{gfn}, Rights::kWrite) != FaultOutcome::kMapped) return 1;
  }

  // Aging, as often as you like, from any thread, without a lock.
  for (int pass = 1; pass <= 2; ++pass) {
    std::uint64_t young[4096 / 64] = {};
    const AgeResult result = vm.TestClearYoungFastOnly(
        {Gfn{0}, Gfn{4096}}, {.begin = Gfn{0}, .young = Bitmap(young, 4096)});
    std::printf("pass %d: young %d, complete %d:", pass, result.young,
                result.complete);
    for (std::uint64_t gfn = 0; gfn < 4096; ++gfn) {
      if (Bitmap(young, 4096).Test(gfn)) std::printf(" %d", int(gfn));
    }
    std::printf("\n");
  }
}
