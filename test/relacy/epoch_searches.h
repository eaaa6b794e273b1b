// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of reclaim/epoch.h, for walks that begin by a locked operation and
// for walks that begin by a store. Of the latter's barrier they search the
// contract (once/asymmetric.h), not the system call. A thread's end and a fork
// are played (once/thread.h).

#ifndef PTAGE_TEST_RELACY_EPOCH_SEARCHES_H_
#define PTAGE_TEST_RELACY_EPOCH_SEARCHES_H_

#include "ptage/once.h"
#include "ptage/once/thread.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "test/relacy/linked_nodes.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

inline constexpr EpochReaders kStore = EpochReaders::kFastest;
inline constexpr EpochReaders kExchange = EpochReaders::kExchange;

// Of two calls, one of each kind, the later one sees what came before the
// earlier one: that is what the contract promises, and no more. Fences would
// make the relaxed load before a light one an acquire, which the system's
// barrier does not.
class PromisedBarrier {
 public:
  PromisedBarrier() : light_(0), heavy_(0) { current_ = this; }

  static bool Prepare() { return true; }
  static void Light() {
    FetchAdd(current_->light_, 1, kRelease);
    FetchAdd(current_->heavy_, 0, kAcquire);
  }
  static void Heavy() {
    FetchAdd(current_->heavy_, 1, kRelease);
    FetchAdd(current_->light_, 0, kAcquire);
  }

 private:
  static inline PromisedBarrier* current_ = nullptr;
  Cell<std::uint32_t> light_;
  Cell<std::uint32_t> heavy_;
};

template <unsigned kPlaces>
using SearchedDomain = EpochDomain<kPlaces, BlockingLock, PromisedBarrier>;

// With a batch of one, every retirement looks for what can be freed.
template <unsigned kPlaces, EpochReaders kReaders, unsigned kLimit = 0,
          unsigned kBatch = 1>
struct EpochNodes : PromisedBarrier, LinkedNodes<SearchedDomain<kPlaces>> {
  EpochNodes()
      : LinkedNodes<SearchedDomain<kPlaces>>(EpochOptions{
            .readers = kReaders, .batch = kBatch, .limit = kLimit}) {}

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

// Three walks of one thread, of which the one in the middle ends last.
template <EpochReaders kReaders>
struct ThreeNestedWalks : rl::test_suite<ThreeNestedWalks<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  EpochNodes<4, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    auto& domain = linked.domain();
    if (index == 0) {
      const auto outer = domain.Begin();
      const auto middle = domain.Begin();
      const auto inner = domain.Begin();
      domain.End(inner);
      domain.End(outer);
      linked.Follow();
      domain.End(middle);
    } else {
      linked.Replace(0, nullptr);
      domain.Poll();
    }
  }
  void after() { linked.ExpectFreedOnce(1); }
};

// A thread with a place, beside one that needs two.
template <EpochReaders kReaders>
struct NestedBesideAnother : rl::test_suite<NestedBesideAnother<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<3, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    auto& domain = linked.domain();
    if (index == 0) {
      Require(domain.Register(), "a walk begins where there is a place");
      linked.Walk();
    } else {
      const auto outer = domain.Begin();
      const auto inner = domain.Begin();
      domain.End(inner);
      domain.End(outer);
      linked.Replace(0, nullptr);
    }
  }
  void after() { linked.ExpectFreedOnce(1); }
};

// Two threads that hand on the only place. One begins its walk in the place
// that it has, the other takes it in Begin. `kHow` is for mutants that a random
// search meets sooner.
template <EpochReaders kReaders, Plan kHow = UpToPreemptions(3)>
struct PlaceHandedOn : rl::test_suite<PlaceHandedOn<kReaders, kHow>, 3> {
  static constexpr Plan kPlan = kHow;

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
    if (index == 1 && !domain.Register()) return;
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

// What a thread retires while another collects what it has retired before.
template <EpochReaders kReaders>
struct RetiredMeanwhile : rl::test_suite<RetiredMeanwhile<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<2, kReaders, /*kLimit=*/0, /*kBatch=*/2> linked;

  void before() {
    linked.Start();
    linked.Unlink();
  }
  void thread(unsigned index) {
    if (index == 0) {
      for (unsigned i = 0; i < 2; ++i) {
        linked.domain().Retire(linked.node(i).retired);
      }
    } else {
      linked.domain().Poll();
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

// A writer without a place, and the only place, which one thread may bring into
// use and another take.
template <EpochReaders kReaders>
struct PlaceBroughtIntoUse : rl::test_suite<PlaceBroughtIntoUse<kReaders>, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<1, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      linked.Walk();
    } else if (index == 1) {
      static_cast<void>(linked.domain().Register());
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

// A thread that ends inside a walk.
template <EpochReaders kReaders>
struct EndedByExit : rl::test_suite<EndedByExit<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<2, kReaders> linked;
  bool held = false;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      const auto walk = linked.domain().Begin();
      Require(static_cast<bool>(walk), "a walk begins where there is a place");
      held = linked.Follow();
      PlayedThreads::ThreadExits();
    } else {
      linked.Replace(0, nullptr);
      // Freed, so that the walk has ended.
      if (held && linked.node(0).freed == 1) {
        Require(linked.domain().stats().ended_by_exit == 1,
                "a walk that its thread's end has ended is counted");
      }
    }
  }
  void after() {
    linked.ExpectFreedOnce(1);
    Require(linked.domain().stats().ended_by_exit == 1,
            "a walk that its thread's end has ended is counted");
  }
};

// A thread that ends beside another's walk.
template <EpochReaders kReaders>
struct ExitBesideAWalk : rl::test_suite<ExitBesideAWalk<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<2, kReaders> linked;

  void before() { linked.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      linked.Walk();
    } else {
      static_cast<void>(linked.domain().Register());
      PlayedThreads::ThreadExits();
      // As another thread.
      linked.Replace(0, nullptr);
    }
  }
  void after() {
    linked.ExpectFreedOnce(1);
    Require(linked.domain().stats().ended_by_exit == 0,
            "a walk that its thread's end has ended is counted");
  }
};

// A fork while another thread is inside a walk.
template <EpochReaders kReaders>
struct Forked : rl::test_suite<Forked<kReaders>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  EpochNodes<2, kReaders> linked;
  Cell<std::uint32_t> gone;

  void before() {
    linked.Start();
    WriteOnce(gone, 0, kRelaxed);
  }
  void thread(unsigned index) {
    auto& domain = linked.domain();
    if (index == 0) {
      static_cast<void>(domain.Begin());
      linked.Follow();
      // The child gets its memory as it is here.
      WriteOnce(gone, 1, kRelease);
    } else {
      linked.Replace(0, nullptr);
      while (ReadOnce(gone, kAcquire) == 0) SpinPause();
      PlayedThreads::Fork();
      for (int i = 0; i < 2; ++i) domain.Poll();
      Require(linked.node(0).freed == 1,
              "no walk of another thread holds the child back");
    }
  }
  void after() { linked.ExpectFreedOnce(1); }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_EPOCH_SEARCHES_H_
