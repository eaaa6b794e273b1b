// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/walk.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::TestTree;

constexpr Level kSmall{1};
constexpr Level kLarge{2};

// What a walk said of an entry.
template <class F>
struct Visited {
  typename F::Word seen;
  Level level;
  GfnRange covers;
  GfnRange asked;
  bool operator==(const Visited&) const = default;
};

template <class F>
class WalkTest : public ::testing::Test {
 protected:
  using Walk = typename TestTree<F>::Walk;
  using Log = std::vector<Visited<F>>;

  // Frames of an entry of level 2: 512, or 4.
  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);
  static constexpr Gfn kB{kFrames};
  static constexpr Gfn kC{2 * kFrames};
  static constexpr GfnRange kAll{Gfn{0}, Gfn{3 * kFrames}};

  // 1, 2 and the last frame of the first table; a large leaf; one frame behind.
  void Populate() {
    for (const Gfn gfn :
         {Gfn{1}, Gfn{2}, Gfn{kFrames - 1}, Gfn{2 * kFrames + 1}}) {
      owner_.MustMap(gfn, kSmall, Leaf(gfn));
    }
    owner_.MustMap(kB, kLarge, Leaf(kB, kLarge));
  }
  static auto Leaf(Gfn gfn, Level level = kSmall) {
    return TestTree<F>::Leaf(gfn, level);
  }
  // The visit of a leaf that lies wholly in the range.
  static Visited<F> Whole(Gfn gfn, Level level = kSmall) {
    const GfnRange covers{gfn, gfn + FramesAt<F>(level)};
    return Visited<F>{Leaf(gfn, level), level, covers, covers};
  }
  Log Expected() {
    return Log{Whole(Gfn{1}), Whole(Gfn{2}), Whole(Gfn{kFrames - 1}),
               Whole(kB, kLarge), Whole(Gfn{2 * kFrames + 1})};
  }

  static auto Into(Log& log) {
    return [&log](const VisitedEntry<F>& visited) {
      log.push_back(Visited<F>{visited.seen, visited.level, visited.covers,
                               visited.asked});
    };
  }
  Log WalkOver(GfnRange range) {
    Log log;
    WalkAll(owner_.tree(), Walk(owner_.domain()), range, Into(log));
    return log;
  }

  TestTree<F> owner_;
};

TYPED_TEST_SUITE(WalkTest, test::AllFormats, test::FormatNames);

TEST(WalkCursorTest, IsDoneAtTheEndOfItsRange) {
  WalkCursor cursor(GfnRange{Gfn{3}, Gfn{7}});
  EXPECT_FALSE(cursor.Done());
  EXPECT_EQ(cursor.Rest(), (GfnRange{Gfn{3}, Gfn{7}}));
  cursor.MoveTo(Gfn{5});
  EXPECT_FALSE(cursor.Done());
  EXPECT_EQ(cursor.Rest(), (GfnRange{Gfn{5}, Gfn{7}}));
  cursor.MoveTo(Gfn{7});
  EXPECT_TRUE(cursor.Done());
  EXPECT_TRUE(cursor.Rest().Empty());
  cursor.MoveTo(Gfn{9});
  EXPECT_TRUE(cursor.Done());
  EXPECT_TRUE(cursor.Rest().Empty());
  EXPECT_TRUE(WalkCursor(GfnRange{Gfn{4}, Gfn{4}}).Done());
}

TYPED_TEST(WalkTest, AnEmptyTreeHasNothingToVisit) {
  EXPECT_TRUE(this->WalkOver(this->kAll).empty());
}

TYPED_TEST(WalkTest, EachLeafIsVisitedOnceInOrderOfFrames) {
  this->Populate();
  EXPECT_EQ(this->WalkOver(this->kAll), this->Expected());
}

TYPED_TEST(WalkTest, TheSeenValueIsTheWholeWord) {
  using F = TypeParam;
  const auto word = TestTree<F>::Young(TestTree<F>::Dirty(this->Leaf(Gfn{1})));
  this->owner_.MustMap(Gfn{1}, kSmall, word);
  EXPECT_EQ(this->WalkOver(this->kAll).at(0).seen, word);
}

TYPED_TEST(WalkTest, OnlyTheRangeIsVisited) {
  using F = TypeParam;
  this->Populate();
  EXPECT_EQ(this->WalkOver(GfnRange{Gfn{2}, Gfn{3}}),
            (std::vector<Visited<F>>{this->Whole(Gfn{2})}));
  EXPECT_TRUE(this->WalkOver(GfnRange{Gfn{0}, Gfn{1}}).empty());
  EXPECT_TRUE(this->WalkOver(GfnRange{Gfn{2}, Gfn{2}}).empty());
}

