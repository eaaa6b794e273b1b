// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What single operations on entries, rmaps and epochs cost, under one and two
// threads. An item is one operation. Entries and heads of two threads lie in
// different cache lines, except where a name says "shared".

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "absl/synchronization/mutex.h"
#include "bench/rmap_worlds.h"
#include "benchmark/benchmark.h"
#include "ptage/config.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/rmap/single_entry_lockless.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::bench {
namespace {

using Memory = TableArena<Ept>;
using Pool = FixedChunkPool<Ept>;

constexpr unsigned kEntries = kEntriesPerTable<Ept>;
constexpr int kMostThreads = 2;
constexpr std::uint64_t kLeaf = Ept::MakeLeaf(Pfn{1}, Level{1}, Rights::kAll);
constexpr std::uint64_t kYoungLeaf = kLeaf | Ept::kAccessed;

// Each thread's own table.
Table<Ept>& TableOf(const benchmark::State& state) {
  alignas(4096) static Table<Ept> tables[kMostThreads];
  return tables[state.thread_index()];
}

void Fill(Table<Ept>& table, std::uint64_t word) {
  for (SpteCell<Ept>& entry : table.entries) WriteOnce(entry, word, kRelaxed);
}

void CountItems(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * kEntries);
}

void TestYoungEntry(benchmark::State& state, std::uint64_t word) {
  Table<Ept>& table = TableOf(state);
  Fill(table, word);
  for (auto _ : state) {
    for (SpteCell<Ept>& entry : table.entries) {
      benchmark::DoNotOptimize(TestYoung<Ept>(entry));
    }
  }
  CountItems(state);
}
BENCHMARK_CAPTURE(TestYoungEntry, cold, kLeaf)->ThreadRange(1, kMostThreads);
BENCHMARK_CAPTURE(TestYoungEntry, young, kYoungLeaf)
    ->ThreadRange(1, kMostThreads);

void TestClearYoungCold(benchmark::State& state) {
  Table<Ept>& table = TableOf(state);
  Fill(table, kLeaf);
  for (auto _ : state) {
    for (SpteCell<Ept>& entry : table.entries) {
      benchmark::DoNotOptimize(TestClearYoung<Ept>(entry));
    }
  }
  CountItems(state);
}
BENCHMARK(TestClearYoungCold)->ThreadRange(1, kMostThreads);

// A store makes the entry young each time; its cost is StoreAlone's.
void StoreAndTestClearYoung(benchmark::State& state) {
  Table<Ept>& table = TableOf(state);
  for (auto _ : state) {
    Fill(table, kYoungLeaf);
    for (SpteCell<Ept>& entry : table.entries) {
      benchmark::DoNotOptimize(TestClearYoung<Ept>(entry));
    }
  }
  CountItems(state);
}
BENCHMARK(StoreAndTestClearYoung)->ThreadRange(1, kMostThreads);

void StoreAlone(benchmark::State& state) {
  Table<Ept>& table = TableOf(state);
  for (auto _ : state) Fill(table, kYoungLeaf);
  CountItems(state);
}
BENCHMARK(StoreAlone)->ThreadRange(1, kMostThreads);

void FreezeAndRestore(benchmark::State& state) {
  Table<Ept>& table = TableOf(state);
  Fill(table, kYoungLeaf);
  for (auto _ : state) {
    for (SpteCell<Ept>& entry : table.entries) {
      if (Freeze<Ept>(entry, kYoungLeaf)) Restore<Ept>(entry, kYoungLeaf);
    }
  }
  CountItems(state);
}
BENCHMARK(FreezeAndRestore)->ThreadRange(1, kMostThreads);

void ZapAndInstall(benchmark::State& state) {
  Table<Ept>& table = TableOf(state);
  Fill(table, kYoungLeaf);
  for (auto _ : state) {
    for (SpteCell<Ept>& entry : table.entries) {
      std::uint64_t taken = 0;
      benchmark::DoNotOptimize(
          Zap<Ept>(entry, [] {}, [&](std::uint64_t word) { taken = word; }));
      benchmark::DoNotOptimize(Install<Ept>(entry, taken));
    }
  }
  CountItems(state);
}
BENCHMARK(ZapAndInstall)->ThreadRange(1, kMostThreads);

