// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of rmap.h and its disciplines. What is said of an entry in
// spte_search_test.cc is asked here of entries that are found through a head.

#ifndef PTAGE_TEST_RELACY_RMAP_SEARCHES_H_
#define PTAGE_TEST_RELACY_RMAP_SEARCHES_H_

#include <cstdint>
#include <type_traits>

#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/rmap.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/rmap/range.h"
#include "ptage/rmap/single_entry_lockless.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/checked_arena.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/score.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

using Arena = CheckedArena<2>;

// The shipped pool, which empties what it is given back: it may be anything
// then.
class Pool {
 public:
  using Chunk = RmapChunk<TinyFormat>;

  Pool() { Clear(chunks_[0]); }
  Chunk* Allocate() { return pool_.Allocate(); }
  void Free(Chunk* chunk) {
    Clear(*chunk);
    pool_.Free(chunk);
  }

 private:
  void Clear(Chunk& chunk) {
    chunk.count.Set(0);
    for (auto& entry : chunk.entries) entry.Set(&nowhere_);
  }

  Entry nowhere_;
  Chunk chunks_[1];
  FixedChunkPool<TinyFormat, BlockingLock> pool_{chunks_, 1};
};

using Single = SingleEntryLockless<TinyFormat, Arena, Pool, BlockingLock>;
using Bit = BitLocked<TinyFormat, Arena, Pool>;

// The shipped pool of the lockless lists.
using FreeChunks = RmapChunks<TinyFormat, 2, 2>;
class FreePool {
 public:
  using Chunks = FreeChunks;

  Chunks::First* AllocateFirst() { return pool_.AllocateFirst(); }
  Chunks::Later* AllocateLater() { return pool_.AllocateLater(); }
  void Retire(Chunks::First* chunk) { pool_.Retire(chunk); }
  void Retire(Chunks::Later* chunk) { pool_.Retire(chunk); }
  ~FreePool() { at_the_end_.FreeAll(); }

 private:
  FreesAtTheEnd at_the_end_;
  Chunks::First firsts_[2];
  GracePool<Chunks, FreesAtTheEnd, BlockingLock> pool_{at_the_end_, firsts_, 2,
                                                       nullptr, 0};
};
using Free = Lockless<TinyFormat, Arena, FreePool>;

template <class D>
using PoolOf = std::conditional_t<D::kFastAging, FreePool, Pool>;

// Whether both sides of a search spin, which makes a full one too long.
template <class D, AgeMode kMode>
inline constexpr bool kSpins =
    std::is_same_v<D, Bit> && kMode == AgeMode::kSlow;
template <class D>
inline constexpr bool kWritersSpin = !std::is_same_v<D, Single>;

// Up to two indirect tables, two frames with a head each, and a discipline that
// is used as its contract says.
template <class D>
class Mapped {
 public:
  // Alone.
  void Start() {
    for (RmapHead& head : heads_) WriteOnce(head.word, 0, kRelaxed);
  }
  // A table as page_table.h builds it. Only the caller uses it yet.
  void BuildTable(unsigned which) {
    Table<TinyFormat>*& table = tables_[which];
    table = arena_.Allocate(TableKind::kIndirect);
    TableInfo<TinyFormat>& info = arena_.InfoOf(table);
    info.base.Set(0);
    info.level.Set(1);
    info.kind.Set(static_cast<std::uint32_t>(TableKind::kIndirect));
    info.table = table;
    info.retired.owner = &arena_;
    info.retired.free = [](Retired& self, void* owner) {
      static_cast<Arena*>(owner)->Free(
          reinterpret_cast<TableInfo<TinyFormat>&>(self).table);
    };
    for (Entry& entry : table->entries) {
      WriteOnce(entry, TinyFormat::kEmpty, kRelaxed);
    }
  }
  // A table that nobody can find any more, for its writer to retire.
  Retired& Forget(unsigned which) {
    Retired& retired = arena_.InfoOf(tables_[which]).retired;
    tables_[which] = nullptr;
    return retired;
  }

  Entry& entry(unsigned which, unsigned index) {
    return tables_[which]->entries[index];
  }
  RmapHead& head(Gfn gfn) { return heads_[gfn.value]; }
  Score& score(Gfn gfn) { return scores_[gfn.value]; }

