// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/reclaim/external.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/reclaim.h"

namespace ptage {
namespace {

using Log = std::vector<std::string>;

// Has what the concept asks for and nothing else, and writes down what it is
// asked to do.
struct MinimalQuiescence {
  MinimalQuiescence() = default;
  MinimalQuiescence(const MinimalQuiescence&) = delete;
  MinimalQuiescence& operator=(const MinimalQuiescence&) = delete;

  bool Enter() {
    log.emplace_back(enters ? "enter" : "refuse");
    return enters;
  }
  void Exit() { log.emplace_back("exit"); }
  void FreeAfterGrace(Retired& node) {
    log.emplace_back("after grace");
    waiting = &node;
  }

  bool enters = true;
  Retired* waiting = nullptr;
  Log log;
};
struct Synchronizing : MinimalQuiescence {
  void Synchronize() { log.emplace_back("synchronize"); }
};
struct EnterSaysNothing : MinimalQuiescence {
  void Enter() {}
};
struct CannotExit : MinimalQuiescence {
  void Exit() = delete;
};
struct CannotFree : MinimalQuiescence {
  void FreeAfterGrace(Retired&) = delete;
};

static_assert(Quiescence<MinimalQuiescence>);
static_assert(!SynchronizingQuiescence<MinimalQuiescence>);
static_assert(SynchronizingQuiescence<Synchronizing>);
static_assert(!Quiescence<EnterSaysNothing>);
static_assert(!Quiescence<CannotExit>);
static_assert(!Quiescence<CannotFree>);

static_assert(Reclaimer<ExternalReclaimer<MinimalQuiescence>>);
static_assert(!SynchronizingReclaimer<ExternalReclaimer<MinimalQuiescence>>);
static_assert(SynchronizingReclaimer<ExternalReclaimer<Synchronizing>>);
static_assert(!kTypeStable<ExternalReclaimer<MinimalQuiescence>>);

TEST(ExternalReclaimerTest, AWalkIsASectionOfTheCallers) {
  MinimalQuiescence quiescence;
  ExternalReclaimer reclaimer(quiescence);
  {
    const LocklessWalk outer(reclaimer);
    EXPECT_TRUE(static_cast<bool>(outer));
    const LocklessWalk inner(reclaimer);
  }
  EXPECT_EQ(quiescence.log, (Log{"enter", "enter", "exit", "exit"}));
}

TEST(ExternalReclaimerTest, AThreadThatCannotEnterDoesNotWalkAndDoesNotExit) {
  MinimalQuiescence quiescence;
  quiescence.enters = false;
  ExternalReclaimer reclaimer(quiescence);
  {
    const LocklessWalk walk(reclaimer);
    EXPECT_FALSE(static_cast<bool>(walk));
  }
  EXPECT_EQ(quiescence.log, (Log{"refuse"}));
}

TEST(ExternalReclaimerTest, WhatIsRetiredIsLeftToTheCaller) {
  MinimalQuiescence quiescence;
  ExternalReclaimer reclaimer(quiescence);
  int freed = 0;
  Retired node;
  node.owner = &freed;
  node.free = [](Retired&, void* owner) { ++*static_cast<int*>(owner); };
  reclaimer.Retire(node);
  EXPECT_EQ(quiescence.waiting, &node);
  EXPECT_EQ(freed, 0);
  // As the caller's callback does.
  quiescence.waiting->free(*quiescence.waiting, quiescence.waiting->owner);
  EXPECT_EQ(freed, 1);
}

TEST(ExternalReclaimerTest, SynchronizeIsTheCallers) {
  Synchronizing quiescence;
  ExternalReclaimer reclaimer(quiescence);
  reclaimer.Synchronize();
  EXPECT_EQ(quiescence.log, (Log{"synchronize"}));
}

}  // namespace
}  // namespace ptage
