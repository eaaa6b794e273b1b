// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of lru/eviction.h and hold.h: an evictor against CPUs, zaps, faults,
// aging, changes of the structure, and another evictor.

#ifndef PTAGE_TEST_RELACY_EVICTION_SEARCHES_H_
#define PTAGE_TEST_RELACY_EVICTION_SEARCHES_H_

#include <cstdint>

#include "ptage/harvest.h"
#include "ptage/hold.h"
#include "ptage/lock.h"
#include "ptage/lru/eviction.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/cpu.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// A tree of two pages, a CPU that caches what it reads of kA's entry, and what
// becomes of both. As an MMU it has the lock of a table, which keeps faults
// out.
class EvictedTree {
 public:
  using Format = TinyFormat;
  using Arena = TableArena<Format, BlockingLock>;
  using Pages = PageTable<Format, Arena, FreesAtTheEnd, Cpu, BlockingLock>;
  using Walk = LocklessWalk<FreesAtTheEnd>;
  static constexpr GfnRange kPageA{kA, kB};
  static constexpr GfnRange kPageB{kB, Gfn{2}};
  static constexpr GfnRange kBothPages{kA, Gfn{2}};

  // Of a leaf, what an MMU tells a sink.
  struct Told {
    Gfn gfn;
    bool accessed;
    bool dirty;
  };

  EvictedTree() : mark_(0u), data_(0u) {}

  // Alone: leaves with these bits.
  void MapSmall(Word bits) {
    for (const Gfn gfn : {kA, kB}) Map(gfn, Level{1}, bits);
  }
  void MapLarge(Word bits) { Map(kA, Level{2}, bits); }
  // Alone: nobody faults, so that evictors need no lock.
  void WithoutFaults() { locks_ = false; }
  // Alone: the CPU has a dirty translation, and kA's accessed bit is cleared.
  void CacheDirty() {
    MapSmall(TinyFormat::kDirty);
    page(kA).dirty = true;
    Walk walk(reclaimer_);
    cpu_.Walk(*pages_.Lookup(walk, kA).entry, [](Word) {});
  }

  // What an evictor asks of its MMU.
  AgeResult TestClearYoung(GfnRange asked) {
    Walk walk(reclaimer_);
    return Harvest(pages_, walk, asked, AgeAction::kTestAndClear,
                   AgeMode::kSlow, AgeOutput{});
  }
  template <class Sink, class Rest>
  TakeOutcome TakeIfIdle(GfnRange taken, Sink& sink, Rest& rest) {
    if (!locks_) return TakeAtOnce(taken, sink, rest);
    const ScopedLock<BlockingLock> hold(table_lock_);
    return TakeAtOnce(taken, sink, rest);
  }
  template <class Sink, class Rest>
  TakeOutcome TakeAtOnce(GfnRange taken, Sink& sink, Rest& rest) {
    Walk walk(reclaimer_);
    HeldLeaves<Format>::Leaf room[2];
    HeldLeaves<Format> held(room, 2);
    return TakeHeld(
        held, FreezeLeaves(pages_, walk, taken, held), rest,
        [&] { cpu_.Flush(taken); },
        [&](const TakenLeaf<Format>& leaf) {
          Require(!cpu_.Caches(), "no CPU uses what is handed over");
          sink(Told{leaf.gfn, IsYoung<Format>(leaf.word),
                    IsDirty<Format>(leaf.word)});
        });
  }
  bool Split(GfnRange) {
    Walk walk(reclaimer_);
    return pages_.Split(walk, kA, Level{2}) == StructureOutcome::kDone;
  }
  void Promote() {
    Walk walk(reclaimer_);
    (void)pages_.Promote(walk, kA, Level{2});
  }

  // Marks, of kA alone.
  void MarkReferenced(GfnRange) { WriteOnce(mark_, 1u, kRelaxed); }
  bool TakeReferenced(GfnRange) {
    // A load: what makes it see the mark is what the evictor has read before.
    const bool marked = ReadOnce(mark_, kRelaxed) != 0;
    if (marked) WriteOnce(mark_, 0u, kRelaxed);
    return marked;
  }

