// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/run.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "bench/access.h"
#include "bench/clock.h"
#include "bench/contender.h"
#include "bench/replay.h"
#include "bench/report.h"
#include "bench/setter.h"
#include "bench/team.h"
#include "bench/trace.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

std::vector<Replay> TwoReplays(std::uint64_t pages) {
  std::vector<Replay> replays;
  for (const std::uint32_t footprint : {300u, 700u}) {
    Trace trace;
    trace.pages = footprint;
    for (std::uint32_t i = 0; i < 20 * kBurst; ++i) {
      trace.records.push_back(Record{i * i % footprint, Access::kRead, 1});
    }
    replays.emplace_back("made", trace, pages);
  }
  return replays;
}

class RunTest : public testing::Test {
 protected:
  RunTest() {
    plan_.pages = 2048;
    plan_.rounds = 4;
    plan_.window_ns = 1e6;
    plan_.period_ns = 1e5;
    plan_.zaps_per_ms = 20;
    // Until the rounds are done, however many windows are dropped.
    plan_.seconds = 0.5;
    plan_.wanted = [](GuestKind, const Config&) { return true; };
    plan_.progress = [](std::uint64_t, std::uint64_t) { return true; };
  }
  RunResult Run() {
    Runner runner(plan_, replays_, rate_, team_);
    EXPECT_TRUE(runner.SetUp().ok());
    return runner.Run();
  }

  RunPlan plan_;
  const TickRate rate_;
  const std::vector<Replay> replays_ = TwoReplays(2048);
  Team team_{{UsableCpus().back()}};
};

TEST_F(RunTest, ARoundRunsEveryContenderOfEveryGuestInEveryConfiguration) {
  const RunResult run = Run();
  ASSERT_GE(run.rounds, 1u);
  ASSERT_EQ(run.guests.size(), 3u);
  std::uint64_t windows = 0;
  for (const GuestResult& guest : run.guests) {
    ASSERT_EQ(guest.configs.size(), 4u);
    const bool shadow = guest.kind == GuestKind::kShadow;
    EXPECT_EQ(guest.mapped, shadow ? 4096u : 2048u);
    EXPECT_EQ(guest.in_lists, shadow                          ? 3840u
                              : guest.kind == GuestKind::kTdp ? 0u
                                                              : 16u);
    for (const ConfigResult& config : guest.configs) {
      for (const Contender contender : kContenders) {
        const SlotResult* const slot = config.Find(contender);
        ASSERT_EQ(slot != nullptr, Exists(guest.kind, contender));
        if (slot == nullptr) continue;
        EXPECT_EQ(slot->rounds.size(), run.rounds);
        EXPECT_EQ(slot->kept + slot->dropped, run.rounds);
      }
      EXPECT_NE(config.Find(Slot{.contender = Contender::kNone, .again = true}),
                nullptr);
      for (const SlotResult& slot : config.slots) {
        windows += slot.kept + slot.dropped;
        // More load once in four rounds.
        if (slot.slot.load != 0) {
          EXPECT_EQ(slot.kept + slot.dropped, (run.rounds + 3) / 4);
        }
      }
    }
  }
  EXPECT_EQ(run.windows, windows);
}

TEST(ShuffleTest, ARoundHasEverySlotOnceAndByFormThoseOfOneAfterAnother) {
  std::vector<SlotResult> slots = internal::SlotsFor(
      GuestKind::kShadow, Config{.evict = false, .duty = 0.05, .name = ""}, {},
      1);
  ASSERT_EQ(slots.size(), kContenderCount + 1);
  int lockless_first = 0;
  std::set<Contender> firsts;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::vector<SlotResult*> order;
    for (SlotResult& slot : slots) order.push_back(&slot);
    internal::ShuffleSlots(true, seed, order);
    EXPECT_EQ(std::set<SlotResult*>(order.begin(), order.end()).size(),
              slots.size());
    int changes = 0;
    const auto lockless = [&](std::size_t i) {
      return TraitsOf(order[i]->slot.contender).rmap_lock ==
             RmapLock::kLockless;
    };
    for (std::size_t i = 1; i < order.size(); ++i) {
      changes += lockless(i) != lockless(i - 1);
    }
    EXPECT_EQ(changes, 1);
    lockless_first += lockless(0);
    firsts.insert(order[0]->slot.contender);
  }
  EXPECT_GT(lockless_first, 50);
  EXPECT_LT(lockless_first, 150);
  EXPECT_EQ(firsts.size(), kContenderCount);
}

TEST_F(RunTest, OnlyWantedPartsRun) {
  plan_.wanted = [](GuestKind kind, const Config& config) {
    return kind == GuestKind::kNested && config.evict && config.duty < 1;
  };
  const RunResult run = Run();
  ASSERT_EQ(run.guests.size(), 1u);
  EXPECT_EQ(run.guests[0].kind, GuestKind::kNested);
  ASSERT_EQ(run.guests[0].configs.size(), 1u);
  EXPECT_TRUE(run.guests[0].configs[0].config.evict);
}

TEST_F(RunTest, SplitsAreConfigurationsOfTheirOwnWhereLeavesMayBeLarge) {
  plan_.pages = 4096;
  plan_.splits_per_ms = 5;
  plan_.wanted = [](GuestKind, const Config& config) {
    return config.splits && config.duty == 1;
  };
  plan_.contenders = {Contender::kNone, Contender::kFastOnly,
                      Contender::kBitLocked};
  const std::vector<Replay> replays = TwoReplays(4096);
  Runner runner(plan_, replays, rate_, team_);
  ASSERT_TRUE(runner.SetUp().ok());
  const RunResult run = runner.Run();
  ASSERT_EQ(run.guests.size(), 2u);
  for (const GuestResult& guest : run.guests) {
    EXPECT_NE(guest.kind, GuestKind::kShadow);
    ASSERT_EQ(guest.configs.size(), 1u);
    EXPECT_EQ(guest.configs[0].slots.size(),
              guest.kind == GuestKind::kTdp ? 2u : 3u);
    EXPECT_EQ(guest.configs[0].Find(Contender::kSlow), nullptr);
  }
}

TEST_F(RunTest, ARunStopsWhenItIsTold) {
  int calls = 0;
  plan_.progress = [&](std::uint64_t, std::uint64_t) { return ++calls < 3; };
  const RunResult run = Run();
  EXPECT_TRUE(run.stopped);
  EXPECT_EQ(calls, 3);
}

TEST_F(RunTest, TheMicroModelCountsSettersUnderEveryLock) {
  Figures figures;
  // A busy machine drops windows.
  for (int tries = 0; tries < 100; ++tries) {
    SetterModel(4, team_).Run(20, 1e6, 1, rate_, [] { return true; }, figures);
    if (figures["contention/setter/vs_ticket"].summary.samples != 0) break;
  }
  const Summary& ticket = figures["contention/setter/vs_ticket"].summary;
  if (ticket.samples == 0) GTEST_SKIP() << "the machine is too busy to tell";
  EXPECT_GT(ticket.median, 0);
}

}  // namespace
}  // namespace ptage::bench
