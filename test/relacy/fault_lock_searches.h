// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of fault_lock.h.

#ifndef PTAGE_TEST_RELACY_FAULT_LOCK_SEARCHES_H_
#define PTAGE_TEST_RELACY_FAULT_LOCK_SEARCHES_H_

#include <cstdint>

#include "ptage/fault_lock.h"
#include "ptage/once.h"
#include "ptage/once/mutex.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

// What a thread does, once.
enum class Holds { kShared, kAlone, kMutex };
// Who is inside, or what is seen of what others wrote inside: a race of the
// second kind would be reported before the first is noticed.
enum class Watched { kHolders, kData };

template <Watched kWatched, Holds... kHow>
struct LockHolders
    : rl::test_suite<LockHolders<kWatched, kHow...>, sizeof...(kHow)> {
  static constexpr unsigned kThreads = sizeof...(kHow);
  static constexpr Plan kPlan =
      kThreads == 2 ? kEveryInterleaving : UpToPreemptions(3);

  HostedMutex mutex;
  FaultLock lock{mutex};
  // Of whoever has the lock alone, of those who share it, and of whoever has
  // the mutex.
  Plain<int> his{0};
  Plain<int> theirs[kThreads];
  Plain<int> beneath{0};
  Cell<std::uint32_t> any{0u};
  int sharing = 0;
  int alone = 0;
  int mutexes = 0;

  void before() {
    for (Plain<int>& one : theirs) one.Set(0);
  }
  void thread(unsigned index) {
    constexpr Holds kOf[] = {kHow...};
    switch (kOf[index]) {
      case Holds::kShared:
        Share(index);
        break;
      case Holds::kAlone:
        HoldAlone();
        break;
      case Holds::kMutex:
        HoldMutex();
        break;
    }
  }
  void Share(unsigned index) {
    const FaultLock::Shared hold(lock);
    Require(hold.Of(lock), "a holder can prove it");
    Require(alone == 0, "nobody shares what another has alone");
    ++sharing;
    if (kWatched == Watched::kData) {
      (void)his.Get();
      Count(theirs[index]);
    } else {
      Await();
    }
    Require(alone == 0, "nobody shares what another has alone");
    --sharing;
  }
  void HoldAlone() {
    const FaultLock::Exclusive hold(lock);
    Require(hold.Of(lock), "a holder can prove it");
    Require(++alone == 1 && sharing == 0, "who has it alone is alone");
    Require(mutexes == 0, "who has it alone has the mutex");
    if (kWatched == Watched::kData) {
      Count(his);
      Count(beneath);
      for (const Plain<int>& one : theirs) (void)one.Get();
    } else {
      Await();
    }
    Require(alone == 1 && sharing == 0, "who has it alone is alone");
    --alone;
  }
  void HoldMutex() {
    mutex.Lock();
    Require(alone == 0, "who has it alone has the mutex");
    ++mutexes;
    if (kWatched == Watched::kData) {
      Count(beneath);
    } else {
      Await();
    }
    --mutexes;
    mutex.Unlock();
  }
  static void Count(Plain<int>& plain) { plain.Set(plain.Get() + 1); }
  // Where another thread may come in.
  void Await() { (void)ReadOnce(any, kRelaxed); }
  void after() {
    const FaultLock::Shared hold(lock);
    Require(sharing == 0 && alone == 0, "nobody stays inside");
    if (kWatched == Watched::kHolders) return;
    int had_alone = 0;
    int had_mutex = 0;
    unsigned index = 0;
    for (const Holds how : {kHow...}) {
      had_alone += how == Holds::kAlone ? 1 : 0;
      had_mutex += how == Holds::kMutex ? 1 : 0;
      Require(theirs[index++].Get() == (how == Holds::kShared ? 1 : 0),
              "what was written by who shared it stays");
    }
    Require(his.Get() == had_alone, "each has his turn alone");
    Require(beneath.Get() == had_alone + had_mutex,
            "each has his turn with the mutex");
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_FAULT_LOCK_SEARCHES_H_
