// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What an EpochDomain promises of objects, walks, places and limits. Threads
// that end, signals and fork: epoch_thread_test.cc.

#include "ptage/reclaim/epoch.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/once/asymmetric.h"
#include "ptage/reclaim.h"
#include "test/reclaim/epoch_domains.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::Board;
using test::Object;
using test::Reader;
using test::Stress;

static_assert(SynchronizingReclaimer<EpochDomain<>>);
static_assert(Reclaimer<EpochDomain<1>>);

// Counts, and is no barrier: for tests with one thread.
template <bool kThere>
struct CountingBarrier {
  static bool Prepare() { return kThere; }
  static void Light() {}
  static void Heavy() { ++calls; }
  static inline int calls = 0;
};
static_assert(AsymmetricBarrier<CountingBarrier<true>>);
struct NoHeavy {
  static bool Prepare();
  static void Light();
};
static_assert(!AsymmetricBarrier<NoHeavy>);
static_assert(!AsymmetricBarrier<int>);

template <EpochReaders kReaders>
using Readers = std::integral_constant<EpochReaders, kReaders>;

// Walks that begin by a store, where the system has the barrier, and by a
// locked operation.
template <class T>
class EpochDomainTest : public ::testing::Test {
 protected:
  static constexpr EpochOptions Options(std::uint64_t batch = 1024,
                                        std::uint64_t limit = 0) {
    return {.readers = T::value, .batch = batch, .limit = limit};
  }
  EpochDomain<> domain_{Options()};
};
using BothReaders = ::testing::Types<Readers<EpochReaders::kFastest>,
                                     Readers<EpochReaders::kExchange>>;
TYPED_TEST_SUITE(EpochDomainTest, BothReaders);

TYPED_TEST(EpochDomainTest, WalksBeginAsTheyWereAskedTo) {
  EXPECT_EQ(
      this->domain_.asymmetric(),
      TypeParam::value == EpochReaders::kFastest && PrepareHeavyBarrier());
}

TYPED_TEST(EpochDomainTest, WithNoWalkUnderWayARetiredObjectIsFreed) {
  Object object;
  EXPECT_EQ(this->domain_.Retire(object.retired), RetireOutcome::kTaken);
  EXPECT_EQ(object.freed, 0);
  this->domain_.Poll();
  EXPECT_EQ(object.freed, 1);
  EXPECT_EQ(object.freed_with, &object);
}

TYPED_TEST(EpochDomainTest, NothingIsFreedUnderAWalkThatBeganBefore) {
  Object object;
  {
    const LocklessWalk walk(this->domain_);
    this->domain_.Retire(object.retired);
    for (int i = 0; i < 6; ++i) this->domain_.Poll();
    EXPECT_EQ(object.freed, 0);
  }
  this->domain_.Poll();
  EXPECT_EQ(object.freed, 1);
}

// A walk may begin in any epoch relative to those of others; each is in a
// thread of its own.
TYPED_TEST(EpochDomainTest, NothingIsFreedUnderAWalkInWhicheverEpochItBegan) {
  for (int epochs = 0; epochs < 4; ++epochs) {
    EpochDomain<> domain(this->Options());
    for (int i = 0; i < epochs; ++i) domain.Synchronize();
    Cell<std::uint32_t> step(0u);
    const auto await = [&](std::uint32_t wanted) {
      while (ReadOnce(step, kAcquire) < wanted) std::this_thread::yield();
    };
    std::thread other([&] {
      const LocklessWalk walk(domain);
      WriteOnce(step, 1u, kRelease);
      await(2u);
    });
    await(1u);
    Object first;
    domain.Retire(first.retired);
    domain.Poll();  // ends the epoch in which the other walk began
    Object second;
    {
      const LocklessWalk mine(domain);
      domain.Retire(second.retired);
      for (int i = 0; i < 6; ++i) domain.Poll();
      EXPECT_EQ(first.freed, 0);
      WriteOnce(step, 2u, kRelease);
      other.join();
      for (int i = 0; i < 6; ++i) domain.Poll();
      EXPECT_EQ(first.freed, 1);
      EXPECT_EQ(second.freed, 0);
    }
    domain.Poll();
    EXPECT_EQ(second.freed, 1);
  }
}

