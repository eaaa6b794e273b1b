// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of rmap/lockless_list.h, as rmap/lockless.h writes and
// rmap/grace_pool.h recycles it: a reader scans while writers add and remove.

#ifndef PTAGE_TEST_RELACY_LOCKLESS_LIST_SEARCHES_H_
#define PTAGE_TEST_RELACY_LOCKLESS_LIST_SEARCHES_H_

#include <cstddef>

#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/rmap.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "test/relacy/checked_arena.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// Entries 0 … 7, and lists of them with few slots to a chunk. The entries are
// names: what is in them is the subject of rmap_searches.h.
template <unsigned kFirst, unsigned kLater, RmapWriters kWriters,
          class R = FreesAtTheEnd>
class Lists {
 public:
  static constexpr unsigned kEntries = 8;
  using Chunks = RmapChunks<TinyFormat, kFirst, kLater>;
  using Pool = GracePool<Chunks, R, BlockingLock>;
  using Rmaps = Lockless<TinyFormat, CheckedArena<1>, Pool, kWriters>;
  using List = ptage::internal::LocklessList<Chunks>;

  ~Lists() {
    if constexpr (!SynchronizingReclaimer<R>) reclaimer_.FreeAll();
  }

  // Alone: list 0 holds the entries 0 … count − 1.
  void Start(unsigned count) {
    for (RmapHead& head : heads_) WriteOnce(head.word, 0, kRelaxed);
    for (unsigned i = 0; i < count; ++i) Add(i);
  }
  void Add(unsigned i, unsigned list = 0) {
    // What the reader of an entry reads of its table.
    tables_[i].Set(1);
    Require(rmaps_.Add(heads_[list], entries_[i]) == RmapAdd::kDone,
            "there is room in the rmap");
    Held(list, i) = true;
  }
  // The same, if there is a chunk.
  void TryAdd(unsigned i, unsigned list) {
    tables_[i].Set(1);
    if (rmaps_.Add(heads_[list], entries_[i]) == RmapAdd::kDone) {
      Held(list, i) = true;
    }
  }
  void Remove(unsigned i, unsigned list = 0) {
    Held(list, i) = false;
    Require(rmaps_.Remove(heads_[list], entries_[i]),
            "an entry is in its rmap until it is removed");
  }

  // Scans list 0, as Age does. Sets `visited[i]`.
  void Scan(bool (&visited)[kEntries]) {
    const std::uintptr_t word = ReadOnce(heads_[0].word, kAcquire);
    List::Scan(word, [&](Entry& entry) {
      const std::size_t i = static_cast<std::size_t>(&entry - entries_);
      Require(i < kEntries, "a slot holds what was added");
      Require(tables_[i].Get() == 1, "who finds an entry finds its table");
      visited[i] = true;
      return true;
    });
  }
  // One that must meet the entries `stay`.
  template <std::size_t kCount>
  void ScanFor(const unsigned (&stay)[kCount]) {
    bool visited[kEntries] = {};
    Scan(visited);
    for (const unsigned i : stay) {
      Require(visited[i], "an entry that stays is visited");
    }
  }

  // One in a walk, which must meet entry 1, and none from 4 on: they are in
  // list 1.
  void WalkOnce() {
    const LocklessWalk<R> walk(reclaimer_);
    Require(static_cast<bool>(walk), "a walk begins where there is a place");
    bool visited[kEntries] = {};
    Scan(visited);
    Require(visited[1], "an entry that stays is visited");
    for (unsigned i = 4; i < kEntries; ++i) {
      Require(!visited[i], "no scan leaves its list");
    }
  }

  // Alone: each list holds what was added and not removed.
  void Check() {
    for (unsigned list = 0; list < 2; ++list) {
      unsigned count = 0;
      for (unsigned i = 0; i < kEntries; ++i) {
        if (!Held(list, i)) continue;
        ++count;
        Require(rmaps_.Contains(heads_[list], entries_[i]),
                "the rmap holds what was added");
      }
      Require(rmaps_.Count(heads_[list]) == count,
              "the rmap holds what was added");
    }
  }

  R& reclaimer() { return reclaimer_; }
  Pool& pool() { return pool_; }

 private:
  static constexpr std::size_t kChunks = 2;

  bool& Held(unsigned list, unsigned i) { return held_[list][i]; }

  R reclaimer_;
  typename Chunks::First firsts_[kChunks];
  typename Chunks::Later laters_[kChunks];
  Pool pool_{reclaimer_, firsts_, kChunks, laters_, kChunks};
  CheckedArena<1> arena_;
  Rmaps rmaps_{arena_, pool_};
  RmapHead heads_[2];
  Entry entries_[kEntries];
  Plain<unsigned> tables_[kEntries];
  bool held_[2][kEntries] = {};
};

