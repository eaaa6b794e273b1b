// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of sharded_count.h.

#ifndef PTAGE_TEST_RELACY_SHARDED_COUNT_SEARCHES_H_
#define PTAGE_TEST_RELACY_SHARDED_COUNT_SEARCHES_H_

#include <cstdint>

#include "ptage/once.h"
#include "ptage/sharded_count.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

// One thread adds a thing, another takes it away, each on a line of its own,
// and a third asks; one more thing is there all the time.
struct ComeAndGo : rl::test_suite<ComeAndGo, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  ShardedCount<3> count;
  Cell<std::uint32_t> there{0u};

  void before() { count.Add(0); }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        count.Add(index);
        WriteOnce(there, 1u, kRelease);
        break;
      case 1:
        if (ReadOnce(there, kAcquire) != 0) count.Take(2);
        break;
      default:
        const std::uint64_t seen = count.Count();
        Require(seen != 0, "what is there is counted");
        Require(seen <= 2, "no more than were added are counted");
    }
  }
};

// Two first things on lines of their own, of which one may find that the other
// was announced already; and one who is told of either, and asks.
struct FirstOfAll : rl::test_suite<FirstOfAll, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  ShardedCount<3> count;
  Cell<std::uint32_t> there{0u};

  void thread(unsigned index) {
    if (index < 2) {
      count.Add(index);
      WriteOnce(there, 1u, kRelease);
    } else if (ReadOnce(there, kAcquire) != 0) {
      Require(count.Count() != 0, "what is there is counted");
    }
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_SHARDED_COUNT_SEARCHES_H_
