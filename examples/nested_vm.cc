// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest (L1) that runs a guest of its own (L2): how many frames are mapped by
// one entry and how many by several, what aging finds in both, and whether the
// pages that L2 uses all the time survive an eviction.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "ptage/ptage.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"

using namespace ptage;
using F = Ept;

namespace {

// L1 has 64 MiB. L2 has 32 of them, from frame kL2 on, and L1's tables for L2
// lie in the last ones.
constexpr std::uint64_t kL1Frames = 16'384;
constexpr std::uint64_t kL2 = 4096;
constexpr std::uint64_t kL2Frames = 8192;
constexpr std::uint64_t kL1Tables = kL1Frames - 64;
constexpr GfnRange kAll{Gfn{0}, Gfn{kL1Frames}};
// The first pages of L2 are all zero, and L1 has merged them into one.
constexpr std::uint64_t kZeroPages = 64;
// L2 uses these all the time; and the others once.
constexpr std::uint64_t kHot = 1024;

using Memory = TableArena<F>;
using Domain = EpochDomain<>;
using Pool = GracePool<RmapChunks<F>, Domain>;
using Rmaps = Lockless<F, Memory, Pool>;
using Machine = Vm<F, Memory, Domain, sim::VcpuSet, Rmaps>;

// The host's memory for L1's tables, and L1 that fills it.
class L1 {
 public:
  L1() : pages_(64), block_{kL1Tables << 12, 64 << 12, Bytes()} {
    // A root, one table of each level below, and 16 of leaves.
    Link(0, 0, 1);
    Link(1, 0, 2);
    for (std::uint64_t t = 0; t < kL2Frames / 512; ++t) Link(2, t, 3 + t);
    for (std::uint64_t nested = 0; nested < kL2Frames; ++nested) {
      const std::uint64_t frame = nested < kZeroPages ? kL2 : kL2 + nested;
      WriteOnce(pages_[3 + nested / 512].entries[nested % 512],
                F::MakeLeaf(Pfn{frame}, Level{1}, Rights::kAll), kRelaxed);
    }
  }
  // As the processor would walk them for L2.
  [[nodiscard]] GuestWalker<F, ForeignRam> Walker() const {
    return {ram_, Pfn{kL1Tables}, GuestBits::kMarked, /*physical_bits=*/40};
  }

 private:
  struct alignas(4096) Page : Table<F> {};

  std::byte* Bytes() { return reinterpret_cast<std::byte*>(pages_.data()); }
  void Link(std::size_t table, std::uint64_t entry, std::uint64_t to) {
    WriteOnce(pages_[table].entries[entry], F::MakeInner(Pfn{kL1Tables + to}),
              kRelaxed);
  }

  std::vector<Page> pages_;
  RamBlock block_;
  ForeignRam ram_{&block_, 1};
};

// An access, and the fault that it may take.
template <class Vcpu, class Fault>
bool Access(Vcpu& vcpu, std::uint64_t frame, Rights needed, Fault&& fault) {
  int faults = 0;
  while (!vcpu.Translate(Gfn{frame}, needed)) {
    ++faults;
    if (fault(frame, needed) != FaultOutcome::kMapped) std::abort();
  }
  return faults != 0;
}

}  // namespace

