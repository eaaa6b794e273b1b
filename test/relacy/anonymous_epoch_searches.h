// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of reclaim/anonymous_epoch.h.

#ifndef PTAGE_TEST_RELACY_ANONYMOUS_EPOCH_SEARCHES_H_
#define PTAGE_TEST_RELACY_ANONYMOUS_EPOCH_SEARCHES_H_

#include "ptage/reclaim/anonymous_epoch.h"
#include "test/relacy/linked_nodes.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

template <unsigned kPlaces>
using Linked = LinkedNodes<AnonymousEpochDomain<kPlaces, BlockingLock>>;

// One walk.
struct OneWalk : rl::test_suite<OneWalk, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Linked<1> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      Require(linked.Walk(), "a walk begins where there is a place");
    } else {
      linked.Replace(0, nullptr);
      linked.domain().Poll();
    }
  }
  void after() {
    linked.domain().Poll();
    linked.domain().Poll();
    Require(linked.node(0).freed == 1, "what was retired is freed once");
    Require(linked.domain().stats().Held() == 0,
            "what was retired is freed once");
  }
};

// A thread that walks twice, in the same place, against two retirements.
struct PlaceReused : rl::test_suite<PlaceReused, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  Linked<1> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) {
        Require(linked.Walk(), "a walk begins where there is a place");
      }
    } else {
      linked.Replace(0, &linked.node(1));
      linked.Replace(1, nullptr);
      linked.domain().Poll();
    }
  }
  void after() {
    linked.domain().Poll();
    linked.domain().Poll();
    for (unsigned i = 0; i < 2; ++i) {
      Require(linked.node(i).freed == 1, "what was retired is freed once");
    }
  }
};

// Two walks with a place each.
struct TwoWalks : rl::test_suite<TwoWalks, 3> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  Linked<2> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index < 2) {
      linked.Walk();
    } else {
      linked.Replace(0, nullptr);
      linked.domain().Poll();
    }
  }
};

// Two walks that want the only place.
struct OnePlace : rl::test_suite<OnePlace, 3> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  Linked<1> linked;
  bool walked[2] = {};

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index < 2) {
      walked[index] = linked.Walk();
    } else {
      linked.Replace(0, nullptr);
      linked.domain().Poll();
    }
  }
  void after() {
    Require(walked[0] || walked[1], "a walk begins where there is a place");
  }
};

// Two walks that stay, and a third that finds every place taken.
struct AllPlacesTaken : rl::test_suite<AllPlacesTaken, 3> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  AnonymousEpochDomain<2, BlockingLock> domain;
  unsigned inside = 0;

  void thread(unsigned) {
    const auto section = domain.Begin();
    if (!section) return;
    Require(++inside <= 2, "no more walks than places");
    --inside;
    domain.End(section);
  }
};

// Two writers.
struct TwoWriters : rl::test_suite<TwoWriters, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  Linked<1> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      linked.Walk();
    } else if (index == 1) {
      linked.Replace(0, nullptr);
    } else {
      // Not linked any more by the time of its retirement: it never was.
      linked.domain().Retire(linked.node(1).retired);
      linked.domain().Poll();
    }
  }
  void after() {
    for (int i = 0; i < 3; ++i) linked.domain().Poll();
    for (unsigned i = 0; i < 2; ++i) {
      Require(linked.node(i).freed == 1, "what was retired is freed once");
    }
  }
};

// Synchronize instead of Retire: the caller frees.
struct Waiting : rl::test_suite<Waiting, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  Linked<1> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      linked.Walk();
    } else {
      linked.Replace(0, nullptr);
      linked.domain().Synchronize();
      Require(linked.node(0).freed == 1, "Synchronize waits until it is freed");
    }
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_ANONYMOUS_EPOCH_SEARCHES_H_
