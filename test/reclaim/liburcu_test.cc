// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/reclaim/liburcu.h"

#include <urcu/urcu-memb.h>

#include <atomic>
#include <memory>
#include <thread>

#include "gtest/gtest.h"
#include "ptage/reclaim.h"

// What every scheme must do is in test/reclaim_test.cc.

namespace ptage {
namespace {

static_assert(SynchronizingReclaimer<LiburcuReclaimer>);
static_assert(!kTypeStable<LiburcuReclaimer>);

struct Counted {
  Counted() {
    retired.owner = this;
    retired.free = [](Retired& self, void* owner) {
      auto* const object = static_cast<Counted*>(owner);
      object->words_are_back = self.next == nullptr && self.stamp == 0;
      ++object->freed;
    };
  }
  Retired retired;
  bool words_are_back = false;
  std::atomic<int> freed = 0;
};

TEST(LiburcuReclaimerTest, AWalkIsASectionOfTheFlavour) {
  LiburcuReclaimer reclaimer;
  {
    const LocklessWalk walk(reclaimer);
    EXPECT_TRUE(urcu_memb_read_ongoing());
    const LocklessWalk inner(reclaimer);
  }
  EXPECT_FALSE(urcu_memb_read_ongoing());
}

TEST(LiburcuReclaimerTest, TheNodesWordsAreTheObjectsAgainWhenItIsFreed) {
  LiburcuReclaimer reclaimer;
  Counted object;
  object.retired.stamp = 7;
  reclaimer.Retire(object.retired);
  reclaimer.WaitForRetired();
  EXPECT_EQ(object.freed, 1);
  EXPECT_TRUE(object.words_are_back);
}

TEST(LiburcuReclaimerTest, ReclaimersShareWalks) {
  LiburcuReclaimer one;
  LiburcuReclaimer other;
  Counted object;
  {
    const LocklessWalk walk(one);
    other.Retire(object.retired);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(object.freed, 0);
  }
  one.WaitForRetired();
  EXPECT_EQ(object.freed, 1);
}

TEST(LiburcuReclaimerTest, TheDestructorWaitsForWhatWasRetired) {
  Counted object;
  {
    LiburcuReclaimer reclaimer;
    reclaimer.Retire(object.retired);
  }
  EXPECT_EQ(object.freed, 1);
}

TEST(LiburcuReclaimerTest,
     AThreadThatTheProgramRegisteredIsNotRegisteredTwice) {
  LiburcuReclaimer reclaimer;
  std::thread([&] {
    urcu_memb_register_thread();
    LiburcuReclaimer::AdoptThread();
    {
      const LocklessWalk walk(reclaimer);
      EXPECT_TRUE(static_cast<bool>(walk));
    }
    urcu_memb_unregister_thread();
  }).join();
}

// Walks and retires in its destructor.
struct LastWords {
  explicit LastWords(LiburcuReclaimer& scheme) : reclaimer(scheme) {}
  ~LastWords() {
    const LocklessWalk walk(reclaimer);
    *began = static_cast<bool>(walk);
    reclaimer.Retire(object->retired);
  }
  LiburcuReclaimer& reclaimer;
  Counted* object = nullptr;
  bool* began = nullptr;
};

TEST(LiburcuReclaimerTest, AThreadThatHasLeftCannotWalkButRetire) {
  LiburcuReclaimer reclaimer;
  Counted object;
  bool began = true;
  std::thread([&] {
    // Made before the thread joins, so destroyed after it has left.
    thread_local LastWords last(reclaimer);
    last.object = &object;
    last.began = &began;
    const LocklessWalk walk(reclaimer);
    EXPECT_TRUE(static_cast<bool>(walk));
  }).join();
  EXPECT_FALSE(began);
  reclaimer.WaitForRetired();
  EXPECT_EQ(object.freed, 1);
}

}  // namespace
}  // namespace ptage