TYPED_TEST(EpochDomainTest, EachObjectIsFreedOnce) {
  std::vector<Object> objects(100);
  for (Object& object : objects) {
    const LocklessWalk walk(this->domain_);
    this->domain_.Retire(object.retired);
  }
  for (int i = 0; i < 6; ++i) this->domain_.Poll();
  for (const Object& object : objects) EXPECT_EQ(object.freed, 1);
}

// --- Figures.

TYPED_TEST(EpochDomainTest, WhatIsHeldBackIsCountedWhoeverRetiredIt) {
  std::vector<Object> objects(10);
  Object elsewhere;
  {
    const LocklessWalk walk(this->domain_);
    for (Object& object : objects) this->domain_.Retire(object.retired);
    std::thread([&] { this->domain_.Retire(elsewhere.retired); }).join();
    EXPECT_EQ(this->domain_.stats().retired, 11u);
    this->domain_.Poll();
    EXPECT_EQ(this->domain_.stats().freed, 0u);
    EXPECT_EQ(this->domain_.stats().Held(), 11u);
  }
  this->domain_.Poll();
  EXPECT_EQ(elsewhere.freed, 1);
  EXPECT_EQ(this->domain_.stats().retired, 11u);
  EXPECT_EQ(this->domain_.stats().freed, 11u);
  EXPECT_EQ(this->domain_.stats().Held(), 0u);
}

TYPED_TEST(EpochDomainTest, TheOldestWalkIsKnownAndHowOftenItWasInTheWay) {
  Object object;
  this->domain_.Synchronize();
  const std::uint64_t began = this->domain_.stats().epoch;
  {
    const LocklessWalk walk(this->domain_);
    this->domain_.Retire(object.retired);
    for (std::uint64_t looks = 1; looks <= 5; ++looks) {
      this->domain_.Poll();
      EXPECT_EQ(this->domain_.stats().oldest_walk, began);
      EXPECT_EQ(this->domain_.stats().held_back, looks);
      EXPECT_EQ(this->domain_.stats().epoch, began + 1);
    }
  }
  this->domain_.Poll();
  EXPECT_EQ(this->domain_.stats().oldest_walk, this->domain_.stats().epoch);
  EXPECT_EQ(this->domain_.stats().held_back, 0u);
}

// --- Nested walks.

TYPED_TEST(EpochDomainTest, WalksOfAThreadNestAndEndInAnyOrder) {
  Object object;
  const auto outer = this->domain_.Begin();
  const auto inner = this->domain_.Begin();
  this->domain_.Retire(object.retired);
  this->domain_.End(outer);
  this->domain_.Poll();
  EXPECT_EQ(object.freed, 0);
  // Begins in the place of the outer one, after the object was retired.
  const auto last = this->domain_.Begin();
  this->domain_.Poll();
  EXPECT_EQ(object.freed, 0);
  this->domain_.End(inner);
  this->domain_.Poll();
  EXPECT_EQ(object.freed, 1);
  this->domain_.End(last);
}

TYPED_TEST(EpochDomainTest, NestedWalksTakeAPlaceEachWhichTheThreadKeeps) {
  EpochDomain<3> domain(this->Options());
  for (int i = 0; i < 2; ++i) {
    const LocklessWalk first(domain);
    const LocklessWalk second(domain);
    const LocklessWalk third(domain);
    EXPECT_TRUE(static_cast<bool>(third));
    EXPECT_FALSE(static_cast<bool>(LocklessWalk(domain)));
  }
  std::thread([&] { EXPECT_FALSE(domain.Register()); }).join();
  domain.Unregister();
  std::thread([&] { EXPECT_TRUE(domain.Register()); }).join();
}

// --- Places.

