// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/reclaim/anonymous_epoch.h"

#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "test/reclaim/epoch_domains.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::Board;
using test::Object;
using test::Reader;
using test::Stress;

static_assert(SynchronizingReclaimer<AnonymousEpochDomain<>>);
static_assert(Reclaimer<AnonymousEpochDomain<1>>);

// One look frees what was retired, and one more what came while a batch waited;
// a few more change nothing.
template <class Domain>
void PollOften(Domain& domain) {
  for (int i = 0; i < 6; ++i) domain.Poll();
}

TEST(AnonymousEpochDomainTest, WithNoWalkUnderWayARetiredObjectIsFreed) {
  AnonymousEpochDomain<> domain;
  Object object;
  domain.Retire(object.retired);
  PollOften(domain);
  EXPECT_EQ(object.freed, 1);
  EXPECT_EQ(object.freed_with, &object);
}

TEST(AnonymousEpochDomainTest, NothingIsFreedUnderAWalkThatBeganBefore) {
  AnonymousEpochDomain<> domain;
  Object object;
  {
    const LocklessWalk walk(domain);
    domain.Retire(object.retired);
    PollOften(domain);
    EXPECT_EQ(object.freed, 0);
  }
  PollOften(domain);
  EXPECT_EQ(object.freed, 1);
}

// A walk may begin in any epoch relative to those of others.
TEST(AnonymousEpochDomainTest,
     NothingIsFreedUnderAWalkInWhicheverEpochItBegan) {
  for (int polls = 0; polls < 7; ++polls) {
    AnonymousEpochDomain<> domain;
    for (int i = 0; i < polls; ++i) domain.Poll();
    std::optional<LocklessWalk<AnonymousEpochDomain<>>> first(std::in_place,
                                                              domain);
    domain.Poll();
    std::optional<LocklessWalk<AnonymousEpochDomain<>>> second(std::in_place,
                                                               domain);
    Object object;
    domain.Retire(object.retired);
    PollOften(domain);
    EXPECT_EQ(object.freed, 0);
    first.reset();
    PollOften(domain);
    EXPECT_EQ(object.freed, 0);
    second.reset();
    PollOften(domain);
    EXPECT_EQ(object.freed, 1);
  }
}

TEST(AnonymousEpochDomainTest, WalksThatComeAndGoDoNotHoldAnythingForEver) {
  AnonymousEpochDomain<> domain;
  Object object;
  domain.Retire(object.retired);
  // At each moment one of them is under way.
  auto under_way = domain.Begin();
  for (int i = 0; i < 8; ++i) {
    const auto next = domain.Begin();
    domain.End(under_way);
    domain.Poll();
    under_way = next;
  }
  domain.End(under_way);
  EXPECT_EQ(object.freed, 1);
}

TEST(AnonymousEpochDomainTest, EachObjectIsFreedOnce) {
  AnonymousEpochDomain<> domain;
  std::vector<Object> objects(100);
  for (Object& object : objects) {
    const LocklessWalk walk(domain);
    domain.Retire(object.retired);
  }
  PollOften(domain);
  for (const Object& object : objects) EXPECT_EQ(object.freed, 1);
}

TEST(AnonymousEpochDomainTest, WhatIsHeldBackIsCounted) {
  AnonymousEpochDomain<> domain;
  std::vector<Object> objects(10);
  {
    const LocklessWalk walk(domain);
    for (Object& object : objects) domain.Retire(object.retired);
    EXPECT_EQ(domain.stats().retired, 10u);
    EXPECT_EQ(domain.stats().freed, 0u);
    EXPECT_EQ(domain.stats().Held(), 10u);
  }
  PollOften(domain);
  EXPECT_EQ(domain.stats().retired, 10u);
  EXPECT_EQ(domain.stats().freed, 10u);
  EXPECT_EQ(domain.stats().Held(), 0u);
}

// --- Places.

TEST(AnonymousEpochDomainTest, AWalkBeginsWhileAPlaceIsFree) {
  AnonymousEpochDomain<2> domain;
  const auto first = domain.Begin();
  const auto second = domain.Begin();
  EXPECT_TRUE(static_cast<bool>(first));
  EXPECT_TRUE(static_cast<bool>(second));
  EXPECT_FALSE(static_cast<bool>(domain.Begin()));
  domain.End(first);
  const auto third = domain.Begin();
  EXPECT_TRUE(static_cast<bool>(third));
  EXPECT_FALSE(static_cast<bool>(domain.Begin()));
  domain.End(second);
  domain.End(third);
}

TEST(AnonymousEpochDomainTest, NestedWalksTakeAPlaceEach) {
  AnonymousEpochDomain<> domain;
  Object object;
  const auto outer = domain.Begin();
  const auto inner = domain.Begin();
  domain.Retire(object.retired);
  domain.End(outer);
  PollOften(domain);
  EXPECT_EQ(object.freed, 0);
  domain.End(inner);
  PollOften(domain);
  EXPECT_EQ(object.freed, 1);
}

