// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of lock.h.

#ifndef PTAGE_TEST_RELACY_LOCK_SEARCHES_H_
#define PTAGE_TEST_RELACY_LOCK_SEARCHES_H_

#include "ptage/lock.h"
#include "ptage/once.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

template <int kThreads>
struct Holders : rl::test_suite<Holders<kThreads>, kThreads> {
  static constexpr Plan kPlan =
      kThreads == 2 ? kEveryInterleaving : UpToPreemptions(3);

  SpinLock lock;
  Plain<int> count{0};
  int holders = 0;

  void thread(unsigned) {
    ScopedLock<SpinLock> hold(lock);
    Require(++holders == 1, "one thread holds the lock");
    count.Set(count.Get() + 1);
    --holders;
  }
  void after() {
    Require(count.Get() == kThreads, "every holder had its turn");
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_LOCK_SEARCHES_H_