TYPED_TEST(EpochDomainTest, AThreadWithoutAPlaceCannotWalkButRetire) {
  EpochDomain<1> domain(this->Options());
  EXPECT_TRUE(domain.Register());
  Object object;
  std::thread([&] {
    EXPECT_FALSE(domain.Register());
    EXPECT_FALSE(static_cast<bool>(LocklessWalk(domain)));
    domain.Retire(object.retired);
    EXPECT_EQ(domain.stats().retired, 1u);
  }).join();
  {
    const LocklessWalk walk(domain);
    domain.Poll();
    EXPECT_EQ(object.freed, 0);
  }
  domain.Poll();
  EXPECT_EQ(object.freed, 1);
}

TYPED_TEST(EpochDomainTest, APlaceThatIsGivenBackServesAnotherThread) {
  EpochDomain<1> domain(this->Options());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(static_cast<bool>(LocklessWalk(domain)));
    domain.Unregister();
    std::thread([&] {
      EXPECT_TRUE(static_cast<bool>(LocklessWalk(domain)));
      domain.Unregister();
    }).join();
  }
}

TYPED_TEST(EpochDomainTest, AWalkThatWaitsGetsThePlaceThatIsGivenBack) {
  EpochDomain<1> domain(this->Options());
  EXPECT_TRUE(domain.Register());
  Cell<std::uint32_t> began(0u);
  std::thread waiter([&] {
    const LocklessWalk walk(domain, WalkEntry::kWait);
    WriteOnce(began, static_cast<bool>(walk) ? 1u : 2u, kRelaxed);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(ReadOnce(began, kRelaxed), 0u);
  domain.Unregister();
  waiter.join();
  EXPECT_EQ(ReadOnce(began, kRelaxed), 1u);
}

// More domains than a thread has slots.
TYPED_TEST(EpochDomainTest, DomainsOfOneThreadAreApart) {
  constexpr std::size_t kDomains = 20;
  std::vector<std::unique_ptr<EpochDomain<2>>> domains;
  for (std::size_t i = 0; i < kDomains; ++i) {
    domains.push_back(std::make_unique<EpochDomain<2>>(this->Options()));
  }
  for (std::size_t inside = 0; inside < kDomains; ++inside) {
    std::vector<Object> objects(kDomains);
    {
      const LocklessWalk walk(*domains[inside]);
      ASSERT_TRUE(static_cast<bool>(walk));
      for (std::size_t i = 0; i < kDomains; ++i) {
        {
          const LocklessWalk inner(*domains[i]);
        }
        domains[i]->Retire(objects[i].retired);
        domains[i]->Poll();
        EXPECT_EQ(objects[i].freed, i == inside ? 0 : 1);
      }
    }
    domains[inside]->Poll();
    EXPECT_EQ(objects[inside].freed, 1);
  }
}

TYPED_TEST(EpochDomainTest, ADomainInThePlaceOfAnotherIsNotTakenForIt) {
  std::optional<EpochDomain<1>> domain;
  for (int i = 0; i < 20; ++i) {
    domain.emplace(this->Options());
    Object object;
    {
      const LocklessWalk walk(*domain);
      ASSERT_TRUE(static_cast<bool>(walk));
      domain->Retire(object.retired);
      domain->Poll();
      EXPECT_EQ(object.freed, 0);
    }
    domain->Poll();
    EXPECT_EQ(object.freed, 1);
  }
}

#if PTAGE_HARDENED
TEST(EpochDomainDeathTest, BrokenPreconditionsTrap) {
  EpochDomain<1> domain;
  EXPECT_DEATH(domain.End(EpochDomain<1>::Section()), "");
  const auto section = domain.Begin();
  EXPECT_DEATH(domain.Unregister(), "");
  EXPECT_DEATH(domain.Synchronize(), "");
  domain.End(section);
  Retired nobody_frees_this;
  EXPECT_DEATH(domain.Retire(nobody_frees_this), "");
  EXPECT_DEATH(EpochDomain<1>(EpochOptions{.batch = 0}), "");
}
#endif

// --- Batches and limits.

TYPED_TEST(EpochDomainTest, AFullBatchIsFreedByRetireAlone) {
  EpochDomain<> domain(this->Options(/*batch=*/8));
  std::vector<Object> objects(20);
  for (std::size_t i = 0; i < objects.size(); ++i) {
    domain.Retire(objects[i].retired);
    EXPECT_EQ(domain.stats().freed, (i + 1) / 8 * 8);
  }
  domain.Poll();
  EXPECT_EQ(domain.stats().Held(), 0u);
}

TYPED_TEST(EpochDomainTest, WhatOneThreadRetiredAnotherFrees) {
  Object object;
  std::thread([&] { this->domain_.Retire(object.retired); }).join();
  EXPECT_EQ(object.freed, 0);
  this->domain_.Poll();
  EXPECT_EQ(object.freed, 1);
}

TEST(EpochDomainTest, ABarrierServesWhatAllHaveRetired) {
  using Barrier = CountingBarrier<true>;
  Barrier::calls = 0;
  EpochDomain<4, SpinLock, Barrier> domain({.batch = 8});
  std::vector<Object> objects(17);
  domain.Poll();
  EXPECT_EQ(Barrier::calls, 0);  // nothing to free
  for (std::size_t i = 0; i < 8; ++i) domain.Retire(objects[i].retired);
  EXPECT_EQ(Barrier::calls, 1);
  domain.Synchronize();
  EXPECT_EQ(Barrier::calls, 2);
  {
    const LocklessWalk walk(domain);
    for (std::size_t i = 8; i < 17; ++i) domain.Retire(objects[i].retired);
    for (int i = 0; i < 5; ++i) domain.Poll();
    EXPECT_EQ(Barrier::calls, 3);  // looking again takes none
  }
  domain.Poll();
  EXPECT_EQ(Barrier::calls, 4);
  EXPECT_EQ(domain.stats().freed, 17u);
}

TEST(EpochDomainTest, WithoutTheBarrierItIsNotCalled) {
  using Barrier = CountingBarrier<false>;
  Barrier::calls = 0;
  EpochDomain<4, SpinLock, Barrier> domain;
  EXPECT_FALSE(domain.asymmetric());
  Object object;
  {
    const LocklessWalk walk(domain);
    domain.Retire(object.retired);
    domain.Poll();
    EXPECT_EQ(object.freed, 0);
  }
  domain.Synchronize();
  EXPECT_EQ(object.freed, 1);
  EXPECT_EQ(Barrier::calls, 0);
}

TYPED_TEST(EpochDomainTest, AtTheLimitRetireTakesTheObjectAndSaysSo) {
  EpochDomain<> domain(this->Options(/*batch=*/1024, /*limit=*/3));
  std::vector<Object> objects(6);
  {
    const LocklessWalk walk(domain);
    EXPECT_EQ(domain.Retire(objects[0].retired), RetireOutcome::kTaken);
    EXPECT_EQ(domain.Retire(objects[1].retired), RetireOutcome::kTaken);
    EXPECT_EQ(domain.Retire(objects[2].retired), RetireOutcome::kAtLimit);
    EXPECT_EQ(domain.Retire(objects[3].retired), RetireOutcome::kAtLimit);
    EXPECT_EQ(domain.stats().Held(), 4u);
  }
  // Frees what it can before it says so.
  EXPECT_EQ(domain.Retire(objects[4].retired), RetireOutcome::kTaken);
  domain.Synchronize();
  EXPECT_EQ(domain.stats().Held(), 0u);
  EXPECT_EQ(domain.Retire(objects[5].retired), RetireOutcome::kTaken);
  domain.Poll();
  for (const Object& object : objects) EXPECT_EQ(object.freed, 1);
}

// --- Functions that free.

// Retires `next` when it is freed.
struct Link {
  explicit Link(EpochDomain<>& where) : domain(&where) {
    retired.free = [](Retired& self, void*) {
      auto& link = reinterpret_cast<Link&>(self);
      ++link.freed;
      const LocklessWalk walk(*link.domain);
      if (link.next != nullptr) link.domain->Retire(link.next->retired);
      static_cast<void>(link.domain->stats());  // no lock is held
    };
  }
  Retired retired;
  EpochDomain<>* domain;
  Link* next = nullptr;
  int freed = 0;
};

TYPED_TEST(EpochDomainTest, AFreeFunctionMayWalkAndRetireAgain) {
  Link third(this->domain_);
  Link second(this->domain_);
  Link first(this->domain_);
  first.next = &second;
  second.next = &third;
  this->domain_.Retire(first.retired);
  for (int i = 0; i < 3; ++i) this->domain_.Poll();
  EXPECT_EQ(first.freed + second.freed + third.freed, 3);
  EXPECT_EQ(this->domain_.stats().Held(), 0u);
}

TYPED_TEST(EpochDomainTest, DestructionFreesWhatIsHeldAndWhatThatRetires) {
  std::optional<EpochDomain<>> domain(std::in_place, this->Options());
  Link second(*domain);
  Link first(*domain);
  first.next = &second;
  Object waiting;
  {
    const LocklessWalk walk(*domain);
    domain->Retire(waiting.retired);
    domain->Poll();
    domain->Retire(first.retired);
  }
  domain.reset();
  EXPECT_EQ(waiting.freed, 1);
  EXPECT_EQ(first.freed + second.freed, 2);
}

// --- Synchronize.

TYPED_TEST(EpochDomainTest, SynchronizeFreesWhatWasRetiredBefore) {
  Object first;
  Object second;
  {
    const LocklessWalk walk(this->domain_);
    this->domain_.Retire(first.retired);
    this->domain_.Poll();
    this->domain_.Retire(second.retired);
  }
  this->domain_.Synchronize();
  EXPECT_EQ(first.freed + second.freed, 2);
}

// Calls `after` once, when its thread has let go of every lock.
struct HookedLock : SpinLock {
  void Lock() {
    SpinLock::Lock();
    ++held;
  }
  void Unlock() {
    SpinLock::Unlock();
    if (--held == 0 && after) std::exchange(after, nullptr)();
  }
  static inline thread_local int held = 0;
  static inline thread_local std::function<void()> after;
};

// Between two steps of Synchronize another thread ends the epoch, without what
// waits with the caller, and begins a walk.
TYPED_TEST(EpochDomainTest, SynchronizeFreesWhatItsCallerRetiredInAnyEpoch) {
  EpochDomain<4, HookedLock> domain(TestFixture::Options(/*batch=*/2));
  Object first;
  Object others[2];
  Cell<std::uint32_t> step(0u);
  domain.Retire(first.retired);
  std::thread other;
  HookedLock::after = [&] {
    other = std::thread([&] {
      for (Object& object : others) domain.Retire(object.retired);
      const LocklessWalk walk(domain);
      WriteOnce(step, 1u, kRelease);
      while (ReadOnce(step, kAcquire) != 2) std::this_thread::yield();
    });
    while (ReadOnce(step, kAcquire) != 1) std::this_thread::yield();
  };
  domain.Synchronize();
  EXPECT_EQ(first.freed, 1);
  WriteOnce(step, 2u, kRelease);
  other.join();
}

TYPED_TEST(EpochDomainTest, SynchronizeWaitsForAWalkThatBeganBefore) {
  Cell<std::uint32_t> returned(0u);
  const auto section = this->domain_.Begin();
  std::thread writer([&] {
    this->domain_.Synchronize();
    WriteOnce(returned, 1u, kRelaxed);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(ReadOnce(returned, kRelaxed), 0u);
  this->domain_.End(section);
  writer.join();
  EXPECT_EQ(ReadOnce(returned, kRelaxed), 1u);
}

// A walk that begins after the call does not hold it up.
TYPED_TEST(EpochDomainTest, SynchronizeDoesNotWaitForLaterWalks) {
  const auto first = this->domain_.Begin();
  Cell<std::uint32_t> returned(0u);
  std::thread writer([&] {
    this->domain_.Synchronize();
    WriteOnce(returned, 1u, kRelease);
  });
  const std::uint64_t epoch = this->domain_.stats().epoch;
  while (this->domain_.stats().epoch == epoch &&
         this->domain_.stats().held_back == 0) {
    std::this_thread::yield();
  }
  std::thread reader([&] {
    const LocklessWalk walk(this->domain_);
    WriteOnce(returned, 2u, kRelease);
    while (ReadOnce(returned, kAcquire) != 1) std::this_thread::yield();
  });
  while (ReadOnce(returned, kAcquire) != 2) std::this_thread::yield();
  this->domain_.End(first);
  writer.join();
  reader.join();
}

// --- Stress.

TYPED_TEST(EpochDomainTest, UnderStressNoReaderSeesWhatWasFreed) {
  Board<EpochDomain<>> board(this->Options(/*batch=*/4));
  Reader readers[3];
  Stress({[&] { board.Replace(); }, [&] { readers[0].Read(board); },
          [&] {
            const LocklessWalk outer(board.domain);
            readers[1].Read(board);
          },
          [&] {
            readers[2].Read(board);
            board.domain.Unregister();
          }});
  EXPECT_EQ(readers[0].poisoned + readers[1].poisoned + readers[2].poisoned,
            0u);
  EXPECT_GT(readers[0].walks, 0u);
  EXPECT_GT(board.replaced, std::uint64_t{Board<EpochDomain<>>::kObjects});
}

TYPED_TEST(EpochDomainTest, UnderStressPlacesPassFromThreadToThread) {
  Board<EpochDomain<2>> board(this->Options(/*batch=*/4));
  Reader readers[3];
  const auto read = [&](Reader& reader) {
    reader.Read(board);
    board.domain.Unregister();
  };
  Stress({[&] {
            board.Replace();
            board.domain.Unregister();
          },
          [&] { read(readers[0]); }, [&] { read(readers[1]); },
          [&] { read(readers[2]); }});
  EXPECT_EQ(readers[0].poisoned + readers[1].poisoned + readers[2].poisoned,
            0u);
  EXPECT_GT(readers[0].walks + readers[1].walks + readers[2].walks, 0u);
}

TYPED_TEST(EpochDomainTest, UnderStressEveryFigureIsExact) {
  EpochDomain<> domain(this->Options(/*batch=*/16, /*limit=*/64));
  struct Counted {
    Retired retired;
    Cell<std::uint32_t> busy{0u};
  };
  struct Writer {
    std::array<Counted, 64> objects;
    std::uint64_t retired = 0;
    std::size_t next = 0;
  };
  const auto writers = std::make_unique<std::array<Writer, 3>>();
  for (Writer& writer : *writers) {
    for (Counted& object : writer.objects) {
      object.retired.free = [](Retired& self, void*) {
        WriteOnce(reinterpret_cast<Counted&>(self).busy, 0u, kRelease);
      };
    }
  }
  const auto write = [&](Writer& writer) {
    Counted& object = writer.objects[writer.next++ % writer.objects.size()];
    if (ReadOnce(object.busy, kAcquire) != 0) {
      domain.Synchronize();
      // Another thread may just be freeing it.
      if (ReadOnce(object.busy, kAcquire) != 0) return;
    }
    WriteOnce(object.busy, 1u, kRelaxed);
    ++writer.retired;
    static_cast<void>(domain.Retire(object.retired));
    EXPECT_LE(domain.stats().Held(), 3 * 64u);
  };
  Stress({[&] { write((*writers)[0]); }, [&] { write((*writers)[1]); },
          [&] { write((*writers)[2]); },
          [&] { const LocklessWalk walk(domain); }});
  domain.Synchronize();
  EXPECT_EQ(
      domain.stats().retired,
      (*writers)[0].retired + (*writers)[1].retired + (*writers)[2].retired);
  EXPECT_EQ(domain.stats().Held(), 0u);
}

}  // namespace
}  // namespace ptage
