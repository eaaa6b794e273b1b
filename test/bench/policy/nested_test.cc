// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/policy/nested.h"

#include <cstdint>
#include <set>
#include <vector>

#include "bench/policy/machine.h"
#include "bench/policy/page_list.h"
#include "bench/policy/workloads.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

constexpr NestedAnswers kAll[] = {
    NestedAnswers::kAlways, NestedAnswers::kEvictions, NestedAnswers::kNever};
constexpr std::uint32_t kPages = 600;

NestedCost Replay(const std::vector<Page>& references, std::uint32_t frames,
                  NestedAnswers answers, Sampling sampling = kDefaultSampling) {
  NestedMachine machine(kPages, frames, answers);
  return machine.Run(references, sampling);
}

// zipf.
std::vector<Page> AtRandom() {
  std::vector<Page> references = GeneratedWorkloads(10'000)[0].references;
  for (Page& page : references) page = page % kPages;
  return references;
}

TEST(NestedMachineTest, WhereAllFitNothingComesBack) {
  for (const NestedAnswers answers : kAll) {
    const NestedCost cost = Replay(AtRandom(), kPages, answers);
    EXPECT_EQ(cost.accesses, 10'000u);
    EXPECT_EQ(cost.refaults, 0u);
    EXPECT_EQ(cost.evictions, 0u);
  }
}

// Each page comes a first time; whoever comes back was evicted, and so was who
// made room for the first.
TEST(NestedMachineTest, WhatIsEvictedComesBackOrMadeRoom) {
  const std::vector<Page> references = AtRandom();
  const std::set<Page> used(references.begin(), references.end());
  for (const NestedAnswers answers : kAll) {
    const NestedCost cost = Replay(references, 200, answers);
    EXPECT_GT(cost.refaults, 0u);
    EXPECT_EQ(cost.evictions, cost.refaults + used.size() - 200);
  }
}

// 100 pages are used again and again, and between two turns ten others, once
// each. So each of the 100 has been used by L2 since the last sample.
std::vector<Page> HotAndPassing() {
  std::vector<Page> references;
  Page passing = 0;
  for (int turn = 0; turn < 400; ++turn) {
    for (Page page = 0; page < 100; ++page) references.push_back(page);
    for (int i = 0; i < 10; ++i) references.push_back(100 + passing++ % 500);
  }
  return references;
}

// Pages that pass come back at best; 30 frames are left for them.
TEST(NestedMachineTest, AgingKeepsWhatL2UsesAllTheTime) {
  constexpr std::uint64_t kPassing = 400 * 10 - 500;
  constexpr Sampling kEveryTurn{"every turn", 110, 0};
  const auto refaults = [&](NestedAnswers answers) {
    return Replay(HotAndPassing(), 130, answers, kEveryTurn).refaults;
  };
  EXPECT_LE(refaults(NestedAnswers::kAlways), kPassing + 100);
  EXPECT_GT(refaults(NestedAnswers::kEvictions), 2 * kPassing);
  EXPECT_GT(refaults(NestedAnswers::kNever), 3 * kPassing / 2);
}

// Aging that is told of a page spares the evictor the question.
TEST(NestedMachineTest, WithoutAgingTheEvictorMeetsPagesInUse) {
  constexpr Sampling kEveryTurn{"every turn", 110, 0};
  const auto spared = [&](NestedAnswers answers) {
    return Replay(HotAndPassing(), 130, answers, kEveryTurn).spared;
  };
  EXPECT_GT(spared(NestedAnswers::kEvictions),
            4 * spared(NestedAnswers::kAlways));
}

TEST(NestedMachineTest, EveryRunIsTheSame) {
  for (const NestedAnswers answers : kAll) {
    const NestedCost once = Replay(AtRandom(), 200, answers);
    const NestedCost again = Replay(AtRandom(), 200, answers);
    EXPECT_EQ(once.refaults, again.refaults);
    EXPECT_EQ(once.spared, again.spared);
  }
}

}  // namespace
}  // namespace ptage::bench