// Two threads on the same entries: one sees what the other changed.
void TestClearYoungSharedEntries(benchmark::State& state) {
  alignas(4096) static Table<Ept> table;
  if (state.thread_index() == 0) Fill(table, kLeaf);
  for (auto _ : state) {
    for (SpteCell<Ept>& entry : table.entries) {
      const std::uint64_t seen = ReadOnce(entry, kRelaxed);
      benchmark::DoNotOptimize(
          TryCmpxchg(entry, seen, seen | Ept::kAccessed, kRelaxed));
      benchmark::DoNotOptimize(TestClearYoung<Ept>(entry));
    }
  }
  CountItems(state);
}
BENCHMARK(TestClearYoungSharedEntries)->ThreadRange(1, kMostThreads);

// Heads of `kEntries` frames, each with as many entries as were asked for.
template <unsigned kPerHead>
class Fixture {
 public:
  static constexpr Level kLevel{1};

  Fixture()
      : tables_(new(std::align_val_t{4096}) Table<Ept>[kTables]),
        infos_(std::make_unique<TableInfo<Ept>[]>(kTables)),
        gfns_(std::make_unique<Cell<std::uint64_t>[]>(kTables * kEntries)),
        memory_(tables_.get(), infos_.get(), gfns_.get(), kTables, Pfn{1}),
        chunks_(std::make_unique<RmapChunk<Ept>[]>(kChunks)),
        pool_(chunks_.get(), kChunks),
        single_entry_(memory_, pool_, mmu_lock_),
        bit_locked_(memory_, pool_),
        firsts_(std::make_unique<Chunks::First[]>(kEntries + 1)),
        laters_(std::make_unique<Chunks::Later[]>(kChunks)),
        lockless_pool_(domain_, firsts_.get(), kEntries + 1, laters_.get(),
                       kChunks),
        lockless_(memory_, lockless_pool_) {
    for (std::size_t t = 0; t < kTables; ++t) {
      Table<Ept>* const table = memory_.Allocate(TableKind::kIndirect);
      TableInfo<Ept>& info = memory_.InfoOf(table);
      info.level.Set(kLevel.value);
      info.kind.Set(static_cast<std::uint32_t>(TableKind::kIndirect));
      for (unsigned i = 0; i < kEntries; ++i) {
        SpteCell<Ept>& entry = table->entries[i];
        WriteOnce(entry, Ept::kFrozen, kRelaxed);
        RecordFrame<Ept>(memory_, entry, Gfn{i});
        absl::MutexLock lock(&mmu_lock_);
        RmapAdd added = single_entry_.Add(heads_[i], entry);
        PTAGE_ASSERT(added == RmapAdd::kDone);
        added = lockless_.Add(lockless_heads_[i], entry);
        PTAGE_ASSERT(added == RmapAdd::kDone);
        Publish<Ept>(entry, kLeaf);
      }
    }
  }

  template <class D>
  void AgeAll(D& rmaps, AgeMode mode) {
    const LocklessWalk<EpochDomain<>> walk(domain_);
    RmapHead* const heads = HeadsOf<D>();
    AgeCounts counts;
    for (unsigned i = 0; i < kEntries; ++i) {
      benchmark::DoNotOptimize(rmaps.Age(heads[i], RmapFrame{Gfn{i}, kLevel},
                                         AgeAction::kTestAndClear, mode,
                                         counts));
    }
  }
  template <class D>
  void AddAndRemove(D& rmaps, unsigned head, SpteCell<Ept>& entry) {
    RmapHead* const heads = HeadsOf<D>();
    benchmark::DoNotOptimize(rmaps.Add(heads[head], entry));
    benchmark::DoNotOptimize(rmaps.Remove(heads[head], entry));
  }

  auto& single_entry() { return single_entry_; }
  auto& lockless() { return lockless_; }
  auto& bit_locked() { return bit_locked_; }
  absl::Mutex& mmu_lock() { return mmu_lock_; }

 private:
  struct Free {
    void operator()(Table<Ept>* tables) const {
      operator delete[](tables, std::align_val_t{4096});
    }
  };
  using Chunks = RmapChunks<Ept>;
  static constexpr std::size_t kTables = kPerHead;
  static constexpr std::size_t kChunks =
      kEntries * (kPerHead / kRmapChunkEntries + 2);

  // The lockless lists have heads of their own.
  template <class D>
  RmapHead* HeadsOf() {
    return D::kFastAging ? lockless_heads_ : heads_;
  }

