// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of reclaim/epoch.h, for walks that begin by a locked operation and
// for walks that begin by a store. Of the latter's barrier they search the
// contract (once/asymmetric.h), not the system call.

#ifndef PTAGE_TEST_RELACY_EPOCH_SEARCHES_H_
#define PTAGE_TEST_RELACY_EPOCH_SEARCHES_H_

#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "test/relacy/linked_nodes.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

inline constexpr EpochReaders kStore = EpochReaders::kFastest;
inline constexpr EpochReaders kExchange = EpochReaders::kExchange;

// Every retirement looks for what can be freed.
template <unsigned kPlaces, EpochReaders kReaders, unsigned kLimit = 0>
struct EpochNodes : LinkedNodes<EpochDomain<kPlaces, BlockingLock>> {
  EpochNodes()
      : LinkedNodes<EpochDomain<kPlaces, BlockingLock>>(
            EpochOptions{.readers = kReaders, .batch = 1, .limit = kLimit}) {}

  void ExpectFreedOnce(unsigned count) {
    for (int i = 0; i < 3; ++i) this->domain().Poll();
    for (unsigned i = 0; i < count; ++i) {
      Require(this->node(i).freed == 1, "what was retired is freed once");
    }
    Require(this->domain().stats().retired == count &&
                this->domain().stats().Held() == 0,
            "statistics are exact");
  }
};

// One walk, the thread's first.
template <EpochReaders kReaders>
struct FirstWalk : rl::test_suite<FirstWalk<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  EpochNodes<2, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      linked.Walk();
    } else {
      linked.Replace(0, nullptr);
    }
  }
  void after() { linked.ExpectFreedOnce(1); }
};

// The same by a thread that has its place already.
template <EpochReaders kReaders>
struct RegisteredWalk : rl::test_suite<RegisteredWalk<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  EpochNodes<2, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      Require(linked.domain().Register(),
              "a walk begins where there is a place");
      linked.Walk();
    } else {
      linked.Replace(0, nullptr);
    }
  }
  void after() { linked.ExpectFreedOnce(1); }
};

// A thread that walks twice, in one place, against two retirements.
template <EpochReaders kReaders>
struct SecondWalk : rl::test_suite<SecondWalk<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<2, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) {
        Require(linked.Walk(), "a walk begins where there is a place");
      }
    } else {
      linked.Replace(0, &linked.node(1));
      linked.Replace(1, nullptr);
    }
  }
  void after() { linked.ExpectFreedOnce(2); }
};

// Walks of one thread that overlap: the outer one ends first.
template <EpochReaders kReaders>
struct NestedWalks : rl::test_suite<NestedWalks<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<3, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    auto& domain = linked.domain();
    if (index == 0) {
      const auto outer = domain.Begin();
      const auto inner = domain.Begin();
      domain.End(outer);
      linked.Follow();
      domain.End(inner);
    } else {
      linked.Replace(0, nullptr);
      domain.Poll();
    }
  }
  void after() { linked.ExpectFreedOnce(1); }
};

// Two threads that hand on the only place.
template <EpochReaders kReaders>
struct PlaceHandedOn : rl::test_suite<PlaceHandedOn<kReaders>, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<1, kReaders> linked;
  unsigned inside = 0;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    auto& domain = linked.domain();
    if (index == 2) {
      linked.Replace(0, nullptr);
      domain.Unregister();
      return;
    }
    if (const auto section = domain.Begin()) {
      Require(++inside == 1, "a place is one thread's");
      linked.Follow();
      --inside;
      domain.End(section);
      domain.Unregister();
    }
  }
  void after() { linked.ExpectFreedOnce(1); }
};

// Two writers, and a walk.
template <EpochReaders kReaders>
struct WritersMeet : rl::test_suite<WritersMeet<kReaders>, 3> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  EpochNodes<2, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      linked.Walk();
    } else if (index == 1) {
      linked.Replace(0, nullptr);
    } else {
      // Not linked any more by the time of its retirement: it never was.
      linked.domain().Retire(linked.node(1).retired);
    }
  }
  void after() { linked.ExpectFreedOnce(2); }
};

// Synchronize, by who has retired.
template <EpochReaders kReaders>
struct Synchronized : rl::test_suite<Synchronized<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<2, kReaders> linked;

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
  void after() { linked.ExpectFreedOnce(1); }
};

// Synchronize of a caller who has retired nothing, and frees by himself.
template <EpochReaders kReaders>
struct FreedByTheCaller : rl::test_suite<FreedByTheCaller<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  EpochNodes<2, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      linked.Walk();
    } else {
      linked.Unlink();
      linked.domain().Synchronize();
      Node& node = linked.node(0);
      node.retired.free(node.retired, node.retired.owner);
    }
  }
};

// A limit of one object, and another thread that polls.
template <EpochReaders kReaders>
struct Limited : rl::test_suite<Limited<kReaders>, 3> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  EpochNodes<2, kReaders, 1> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      linked.Walk();
    } else if (index == 1) {
      const RetireOutcome outcome = linked.Replace(0, nullptr);
      Require(outcome == RetireOutcome::kAtLimit || linked.node(0).freed == 1,
              "the limit is reported");
    } else {
      linked.domain().Poll();
    }
  }
  void after() {
    linked.ExpectFreedOnce(1);
    Require(
        linked.domain().Retire(linked.node(1).retired) == RetireOutcome::kTaken,
        "the limit is not reported below it");
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_EPOCH_SEARCHES_H_
