// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A small virtual machine for tests: memory, reclaimer, pools and locks wired
// as a hypervisor would wire them.

#ifndef PTAGE_TEST_MACHINE_H_
#define PTAGE_TEST_MACHINE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/page_history.h"
#include "ptage/prune.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/single_entry_lockless.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "ptage/vm.h"
#include "test/rmap_pool.h"
#include "test/scheme.h"

namespace ptage::test {

// Counts flushes and remembers what they covered.
struct RecordingFlusher {
  void Flush(GfnRange range) {
    absl::MutexLock lock(&mutex);
    flushed.push_back(range);
  }
  absl::Mutex mutex;
  std::vector<GfnRange> flushed;
};

template <SpteFormat F>
using Arena = TableArena<F>;
template <SpteFormat F>
using ChunkPool = FixedChunkPool<F>;
template <SpteFormat F>
using SingleRmaps = SingleEntryLockless<F, Arena<F>, ChunkPool<F>, absl::Mutex>;
template <SpteFormat F>
using BitRmaps = BitLocked<F, Arena<F>, ChunkPool<F>>;
template <SpteFormat F>
using LocklessRmaps = Lockless<F, Arena<F>, LocklessPool<F>>;
// Whoever writes holds the MMU lock.
template <SpteFormat F>
using LocklessRmapsUnderLock =
    Lockless<F, Arena<F>, LocklessPool<F>, RmapWriters::kExcluded>;

// Page-aligned tables with their infos.
template <SpteFormat F>
struct TableBlock {
  explicit TableBlock(std::size_t count)
      : tables(count), infos(count), gfns(count * kEntriesPerTable<F>) {}
  struct alignas(std::min(sizeof(Table<F>), std::size_t{4096})) Page
      : Table<F> {};
  static_assert(sizeof(Page) == sizeof(Table<F>));
  std::vector<Page> tables;
  std::vector<TableInfo<F>> infos;
  std::vector<Cell<std::uint64_t>> gfns;
};

template <class D, class F, class P>
D MakeRmaps(Arena<F>& arena, P& pool, absl::Mutex& lock) {
  if constexpr (std::is_constructible_v<D, Arena<F>&, P&, absl::Mutex&>) {
    return D(arena, pool, lock);
  } else {
    return D(arena, pool);
  }
}

// `D` is one of the disciplines above.
template <SpteFormat F, class D, Flusher Fl = RecordingFlusher,
          std::size_t kSpaces = 1, InnerAging kInner = InnerAging::kIgnore>
struct Machine {
  using Domain = Scheme;
  using VmType = Vm<F, Arena<F>, Domain, Fl, D, kSpaces, kInner>;

  explicit Machine(std::size_t tables = 64, std::size_t chunk_count = 256,
                   Level largest = F::kLargestLeaf,
                   PageHistory* history = nullptr)
      : block(tables),
        arena(block.tables.data(), block.infos.data(), block.gfns.data(),
              tables, Pfn{0x1000}),
        pool(domain, chunk_count),
        rmaps(MakeRmaps<D, F>(arena, pool.get(), mmu_lock)),
        vm(std::make_unique<VmType>(
            typename VmType::Parts{arena, domain, flusher, rmaps, mmu_lock,
                                   history},
            largest)) {}

  TableBlock<F> block;
  Arena<F> arena;
  Domain domain;
  Fl flusher;
  absl::Mutex mmu_lock;
  RmapPool<D> pool;
  D rmaps;
  std::unique_ptr<VmType> vm;
};

// Both bitmaps over `frames` frames from `begin`, with what asks for them.
class Answer {
 public:
  Answer(Gfn begin, std::uint64_t frames)
      : begin_(begin),
        frames_(frames),
        young_((frames + 63) / 64),
        unknown_((frames + 63) / 64) {}

  AgeOutput output() {
    return AgeOutput{begin_, Bitmap(young_.data(), frames_),
                     Bitmap(unknown_.data(), frames_), &counts};
  }
  bool Young(Gfn gfn) {
    return Bitmap(young_.data(), frames_).Test(gfn - begin_);
  }
  bool Unknown(Gfn gfn) {
    return Bitmap(unknown_.data(), frames_).Test(gfn - begin_);
  }

  AgeCounts counts;

 private:
  Gfn begin_;
  std::uint64_t frames_;
  std::vector<std::uint64_t> young_;
  std::vector<std::uint64_t> unknown_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_MACHINE_H_