int main() {
  constexpr std::size_t kTables = 128, kChunks = 64;
  std::vector<Table<F>> tables(kTables);
  std::vector<TableInfo<F>> infos(kTables);
  std::vector<Cell<std::uint64_t>> gfns(kTables * kEntriesPerTable<F>);
  std::vector<RmapChunks<F>::First> firsts(kChunks);
  std::vector<RmapChunks<F>::Later> laters(kChunks);
  Memory memory(tables.data(), infos.data(), gfns.data(), kTables, Pfn{0});
  Domain reclaimer;
  Pool pool(reclaimer, firsts.data(), kChunks, laters.data(), kChunks);
  Rmaps rmaps(memory, pool);
  sim::VcpuSet cpus(2);
  absl::Mutex lock;
  Machine vm({memory, reclaimer, cpus, rmaps, lock}, Level{1});
  if (!vm.AddMemslot(kAll, Pfn{0x100000}, Rights::kAll).ok()) return 1;

  const L1 l1;
  using Vcpu = sim::Vcpu<F, Memory>;
  Vcpu runs_l1(cpus, 0, memory, *vm.tdp().tree().root());
  Vcpu runs_l2(cpus, 1, memory, *vm.shadow().tree().root());
  const auto direct = [&](std::uint64_t gfn, Rights needed) {
    return vm.Fault(Gfn{gfn}, needed);
  };
  const auto nested = [&](std::uint64_t frame, Rights needed) {
    GuestTranslation walked;
    return vm.NestedFault(NestedGfn{frame}, needed, l1.Walker(), walked);
  };
  // L1's kernel lives in its first 512 frames. Returns the faults of L2.
  const auto run = [&](std::uint64_t from, std::uint64_t to) {
    const sim::Running<Vcpu> l1_runs(runs_l1);
    for (std::uint64_t gfn = 0; gfn < 512; ++gfn) {
      (void)Access(runs_l1, gfn, Rights::kRead, direct);
    }
    const sim::Running<Vcpu> l2_runs(runs_l2);
    std::uint64_t faults = 0;
    for (std::uint64_t frame = from; frame < to; ++frame) {
      const bool writes = frame >= kZeroPages && frame % 4 == 0;
      faults += Access(runs_l2, frame,
                       writes ? Rights::kReadWrite : Rights::kRead, nested);
    }
    return faults;
  };

  std::printf("L2 starts: %d faults\n", int(run(0, kL2Frames)));
  std::uint64_t single = 0, several = 0;
  {
    const LocklessWalk walk(reclaimer);
    vm.memslots().ForEach(walk, kAll, [&](Memslot<F>& slot, GfnRange part) {
      for (Gfn gfn = part.begin; gfn < part.end; gfn = gfn + 1) {
        const std::uint32_t entries = rmaps.Count(slot.HeadOf(gfn, Level{1}));
        single += entries == 1;
        several += entries > 1;
      }
    });
  }
  std::printf("frames that L2 maps once: %d; more often: %d\n", int(single),
              int(several));

  // Aging of both guests, in one pass a round, without a lock; a frame that is
  // not young for two rounds is idle.
  std::vector<int> idle(kL1Frames);
  for (int round = 1; round <= 3; ++round) {
    if (round > 1) (void)run(0, kHot);
    std::vector<std::uint64_t> young(kL1Frames / 64);
    const Bitmap bits(young.data(), kL1Frames);
    const AgeResult result = vm.TestClearYoungFastOnly(kAll, {.young = bits});
    // What is cached would be used without a mark.
    cpus.Flush(kAll);
    std::uint64_t count = 0;
    for (std::uint64_t gfn = 0; gfn < kL1Frames; ++gfn) {
      idle[gfn] = bits.Test(gfn) ? 0 : idle[gfn] + 1;
      count += bits.Test(gfn);
    }
    std::printf("round %d: %d frames young, complete %d\n", round, int(count),
                result.complete);
  }

  std::uint64_t evicted = 0, written = 0;
  for (std::uint64_t gfn = 0; gfn < kL1Frames; ++gfn) {
    if (idle[gfn] < 2) continue;
    evicted +=
        vm.Invalidate({Gfn{gfn}, Gfn{gfn + 1}},
                      [&](const ZappedLeaf& leaf) { written += leaf.dirty; });
  }
  std::printf("evicted: %d mappings, %d of them written to\n", int(evicted),
              int(written));
  const std::uint64_t hot = run(0, kHot);
  const std::uint64_t others = run(kHot, kL2Frames);
  std::printf("L2 again: %d faults in its %d hot pages, %d in the others\n",
              int(hot), int(kHot), int(others));
  return hot == 0 && others == kL2Frames - kHot && several == 1 ? 0 : 1;
}