TYPED_TEST(WalkTest, OfALargeLeafThePartInTheRangeIsNamed) {
  using F = TypeParam;
  this->Populate();
  const GfnRange part{this->kB + 1, this->kB + 3};
  const std::vector<Visited<F>> log = this->WalkOver(part);
  ASSERT_EQ(log.size(), 1u);
  EXPECT_EQ(log[0].covers, (GfnRange{this->kB, this->kC}));
  EXPECT_EQ(log[0].asked, part);
  EXPECT_EQ(log[0].level, kLarge);
  // The end of the range, and the beginning of another.
  EXPECT_EQ(this->WalkOver(GfnRange{Gfn{3}, this->kB + 1}).back().asked,
            (GfnRange{this->kB, this->kB + 1}));
  EXPECT_EQ(this->WalkOver(GfnRange{Gfn{2 * this->kFrames - 1}, this->kC + 1})
                .at(0)
                .asked,
            (GfnRange{Gfn{2 * this->kFrames - 1}, this->kC}));
}

TYPED_TEST(WalkTest, AFrozenLeafIsReportedAsSuch) {
  using F = TypeParam;
  this->Populate();
  this->owner_.Write(Gfn{2}, F::kFrozen);
  std::vector<Visited<F>> expected = this->Expected();
  expected[1].seen = F::kFrozen;
  EXPECT_EQ(this->WalkOver(this->kAll), expected);
  // A claimed entry that was empty before, too.
  this->owner_.Write(Gfn{0}, F::kFrozen);
  expected.insert(expected.begin(), this->Whole(Gfn{0}));
  expected[0].seen = F::kFrozen;
  EXPECT_EQ(this->WalkOver(this->kAll), expected);
}

TYPED_TEST(WalkTest, AFrozenInnerEntryStandsForAllFramesUnderIt) {
  using F = TypeParam;
  this->Populate();
  WriteOnce(this->owner_.ParentOf(Gfn{1}), F::kFrozen, kRelaxed);
  std::vector<Visited<F>> expected = this->Expected();
  expected.erase(expected.begin(), expected.begin() + 3);
  const GfnRange first{Gfn{0}, this->kB};
  expected.insert(expected.begin(),
                  Visited<F>{F::kFrozen, kLarge, first, first});
  EXPECT_EQ(this->WalkOver(this->kAll), expected);
}

// --- Budgets.

TYPED_TEST(WalkTest, WithAnyBudgetTheSameEntriesAreVisitedOnceEach) {
  using F = TypeParam;
  this->Populate();
  for (std::uint64_t budget = F::kLevels; budget < 3 * this->kFrames;
       budget += budget < 16 ? 1 : 97) {
    std::vector<Visited<F>> log;
    WalkCursor cursor(this->kAll);
    int calls = 0;
    while (!cursor.Done()) {
      const Gfn from = cursor.Rest().begin;
      // A section of its own for each call.
      WalkSome(this->owner_.tree(), LocklessWalk(this->owner_.domain()), cursor,
               budget, this->Into(log));
      ASSERT_GT(cursor.Rest().begin, from) << "no progress, budget " << budget;
      ++calls;
    }
    EXPECT_EQ(log, this->Expected()) << "budget " << budget;
    EXPECT_EQ(cursor.Rest().begin, this->kAll.end);
    if (budget < this->kFrames) {
      EXPECT_GT(calls, 1);
    }
  }
}

TYPED_TEST(WalkTest, ABudgetBoundsTheEntriesThatAreRead) {
  using F = TypeParam;
  // A full table: each entry that is read below the path is a visit.
  this->owner_.MustFill(Gfn{0});
  std::vector<Visited<F>> log;
  WalkCursor cursor(GfnRange{Gfn{0}, this->kB});
  const std::uint64_t path = F::kLevels - 1;
  WalkSome(this->owner_.tree(), LocklessWalk(this->owner_.domain()), cursor,
           path + 3, this->Into(log));
  EXPECT_EQ(log.size(), 3u);
  EXPECT_EQ(cursor.Rest().begin, Gfn{3});
}

TYPED_TEST(WalkTest, ABudgetUnderTheHeightGetsNowhere) {
  using F = TypeParam;
  this->Populate();
  std::vector<Visited<F>> log;
  WalkCursor cursor(this->kAll);
  for (std::uint64_t budget = 0; budget < F::kLevels; ++budget) {
    WalkSome(this->owner_.tree(), LocklessWalk(this->owner_.domain()), cursor,
             budget, this->Into(log));
    EXPECT_EQ(cursor.Rest(), this->kAll);
  }
  EXPECT_TRUE(log.empty());
}