  RmapAdd Add(Gfn gfn, Entry& entry) {
    return AsWriter([&] { return rmaps_.Add(head(gfn), entry); });
  }
  bool Remove(Gfn gfn, Entry& entry) {
    return AsWriter([&] { return rmaps_.Remove(head(gfn), entry); });
  }
  std::uint32_t Count(Gfn gfn) {
    return AsWriter([&] { return rmaps_.Count(head(gfn)); });
  }

  bool Contains(Gfn gfn, Entry& entry) {
    return AsWriter([&] { return rmaps_.Contains(head(gfn), entry); });
  }

  // The lifetime of an entry, as rmap.h gives it.
  void Map(Gfn gfn, Entry& entry, Word leaf) {
    Require(Freeze<TinyFormat>(entry, TinyFormat::kEmpty),
            "an empty entry is free");
    RecordFrame<TinyFormat>(arena_, entry, gfn);
    Require(Add(gfn, entry) == RmapAdd::kDone, "there is room in the rmap");
    if (IsYoung<TinyFormat>(leaf)) {
      score(gfn).Accessed(Leaf(Backing(gfn)), AccessKind::kRead);
    }
    Publish<TinyFormat>(entry, leaf);
  }
  // Leaves the entry frozen. `sink()` is called as that of a zap.
  template <class Sink>
  void TakeDown(Gfn gfn, Entry& entry, Sink&& sink) {
    Word seen = ReadOnce(entry, kAcquire);
    while (!Freeze<TinyFormat>(entry, seen)) seen = ReadOnce(entry, kAcquire);
    score(gfn).Found(seen);
    sink();
    Require(Remove(gfn, entry), "an entry is in its rmap until it is removed");
  }

  void TakeDown(Gfn gfn, Entry& entry) {
    TakeDown(gfn, entry, [] {});
  }

  // Asks both frames at once. Only an entry of kA may be lost to a race.
  struct Both {
    bool Young(Gfn gfn) const { return (young >> gfn.value & 1) != 0; }
    bool Unknown(Gfn gfn) const { return (unknown >> gfn.value & 1) != 0; }
    std::uint64_t young = 0;
    std::uint64_t unknown = 0;
  };
  Both AskBoth(AgeMode mode) {
    Both both;
    AgeCounts counts;
    AgeRange(rmaps_, heads_, RmapFrame{kA, Level{1}}, 2,
             AgeAction::kTestAndClear, mode,
             AgeOutput{.young = Bitmap(&both.young, 2),
                       .unknown = Bitmap(&both.unknown, 2)},
             counts);
    std::uint64_t of_a = both.Young(kA) ? 1 : 0;
    for (std::uint64_t i = of_a; i < counts.young; ++i) {
      score(kB).Aged(SpteAge::kYoung);
    }
    for (of_a -= counts.lost_races; of_a != 0; --of_a) {
      score(kA).Aged(SpteAge::kYoung);
    }
    return both;
  }

  AgeResult Ask(Gfn gfn, AgeMode mode) {
    AgeCounts counts;
    const AgeResult result = rmaps_.Age(head(gfn), RmapFrame{gfn, Level{1}},
                                        AgeAction::kTestAndClear, mode, counts);
    for (std::uint64_t i = counts.lost_races; i < counts.young; ++i) {
      score(gfn).Aged(SpteAge::kYoung);
    }
    return result;
  }

  // Alone: what is left in the tables that are in use.
  void Check() {
    for (Table<TinyFormat>* const table : tables_) {
      if (table == nullptr) continue;
      for (Entry& entry : table->entries) CheckEntry(entry);
    }
    for (const Score& score : scores_) score.Check();
  }

 private:
  template <class Call>
  auto AsWriter(Call&& call) {
    if constexpr (std::is_same_v<D, Single>) {
      ScopedLock<BlockingLock> hold(mmu_lock_);
      return call();
    } else {
      return call();
    }
  }
  void CheckEntry(Entry& entry) {
    const Word left = ReadOnce(entry, kRelaxed);
    if (!TinyFormat::IsPresent(left)) return;
    const Gfn gfn = RecordedFrame<TinyFormat>(arena_, entry);
    Require(TinyFormat::FrameOf(left) == Backing(gfn),
            "the record belongs to what the entry maps");
    score(gfn).Found(left);
  }
  D MakeRmaps() {
    if constexpr (std::is_same_v<D, Single>) {
      return D(arena_, pool_, mmu_lock_);
    } else {
      return D(arena_, pool_);
    }
  }