  std::unique_ptr<Table<Ept>[], Free> tables_;
  std::unique_ptr<TableInfo<Ept>[]> infos_;
  std::unique_ptr<Cell<std::uint64_t>[]> gfns_;
  Memory memory_;
  std::unique_ptr<RmapChunk<Ept>[]> chunks_;
  Pool pool_;
  absl::Mutex mmu_lock_;
  SingleEntryLockless<Ept, Memory, Pool, absl::Mutex> single_entry_;
  BitLocked<Ept, Memory, Pool> bit_locked_;
  RmapHead heads_[kEntries] = {};
  EpochDomain<> domain_;
  std::unique_ptr<Chunks::First[]> firsts_;
  std::unique_ptr<Chunks::Later[]> laters_;
  GracePool<Chunks, EpochDomain<>> lockless_pool_;
  Lockless<Ept, Memory, GracePool<Chunks, EpochDomain<>>> lockless_;
  RmapHead lockless_heads_[kEntries] = {};
};

enum class Heads { kOwn, kShared };

// A world for each thread, or one for both.
template <unsigned kPerHead>
Fixture<kPerHead>& WorldOf(const benchmark::State& state, Heads heads) {
  static Fixture<kPerHead> worlds[kMostThreads];
  return worlds[heads == Heads::kShared ? 0 : state.thread_index()];
}

// Which discipline is asked.
constexpr auto kSingleEntry = [](auto& world) -> auto& {
  return world.single_entry();
};
constexpr auto kBitLocked = [](auto& world) -> auto& {
  return world.bit_locked();
};
constexpr auto kLockless = [](auto& world) -> auto& {
  return world.lockless();
};

template <auto kRmaps, unsigned kPerHead, AgeMode kMode, Heads kHeads>
void AgeRmap(benchmark::State& state) {
  Fixture<kPerHead>& world = WorldOf<kPerHead>(state, kHeads);
  for (auto _ : state) world.AgeAll(kRmaps(world), kMode);
  CountItems(state);
}
// A list is slow's to answer, but for the lockless discipline.
BENCHMARK_TEMPLATE(AgeRmap, kSingleEntry, 1, AgeMode::kFastOnly, Heads::kOwn)
    ->Name("AgeRmap/1/SingleEntryLockless/fast_only")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kSingleEntry, 1, AgeMode::kFastOnly, Heads::kShared)
    ->Name("AgeRmap/1/SingleEntryLockless/fast_only/shared")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kSingleEntry, 2, AgeMode::kSlow, Heads::kOwn)
    ->Name("AgeRmap/2/SingleEntryLockless/slow")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kSingleEntry, 14, AgeMode::kSlow, Heads::kOwn)
    ->Name("AgeRmap/14/SingleEntryLockless/slow")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kBitLocked, 1, AgeMode::kFastOnly, Heads::kOwn)
    ->Name("AgeRmap/1/BitLocked/fast_only")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kBitLocked, 1, AgeMode::kSlow, Heads::kOwn)
    ->Name("AgeRmap/1/BitLocked/slow")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kBitLocked, 1, AgeMode::kSlow, Heads::kShared)
    ->Name("AgeRmap/1/BitLocked/slow/shared")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kBitLocked, 2, AgeMode::kSlow, Heads::kOwn)
    ->Name("AgeRmap/2/BitLocked/slow")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kBitLocked, 14, AgeMode::kSlow, Heads::kOwn)
    ->Name("AgeRmap/14/BitLocked/slow")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kBitLocked, 14, AgeMode::kSlow, Heads::kShared)
    ->Name("AgeRmap/14/BitLocked/slow/shared")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kLockless, 1, AgeMode::kFastOnly, Heads::kOwn)
    ->Name("AgeRmap/1/Lockless/fast_only")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kLockless, 2, AgeMode::kFastOnly, Heads::kOwn)
    ->Name("AgeRmap/2/Lockless/fast_only")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kLockless, 14, AgeMode::kFastOnly, Heads::kOwn)
    ->Name("AgeRmap/14/Lockless/fast_only")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AgeRmap, kLockless, 14, AgeMode::kFastOnly, Heads::kShared)
    ->Name("AgeRmap/14/Lockless/fast_only/shared")
    ->ThreadRange(1, kMostThreads);

