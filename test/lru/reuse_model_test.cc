// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/lru/reuse_model.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/lru/page_word.h"

namespace ptage {
namespace {

// `pages` of a tier, all used again at this age, into the same tier.
void UsedAgain(ReuseModel& model, unsigned tier, std::uint32_t age,
               unsigned pages) {
  for (unsigned i = 0; i < pages; ++i) {
    model.Record(PageUse{.before = tier, .age = age, .after = tier});
  }
}
// Pages that enter a tier and are not seen again.
void Left(ReuseModel& model, unsigned tier, unsigned pages) {
  for (unsigned i = 0; i < pages; ++i) model.Record(PageUse{.after = tier});
}

TEST(ReuseModelTest, AgesStandAloneAndThenInFoursToAnOctave) {
  EXPECT_EQ(ReuseModel::AgeClassOf(0), 0u);
  EXPECT_EQ(ReuseModel::AgeClassOf(15), 15u);
  EXPECT_EQ(ReuseModel::AgeClassOf(16), 16u);
  EXPECT_EQ(ReuseModel::AgeClassOf(19), 16u);
  EXPECT_EQ(ReuseModel::AgeClassOf(20), 17u);
  EXPECT_EQ(ReuseModel::AgeClassOf(31), 19u);
  EXPECT_EQ(ReuseModel::AgeClassOf(32), 20u);
  EXPECT_EQ(ReuseModel::AgeClassOf(39), 20u);
  EXPECT_EQ(ReuseModel::AgeClassOf(40), 21u);
  EXPECT_EQ(ReuseModel::AgeClassOf(1 << 21), ReuseModel::kAges - 1);
}

TEST(ReuseModelTest, AClassBeginsWithItsLeastAge) {
  for (unsigned age_class = 0; age_class < ReuseModel::kAges; ++age_class) {
    const std::uint32_t least = ReuseModel::LeastAge(age_class);
    EXPECT_EQ(ReuseModel::AgeClassOf(least), age_class);
    if (least == 0) continue;
    EXPECT_EQ(ReuseModel::AgeClassOf(least - 1), age_class - 1);
  }
}

TEST(ReuseModelTest, UsesAreCountedByTierAndAge) {
  ReuseModel model;
  UsedAgain(model, 5, 9, 3);
  Left(model, kTierOnce, 2);
  EXPECT_EQ(model.Uses(5, 9), 3u);
  EXPECT_EQ(model.Uses(5, 8), 0u);
  EXPECT_EQ(model.Began(5), 3u);
  EXPECT_EQ(model.Began(kTierOnce), 2u);
}

TEST(ReuseModelTest, ForgettingLeavesFourFifthsAndAtLastNothing) {
  ReuseModel model;
  UsedAgain(model, 5, 9, 100);
  model.Forget();
  EXPECT_EQ(model.Uses(5, 9), 80u);
  EXPECT_EQ(model.Began(5), 80u);
  for (int i = 0; i < 40; ++i) model.Forget();
  EXPECT_EQ(model.Uses(5, 9), 0u);
}

// A loop over more pages than there is memory: the longer ago a page was used,
// the sooner it comes up.
TEST(ReuseModelTest, InALoopTheOldestAreTheBest) {
  ReuseModel model;
  UsedAgain(model, 6, 30, 1000);
  model.Refresh();
  for (std::uint32_t age = 1; age < 16; ++age) {
    EXPECT_GE(model.RankOf(6, age), model.RankOf(6, age - 1)) << age;
  }
  EXPECT_GT(model.RankOf(6, 25), model.RankOf(6, 15));
  EXPECT_LT(model.RankOf(6, 40), model.RankOf(6, 0));
}

TEST(ReuseModelTest, PagesOfAScanRankBelowThoseThatComeBack) {
  ReuseModel model;
  Left(model, kTierOnce, 1000);
  UsedAgain(model, kTierOnce, 3, 10);
  UsedAgain(model, 4, 3, 1000);
  model.Refresh();
  for (std::uint32_t age = 0; age < 3; ++age) {
    EXPECT_LT(model.RankOf(kTierOnce, age), model.RankOf(4, age)) << age;
  }
}

// Not one curve built once, but every time to keep a page for, one by one.
double BestRate(const std::vector<double>& uses, double never, unsigned from) {
  double best = 0;
  double gained = 0;
  double cost = 0;
  for (unsigned age = from; age < ReuseModel::kAges; ++age) {
    double after = never;
    for (unsigned later = age + 1; later < ReuseModel::kAges; ++later) {
      after += uses[later];
    }
    gained += uses[age];
    cost += (ReuseModel::LeastAge(age + 1) - ReuseModel::LeastAge(age)) *
            (after + uses[age] / 2);
    best = std::max(best, gained / cost);
  }
  return best;
}

TEST(ReuseModelTest, ARankIsTheMostUsesForTheTimeThatAPageIsKept) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    ReuseModel model;
    const unsigned tier = 1 + static_cast<unsigned>(round) % 15;
    std::vector<double> uses(ReuseModel::kAges);
    for (unsigned age = 0; age < ReuseModel::kAges; ++age) {
      const auto count =
          random() % 3 == 0 ? static_cast<unsigned>(random() % 200) : 0;
      UsedAgain(model, tier, ReuseModel::LeastAge(age), count);
      uses[age] = count + 0.02 / (1 + age);
    }
    const auto left = static_cast<unsigned>(random() % 300);
    Left(model, tier, left);
    model.Refresh();
    for (unsigned age = 0; age < ReuseModel::kAges; ++age) {
      // Sixteen ranks to an octave, from 2^-36 up.
      const double rate = BestRate(uses, left + 0.01, age);
      const double octave = std::floor(std::log2(rate));
      const double wanted =
          16 * (octave + 36) + std::floor(16 * (rate / std::exp2(octave) - 1));
      EXPECT_NEAR(model.RankOf(tier, ReuseModel::LeastAge(age)),
                  std::clamp(wanted, 0.0, ReuseModel::kRanks - 1.0), 1)
          << age;
    }
  }
}