TEST(AnonymousEpochDomainTest, AWalkThatWaitsGetsThePlaceOfOneThatEnds) {
  AnonymousEpochDomain<1> domain;
  auto section = domain.Begin();
  Cell<std::uint32_t> began(0u);
  std::thread waiter([&] {
    const LocklessWalk walk(domain, WalkEntry::kWait);
    WriteOnce(began, static_cast<bool>(walk) ? 1u : 2u, kRelaxed);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(ReadOnce(began, kRelaxed), 0u);
  domain.End(section);
  waiter.join();
  EXPECT_EQ(ReadOnce(began, kRelaxed), 1u);
}

#if PTAGE_HARDENED
TEST(AnonymousEpochDomainDeathTest, BrokenPreconditionsTrap) {
  AnonymousEpochDomain<1> domain;
  EXPECT_DEATH(domain.End(AnonymousEpochDomain<1>::Section()), "");
  Retired nobody_frees_this;
  EXPECT_DEATH(domain.Retire(nobody_frees_this), "");
}
#endif

// --- Any thread, at any time.

TEST(AnonymousEpochDomainTest,
     AThreadThatDiesInsideAWalkHoldsObjectsAndNoCaller) {
  AnonymousEpochDomain<> domain;
  Object object;
  AnonymousEpochDomain<>::Section left_behind;
  std::thread([&] { left_behind = domain.Begin(); }).join();
  domain.Retire(object.retired);  // returns
  PollOften(domain);
  EXPECT_EQ(object.freed, 0);
  EXPECT_EQ(domain.stats().Held(), 1u);
  // New walks are not hindered.
  EXPECT_TRUE(static_cast<bool>(LocklessWalk(domain)));
  domain.End(left_behind);
  PollOften(domain);
  EXPECT_EQ(object.freed, 1);
}

// It loses its CPU. Whoever retires goes on meanwhile, and what he retires is
// counted.
TEST(AnonymousEpochDomainTest,
     AWalkThatStopsForASecondHoldsObjectsAndNoCaller) {
  AnonymousEpochDomain<> domain;
  std::vector<Object> objects(1000);
  Cell<std::uint32_t> began(0u);
  Cell<std::uint32_t> retired(0u);
  std::thread walker([&] {
    const LocklessWalk walk(domain);
    WriteOnce(began, 1u, kRelease);
    std::this_thread::sleep_for(std::chrono::seconds(1));
    // Whoever waited for this walk would wait for ever.
    while (ReadOnce(retired, kAcquire) == 0) std::this_thread::yield();
  });
  while (ReadOnce(began, kAcquire) == 0) std::this_thread::yield();
  for (Object& object : objects) domain.Retire(object.retired);
  PollOften(domain);
  EXPECT_EQ(domain.stats().Held(), objects.size());
  WriteOnce(retired, 1u, kRelease);
  walker.join();
  PollOften(domain);
  EXPECT_EQ(domain.stats().Held(), 0u);
  for (const Object& object : objects) ASSERT_EQ(object.freed, 1);
}

// A lock that lets a test look while it is held.
class WatchedLock {
 public:
  void Lock() {
    ASSERT_FALSE(held) << "locked twice";
    held = true;
    if (while_held != nullptr) while_held();
  }
  void Unlock() { held = false; }

  static inline bool held = false;
  static inline void (*while_held)() = nullptr;
};

using WatchedDomain = AnonymousEpochDomain<4, WatchedLock>;
WatchedDomain* interrupted_domain = nullptr;
int walks_of_the_handler = 0;

void WalkInHandler(int) {
  const LocklessWalk walk(*interrupted_domain);
  if (static_cast<bool>(walk)) ++walks_of_the_handler;
}

// The signal comes inside a walk, and while the thread holds the domain's lock.
TEST(AnonymousEpochDomainTest, ASignalHandlerMayWalk) {
  WatchedDomain domain;
  interrupted_domain = &domain;
  walks_of_the_handler = 0;
  std::signal(SIGUSR1, WalkInHandler);
  {
    const LocklessWalk walk(domain);
    std::raise(SIGUSR1);
  }
  EXPECT_EQ(walks_of_the_handler, 1);
  WatchedLock::while_held = [] { std::raise(SIGUSR1); };
  Object object;
  domain.Retire(object.retired);
  domain.Poll();
  WatchedLock::while_held = nullptr;
  std::signal(SIGUSR1, SIG_DFL);
  EXPECT_EQ(walks_of_the_handler, 3);
  PollOften(domain);
  EXPECT_EQ(object.freed, 1);
}

// --- Functions that free.

// Retires `next` when it is freed.
struct Link {
  explicit Link(WatchedDomain* where) : domain(where) {
    retired.free = [](Retired& self, void*) {
      auto& link = reinterpret_cast<Link&>(self);
      EXPECT_FALSE(WatchedLock::held);
      ++link.freed;
      if (link.next != nullptr) link.domain->Retire(link.next->retired);
    };
  }
  Retired retired;
  WatchedDomain* domain;
  Link* next = nullptr;
  int freed = 0;
};

TEST(AnonymousEpochDomainTest, AFreeFunctionMayRetireAgainAndTheLockIsNotHeld) {
  WatchedDomain domain;
  Link third(&domain);
  Link second(&domain);
  Link first(&domain);
  first.next = &second;
  second.next = &third;
  domain.Retire(first.retired);
  for (int i = 0; i < 12; ++i) domain.Poll();
  EXPECT_EQ(first.freed, 1);
  EXPECT_EQ(second.freed, 1);
  EXPECT_EQ(third.freed, 1);
  EXPECT_EQ(domain.stats().Held(), 0u);
}

TEST(AnonymousEpochDomainTest, DestructionFreesWhatIsHeld) {
  std::vector<Object> objects(5);
  {
    AnonymousEpochDomain<> domain;
    const auto section = domain.Begin();
    for (Object& object : objects) domain.Retire(object.retired);
    domain.End(section);
    for (const Object& object : objects) EXPECT_EQ(object.freed, 0);
  }
  for (const Object& object : objects) EXPECT_EQ(object.freed, 1);
}

// In whichever epoch the domain is.
TEST(AnonymousEpochDomainTest, DestructionFreesWhatAFreeFunctionRetires) {
  for (int polls = 0; polls < 3; ++polls) {
    std::optional<WatchedDomain> domain(std::in_place);
    for (int i = 0; i < polls; ++i) domain->Poll();
    Link third(&*domain);
    Link second(&*domain);
    Link first(&*domain);
    first.next = &second;
    second.next = &third;
    domain->Retire(first.retired);
    domain.reset();
    EXPECT_EQ(first.freed, 1);
    EXPECT_EQ(second.freed, 1);
    EXPECT_EQ(third.freed, 1);
  }
}

// --- Synchronize.

TEST(AnonymousEpochDomainTest, SynchronizeFreesWhatWasRetiredBefore) {
  AnonymousEpochDomain<> domain;
  Object object;
  {
    const LocklessWalk walk(domain);
    domain.Retire(object.retired);
    domain.Poll();
  }
  EXPECT_EQ(object.freed, 0);
  domain.Synchronize();
  EXPECT_EQ(object.freed, 1);
}

TEST(AnonymousEpochDomainTest, SynchronizeWaitsForAWalkThatBeganBefore) {
  AnonymousEpochDomain<> domain;
  Cell<std::uint32_t> returned(0u);
  const auto section = domain.Begin();
  std::thread writer([&] {
    domain.Synchronize();
    WriteOnce(returned, 1u, kRelaxed);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(ReadOnce(returned, kRelaxed), 0u);
  domain.End(section);
  writer.join();
  EXPECT_EQ(ReadOnce(returned, kRelaxed), 1u);
}

// --- Stress.

TEST(AnonymousEpochStressTest, NoReaderSeesWhatWasFreed) {
  Board<AnonymousEpochDomain<>> board;
  Reader readers[3];
  Stress({[&] { board.Replace(); }, [&] { readers[0].Read(board); },
          [&] { readers[1].Read(board); }, [&] { readers[2].Read(board); }});
  EXPECT_EQ(readers[0].poisoned + readers[1].poisoned + readers[2].poisoned,
            0u);
  EXPECT_GT(readers[0].walks, 0u);
  EXPECT_GT(board.replaced,
            std::uint64_t{Board<AnonymousEpochDomain<>>::kObjects});
}

// Readers take turns in one place.
TEST(AnonymousEpochStressTest, NoReaderSeesWhatWasFreedWhenPlacesAreShort) {
  Board<AnonymousEpochDomain<1>> board;
  Reader readers[3];
  Stress({[&] { board.Replace(); }, [&] { readers[0].Read(board); },
          [&] { readers[1].Read(board); }, [&] { readers[2].Read(board); }});
  EXPECT_EQ(readers[0].poisoned + readers[1].poisoned + readers[2].poisoned,
            0u);
  EXPECT_GT(readers[0].walks, 0u);
  EXPECT_GT(board.replaced,
            std::uint64_t{Board<AnonymousEpochDomain<1>>::kObjects});
}

// Objects retired by several threads at once are freed once each.
TEST(AnonymousEpochStressTest, RetirersExcludeEachOther) {
  struct Counted {
    Retired retired;
    std::uint64_t freed = 0;
  };
  constexpr std::size_t kEach = 2'000;
  std::vector<Counted> objects(2 * kEach);
  for (Counted& object : objects) {
    object.retired.free = [](Retired& self, void*) {
      ++reinterpret_cast<Counted&>(self).freed;
    };
  }
  {
    AnonymousEpochDomain<> domain;
    const auto retirer = [&](std::size_t from) {
      return [&domain, &objects, from] {
        for (std::size_t i = from; i < from + kEach; ++i) {
          const LocklessWalk walk(domain);
          domain.Retire(objects[i].retired);
        }
      };
    };
    test::RunThreads({retirer(0), retirer(kEach), [&] {
                        for (int i = 0; i < 100; ++i) domain.Synchronize();
                      }});
    EXPECT_EQ(domain.stats().retired, 2 * kEach);
  }
  for (const Counted& object : objects) ASSERT_EQ(object.freed, 1u);
}

}  // namespace
}  // namespace ptage
