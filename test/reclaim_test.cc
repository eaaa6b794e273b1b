// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/reclaim.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/memslot.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/shadow_mmu.h"
#include "ptage/spte/ept.h"
#include "test/quiescence.h"
#include "test/stress.h"
#ifdef PTAGE_TEST_LIBURCU
#include "ptage/reclaim/liburcu.h"
#endif

namespace ptage {

// --- What a scheme is.

namespace test {

// Has what the concept asks for and nothing else, and writes down what it is
// asked to do. The first `refusals` sections cannot be entered.
class MinimalReclaimer {
 public:
  class Section {
   public:
    explicit operator bool() const { return number_ != 0; }

   private:
    friend class MinimalReclaimer;
    explicit Section(int number) : number_(number) {}
    int number_;
  };

  explicit MinimalReclaimer(int refusals = 0) : refusals_(refusals) {}
  MinimalReclaimer(const MinimalReclaimer&) = delete;
  MinimalReclaimer& operator=(const MinimalReclaimer&) = delete;

  Section Begin() {
    if (refusals_ > 0) {
      --refusals_;
      log.emplace_back("refuse");
      return Section(0);
    }
    log.push_back("begin " + std::to_string(++last_));
    return Section(last_);
  }
  void End(Section section) {
    log.push_back("end " + std::to_string(section.number_));
  }
  void Retire(Retired&) { log.emplace_back("retire"); }

  std::vector<std::string> log;