// --- One reader and one writer, who needs no lock.

// What the writer does to the list of the entries 0 … kStart − 1, and which
// entries are in it all the time.

// The top entry moves into a hole in an older chunk, and its slot is refilled.
struct MovesAndRefills {
  static constexpr unsigned kStart = 4;
  static constexpr unsigned kStay[] = {1, 2, 3};
  template <class L>
  static void Write(L& lists) {
    lists.Remove(0);
    lists.Add(4);
  }
};

// The same within one chunk.
struct MovesWithinAChunk {
  static constexpr unsigned kStart = 3;
  static constexpr unsigned kStay[] = {1, 2};
  template <class L>
  static void Write(L& lists) {
    lists.Remove(0);
    lists.Add(3);
  }
};

// The newest chunk empties and is unlinked; another takes its place.
struct Unlinks {
  static constexpr unsigned kStart = 3;
  static constexpr unsigned kStay[] = {1, 2};
  template <class L>
  static void Write(L& lists) {
    lists.Remove(0);
    lists.Add(3);
  }
};

// Many, single, many: the first chunk is retired, and another begun.
struct SingleAndBack {
  static constexpr unsigned kStart = 2;
  static constexpr unsigned kStay[] = {1};
  template <class L>
  static void Write(L& lists) {
    lists.Remove(0);
    lists.Add(2);
  }
};

// An entry falls from chunk to chunk to the bottom, and chunks go as it falls.
struct FallsToTheBottom {
  static constexpr unsigned kStart = 5;
  static constexpr unsigned kStay[] = {3, 4};
  template <class L>
  static void Write(L& lists) {
    lists.Remove(2);
    lists.Remove(0);
    lists.Remove(1);
  }
};

// The same with other entries coming in above.
struct FallsUnderOthers {
  static constexpr unsigned kStart = 4;
  static constexpr unsigned kStay[] = {2};
  template <class L>
  static void Write(L& lists) {
    lists.Remove(0);
    lists.Remove(1);
    lists.Add(4);
    lists.Remove(3);
  }
};

template <class Script, unsigned kSlots, Plan kHow = kEveryInterleaving>
struct ScanAgainst : rl::test_suite<ScanAgainst<Script, kSlots, kHow>, 2> {
  static constexpr Plan kPlan = kHow;

  Lists<kSlots, kSlots, RmapWriters::kExcluded> lists;

  void before() { lists.Start(Script::kStart); }
  void thread(unsigned index) {
    if (index == 0) {
      lists.ScanFor(Script::kStay);
    } else {
      Script::Write(lists);
    }
  }
  void after() { lists.Check(); }
};

// --- Two writers, who exclude each other by the head.

// The second moves what the first has added.
struct TwoListWriters : rl::test_suite<TwoListWriters, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  Lists<2, 2, RmapWriters::kLockHead> lists;

  void before() { lists.Start(3); }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        lists.ScanFor({1, 2});
        break;
      case 1:
        lists.Add(3);
        break;
      default:
        lists.Remove(0);
    }
  }
  void after() { lists.Check(); }
};

// --- Chunks that are used again.

using ChunkDomain = AnonymousEpochDomain<1, BlockingLock>;

// The first chunk of a list goes to another list as soon as it may.
struct ChunkReused : rl::test_suite<ChunkReused, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  Lists<2, 1, RmapWriters::kExcluded, ChunkDomain> lists;

  void before() {
    lists.Start(2);
    // The other chunks.
    while (lists.pool().AllocateFirst() != nullptr) {
    }
    lists.Add(4, 1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      lists.WalkOnce();
      return;
    }
    lists.Remove(0);
    lists.reclaimer().Poll();
    if (lists.pool().stats().waiting != 0) return;
    lists.Add(5, 1);
  }
  void after() { lists.Check(); }
};

// Two later chunks, one of which is retired while the grace period of the other
// is under way: a walk is that has held no chunk, before the one that scans.
struct SecondBatchReused : rl::test_suite<SecondBatchReused, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  Lists<2, 1, RmapWriters::kExcluded, ChunkDomain> lists;
  ChunkDomain::Section earlier;

  void before() {
    earlier = lists.reclaimer().Begin();
    lists.Start(4);
    // List 1 is full: the next entry needs a later chunk.
    lists.Add(4, 1);
    lists.Add(5, 1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      lists.reclaimer().End(earlier);
      lists.WalkOnce();
      return;
    }
    lists.Remove(3);
    lists.Remove(2);
    for (int i = 0; i < 2; ++i) lists.reclaimer().Poll();
    // The one that was retired last comes first, if it is there.
    lists.TryAdd(6, 1);
    lists.TryAdd(7, 1);
  }
  void after() { lists.Check(); }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_LOCKLESS_LIST_SEARCHES_H_