TEST(ReuseModelTest, WhatIsLearnedDoesNotDependOnHowOftenItIsLookedAt) {
  std::mt19937 random(2);
  ReuseModel often;
  for (unsigned tier = kTierOnce; tier < kPageTiers; ++tier) {
    Left(often, tier, 1000);
  }
  for (int round = 0; round < 100; ++round) {
    // One that has learned nothing before.
    ReuseModel once;
    for (unsigned tier = kTierOnce; tier < kPageTiers; ++tier) {
      for (unsigned age = 0; age < ReuseModel::kAges; ++age) {
        UsedAgain(once, tier, ReuseModel::LeastAge(age),
                  often.Uses(tier, ReuseModel::LeastAge(age)));
      }
      ASSERT_GE(often.Began(tier), once.Began(tier));
      Left(once, tier, often.Began(tier) - once.Began(tier));
    }
    const auto tier = 1 + static_cast<unsigned>(random() % 15);
    const auto other = 1 + static_cast<unsigned>(random() % 15);
    const PageUse use{.before = tier, .age = 3, .after = other};
    for (ReuseModel* model : {&often, &once}) {
      if (round % 10 == 9) {
        model->Forget();
      } else if (round % 2 == 0) {
        model->Record(use);
      } else {
        Left(*model, tier, 1);
      }
      model->Refresh();
    }
    for (unsigned t = kTierOnce; t < kPageTiers; ++t) {
      for (unsigned age = 0; age < ReuseModel::kAges; ++age) {
        const std::uint32_t least = ReuseModel::LeastAge(age);
        ASSERT_EQ(often.RankOf(t, least), once.RankOf(t, least))
            << "round " << round << ", tier " << t << ", age " << least;
      }
    }
  }
}

}  // namespace
}  // namespace ptage
