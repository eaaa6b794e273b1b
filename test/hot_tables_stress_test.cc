// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Dense tables aged at their parents against a vCPU that walks with warm caches
// and faults that map accessed pages: whatever was accessed is reported once at
// least.

#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/hot_tables.h"
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

TEST(HotTablesStressTest, WhatIsAccessedIsReported) {
  const auto end = std::chrono::steady_clock::now() + 3 * test::kStressTime;
  std::uint64_t rounds = 0;
  std::uint64_t reported = 0;
  std::uint64_t dense = 0;
  while (std::chrono::steady_clock::now() < end) {
    Guest guest(1);
    // Every other frame is there, cold; the others are for faults.
    for (std::uint64_t gfn = 0; gfn < kAll.end.value; gfn += 2) {
      ASSERT_EQ(guest.Map(Gfn{gfn}, Pfn{gfn}, Rights::kAll), MapOutcome::kDone);
    }
    std::vector<std::uint64_t> young(kAll.Frames() / 64);
    std::uint8_t bytes[kTables] = {};
    // Dense soon, and verified all the time.
    HotTables<F> hot(bytes, kAll,
                     DensePolicy{.sixteenths = 0, .verify_one_in = 1});
    const auto age = [&] {
      const LocklessWalk walk(guest.domain, WalkEntry::kWait);
      (void)AgeHotTables(
          guest.tree, walk, guest.cpus, hot,
          AgeOutput{.begin = kAll.begin,
                    .young = Bitmap(young.data(), kAll.Frames())});
      dense += hot.Dense();
    };
    std::vector<bool> translated(kAll.Frames());
    std::vector<bool> mapped(kAll.Frames());
    Vcpu vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
    std::vector<std::function<void()>> bodies;
    bodies.emplace_back([&] {
      std::mt19937 random(static_cast<unsigned>(rounds));
      const sim::Running<Vcpu> running(vcpu);
      for (int i = 0; i < 2000; ++i) {
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
    bodies.emplace_back([&] {
      for (int i = 0; i < 12; ++i) age();
    });
    test::RunThreads(bodies);
    age();
    for (std::uint64_t i = 0; i < kAll.Frames(); ++i) {
      const bool found = Bitmap(young.data(), kAll.Frames()).Test(i);
      reported += found;
      if (!translated[i] && !mapped[i]) continue;
      ASSERT_TRUE(found) << "round " << rounds << ", frame " << i
                         << (mapped[i] ? ", by a fault" : "");
    }
    ++rounds;
  }
  EXPECT_GT(reported, rounds);
  EXPECT_GT(dense, rounds / 4);
}

}  // namespace
}  // namespace ptage
