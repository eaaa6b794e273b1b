// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a vCPU with a warm TLB and a warm paging-structure cache hides from each
// way of aging, and what flushes do about it. docs/prune.md has the figures.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
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
constexpr GfnRange kAll{Gfn{0}, Gfn{kTables * 512}};
constexpr int kRounds = 64;
constexpr int kReferences = 2000;  // a round, to 2,048 pages; the TLB holds 512

enum class Way { kEachLeaf, kExact, kBestEffort };

struct Misses {
  std::uint64_t accessed = 0;  // frames that were referenced in a round,
  std::uint64_t missed = 0;    // and not young in its answer
  std::uint64_t examined = 0;  // leaves
  std::uint64_t flushes = 0;
};

class PruneVcpuTest : public ::testing::Test {
 protected:
  // `flush_every`: rounds, after which all CPUs are flushed; 0: never.
  Misses Run(Way way, int flush_every) {
    Guest guest(1);
    for (std::uint64_t gfn = 0; gfn < kAll.end.value; ++gfn) {
      EXPECT_EQ(guest.Map(Gfn{gfn}, Pfn{gfn}, Rights::kAll), MapOutcome::kDone);
    }
    Vcpu vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
    std::mt19937_64 random(1);
    Misses misses;
    for (int round = 1; round <= kRounds; ++round) {
      std::set<std::uint64_t> accessed;
      {
        const sim::Running<Vcpu> running(vcpu);
        for (int i = 0; i < kReferences; ++i) {
          const Gfn gfn{random() % (kHotTables * 512) * (kTables / kHotTables)};
          // Every eighth table is hot, all of it.
          const Gfn hot{gfn.value / 4096 * 4096 + gfn.value % 4096 / 8};
          EXPECT_TRUE(vcpu.Translate(hot, Rights::kRead));
          accessed.insert(hot.value);
        }
      }
      std::vector<std::uint64_t> young(kAll.Frames() / 64);
      AgeCounts counts;
      const AgeOutput output{.begin = kAll.begin,
                             .young = Bitmap(young.data(), kAll.Frames()),
                             .counts = &counts};
      const LocklessWalk walk(guest.domain);
      constexpr AgeAction kClear = AgeAction::kTestAndClear;
      if (way == Way::kEachLeaf) {
        (void)Harvest(guest.tree, walk, kAll, kClear, AgeMode::kFastOnly,
                      output);
      } else {
        (void)Prune(guest.tree, walk, guest.cpus, kAll,
                    way == Way::kExact ? Pruning::kExact : Pruning::kBestEffort,
                    kClear, output);
      }
      if (flush_every != 0 && round % flush_every == 0) {
        guest.cpus.Flush(kAll);
      }
      misses.accessed += accessed.size();
      misses.examined += counts.examined;
      for (const std::uint64_t frame : accessed) {
        if (!Bitmap(young.data(), kAll.Frames()).Test(frame)) ++misses.missed;
      }
    }
    misses.flushes = vcpu.stats().flushes;
    std::printf(
        "way %d, flushed every %d rounds: missed %.4f, examined %.0f a "
        "round, %d flushes\n",
        static_cast<int>(way), flush_every,
        static_cast<double>(misses.missed) /
            static_cast<double>(misses.accessed),
        static_cast<double>(misses.examined) / kRounds,
        static_cast<int>(misses.flushes));
    return misses;
  }
};

TEST_F(PruneVcpuTest, TheExactFormMissesNothing) {
  for (const int flush_every : {0, 8, 1}) {
    EXPECT_EQ(Run(Way::kExact, flush_every).missed, 0u);
  }
}

TEST_F(PruneVcpuTest, TheExactFormReadsHotTablesAlone) {
  // The first round meets tables that are young since they were built.
  EXPECT_EQ(Run(Way::kExact, 0).examined,
            512 * (kTables + (kRounds - 1) * kHotTables));
  EXPECT_EQ(Run(Way::kEachLeaf, 0).examined, 512 * kTables * kRounds);
}

TEST_F(PruneVcpuTest, AFlushAfterEachRoundDoesForAllOfThem) {
  EXPECT_EQ(Run(Way::kEachLeaf, 1).missed, 0u);
  EXPECT_EQ(Run(Way::kBestEffort, 1).missed, 0u);
}

// What sits in the TLB is hidden from all; what is behind a cached parent from
// the best effort alone.
TEST_F(PruneVcpuTest, WithoutFlushesTheBestEffortMissesMost) {
  const Misses each = Run(Way::kEachLeaf, 0);
  const Misses best = Run(Way::kBestEffort, 0);
  EXPECT_GT(each.missed, 0u);
  EXPECT_GT(best.missed, 2 * each.missed);
  const Misses sometimes = Run(Way::kBestEffort, 8);
  EXPECT_LT(sometimes.missed, best.missed);
}

}  // namespace
}  // namespace ptage
