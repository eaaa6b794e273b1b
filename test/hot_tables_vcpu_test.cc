// SPDX-License-Identifier: MIT OR Apache-2.0
//
// How well dense tables are aged at their parents, where a vCPU with a warm TLB
// and a warm paging-structure cache uses them. docs/prune.md has the figures.

#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/hot_tables.h"
#include "ptage/page_table.h"
#include "ptage/sim/vcpu.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/sim/guest.h"

namespace ptage {
namespace {

using F = Ept;
using Guest = test::Guest<F>;
using Vcpu = sim::Vcpu<F, Guest::Memory>;

constexpr std::uint64_t kTables = 32;
constexpr std::uint64_t kFrames = kTables * 512;
constexpr GfnRange kAll{Gfn{0}, Gfn{kFrames}};
constexpr int kRounds = 64;
constexpr int kWarmUp = 4;

enum class Way { kEachLeaf, kAtParents, kAtParentsUnflushed };

// Swallows flushes.
struct Unflushed {
  void Flush(GfnRange) {}
};

struct Score {
  // Of all frames of all rounds, the ones that were called what they were.
  double accuracy = 0;
  // Of those that were accessed, the ones that were called young.
  double recall = 0;
  double examined = 0;  // entries a round
};

// Three of four tables are used, 97 pages of 100 in each round; now and then
// one goes cold, or is used here and there.
Score ScoreOf(Way way) {
  Guest guest(1);
  for (std::uint64_t gfn = 0; gfn < kFrames; ++gfn) {
    EXPECT_EQ(guest.Map(Gfn{gfn}, Pfn{gfn}, Rights::kAll), MapOutcome::kDone);
  }
  Vcpu vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
  std::vector<std::uint8_t> bytes(HotTables<F>::BytesFor(kFrames));
  HotTables<F> hot(bytes.data(), kAll);
  std::mt19937 random(1);
  std::vector<unsigned> percent(kTables);
  for (std::uint64_t t = 0; t < kTables; ++t) percent[t] = t % 4 == 0 ? 0 : 97;
  std::uint64_t right = 0;
  std::uint64_t all = 0;
  std::uint64_t accessed_sum = 0;
  std::uint64_t found = 0;
  std::uint64_t examined = 0;
  for (int round = 0; round < kRounds + kWarmUp; ++round) {
    if (round % 8 == 7) {
      const unsigned choices[] = {0, 10, 97, 97};
      percent[random() % kTables] = choices[random() % 4];
    }
    std::vector<bool> accessed(kFrames);
    {
      const sim::Running<Vcpu> running(vcpu);
      for (std::uint64_t gfn = 0; gfn < kFrames; ++gfn) {
        if (random() % 100 >= percent[gfn / 512]) continue;
        EXPECT_TRUE(vcpu.Translate(Gfn{gfn}, Rights::kRead));
        accessed[gfn] = true;
      }
    }
    std::vector<std::uint64_t> young(kFrames / 64);
    AgeCounts counts;
    const AgeOutput output{.begin = kAll.begin,
                           .young = Bitmap(young.data(), kFrames),
                           .counts = &counts};
    const LocklessWalk walk(guest.domain);
    Unflushed unflushed;
    switch (way) {
      case Way::kEachLeaf:
        (void)Harvest(guest.tree, walk, kAll, AgeAction::kTestAndClear,
                      AgeMode::kFastOnly, output);
        break;
      case Way::kAtParents:
        (void)AgeHotTables(guest.tree, walk, guest.cpus, hot, output);
        break;
      case Way::kAtParentsUnflushed:
        (void)AgeHotTables(guest.tree, walk, unflushed, hot, output);
        break;
    }
    if (round < kWarmUp) continue;
    examined += counts.examined;
    for (std::uint64_t gfn = 0; gfn < kFrames; ++gfn) {
      const bool called_young = Bitmap(young.data(), kFrames).Test(gfn);
      right += called_young == accessed[gfn];
      accessed_sum += accessed[gfn];
      found += called_young && accessed[gfn];
      ++all;
    }
  }
  const Score score{
      .accuracy = static_cast<double>(right) / static_cast<double>(all),
      .recall = static_cast<double>(found) / static_cast<double>(accessed_sum),
      .examined = static_cast<double>(examined) / kRounds};
  std::printf("way %d: accuracy %.4f, recall %.4f, %.0f entries a round\n",
              static_cast<int>(way), score.accuracy, score.recall,
              score.examined);
  return score;
}

TEST(HotTablesVcpuTest, ParentsAreAsGoodAsLeavesForAFractionOfTheEntries) {
  const Score leaves = ScoreOf(Way::kEachLeaf);
  const Score parents = ScoreOf(Way::kAtParents);
  EXPECT_GE(parents.accuracy, 0.95 * leaves.accuracy);
  EXPECT_EQ(parents.recall, 1.0);
  EXPECT_LT(parents.examined, leaves.examined / 8);
}

TEST(HotTablesVcpuTest, WithoutAFlushAHotTableLooksCold) {
  EXPECT_LT(ScoreOf(Way::kAtParentsUnflushed).recall,
            ScoreOf(Way::kAtParents).recall - 0.1);
}

}  // namespace
}  // namespace ptage