  void EvictPage(GfnRange evicted) {
    Claim(true);
    const Eviction done = Evict(
        *this, evicted, *this,
        [this](const auto& leaf) {
          if (leaf.dirty) Tell(leaf.gfn);
        },
        [this](bool) {
          if (!stored_) copy_ = ReadOnce(data_, kRelaxed);
          stored_ = true;
        });
    for (Gfn gfn = evicted.begin; gfn < evicted.end; gfn = gfn + 1) {
      page(gfn).evicted |= done.outcome == EvictOutcome::kEvicted;
      page(gfn).kept |= done.outcome != EvictOutcome::kEvicted;
    }
    if (done.outcome != EvictOutcome::kEvicted) Claim(false);
  }
  // A CPU's access by the tables, with nothing cached.
  void Use(Gfn gfn, AccessKind kind) {
    Walk walk(reclaimer_);
    const FoundEntry<Format> found = pages_.Lookup(walk, gfn);
    if (!AccessSeen(*found.entry, found.word, kind)) return;
    page(gfn).used = true;
    page(gfn).dirty |= kind == AccessKind::kWrite;
  }
  // A write to kA's data, through what is cached; where nothing is, a fault.
  void WriteByCache() {
    if (!cpu_.Caches()) return;
    cpu_.Walk(nothing_, [this](Word) { WriteOnce(data_, 1u, kRelaxed); });
  }
  // A fault of kA: maps it, unless an evictor has claimed it.
  void Fault() {
    {
      const ScopedLock<BlockingLock> hold(table_lock_);
      Walk walk(reclaimer_);
      if (!claimed_ && pages_.Map(walk, kA, Level{1}, YoungLeaf(Backing(kA))) ==
                           MapOutcome::kDone) {
        page(kA).used = true;
      }
    }
    MarkReferenced(kPageA);
  }
  // Whoever zaps kA, and marks it if it was used. It was written before.
  void Zap() {
    Walk walk(reclaimer_);
    (void)pages_.Zap(walk, kPageA, ZapFlush::kEach,
                     [this](const TakenLeaf<Format>& leaf) {
                       if (IsDirty<Format>(leaf.word)) Tell(kA);
                       if (IsYoung<Format>(leaf.word)) MarkReferenced(kPageA);
                     });
    Require(ReadOnce(page(kA).told, kRelaxed) != 0,
            "who finds nothing mapped has it told");
  }
  void AgeBoth() {
    Walk walk(reclaimer_);
    std::uint64_t young = 0;
    (void)Harvest(pages_, walk, kBothPages, AgeAction::kTestAndClear,
                  AgeMode::kFastOnly,
                  AgeOutput{.begin = kA, .young = Bitmap(&young, 2)});
    for (const Gfn gfn : {kA, kB}) {
      page(gfn).reported |= (young >> gfn.value & 1) != 0;
    }
  }

  // Alone, when all is done.
  void Check() {
    for (const Gfn gfn : {kA, kB}) {
      Walk walk(reclaimer_);
      const Word left = pages_.Lookup(walk, gfn).word;
      const Page& seen = page(gfn);
      Require(!IsFrozen<Format>(left), "nothing stays frozen");
      Require(!seen.evicted || !TinyFormat::IsPresent(left),
              "what is evicted is mapped nowhere");
      Require(!seen.dirty || ReadOnce(seen.told, kRelaxed) != 0 ||
                  IsDirty<Format>(left),
              "no write is lost");
      Require(!seen.used || seen.reported || seen.kept || !seen.evicted,
              "what was used is kept");
    }
    Require(!stored_ || copy_ == ReadOnce(data_, kRelaxed),
            "what is stored is what was written last");
  }
  [[nodiscard]] bool Mapped(Gfn gfn) {
    Walk walk(reclaimer_);
    return TinyFormat::IsPresent(pages_.Lookup(walk, gfn).word);
  }
  [[nodiscard]] bool Evicted(Gfn gfn) { return page(gfn).evicted; }

 private:
  struct Page {
    Page() : told(0u) {}
    bool used = false;      // accessed, and not before the search
    bool reported = false;  // to an ager
    bool dirty = false;
    Cell<std::uint32_t> told;  // a sink: of being dirty
    bool evicted = false;
    bool kept = false;
  };