 private:
  int refusals_;
  int last_ = 0;
};

}  // namespace test

namespace {

using test::MinimalReclaimer;

struct WithoutSection {
  int Begin();
  void End(int);
  void Retire(Retired&);
};
struct BeginsSomethingElse : MinimalReclaimer {
  int Begin();
};
struct SectionSaysNothing {
  struct Section {};
  Section Begin();
  void End(Section);
  void Retire(Retired&);
};
struct CannotEnd : MinimalReclaimer {
  void End(Section) = delete;
};
struct CannotRetire : MinimalReclaimer {
  void Retire(Retired&) = delete;
};
struct Synchronizing : MinimalReclaimer {
  void Synchronize() {}
};

static_assert(Reclaimer<MinimalReclaimer>);
static_assert(!Reclaimer<WithoutSection>);
static_assert(!Reclaimer<BeginsSomethingElse>);
static_assert(!Reclaimer<SectionSaysNothing>);
static_assert(!Reclaimer<CannotEnd>);
static_assert(!Reclaimer<CannotRetire>);
static_assert(!Reclaimer<int>);
static_assert(SynchronizingReclaimer<Synchronizing>);
static_assert(!SynchronizingReclaimer<MinimalReclaimer>);

static_assert(Reclaimer<TypeStable> && kTypeStable<TypeStable>);
static_assert(!SynchronizingReclaimer<TypeStable>);
static_assert(!kTypeStable<MinimalReclaimer>);
static_assert(!kTypeStable<EpochDomain<>>);

// What stands above the concept needs no more than it says.
using MinimalPool = GracePool<RmapChunks<Ept>, MinimalReclaimer>;
using MinimalRmaps = Lockless<Ept, TableArena<Ept>, MinimalPool>;

// --- Walks.

using Walk = LocklessWalk<MinimalReclaimer>;
using Log = std::vector<std::string>;

static_assert(!std::is_copy_constructible_v<Walk>);
static_assert(!std::is_copy_assignable_v<Walk>);
// A walk is a proof, not a truth value by accident.
static_assert(!std::is_convertible_v<Walk, bool>);
static_assert(!std::is_convertible_v<MinimalReclaimer&, Walk>);

TEST(LocklessWalkTest, BeginsAndEndsItsOwnSection) {
  MinimalReclaimer reclaimer;
  {
    const Walk walk(reclaimer);
    EXPECT_TRUE(static_cast<bool>(walk));
    EXPECT_EQ(reclaimer.log, (Log{"begin 1"}));
  }
  EXPECT_EQ(reclaimer.log, (Log{"begin 1", "end 1"}));
}

TEST(LocklessWalkTest, WalksNest) {
  MinimalReclaimer reclaimer;
  {
    const Walk outer(reclaimer);
    const Walk inner(reclaimer);
  }
  EXPECT_EQ(reclaimer.log, (Log{"begin 1", "begin 2", "end 2", "end 1"}));
}

TEST(LocklessWalkTest, OneThatCouldNotBeginTestsFalseAndEndsNothing) {
  MinimalReclaimer reclaimer(1);
  {
    const Walk walk(reclaimer);
    EXPECT_FALSE(static_cast<bool>(walk));
  }
  EXPECT_EQ(reclaimer.log, (Log{"refuse"}));
}

TEST(LocklessWalkTest, OneThatWaitsTriesUntilItBegins) {
  MinimalReclaimer reclaimer(3);
  {
    const Walk walk(reclaimer, WalkEntry::kWait);
    EXPECT_TRUE(static_cast<bool>(walk));
  }
  EXPECT_EQ(reclaimer.log,
            (Log{"refuse", "refuse", "refuse", "begin 1", "end 1"}));
}

// --- The contract, of every scheme that waits for walks.

// An object that knows how often it was freed, and that a reader knows to be
// alive.
struct Object {
  Object() {
    retired.owner = this;
    retired.free = [](Retired& self, void* owner) {
      auto* const object = static_cast<Object*>(owner);
      EXPECT_EQ(&self, &object->retired);
      object->alive = false;
      object->freed.fetch_add(1, std::memory_order_release);
    };
  }
  Retired retired;
  // Not atomic: it is the scheme that orders it.
  bool alive = true;
  std::atomic<int> freed = 0;
};

template <class R>
class ReclaimerTest : public testing::Test {
 protected:
  // Gives the scheme every chance to free something too early.
  void Tempt() {
    if constexpr (requires { reclaimer_.Poll(); }) {
      for (int i = 0; i < 8; ++i) reclaimer_.Poll();
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  // Outside walks: returns when what was retired is freed.
  void FreeAll() {
    if constexpr (requires { reclaimer_.WaitForRetired(); }) {
      reclaimer_.WaitForRetired();
    } else {
      reclaimer_.Synchronize();
    }
  }

  R reclaimer_;
};

struct SchemeNames {
  template <class R>
  static std::string GetName(int) {
    if (std::is_same_v<R, AnonymousEpochDomain<>>) return "AnonymousEpoch";
    if (std::is_same_v<R, EpochDomain<>>) return "Epoch";
    if (std::is_same_v<R, test::OwnExternalReclaimer>) return "External";
    return "Liburcu";
  }
};

#ifdef PTAGE_TEST_LIBURCU
using Schemes = testing::Types<LiburcuReclaimer>;
#else
using Schemes = testing::Types<AnonymousEpochDomain<>, EpochDomain<>,
                               test::OwnExternalReclaimer>;
#endif
TYPED_TEST_SUITE(ReclaimerTest, Schemes, SchemeNames);

TYPED_TEST(ReclaimerTest, WithoutWalksWhatIsRetiredIsFreedOnce) {
  Object objects[3];
  for (Object& object : objects) this->reclaimer_.Retire(object.retired);
  this->FreeAll();
  this->Tempt();
  for (Object& object : objects) EXPECT_EQ(object.freed, 1);
}

TYPED_TEST(ReclaimerTest, NothingIsFreedUnderAWalkOfTheSameThread) {
  Object object;
  {
    const LocklessWalk walk(this->reclaimer_);
    ASSERT_TRUE(static_cast<bool>(walk));
    this->reclaimer_.Retire(object.retired);
    this->Tempt();
    EXPECT_EQ(object.freed, 0);
  }
  this->FreeAll();
  EXPECT_EQ(object.freed, 1);
}

TYPED_TEST(ReclaimerTest, AnInnerWalkThatEndsDoesNotEndTheOuterOne) {
  Object object;
  {
    const LocklessWalk outer(this->reclaimer_);
    {
      const LocklessWalk inner(this->reclaimer_);
    }
    this->reclaimer_.Retire(object.retired);
    {
      const LocklessWalk inner(this->reclaimer_);
    }
    this->Tempt();
    EXPECT_EQ(object.freed, 0);
  }
  this->FreeAll();
  EXPECT_EQ(object.freed, 1);
}

TYPED_TEST(ReclaimerTest, NothingIsFreedUnderAWalkOfAThreadNeverSeenBefore) {
  Object object;
  std::atomic<int> stage = 0;
  std::thread walker([&] {
    const LocklessWalk walk(this->reclaimer_);
    EXPECT_TRUE(static_cast<bool>(walk));
    stage = 1;
    while (stage != 2) std::this_thread::yield();
  });
  while (stage != 1) std::this_thread::yield();
  this->reclaimer_.Retire(object.retired);
  this->Tempt();
  EXPECT_EQ(object.freed, 0);
  stage = 2;
  walker.join();
  this->FreeAll();
  EXPECT_EQ(object.freed, 1);
}

TYPED_TEST(ReclaimerTest, ThreadsComeAndGo) {
  for (int round = 0; round < 20; ++round) {
    Object object;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        const LocklessWalk walk(this->reclaimer_, WalkEntry::kWait);
        if (i == 0) this->reclaimer_.Retire(object.retired);
      });
    }
    for (std::thread& thread : threads) thread.join();
    this->FreeAll();
    EXPECT_EQ(object.freed, 1);
  }
}

TYPED_TEST(ReclaimerTest, FreeMayRetireAgain) {
  struct Chain : Object {
    TypeParam* reclaimer;
    Object* then;
  };
  Object second;
  Chain first;
  first.reclaimer = &this->reclaimer_;
  first.then = &second;
  first.retired.owner = &first;
  first.retired.free = [](Retired&, void* owner) {
    auto* const chain = static_cast<Chain*>(owner);
    ++chain->freed;
    chain->reclaimer->Retire(chain->then->retired);
  };
  this->reclaimer_.Retire(first.retired);
  this->FreeAll();
  this->FreeAll();
  EXPECT_EQ(first.freed, 1);
  EXPECT_EQ(second.freed, 1);
}

TYPED_TEST(ReclaimerTest, SynchronizeWaitsForAWalkThatBeganBefore) {
  static_assert(SynchronizingReclaimer<TypeParam>);
  std::atomic<bool> inside = false;
  std::atomic<bool> ending = false;
  std::thread walker([&] {
    const LocklessWalk walk(this->reclaimer_);
    inside = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    ending = true;
  });
  while (!inside) std::this_thread::yield();
  this->reclaimer_.Synchronize();
  EXPECT_TRUE(ending);
  walker.join();
}

// Two readers of a pointer that a writer replaces.
TYPED_TEST(ReclaimerTest, AReaderNeverFindsAFreedObject) {
  constexpr std::uint64_t kObjects = 64;
  std::vector<std::unique_ptr<Object>> objects;
  for (std::uint64_t i = 0; i < kObjects; ++i) {
    objects.push_back(std::make_unique<Object>());
  }
  Cell<Object*> current(objects[0].get());
  std::uint64_t dead[2] = {};
  const auto reader = [&](std::uint64_t& mine) {
    return [&] {
      const LocklessWalk walk(this->reclaimer_, WalkEntry::kWait);
      if (!ReadOnce(current, kAcquire)->alive) ++mine;
    };
  };
  std::uint64_t replaced = 0;
  test::Stress({reader(dead[0]), reader(dead[1]), [&] {
                  Object* const next = objects[(replaced + 1) % kObjects].get();
                  // Used again as often as it was freed.
                  if (next->freed.load(std::memory_order_acquire) <
                      static_cast<int>((replaced + 1) / kObjects)) {
                    this->Tempt();
                    return;
                  }
                  next->alive = true;
                  Object* const old = ReadOnce(current, kRelaxed);
                  WriteOnce(current, next, kRelease);
                  this->reclaimer_.Retire(old->retired);
                  ++replaced;
                }});
  this->FreeAll();
  EXPECT_EQ(dead[0] + dead[1], 0u);
  EXPECT_GT(replaced, 0u);
  std::uint64_t freed = 0;
  for (const auto& object : objects) {
    freed += static_cast<std::uint64_t>(object->freed.load());
  }
  EXPECT_EQ(freed, replaced);
}

// The tree over each scheme: what is removed comes back to the memory, and not
// before a walk that may be inside has ended.
TYPED_TEST(ReclaimerTest, ARemovedTableComesBackWhenWalksHaveEnded) {
  using F = Ept;
  constexpr std::size_t kTables = 8;
  static Table<F> tables[kTables];
  std::vector<TableInfo<F>> infos(kTables);
  TableArena<F> arena(tables, infos.data(), nullptr, kTables, Pfn{0x1000});
  NoFlush no_flush;
  {
    PageTable<F, TableArena<F>, TypeParam> tree(arena, this->reclaimer_,
                                                no_flush, TableKind::kDirect);
    {
      const LocklessWalk walk(this->reclaimer_);
      ASSERT_EQ(tree.Map(walk, Gfn{3}, Level{1},
                         F::MakeLeaf(Pfn{9}, Level{1}, Rights::kAll)),
                MapOutcome::kDone);
      ASSERT_EQ(arena.InUse(), 4u);
      EXPECT_EQ(tree.RemoveTables(walk, GfnRange{Gfn{0}, Gfn{1u << 27}},
                                  [](const TakenLeaf<F>&) {}),
                3u);
      this->Tempt();
      EXPECT_EQ(arena.InUse(), 4u);
    }
    this->FreeAll();
    EXPECT_EQ(arena.InUse(), 1u);
  }
  EXPECT_EQ(arena.InUse(), 0u);
}

}  // namespace

template class PageTable<Ept, TableArena<Ept>, test::MinimalReclaimer>;
template class GracePool<RmapChunks<Ept>, test::MinimalReclaimer>;
template class Lockless<Ept, TableArena<Ept>, MinimalPool>;
template class Memslots<Ept, test::MinimalReclaimer>;
template class ShadowMmu<Ept, TableArena<Ept>, test::MinimalReclaimer, NoFlush,
                         MinimalRmaps>;

}  // namespace ptage
