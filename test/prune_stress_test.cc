// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Exact pruning by two threads against a vCPU that walks with warm caches and
// faults that map accessed pages: whatever was accessed is reported once at
// least.

#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
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
constexpr GfnRange kAll{Gfn{0}, Gfn{kTables * 512}};

TEST(PruneStressTest, WhatIsAccessedIsReported) {
  const auto end = std::chrono::steady_clock::now() + 3 * test::kStressTime;
  std::uint64_t rounds = 0;
  std::uint64_t reported = 0;
  while (std::chrono::steady_clock::now() < end) {
    Guest guest(1);
    // Every other frame is there, cold; the others are for faults.
    for (std::uint64_t gfn = 0; gfn < kAll.end.value; gfn += 2) {
      ASSERT_EQ(guest.Map(Gfn{gfn}, Pfn{gfn}, Rights::kAll), MapOutcome::kDone);
    }
    std::vector<std::uint64_t> young[3];
    for (auto& words : young) words.resize(kAll.Frames() / 64);
    const auto prune = [&](std::vector<std::uint64_t>& words) {
      const LocklessWalk walk(guest.domain, WalkEntry::kWait);
      (void)Prune(guest.tree, walk, guest.cpus, kAll, Pruning::kExact,
                  AgeAction::kTestAndClear,
                  AgeOutput{.begin = kAll.begin,
                            .young = Bitmap(words.data(), kAll.Frames())});
    };
    std::vector<bool> translated(kAll.Frames());
    std::vector<bool> mapped(kAll.Frames());
    Vcpu vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
    std::vector<std::function<void()>> bodies;
    bodies.emplace_back([&] {
      std::mt19937 random(static_cast<unsigned>(rounds));
      const sim::Running<Vcpu> running(vcpu);
      for (int i = 0; i < 200; ++i) {
        const Gfn gfn{random() % kAll.Frames() / 2 * 2};
        if (vcpu.Translate(gfn, Rights::kRead)) translated[gfn.value] = true;
      }
    });
    bodies.emplace_back([&] {
      std::mt19937 random(static_cast<unsigned>(rounds) + 1);
      for (int i = 0; i < 50; ++i) {
        const Gfn gfn{random() % kAll.Frames() / 2 * 2 + 1};
        const LocklessWalk walk(guest.domain, WalkEntry::kWait);
        const F::Word leaf =
            F::MakeLeaf(Pfn{gfn.value}, Level{1}, Rights::kAll) | F::kAccessed;
        if (guest.tree.Map(walk, gfn, Level{1}, leaf) != MapOutcome::kDone) {
          continue;
        }
        MarkParent(guest.tree, walk, gfn);
        mapped[gfn.value] = true;
      }
    });
    for (int pruner = 0; pruner < 2; ++pruner) {
      bodies.emplace_back([&, pruner] {
        for (int i = 0; i < 6; ++i) prune(young[pruner]);
      });
    }
    test::RunThreads(bodies);
    prune(young[2]);
    for (std::uint64_t i = 0; i < kAll.Frames(); ++i) {
      bool found = false;
      for (auto& words : young) {
        found |= Bitmap(words.data(), kAll.Frames()).Test(i);
      }
      reported += found;
      if (!translated[i] && !mapped[i]) continue;
      ASSERT_TRUE(found) << "round " << rounds << ", frame " << i
                         << (mapped[i] ? ", by a fault" : "");
    }
    ++rounds;
  }
  EXPECT_GT(reported, rounds);
}

}  // namespace
}  // namespace ptage
