// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What this discipline promises beyond rmap_test.cc: whom nobody waits for.

#include "ptage/rmap/lockless.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/rmap_fixture.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::RmapMachine;
using test::Truth;
using test::WordOf;

template <class F>
class LocklessTest : public ::testing::Test {
 protected:
  static constexpr RmapFrame kFrame{Gfn{0x77}, Level{1}};
  static constexpr std::uintptr_t kLocked = 2;

  void MustAdd(std::size_t i, typename F::Word word = Truth<F>::kYoung) {
    machine_.MustAdd(head_, machine_.entry(i), kFrame.gfn, word);
  }
  AgeResult Age(AgeMode mode) {
    const LocklessWalk<EpochDomain<>> walk(machine_.domain());
    return machine_.rmaps().Age(head_, kFrame, AgeAction::kTestAndClear, mode,
                                counts_);
  }

  RmapMachine<test::LocklessRmaps<F>> machine_{64};
  RmapHead head_{};
  AgeCounts counts_;
};

TYPED_TEST_SUITE(LocklessTest, test::AllFormats, test::FormatNames);

// As if a writer had lost its CPU inside a call.
TYPED_TEST(LocklessTest, NobodyWhoAsksWaitsForAWriter) {
  for (std::size_t n = 0; n < 10; ++n) {
    WriteOnce(this->head_.word, WordOf(this->head_) | this->kLocked, kRelaxed);
    for (const AgeMode mode : {AgeMode::kFastOnly, AgeMode::kSlow}) {
      for (std::size_t i = 0; i < n; ++i) {
        WriteOnce(this->machine_.entry(i), Truth<TypeParam>::kYoung, kRelaxed);
      }
      this->counts_ = AgeCounts();
      const AgeResult result = this->Age(mode);
      EXPECT_EQ(result, (AgeResult{.young = n != 0}));
      EXPECT_EQ(this->counts_.young, n);
    }
    EXPECT_NE(WordOf(this->head_) & this->kLocked, 0u);
    WriteOnce(this->head_.word, WordOf(this->head_) & ~this->kLocked, kRelease);
    this->MustAdd(n);
  }
}