  Arena arena_;
  PoolOf<D> pool_;
  BlockingLock mmu_lock_;
  D rmaps_ = MakeRmaps();
  Table<TinyFormat>* tables_[2] = {};
  RmapHead heads_[2];
  Score scores_[2];
};

// --- The only entry is removed and given to another frame.

template <class D, AgeMode kMode>
struct SingleRemoved : rl::test_suite<SingleRemoved<D, kMode>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Mapped<D> mapped;

  void before() {
    mapped.Start();
    mapped.BuildTable(0);
    mapped.Map(kA, mapped.entry(0, 0), YoungLeaf(Backing(kA)));
  }
  void thread(unsigned index) {
    if (index == 0) {
      mapped.Ask(kA, kMode);
    } else {
      mapped.TakeDown(kA, mapped.entry(0, 0));
      Empty<TinyFormat>(mapped.entry(0, 0));
      mapped.Map(kB, mapped.entry(0, 0), YoungLeaf(Backing(kB)));
    }
  }
  void after() { mapped.Check(); }
};

// --- The same entry, in a run of two that is aged as a range.

// What happens to the entry once it is kB's second one.
enum class GivenAs { kCold, kYoung };

template <class D, GivenAs kGiven>
struct RunBroken : rl::test_suite<RunBroken<D, kGiven>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  Mapped<D> mapped;
  // What the zapper handed on.
  Plain<bool> on_record;

  void before() {
    on_record.Set(false);
    mapped.Start();
    mapped.BuildTable(0);
    mapped.Map(kA, mapped.entry(0, 0), YoungLeaf(Backing(kA)));
    mapped.Map(kB, mapped.entry(0, 1), YoungLeaf(Backing(kB)));
  }
  void thread(unsigned index) {
    if (index == 0) {
      const auto both = mapped.AskBoth(AgeMode::kFastOnly);
      Require(both.Young(kB) || (!D::kFastAging && both.Unknown(kB)),
              "an entry that stayed in its rmap is examined");
      if (!both.Young(kA) && !both.Unknown(kA)) {
        Require(on_record.Get(), "who finds nothing sees what was zapped");
      }
      return;
    }
    mapped.TakeDown(kA, mapped.entry(0, 0), [&] { on_record.Set(true); });
    Empty<TinyFormat>(mapped.entry(0, 0));
    mapped.Map(
        kB, mapped.entry(0, 0),
        kGiven == GivenAs::kYoung ? YoungLeaf(Backing(kB)) : Leaf(Backing(kB)));
  }
  void after() { mapped.Check(); }
};

// --- A first entry is added, in a table that its writer has just built.

// What the memory held before lies two values back, which only a random search
// looks at. There the reader asks often, or it would mostly come too early.
template <class D, Plan kHow>
struct SingleAdded : rl::test_suite<SingleAdded<D, kHow>, 2> {
  static constexpr Plan kPlan = kHow;

  Mapped<D> mapped;

  void before() { mapped.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      const int asks = kHow.schedule == Schedule::kRandom ? 16 : 1;
      for (int i = 0; i < asks; ++i) mapped.Ask(kA, AgeMode::kFastOnly);
    } else {
      mapped.BuildTable(0);
      mapped.Map(kA, mapped.entry(0, 0), YoungLeaf(Backing(kA)));
    }
  }
  void after() { mapped.Check(); }
};

// --- One entry stays while another comes and goes: single, many, single.

template <class D, AgeMode kMode>
struct ManyAndBack : rl::test_suite<ManyAndBack<D, kMode>, 2> {
  static constexpr Plan kPlan =
      kSpins<D, kMode> ? UpToPreemptions(5) : kEveryInterleaving;

  Mapped<D> mapped;

  void before() {
    mapped.Start();
    mapped.BuildTable(0);
    mapped.Map(kA, mapped.entry(0, 0), YoungLeaf(Backing(kA)));
  }
  void thread(unsigned index) {
    if (index == 0) {
      const AgeResult result = mapped.Ask(kA, kMode);
      Require(result.young || (!D::kFastAging && !result.complete),
              "an entry that stayed in its rmap is examined");
      if (kMode == AgeMode::kSlow) {
        Require(result.complete, "slow is complete");
      }
    } else {
      mapped.Map(kA, mapped.entry(0, 1), Leaf(Backing(kA)));
      mapped.TakeDown(kA, mapped.entry(0, 1));
      Empty<TinyFormat>(mapped.entry(0, 1));
    }
  }
  void after() {
    Require(mapped.Count(kA) == 1, "the rmap holds what was added");
    mapped.Check();
  }
};