// The range ends inside of a large leaf.
TYPED_TEST(WalkTest, ADoneCursorVisitsNothing) {
  using F = TypeParam;
  this->Populate();
  std::vector<Visited<F>> log;
  WalkCursor cursor(GfnRange{this->kB, this->kB + 2});
  for (int i = 0; i < 2; ++i) {
    WalkSome(this->owner_.tree(), LocklessWalk(this->owner_.domain()), cursor,
             kNoBudget, this->Into(log));
    EXPECT_TRUE(cursor.Done());
  }
  EXPECT_EQ(log.size(), 1u);
}

// --- Changes while the walk is under way, made at a visit.

TYPED_TEST(WalkTest, LeavesThatStayAreVisitedWhateverHappensToTheOthers) {
  using F = TypeParam;
  this->Populate();
  std::vector<Gfn> visited;
  WalkAll(this->owner_.tree(), LocklessWalk(this->owner_.domain()), this->kAll,
          [&](const VisitedEntry<F>& entry) {
            if (visited.empty()) {
              // Zaps the next leaf; splits the large one; maps one behind.
              const LocklessWalk walk(this->owner_.domain());
              this->owner_.tree().Zap(walk, GfnRange{Gfn{2}, Gfn{3}},
                                      ZapFlush::kEach, [](const auto&) {});
              ASSERT_EQ(this->owner_.tree().Split(walk, this->kB, kLarge),
                        StructureOutcome::kDone);
            }
            visited.push_back(entry.covers.begin);
          });
  std::vector<Gfn> expected{Gfn{1}, Gfn{this->kFrames - 1}};
  for (std::uint64_t i = 0; i < this->kFrames; ++i) {
    expected.push_back(this->kB + i);
  }
  expected.push_back(this->kC + 1);
  EXPECT_EQ(visited, expected);
}

// The walk is inside of the table that is removed: what it has not seen is
// frozen for good.
TYPED_TEST(WalkTest, ARemovedTableIsPassedAsFrozen) {
  using F = TypeParam;
  this->Populate();
  std::vector<Visited<F>> log;
  int handed = 0;
  WalkAll(this->owner_.tree(), LocklessWalk(this->owner_.domain()),
          GfnRange{Gfn{0}, this->kB}, [&](const VisitedEntry<F>& entry) {
            this->Into(log)(entry);
            if (log.size() > 1) return;
            this->owner_.tree().RemoveTables(
                LocklessWalk(this->owner_.domain()), GfnRange{Gfn{0}, this->kB},
                [&](const auto&) { ++handed; });
          });
  EXPECT_EQ(handed, 3);
  // Entry 1 as it was; 2 … last frozen.
  ASSERT_EQ(log.size(), this->kFrames - 1);
  EXPECT_EQ(log[0], this->Whole(Gfn{1}));
  for (std::uint64_t i = 1; i < log.size(); ++i) {
    ASSERT_EQ(log[i].seen, F::kFrozen);
    ASSERT_EQ(log[i].covers.begin, Gfn{i + 1});
  }
}

// Between two calls anything may happen: the cursor is but a frame.
TYPED_TEST(WalkTest, ACursorOutlivesTheTablesThatItSaw) {
  using F = TypeParam;
  this->Populate();
  WalkCursor cursor(this->kAll);
  std::vector<Visited<F>> log;
  while (log.empty()) {
    WalkSome(this->owner_.tree(), LocklessWalk(this->owner_.domain()), cursor,
             F::kLevels, this->Into(log));
  }
  EXPECT_EQ(log.back(), this->Whole(Gfn{1}));
  this->owner_.tree().RemoveTables(
      LocklessWalk(this->owner_.domain()),
      GfnRange{Gfn{0}, Gfn{TestTree<F>::Tree::kFrames}}, [](const auto&) {});
  EXPECT_EQ(this->owner_.TablesInUse(), kRootTables<F>);
  // A large leaf may lie in the root.
  this->owner_.tree().Zap(LocklessWalk(this->owner_.domain()), this->kAll,
                          ZapFlush::kEach, [](const auto&) {});
  this->owner_.MustMap(this->kC, kLarge, this->Leaf(this->kC, kLarge));
  log.clear();
  WalkSome(this->owner_.tree(), LocklessWalk(this->owner_.domain()), cursor,
           kNoBudget, this->Into(log));
  EXPECT_TRUE(cursor.Done());
  EXPECT_EQ(log, (std::vector<Visited<F>>{this->Whole(this->kC, kLarge)}));
}

}  // namespace
}  // namespace ptage