TYPED_TEST(LocklessTest, WritersWaitForTheWriterOfTheirHeadAlone) {
  RmapHead other{};
  this->MustAdd(0);
  WriteOnce(this->head_.word, WordOf(this->head_) | this->kLocked, kRelaxed);
  EXPECT_EQ(this->machine_.Add(other, this->machine_.entry(9)), RmapAdd::kDone);
  Cell<std::uint32_t> returned(0u);
  std::thread thread([&] {
    EXPECT_TRUE(this->machine_.Remove(this->head_, this->machine_.entry(0)));
    WriteOnce(returned, 1u, kRelaxed);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(ReadOnce(returned, kRelaxed), 0u);
  WriteOnce(this->head_.word, WordOf(this->head_) & ~this->kLocked, kRelease);
  thread.join();
  EXPECT_EQ(WordOf(this->head_), 0u);
}

// Some entries stay in the list while others come and go above and below them,
// so that those that stay are moved about. Each of them is young before each
// question, so each must be cleared by it.
TYPED_TEST(LocklessTest, EveryEntryThatStaysIsExaminedWhileOthersComeAndGo) {
  using F = TypeParam;
  using T = Truth<F>;
  constexpr std::size_t kAll = 40;
  constexpr std::size_t kStay = 5;
  std::mt19937 random(1);
  std::vector<std::size_t> guests;
  // Between guests, so that the first removals move them.
  for (std::size_t i = kStay; i < kStay + 3; ++i) {
    this->MustAdd(i, T::kCold);
    guests.push_back(i);
  }
  for (std::size_t i = 0; i < kStay; ++i) this->MustAdd(i, T::kCold);
  for (std::size_t i = kStay; i < kAll; ++i) {
    this->machine_.Set(this->machine_.entry(i), this->kFrame.gfn, T::kCold);
  }
  std::uint64_t missed = 0;
  std::uint64_t questions = 0;
  std::uint64_t moves = 0;
  // On a machine that is busy otherwise, more than once.
  for (int turn = 0; turn < 50 && (questions <= 100 || moves <= 100); ++turn) {
    test::Stress(
        {[&] {
           const std::size_t i = kStay + random() % (kAll - kStay);
           const auto there = std::find(guests.begin(), guests.end(), i);
           auto& entry = this->machine_.entry(i);
           if (there != guests.end()) {
             if (this->machine_.Remove(this->head_, entry)) ++moves;
             guests.erase(there);
           } else if (this->machine_.Add(this->head_, entry) ==
                      RmapAdd::kDone) {
             guests.push_back(i);
           }
         },
         [&] {
           for (std::size_t i = 0; i < kStay; ++i) {
             WriteOnce(this->machine_.entry(i), T::kYoung, kRelaxed);
           }
           (void)this->Age(AgeMode::kFastOnly);
           for (std::size_t i = 0; i < kStay; ++i) {
             if (ReadOnce(this->machine_.entry(i), kRelaxed) != T::kCold) {
               ++missed;
             }
           }
           ++questions;
         }});
  }
  EXPECT_EQ(missed, 0u);
  EXPECT_GT(questions, 100u);
  EXPECT_GT(moves, 100u);
  EXPECT_EQ(this->machine_.Count(this->head_), kStay + guests.size());
}

// --- What goes wrong, and what then (docs/lockless-rmap.md).

// The hook is called in a scan, twice for each young entry, between the reading
// of the entry and its clearing.
template <class F>
struct HookedArena : TableArena<F> {
  using TableArena<F>::TableArena;
  Table<F>* TableOf(const SpteCell<F>& entry) const {
    if (hook) hook();
    return TableArena<F>::TableOf(entry);
  }
  std::function<void()> hook;
};

struct Died {};

template <class F>
class LocklessFaultTest : public ::testing::Test {
 protected:
  using Domain = AnonymousEpochDomain<>;
  using Pool = GracePool<RmapChunks<F>, Domain>;
  using Rmaps = Lockless<F, HookedArena<F>, Pool>;
  using T = Truth<F>;
  static constexpr RmapFrame kFrame{Gfn{0x77}, Level{1}};
  static constexpr std::size_t kChunks = 32;
  static constexpr std::size_t kTables = 16;

  LocklessFaultTest() {
    for (std::size_t i = 0; i < kTables; ++i) {
      Table<F>* const table = arena_.Allocate(TableKind::kIndirect);
      TableInfo<F>& info = arena_.InfoOf(table);
      info.base.Set(0);
      info.level.Set(1);
      info.kind.Set(static_cast<std::uint32_t>(TableKind::kIndirect));
      for (auto& entry : table->entries) {
        WriteOnce(entry, F::kEmpty, kRelaxed);
        entries_.push_back(&entry);
      }
    }
  }

  void MustAdd(std::size_t i) {
    RecordFrame<F>(arena_, *entries_[i], kFrame.gfn);
    WriteOnce(*entries_[i], T::kYoung, kRelaxed);
    ASSERT_EQ(rmaps_.Add(head_, *entries_[i]), RmapAdd::kDone);
  }
  // One chunk comes and goes. Precondition: seven entries of those are there.
  RmapAdd AddAndRemoveTheEighth() {
    const RmapAdd added = rmaps_.Add(head_, *entries_[7]);
    if (added == RmapAdd::kDone) {
      EXPECT_TRUE(rmaps_.Remove(head_, *entries_[7]));
    }
    return added;
  }
  AgeResult Age() {
    const LocklessWalk walk(domain_);
    return rmaps_.Age(head_, kFrame, AgeAction::kTestAndClear,
                      AgeMode::kFastOnly, counts_);
  }
  // Until nothing waits, or a walk is in the way.
  std::size_t WaitingAfterPolls() {
    for (int i = 0; i < 8; ++i) domain_.Poll();
    return pool_.stats().waiting;
  }

  std::vector<Table<F>> tables_{kTables};
  std::vector<TableInfo<F>> infos_{kTables};
  std::vector<Cell<std::uint64_t>> gfns_{kTables * kEntriesPerTable<F>};
  HookedArena<F> arena_{tables_.data(), infos_.data(), gfns_.data(), kTables,
                        Pfn{0x1000}};
  Domain domain_;
  std::vector<typename RmapChunks<F>::First> firsts_{kChunks};
  std::vector<typename RmapChunks<F>::Later> laters_{kChunks};
  Pool pool_{domain_, firsts_.data(), kChunks, laters_.data(), kChunks};
  Rmaps rmaps_{arena_, pool_};
  RmapHead head_{};
  AgeCounts counts_;
  std::vector<SpteCell<F>*> entries_;
};

TYPED_TEST_SUITE(LocklessFaultTest, test::AllFormats, test::FormatNames);

// It loses its CPU for a second with two of seven entries asked. Meanwhile the
// list is changed as often as there are chunks, and then refuses to grow; after
// it, all comes back, and the scan has asked each entry that stayed.
TYPED_TEST(LocklessFaultTest, AReaderThatStopsForASecondHoldsChunksAndNobody) {
  for (std::size_t i = 0; i < 7; ++i) this->MustAdd(i);
  Cell<std::uint32_t> stopped(0u);
  Cell<std::uint32_t> written(0u);
  int calls = 0;
  this->arena_.hook = [&] {
    if (++calls != 5) return;
    WriteOnce(stopped, 1u, kRelease);
    std::this_thread::sleep_for(std::chrono::seconds(1));
    // Whoever waited for this reader would wait for ever.
    while (ReadOnce(written, kAcquire) == 0) std::this_thread::yield();
  };
  std::thread reader([&] { EXPECT_TRUE(this->Age().young); });
  while (ReadOnce(stopped, kAcquire) == 0) std::this_thread::yield();

  std::size_t changes = 0;
  while (this->AddAndRemoveTheEighth() == RmapAdd::kDone) ++changes;
  EXPECT_EQ(changes, this->kChunks);
  EXPECT_EQ(this->pool_.stats().waiting, this->kChunks);
  EXPECT_EQ(this->pool_.stats().in_use, 1u);
  EXPECT_GT(this->domain_.stats().Held(), 0u);
  EXPECT_EQ(this->rmaps_.Count(this->head_), 7u);
  WriteOnce(written, 1u, kRelease);

  reader.join();
  this->arena_.hook = nullptr;
  EXPECT_EQ(this->counts_.young, 7u);
  for (std::size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(ReadOnce(*this->entries_[i], kRelaxed), Truth<TypeParam>::kCold);
  }
  EXPECT_EQ(this->AddAndRemoveTheEighth(), RmapAdd::kDone);
  EXPECT_EQ(this->WaitingAfterPolls(), 0u);
}

// The walk is never ended. What was retired since is held back, is counted, and
// comes back when somebody ends the walk on the dead thread's behalf; the list,
// its readers and its writers go on, as far as there are chunks.
TYPED_TEST(LocklessFaultTest, AThreadThatDiesInsideAWalkHoldsChunksAndNobody) {
  for (std::size_t i = 0; i < 7; ++i) this->MustAdd(i);
  int calls = 0;
  this->arena_.hook = [&] {
    if (++calls == 5) throw Died();
  };
  typename TestFixture::Domain::Section left_behind;
  std::thread([&] {
    left_behind = this->domain_.Begin();
    try {
      (void)this->rmaps_.Age(this->head_, this->kFrame,
                             AgeAction::kTestAndClear, AgeMode::kFastOnly,
                             this->counts_);
      ADD_FAILURE() << "it lives";
    } catch (const Died&) {
    }
  }).join();
  this->arena_.hook = nullptr;
  // What it took it has counted.
  EXPECT_EQ(this->counts_.young, 2u);

  EXPECT_EQ(this->AddAndRemoveTheEighth(), RmapAdd::kDone);
  EXPECT_EQ(this->WaitingAfterPolls(), 1u);
  EXPECT_GT(this->domain_.stats().Held(), 0u);
  EXPECT_TRUE(this->Age().young);
  EXPECT_EQ(this->counts_.young, 7u);

  this->domain_.End(left_behind);
  EXPECT_EQ(this->WaitingAfterPolls(), 0u);
  EXPECT_EQ(this->domain_.stats().Held(), 0u);
  EXPECT_EQ(this->rmaps_.Count(this->head_), 7u);
}

// Neither kind of chunk is there: the head's word, what it leads to and the
// pool are as before, and the entry can be added when there is one again.
TYPED_TEST(LocklessFaultTest, WithoutAChunkAddChangesNothing) {
  const auto expect_refused = [&](std::size_t i, std::size_t in_use) {
    const std::uintptr_t word = WordOf(this->head_);
    EXPECT_EQ(this->rmaps_.Add(this->head_, *this->entries_[i]),
              RmapAdd::kNoMemory);
    EXPECT_EQ(WordOf(this->head_), word);
    EXPECT_EQ(this->rmaps_.Count(this->head_), i);
    EXPECT_FALSE(this->rmaps_.Contains(this->head_, *this->entries_[i]));
    EXPECT_EQ(this->pool_.stats().in_use, in_use);
    for (std::size_t j = 0; j < i; ++j) {
      WriteOnce(*this->entries_[j], Truth<TypeParam>::kYoung, kRelaxed);
    }
    this->counts_ = AgeCounts();
    EXPECT_TRUE(this->Age().young);
    EXPECT_EQ(this->counts_.young, i);
  };
  std::vector<typename RmapChunks<TypeParam>::First*> firsts;
  std::vector<typename RmapChunks<TypeParam>::Later*> laters;
  for (std::size_t i = 0; i < this->kChunks; ++i) {
    firsts.push_back(this->pool_.AllocateFirst());
    laters.push_back(this->pool_.AllocateLater());
  }
  const std::size_t all = 2 * this->kChunks;
  this->MustAdd(0);
  expect_refused(1, all);
  this->pool_.Retire(firsts.back());
  for (std::size_t i = 1; i < 7; ++i) this->MustAdd(i);
  expect_refused(7, all);
  this->pool_.Retire(laters.back());
  this->MustAdd(7);

  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_TRUE(this->rmaps_.Remove(this->head_, *this->entries_[i]));
  }
  for (std::size_t i = 0; i + 1 < this->kChunks; ++i) {
    this->pool_.Retire(firsts[i]);
    this->pool_.Retire(laters[i]);
  }
  EXPECT_EQ(this->pool_.stats().in_use, 0u);
  EXPECT_EQ(this->WaitingAfterPolls(), 0u);
}

}  // namespace
}  // namespace ptage
