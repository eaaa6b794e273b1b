// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/reclaim.h"

#include <string>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"

namespace ptage {
namespace {

// --- What a scheme is.

// Has what the concept asks for and nothing else, and writes down what it is
// asked to do. The first `refusals` sections cannot be entered.
class MinimalReclaimer {
 public:
  class Section {
   public:
    explicit operator bool() const { return number_ != 0; }

   private:
    friend class MinimalReclaimer;
    explicit Section(int number) : number_(number) {}
    int number_;
  };

  explicit MinimalReclaimer(int refusals = 0) : refusals_(refusals) {}
  MinimalReclaimer(const MinimalReclaimer&) = delete;
  MinimalReclaimer& operator=(const MinimalReclaimer&) = delete;

  Section Begin() {
    if (refusals_ > 0) {
      --refusals_;
      log.emplace_back("refuse");
      return Section(0);
    }
    log.push_back("begin " + std::to_string(++last_));
    return Section(last_);
  }
  void End(Section section) {
    log.push_back("end " + std::to_string(section.number_));
  }
  void Retire(Retired&) { log.emplace_back("retire"); }

  std::vector<std::string> log;

 private:
  int refusals_;
  int last_ = 0;
};

struct WithoutSection {
  int Begin();
  void End(int);
  void Retire(Retired&);
};
struct BeginsSomethingElse : MinimalReclaimer {
  int Begin();
};
struct SectionSaysNothing {
  struct Section {};
  Section Begin();
  void End(Section);
  void Retire(Retired&);
};
struct CannotEnd : MinimalReclaimer {
  void End(Section) = delete;
};
struct CannotRetire : MinimalReclaimer {
  void Retire(Retired&) = delete;
};
struct Synchronizing : MinimalReclaimer {
  void Synchronize() {}
};

static_assert(Reclaimer<MinimalReclaimer>);
static_assert(!Reclaimer<WithoutSection>);
static_assert(!Reclaimer<BeginsSomethingElse>);
static_assert(!Reclaimer<SectionSaysNothing>);
static_assert(!Reclaimer<CannotEnd>);
static_assert(!Reclaimer<CannotRetire>);
static_assert(!Reclaimer<int>);
static_assert(SynchronizingReclaimer<Synchronizing>);
static_assert(!SynchronizingReclaimer<MinimalReclaimer>);

// --- Walks.

using Walk = LocklessWalk<MinimalReclaimer>;
using Log = std::vector<std::string>;

static_assert(!std::is_copy_constructible_v<Walk>);
static_assert(!std::is_copy_assignable_v<Walk>);
// A walk is a proof, not a truth value by accident.
static_assert(!std::is_convertible_v<Walk, bool>);
static_assert(!std::is_convertible_v<MinimalReclaimer&, Walk>);

TEST(LocklessWalkTest, BeginsAndEndsItsOwnSection) {
  MinimalReclaimer reclaimer;
  {
    const Walk walk(reclaimer);
    EXPECT_TRUE(static_cast<bool>(walk));
    EXPECT_EQ(reclaimer.log, (Log{"begin 1"}));
  }
  EXPECT_EQ(reclaimer.log, (Log{"begin 1", "end 1"}));
}

TEST(LocklessWalkTest, WalksNest) {
  MinimalReclaimer reclaimer;
  {
    const Walk outer(reclaimer);
    const Walk inner(reclaimer);
  }
  EXPECT_EQ(reclaimer.log, (Log{"begin 1", "begin 2", "end 2", "end 1"}));
}

TEST(LocklessWalkTest, OneThatCouldNotBeginTestsFalseAndEndsNothing) {
  MinimalReclaimer reclaimer(1);
  {
    const Walk walk(reclaimer);
    EXPECT_FALSE(static_cast<bool>(walk));
  }
  EXPECT_EQ(reclaimer.log, (Log{"refuse"}));
}

TEST(LocklessWalkTest, OneThatWaitsTriesUntilItBegins) {
  MinimalReclaimer reclaimer(3);
  {
    const Walk walk(reclaimer, WalkEntry::kWait);
    EXPECT_TRUE(static_cast<bool>(walk));
  }
  EXPECT_EQ(reclaimer.log,
            (Log{"refuse", "refuse", "refuse", "begin 1", "end 1"}));
}

}  // namespace
}  // namespace ptage
