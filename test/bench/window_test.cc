// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/window.h"

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "bench/access.h"
#include "bench/clock.h"
#include "bench/contender.h"
#include "bench/replay.h"
#include "bench/team.h"
#include "bench/trace.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

constexpr std::uint64_t kPages = 8192;
constexpr int kTries = 10;

// A program that works on 40 pages at a time.
Replay MakeReplay() {
  Trace trace;
  trace.pages = 1000;
  internal::SplitMix random(7);
  for (std::uint32_t i = 0; i < 50 * kBurst; ++i) {
    const auto page = static_cast<std::uint32_t>(
        (i / 3000 * 37 + random.Below(40)) % trace.pages);
    const Access kind = random.Below(3) == 0 ? Access::kWrite : Access::kRead;
    trace.records.push_back(Record{page, kind, 1});
  }
  return Replay("made", trace, kPages);
}

class WindowTest
    : public testing::TestWithParam<std::tuple<GuestKind, Contender>> {
 protected:
  WindowTest() : team_({UsableCpus().back()}) {}

  [[nodiscard]] GuestKind Kind() const { return std::get<0>(GetParam()); }
  [[nodiscard]] Contender Who() const { return std::get<1>(GetParam()); }
  // The frames of a shadow guest that a program touches all have two names.
  [[nodiscard]] bool LeavesAllOut() const {
    return Kind() == GuestKind::kShadow && Who() == Contender::kSingleEntry;
  }
  [[nodiscard]] WindowPlan Plan() const {
    return WindowPlan{.contender = Who(),
                      .replay = &replay_,
                      .first_burst = 3,
                      .length = rate_.FromNanoseconds(20e6),
                      .period = rate_.FromNanoseconds(0.4e6),
                      .slice = rate_.FromNanoseconds(50e3),
                      .seed = 11};
  }

  const TickRate rate_;
  const Replay replay_ = MakeReplay();
  Team team_;
};

std::string NameOfCase(
    const testing::TestParamInfo<WindowTest::ParamType>& info) {
  const auto [kind, contender] = info.param;
  const char* const guest = kind == GuestKind::kTdp      ? "tdp_"
                            : kind == GuestKind::kNested ? "nested_"
                                                         : "shadow_";
  return std::string(guest) + TraitsOf(contender).name;
}

std::vector<std::tuple<GuestKind, Contender>> AllCases() {
  std::vector<std::tuple<GuestKind, Contender>> cases;
  for (const GuestKind kind : kGuestKinds) {
    for (const Contender contender : kContenders) {
      if (Exists(kind, contender)) cases.emplace_back(kind, contender);
    }
  }
  return cases;
}

TEST_P(WindowTest, WithoutEvictionEveryAnsweredTouchIsFound) {
  Machine machine(Kind(), kPages, 1);
  ASSERT_TRUE(machine.guest().Populate().ok());
  // Where the machine is busy with other things, a window may see no pass.
  WindowPlan plan = Plan();
  WindowResult result;
  for (int tries = 0; tries < kTries; ++tries, plan.length *= 2) {
    result = machine.Run(plan, rate_, team_);
    const bool seen = Who() == Contender::kNone
                          ? result.vcpus[0].translations > 0
                      : LeavesAllOut() ? result.passes > 0
                                       : result.truth.touched > 0;
    if (seen) break;
  }
  EXPECT_GT(result.vcpus[0].translations, 0u);
  EXPECT_TRUE(result.vcpus[0].faults.empty());
  EXPECT_EQ(result.zaps, 0u);
  // A shadow guest's frames have two entries on average.
  const std::uint64_t mapped =
      Kind() == GuestKind::kShadow ? 2 * kPages : kPages;
  EXPECT_EQ(machine.guest().Mapped(), mapped);
  EXPECT_GT(result.aged_blocks, 0u);
  if (Who() == Contender::kNone) return;
  EXPECT_EQ(result.truth.touched == 0, LeavesAllOut());
  if (Who() != Contender::kBareClear) {
    EXPECT_EQ(result.truth.found, result.truth.touched);
  }
  if (Who() != Contender::kReadOnly) {
    EXPECT_EQ(result.truth.confirmed, result.truth.reported);
  }
  ASSERT_GT(result.passes, 0u);
  EXPECT_EQ(result.tested + result.unanswered, result.passes * mapped);
  const bool leaves_lists = Who() == Contender::kSingleEntry;
  // There are no faults that a trial could meet. Two entries in 256 share an
  // rmap, and 15 in 16 of a shadow guest's.
  const std::uint64_t in_lists =
      Kind() == GuestKind::kShadow ? mapped / 16 * 15 : mapped / 128;
  EXPECT_EQ(result.unanswered, leaves_lists ? result.passes * in_lists : 0);
}

TEST_P(WindowTest, WithEvictionEveryAnsweredTouchIsFoundOrHandedOver) {
  Machine machine(Kind(), kPages, 1);
  ASSERT_TRUE(machine.guest().Populate().ok());
  WindowPlan plan = Plan();
  plan.evict_every = rate_.FromNanoseconds(0.5e6);
  TruthCounts truth;
  std::uint64_t zaps = 0;
  std::uint64_t faults = 0;
  for (int tries = 0; tries < kTries; ++tries, plan.length *= 2) {
    const WindowResult result = machine.Run(plan, rate_, team_);
    truth += result.truth;
    zaps += result.zaps;
    faults += result.vcpus[0].faults.size();
    plan.first_burst += 50;
    const bool seen =
        Who() == Contender::kNone || LeavesAllOut() || truth.touched > 0;
    if (seen && faults > 0) break;
  }
  EXPECT_GT(zaps, 0u);
  EXPECT_GT(faults, 0u);
  EXPECT_LE(machine.guest().Mapped(), machine.guest().frames().Names());
  if (Who() == Contender::kNone || LeavesAllOut()) return;
  ASSERT_GT(truth.touched, 0u);
  if (Who() == Contender::kBareClear) return;
  EXPECT_EQ(truth.found, truth.touched);
}

TEST_P(WindowTest, WithSplitsEveryAnsweredTouchIsFoundOrHandedOver) {
  if (Kind() == GuestKind::kShadow) GTEST_SKIP() << "its leaves are small";
  Machine machine(Kind(), kPages, 1, Leaves::kSomeLarge);
  ASSERT_TRUE(machine.guest().Populate().ok());
  WindowPlan plan = Plan();
  plan.evict_every = rate_.FromNanoseconds(2e6);
  plan.split_every = rate_.FromNanoseconds(2e6);
  TruthCounts truth;
  std::uint64_t splits = 0;
  for (int tries = 0; tries < kTries; ++tries) {
    const WindowResult result = machine.Run(plan, rate_, team_);
    truth += result.truth;
    splits += result.splits;
    plan.first_burst += 50;
    const bool seen = Who() == Contender::kNone || truth.touched > 0;
    if (seen && splits > 1) break;
    // Each turn waits for the vCPU; where that has no CPU for long, turns that
    // are made up leave no time for a pass.
    plan.length *= 2;
    plan.evict_every *= 2;
    plan.split_every *= 2;
  }
  EXPECT_GT(splits, 1u);
  if (Who() == Contender::kNone) return;
  ASSERT_GT(truth.touched, 0u);
  if (Who() == Contender::kBareClear) return;
  EXPECT_EQ(truth.found, truth.touched);
}

INSTANTIATE_TEST_SUITE_P(All, WindowTest, testing::ValuesIn(AllCases()),
                         NameOfCase);

}  // namespace
}  // namespace ptage::bench
