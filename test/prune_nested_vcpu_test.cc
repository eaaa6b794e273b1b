// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a vCPU of a nested guest, with a warm TLB and a warm paging-structure
// cache, hides from each way of aging, and what flushes do about it.
// docs/prune.md has the figures.

#include <cstdint>
#include <cstdio>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/prune_nested.h"
#include "ptage/reclaim.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
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
constexpr std::uint64_t kHotTables = 4;
constexpr GfnRange kNested{Gfn{0}, Gfn{kTables * 512}};
// Two nested frames for each gfn.
constexpr GfnRange kGfns{Gfn{0}, Gfn{kTables * 512 / 2}};
constexpr int kRounds = 64;
constexpr int kReferences = 2000;  // a round, to 2,048 pages; the TLB holds 512

// The names of a gfn are far apart, as are the gfns of neighbours.
Gfn GfnOf(std::uint64_t nested) { return Gfn{nested * 2741 % kGfns.end.value}; }

struct Misses {
  std::uint64_t accessed = 0;  // gfns that were referenced in a round,
  std::uint64_t missed = 0;    // and not young in its answer
  std::uint64_t wrong = 0;     // young, though never referenced so far
  std::uint64_t examined = 0;  // leaves
};

// `flush_every`: rounds, after which all CPUs are flushed; 0: never.
Misses Play(Pruning pruning, int flush_every) {
  Guest guest(1, 64, TableKind::kIndirect);
  for (std::uint64_t nested = 0; nested < kNested.end.value; ++nested) {
    EXPECT_EQ(guest.MapNested(Gfn{nested}, GfnOf(nested)), MapOutcome::kDone);
  }
  Vcpu vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
  std::mt19937_64 random(1);
  Misses misses;
  std::set<std::uint64_t> ever;
  for (int round = 1; round <= kRounds; ++round) {
    std::set<std::uint64_t> accessed;
    {
      const sim::Running<Vcpu> running(vcpu);
      for (int i = 0; i < kReferences; ++i) {
        // Every eighth table is hot, all of it.
        const std::uint64_t hot = random() % (kHotTables * 512);
        const std::uint64_t nested =
            hot / 512 * (kTables / kHotTables) * 512 + hot % 512;
        EXPECT_TRUE(vcpu.Translate(Gfn{nested}, Rights::kRead));
        accessed.insert(GfnOf(nested).value);
      }
    }
    ever.insert(accessed.begin(), accessed.end());
    std::vector<std::uint64_t> young(kGfns.Frames() / 64);
    const Bitmap answer(young.data(), kGfns.Frames());
    AgeCounts counts;
    {
      const LocklessWalk walk(guest.domain);
      (void)PruneNested(
          guest.tree, walk, guest.cpus, kNested, pruning,
          AgeAction::kTestAndClear, kGfns,
          AgeOutput{.begin = kGfns.begin, .young = answer, .counts = &counts});
    }
    if (flush_every != 0 && round % flush_every == 0) {
      guest.cpus.Flush(kNested);
    }
    misses.accessed += accessed.size();
    misses.examined += counts.examined;
    for (std::uint64_t gfn = 0; gfn < kGfns.end.value; ++gfn) {
      const bool found = answer.Test(gfn);
      misses.missed += accessed.count(gfn) != 0 && !found;
      misses.wrong += found && ever.count(gfn) == 0;
    }
  }
  std::printf(
      "%s, flushed every %d rounds: missed %.4f, examined %.0f a round\n",
      pruning == Pruning::kExact ? "exact" : "best effort", flush_every,
      static_cast<double>(misses.missed) / static_cast<double>(misses.accessed),
      static_cast<double>(misses.examined) / kRounds);
  return misses;
}

TEST(PruneNestedVcpuTest, TheExactFormMissesNothingAndInventsNothing) {
  for (const int flush_every : {0, 8, 1}) {
    const Misses misses = Play(Pruning::kExact, flush_every);
    EXPECT_EQ(misses.missed, 0u);
    EXPECT_EQ(misses.wrong, 0u);
    // The first round meets tables that are young since they were built.
    EXPECT_EQ(misses.examined, 512 * (kTables + (kRounds - 1) * kHotTables));
  }
}

TEST(PruneNestedVcpuTest, AFlushAfterEachRoundDoesForTheBestEffort) {
  EXPECT_EQ(Play(Pruning::kBestEffort, 1).missed, 0u);
}

TEST(PruneNestedVcpuTest, WithoutFlushesTheBestEffortMissesMost) {
  const Misses never = Play(Pruning::kBestEffort, 0);
  EXPECT_GT(2 * never.missed, never.accessed);
  const Misses sometimes = Play(Pruning::kBestEffort, 8);
  EXPECT_GT(sometimes.missed, 0u);
  EXPECT_LT(sometimes.missed, never.missed);
}

}  // namespace
}  // namespace ptage