  Page& page(Gfn gfn) { return page_[gfn.value]; }
  void Tell(Gfn gfn) { WriteOnce(page(gfn).told, 1u, kRelaxed); }
  void Claim(bool claimed) {
    const ScopedLock<BlockingLock> hold(table_lock_);
    claimed_ = claimed;
  }
  void Map(Gfn gfn, Level level, Word bits) {
    Walk walk(reclaimer_);
    const Word leaf =
        TinyFormat::MakeLeaf(Backing(gfn), level, Rights::kAll) | bits;
    Require(pages_.Map(walk, gfn, level, leaf) == MapOutcome::kDone,
            "a map that nobody hinders is done");
    for (const Gfn each : {kA, kB}) {
      if (level == Level{1} && each != gfn) continue;
      page(each).dirty |= IsDirty<Format>(leaf);
      page(each).used |= IsYoung<Format>(leaf);
    }
  }

  Table<Format> tables_[4];
  TableInfo<Format> infos_[4];
  Arena arena_{tables_, infos_, nullptr, 4, Pfn{0x100}};
  FreesAtTheEnd reclaimer_;
  Cpu cpu_;
  Pages pages_{arena_, reclaimer_, cpu_, TableKind::kDirect};
  BlockingLock table_lock_;
  Cell<std::uint32_t> mark_;
  // What kA holds, and what of it was stored.
  Cell<std::uint32_t> data_;
  bool locks_ = true;
  bool claimed_ = false;
  bool stored_ = false;
  std::uint32_t copy_ = 0;
  // Of a page table entry that maps nothing.
  Entry nothing_{TinyFormat::kEmpty};
  Page page_[2];
};

// --- Against CPUs.

// One that writes through a translation that it has had since before.
struct EvictorAgainstCachedWriter
    : rl::test_suite<EvictorAgainstCachedWriter, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  EvictedTree tree;

  void before() { tree.CacheDirty(); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.EvictPage(EvictedTree::kPageA);
    } else {
      tree.WriteByCache();
    }
  }
  void after() { tree.Check(); }
};

// One that comes by the tables; and an ager.
struct EvictorAgainstUser : rl::test_suite<EvictorAgainstUser, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EvictedTree tree;

  void before() { tree.MapSmall(0); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.EvictPage(EvictedTree::kPageA);
    } else if (index == 1) {
      tree.Use(kA, AccessKind::kWrite);
    } else {
      tree.AgeBoth();
    }
  }
  void after() { tree.Check(); }
};

// --- Against a zap that takes the access away, and a fault that brings it
// back.

enum class Meanwhile { kUse, kFault };

template <Meanwhile kMeanwhile>
struct EvictorAgainstZap : rl::test_suite<EvictorAgainstZap<kMeanwhile>, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EvictedTree tree;

  void before() { tree.MapSmall(TinyFormat::kDirty); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.EvictPage(EvictedTree::kPageA);
    } else if (index == 2) {
      tree.Zap();
    } else if (kMeanwhile == Meanwhile::kUse) {
      tree.Use(kA, AccessKind::kRead);
    } else {
      tree.Fault();
    }
  }
  void after() { tree.Check(); }
};

// --- Against changes of the structure.

enum class Reshape { kSplit, kPromote };

template <Reshape kShape>
struct EvictorAgainstChange : rl::test_suite<EvictorAgainstChange<kShape>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  EvictedTree tree;

  void before() {
    if (kShape == Reshape::kSplit) {
      tree.MapLarge(TinyFormat::kDirty);
    } else {
      tree.MapSmall(TinyFormat::kDirty);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.EvictPage(EvictedTree::kPageA);
    } else if (kShape == Reshape::kSplit) {
      (void)tree.Split(EvictedTree::kPageA);
    } else {
      tree.Promote();
    }
  }
  void after() {
    tree.Check();
    Require(tree.Mapped(kB), "a neighbour stays mapped");
  }
};

// --- Against another evictor, of one of its pages, and a CPU that uses one.

enum class Which { kFirst, kLast };

template <Which kOther, Which kUsed>
struct EvictorAgainstEvictor
    : rl::test_suite<EvictorAgainstEvictor<kOther, kUsed>, 3> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  EvictedTree tree;

  void before() {
    tree.MapSmall(TinyFormat::kDirty);
    tree.WithoutFaults();
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.EvictPage(EvictedTree::kBothPages);
    } else if (index == 1) {
      tree.EvictPage(kOther == Which::kFirst ? EvictedTree::kPageA
                                             : EvictedTree::kPageB);
    } else {
      tree.Use(kUsed == Which::kFirst ? kA : kB, AccessKind::kWrite);
    }
  }
  void after() { tree.Check(); }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_EVICTION_SEARCHES_H_