// The entry that is left lies in a table that the reader has never seen, and
// was made the only one by a writer who did not build that table.
template <class D>
struct OtherTableLeft : rl::test_suite<OtherTableLeft<D>, 3> {
  static constexpr Plan kPlan = RandomInterleavings(50'000);

  Mapped<D> mapped;

  void before() {
    mapped.Start();
    mapped.BuildTable(0);
    mapped.Map(kA, mapped.entry(0, 0), Leaf(Backing(kA)));
  }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        for (int i = 0; i < 16; ++i) mapped.Ask(kA, AgeMode::kFastOnly);
        break;
      case 1:
        mapped.BuildTable(1);
        mapped.Map(kA, mapped.entry(1, 0), YoungLeaf(Backing(kA)));
        break;
      default:
        mapped.TakeDown(kA, mapped.entry(0, 0));
        Empty<TinyFormat>(mapped.entry(0, 0));
    }
  }
  void after() {
    Require(mapped.Count(kA) == 1, "the rmap holds what was added");
    mapped.Check();
  }
};

// --- Two writers of one head.

template <class D>
struct TwoWriters : rl::test_suite<TwoWriters<D>, 2> {
  static constexpr Plan kPlan =
      kWritersSpin<D> ? UpToPreemptions(5) : kEveryInterleaving;

  Mapped<D> mapped;

  void before() {
    mapped.Start();
    mapped.BuildTable(0);
  }
  void thread(unsigned index) {
    Entry& mine = mapped.entry(0, index);
    mapped.Map(kA, mine, Leaf(Backing(kA)));
    if (index == 0) {
      mapped.TakeDown(kA, mine);
      Empty<TinyFormat>(mine);
    }
  }
  void after() {
    Require(mapped.Count(kA) == 1, "the rmap holds what was added");
    mapped.Check();
  }
};

// --- A list with more than two entries.

template <class D>
struct FourEntries : rl::test_suite<FourEntries<D>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  Mapped<D> mapped;

  void before() {
    mapped.Start();
    for (unsigned table : {0u, 1u}) mapped.BuildTable(table);
  }
  void thread(unsigned index) {
    for (unsigned i : {0u, 1u}) {
      mapped.Map(kA, mapped.entry(index, i), Leaf(Backing(kA)));
    }
  }
  void after() {
    for (unsigned count = 4; count != 0; --count) {
      Require(mapped.Count(kA) == count, "the rmap holds what was added");
      for (unsigned i = 0; i < count; ++i) {
        Require(mapped.Contains(kA, mapped.entry(i / 2, i % 2)),
                "the rmap holds what was added");
      }
      mapped.TakeDown(kA, mapped.entry((count - 1) / 2, (count - 1) % 2));
    }
  }
};

// --- The table goes, and its memory becomes another table.

template <class D, AgeMode kMode>
struct TableRemoved : rl::test_suite<TableRemoved<D, kMode>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  using Domain = AnonymousEpochDomain<1, BlockingLock>;

  Domain domain;
  Mapped<D> mapped;

  void before() {
    mapped.Start();
    mapped.BuildTable(0);
    mapped.Map(kA, mapped.entry(0, 0), YoungLeaf(Backing(kA)));
  }
  void thread(unsigned index) {
    if (index == 0) {
      LocklessWalk<Domain> walk(domain);
      Require(static_cast<bool>(walk), "a walk begins where there is a place");
      mapped.Ask(kA, kMode);
      return;
    }
    mapped.TakeDown(kA, mapped.entry(0, 0));
    domain.Retire(mapped.Forget(0));
    domain.Poll();
    if (domain.stats().Held() != 0) return;
    mapped.BuildTable(0);
    mapped.Map(kB, mapped.entry(0, 0), YoungLeaf(Backing(kB)));
  }
  void after() {
    for (int i = 0; i < 2; ++i) domain.Poll();
    Require(domain.stats().Held() == 0, "what was retired is freed");
    mapped.Check();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_RMAP_SEARCHES_H_
