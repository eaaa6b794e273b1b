// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest without nested paging that writes entries of one of its tables, which
// is shadowed or not.
//
// Contract
//   One thread. What a trap, and a flush of other CPUs, takes is not in it.

#ifndef PTAGE_BENCH_LEGACY_WORLD_H_
#define PTAGE_BENCH_LEGACY_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "bench/mmu_worlds.h"
#include "ptage/guest_walk.h"
#include "ptage/legacy_shadow.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"

namespace ptage::bench {

class LegacyWorld {
 public:
  // Of the table: entry i maps a page of its own.
  static constexpr std::uint64_t kEntries = 512;

  LegacyWorld()
      : memory_(std::make_unique<Page[]>(kFrames)),
        tables_(std::make_unique<Page[]>(kTables)),
        infos_(std::make_unique<TableInfo<X86_64>[]>(kTables)),
        gfns_(std::make_unique<Cell<std::uint64_t>[]>(kTables * kEntries)),
        block_{0, kFrames * sizeof(Page),
               reinterpret_cast<std::byte*>(memory_.get())},
        ram_(&block_, 1),
        arena_(tables_.get(), infos_.get(), gfns_.get(), kTables, Pfn{1}),
        pool_(domain_, &first_, 1, nullptr, 0),
        rmaps_(arena_, pool_),
        mmu_({arena_, domain_, flusher_, rmaps_, lock_, ram_},
             {.frames = kFrames}) {
    const GfnRange all{Gfn{0}, Gfn{kFrames}};
    if (!mmu_.AddMemslot(all, kHostFrames, Rights::kAll).ok()) std::abort();
    for (std::uint64_t table = 0; table < kLeaves; ++table) {
      Write(table, 0, table + 1);
    }
    const auto root = mmu_.LoadRoot(Gfn{0});
    if (!root.ok()) std::abort();
    root_ = *root;
    for (std::uint64_t i = 0; i < kEntries; ++i) WritePlain(i);
  }

  // The table is not shadowed; it is, but nothing is built from its entries.
  void Forget() {
    (void)mmu_.Reclaim(kTables, [](const ZappedLeaf&) {});
  }
  void Shadow() {
    Forget();
    Fault(0);
    (void)WriteTrapped(0);
  }
  // The guest's entry i, for a page that it has written before.
  void WritePlain(std::uint64_t i) { Write(kLeaves, i, PageOf(i)); }
  std::uint64_t WriteTrapped(std::uint64_t i) {
    const std::uint64_t word = PageOf(i) << 12 | kBits;
    std::byte bytes[sizeof(word)];
    std::memcpy(bytes, &word, sizeof(word));
    const auto zapped =
        mmu_.GuestWrite(Gfn{kLeaves}, i * sizeof(word),
                        absl::MakeConstSpan(bytes), [](const ZappedLeaf&) {});
    if (!zapped.has_value()) std::abort();
    return *zapped;
  }
  void Fault(std::uint64_t i) {
    GuestTranslation walked;
    if (mmu_.Fault(root_, Gfn{i}, Rights::kReadWrite, walked) !=
        FaultOutcome::kMapped) {
      std::abort();
    }
  }

 private:
  // The root is in frame 0, the table of leaves in frame 3.
  static constexpr std::uint64_t kLeaves = 3;
  static constexpr std::uint64_t kFrames = 1024;
  static constexpr std::size_t kTables = 16;
  // Present, writable, user, accessed, dirty.
  static constexpr std::uint64_t kBits = 0x67;

  struct alignas(4096) Page : Table<X86_64> {};
  using Domain = EpochDomain<>;
  using Arena = TableArena<X86_64>;
  using Pool = GracePool<RmapChunks<X86_64>, Domain>;
  using Rmaps = Lockless<X86_64, Arena, Pool, RmapWriters::kLockHeadInOrder>;
  using Mmu =
      LegacyShadow<X86_64, Arena, Domain, NoFlush, Rmaps, X86_64, ForeignRam>;

  static std::uint64_t PageOf(std::uint64_t i) { return kFrames / 2 + i; }
  void Write(std::uint64_t frame, std::uint64_t index, std::uint64_t to) {
    WriteOnce(memory_[frame].entries[index], to << 12 | kBits, kRelease);
  }

  const std::unique_ptr<Page[]> memory_;
  const std::unique_ptr<Page[]> tables_;
  const std::unique_ptr<TableInfo<X86_64>[]> infos_;
  const std::unique_ptr<Cell<std::uint64_t>[]> gfns_;
  const RamBlock block_;
  const ForeignRam ram_;
  Arena arena_;
  Domain domain_;
  RmapChunks<X86_64>::First first_;
  Pool pool_;
  Rmaps rmaps_;
  NoFlush flusher_;
  absl::Mutex lock_;
  Mmu mmu_;
  Mmu::Root root_{};
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_LEGACY_WORLD_H_