// The MMU lock, which its writers hold anyway, is taken once for all heads.
template <unsigned kPerHead>
void AddAndRemoveSingleEntryLockless(benchmark::State& state) {
  Fixture<kPerHead>& world = WorldOf<kPerHead>(state, Heads::kOwn);
  SpteCell<Ept> entry(Ept::kFrozen);
  for (auto _ : state) {
    absl::MutexLock lock(&world.mmu_lock());
    for (unsigned i = 0; i < kEntries; ++i) {
      world.AddAndRemove(world.single_entry(), i, entry);
    }
  }
  CountItems(state);
}
BENCHMARK_TEMPLATE(AddAndRemoveSingleEntryLockless, 1)
    ->Name("AddAndRemoveRmap/1/SingleEntryLockless")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AddAndRemoveSingleEntryLockless, 14)
    ->Name("AddAndRemoveRmap/14/SingleEntryLockless")
    ->ThreadRange(1, kMostThreads);

template <auto kRmaps, unsigned kPerHead>
void AddAndRemove(benchmark::State& state) {
  Fixture<kPerHead>& world = WorldOf<kPerHead>(state, Heads::kOwn);
  SpteCell<Ept> entry(Ept::kFrozen);
  for (auto _ : state) {
    for (unsigned i = 0; i < kEntries; ++i) {
      world.AddAndRemove(kRmaps(world), i, entry);
    }
  }
  CountItems(state);
}
BENCHMARK_TEMPLATE(AddAndRemove, kBitLocked, 1)
    ->Name("AddAndRemoveRmap/1/BitLocked")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AddAndRemove, kBitLocked, 14)
    ->Name("AddAndRemoveRmap/14/BitLocked")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AddAndRemove, kLockless, 1)
    ->Name("AddAndRemoveRmap/1/Lockless")
    ->ThreadRange(1, kMostThreads);
BENCHMARK_TEMPLATE(AddAndRemove, kLockless, 14)
    ->Name("AddAndRemoveRmap/14/Lockless")
    ->ThreadRange(1, kMostThreads);

// What a chunk's size and a list's length do to a scan. All that is read lies
// in the cache, but for the longest lists.
template <class World>
void AgeLists(benchmark::State& state) {
  constexpr std::size_t kLeast = 1 << 12;
  const auto length = static_cast<std::size_t>(state.range(0));
  const std::size_t heads = std::max<std::size_t>(1, kLeast / length);
  ColdEntries entries(heads * length);
  World world(entries, HeadOfEach(heads, length, Layout::kShuffled, 1), heads);
  AgeCounts counts;
  for (auto _ : state) world.AskAll(0, counts);
  state.SetItemsProcessed(state.iterations() *
                          static_cast<std::int64_t>(heads * length));
}
void Lengths(benchmark::internal::Benchmark* lists) {
  for (const int length : {1, 2, 4, 7, 14, 30, 100, 1'000, 10'000, 100'000}) {
    lists->Arg(length);
  }
}
BENCHMARK_TEMPLATE(AgeLists, LocklessWorld<7, 14>)
    ->Name("AgeLists/Lockless_7_14")
    ->Apply(Lengths);
BENCHMARK_TEMPLATE(AgeLists, LocklessWorld<7, 30>)
    ->Name("AgeLists/Lockless_7_30")
    ->Apply(Lengths);
BENCHMARK_TEMPLATE(AgeLists, LocklessWorld<15, 14>)
    ->Name("AgeLists/Lockless_15_14")
    ->Apply(Lengths);
BENCHMARK_TEMPLATE(AgeLists, LocklessWorld<15, 30>)
    ->Name("AgeLists/Lockless_15_30")
    ->Apply(Lengths);
BENCHMARK_TEMPLATE(AgeLists, BitLockedWorld<6>)
    ->Name("AgeLists/BitLocked_6")
    ->Apply(Lengths);
BENCHMARK_TEMPLATE(AgeLists, BitLockedWorld<14>)
    ->Name("AgeLists/BitLocked_14")
    ->Apply(Lengths);
BENCHMARK_TEMPLATE(AgeLists, BitLockedWorld<30>)
    ->Name("AgeLists/BitLocked_30")
    ->Apply(Lengths);

void EnterAndExitEpoch(benchmark::State& state) {
  static EpochDomain<> domain;
  for (auto _ : state) {
    const LocklessWalk<EpochDomain<>> walk(domain);
    benchmark::DoNotOptimize(static_cast<bool>(walk));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(EnterAndExitEpoch)->ThreadRange(1, kMostThreads);

}  // namespace
}  // namespace ptage::bench

BENCHMARK_MAIN();
