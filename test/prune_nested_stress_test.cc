// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Exact pruning of an indirect tree by two threads that ask for different gfns,
// against a vCPU that walks with warm caches and a thread that gives entries to
// other gfns: whatever was accessed is reported for its gfn, or with the
// zapper, once at least.

#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
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
#include "test/stress.h"

namespace ptage {
namespace {

using F = Ept;
using Guest = test::Guest<F>;
using Vcpu = sim::Vcpu<F, Guest::Memory>;

constexpr std::uint64_t kTables = 4;
constexpr GfnRange kNested{Gfn{0}, Gfn{kTables * 512}};
// As many gfns as the nested frames may ever map, and each is mapped once.
constexpr GfnRange kGfns{Gfn{0}, Gfn{2 * kTables * 512}};
constexpr GfnRange kHalves[2] = {
    {Gfn{0}, Gfn{kTables * 512}},
    {Gfn{kTables * 512}, Gfn{2 * kTables * 512}},
};
// A table's gfns lie in both halves. The factor is odd: no gfn comes twice.
std::uint64_t Scattered(std::uint64_t i) { return i * 1237 % kGfns.end.value; }

TEST(PruneNestedStressTest, WhatIsAccessedIsReportedForItsGfn) {
  const auto end = std::chrono::steady_clock::now() + 3 * test::kStressTime;
  std::uint64_t rounds = 0;
  std::uint64_t moved = 0;
  while (std::chrono::steady_clock::now() < end) {
    Guest guest(1, 64, TableKind::kIndirect);
    // Even nested frames keep their gfn; odd ones are given away.
    for (std::uint64_t i = 0; i < kNested.end.value; ++i) {
      ASSERT_EQ(guest.MapNested(Gfn{i}, Gfn{Scattered(i)}), MapOutcome::kDone);
    }
    std::vector<std::uint64_t> young[3];
    for (auto& words : young) words.resize(kGfns.Frames() / 64);
    const auto prune = [&](GfnRange asked, std::vector<std::uint64_t>& words) {
      const LocklessWalk walk(guest.domain, WalkEntry::kWait);
      (void)PruneNested(
          guest.tree, walk, guest.cpus, kNested, Pruning::kExact,
          AgeAction::kTestAndClear, asked,
          AgeOutput{.begin = kGfns.begin,
                    .young = Bitmap(words.data(), kGfns.Frames())});
    };
    // By gfns.
    std::vector<bool> accessed(kGfns.Frames());
    std::vector<bool> mapped_young(kGfns.Frames());
    std::vector<bool> handed_on(kGfns.Frames());
    Vcpu vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
    std::vector<std::function<void()>> bodies;
    bodies.emplace_back([&] {
      std::mt19937 random(static_cast<unsigned>(rounds));
      const sim::Running<Vcpu> running(vcpu);
      for (int i = 0; i < 200; ++i) {
        const std::uint64_t nested = random() % kNested.Frames() / 2 * 2;
        if (vcpu.Translate(Gfn{nested}, Rights::kRead)) {
          accessed[Scattered(nested)] = true;
        }
        // What comes and goes is used too, for whoever it is then.
        (void)vcpu.Translate(Gfn{nested + 1}, Rights::kRead);
      }
    });
    bodies.emplace_back([&] {
      std::mt19937 random(static_cast<unsigned>(rounds) + 1);
      for (std::uint64_t i = 0; i < 50; ++i) {
        const Gfn nested{random() % kNested.Frames() / 2 * 2 + 1};
        const LocklessWalk walk(guest.domain, WalkEntry::kWait);
        (void)guest.tree.Zap(walk, GfnRange{nested, nested + 1},
                             ZapFlush::kEach, [&](const TakenLeaf<F>& leaf) {
                               const Gfn gfn =
                                   RecordedFrame<F>(guest.memory, leaf.entry);
                               if (IsYoung<F>(leaf.word))
                                 handed_on[gfn.value] = true;
                             });
        const std::uint64_t gfn = Scattered(kNested.Frames() + i);
        ASSERT_EQ(guest.MapNested(nested, Gfn{gfn}, F::kAccessed),
                  MapOutcome::kDone);
        MarkParent(guest.tree, walk, nested);
        mapped_young[gfn] = true;
      }
    });
    for (int pruner = 0; pruner < 2; ++pruner) {
      bodies.emplace_back([&, pruner] {
        for (int i = 0; i < 6; ++i) prune(kHalves[pruner], young[pruner]);
      });
    }
    test::RunThreads(bodies);
    prune(kGfns, young[2]);
    for (std::uint64_t gfn = 0; gfn < kGfns.Frames(); ++gfn) {
      bool found = handed_on[gfn];
      for (auto& words : young) {
        found |= Bitmap(words.data(), kGfns.Frames()).Test(gfn);
      }
      moved += mapped_young[gfn];
      if (!accessed[gfn] && !mapped_young[gfn]) continue;
      ASSERT_TRUE(found) << "round " << rounds << ", gfn " << gfn
                         << (mapped_young[gfn] ? ", by a fault" : "");
    }
    // Nor is anybody charged with what lies outside what was asked.
    for (int pruner = 0; pruner < 2; ++pruner) {
      for (std::uint64_t gfn = kHalves[1 - pruner].begin.value;
           gfn < kHalves[1 - pruner].end.value; ++gfn) {
        ASSERT_FALSE(Bitmap(young[pruner].data(), kGfns.Frames()).Test(gfn));
      }
    }
    ++rounds;
  }
  EXPECT_EQ(moved, 50 * rounds);
}

}  // namespace
}  // namespace ptage
