// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/notifier.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_history.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/spte/ept.h"
#include "test/machine.h"

namespace ptage {
namespace {

constexpr GfnRange kRange{Gfn{0}, Gfn{64}};

// The least that a notifier must be: answers what it was told to.
class FixedNotifier : public Notifier {
 public:
  explicit FixedNotifier(AgeResult answer, bool fast = true)
      : answer_(answer), fast_(fast) {}

  AgeResult Age(GfnRange, AgeAction action, AgeMode mode,
                const AgeOutput&) override {
    ++calls;
    last_action = action;
    last_mode = mode;
    if (during) during();
    return answer_;
  }
  std::uint64_t Invalidate(GfnRange range, ZapSink sink) override {
    sink(ZappedLeaf{range.begin, Level{1}, Pfn{1}, true, false});
    return 1;
  }
  [[nodiscard]] bool fast() const override { return fast_; }

  int calls = 0;
  AgeAction last_action = AgeAction::kTest;
  AgeMode last_mode = AgeMode::kSlow;
  std::function<void()> during;

 private:
  const AgeResult answer_;
  const bool fast_;
};

constexpr AgeResult kCold{};
constexpr AgeResult kYoungFast{.young = true, .was_fast = true};
constexpr AgeResult kYoungSlow{.young = true};
constexpr AgeResult kUnknown{.complete = false};

TEST(NotifierChainTest, AnEmptyChainIsColdAndComplete) {
  EpochDomain<> domain;
  NotifierChain<EpochDomain<>> chain(domain);
  EXPECT_EQ(chain.TestClearYoung(kRange), kCold);
  EXPECT_TRUE(chain.fast());
}

TEST(NotifierChainTest, AnswersAddUpAsTheDesignSays) {
  struct Row {
    AgeResult a, b, both;
  };
  // Young: either. Fast: a fast one was young. Complete: both.
  const Row rows[] = {
      {kCold, kCold, {false, false, true}},
      {kYoungFast, kCold, {true, true, true}},
      {kYoungSlow, kCold, {true, false, true}},
      {kYoungSlow, kYoungFast, {true, true, true}},
      {kUnknown, kYoungSlow, {true, false, false}},
      {kUnknown, kCold, {false, false, false}},
  };
  for (const Row& row : rows) {
    EpochDomain<> domain;
    NotifierChain<EpochDomain<>> chain(domain);
    FixedNotifier a(row.a), b(row.b);
    ASSERT_TRUE(chain.Register(a).ok());
    ASSERT_TRUE(chain.Register(b).ok());
    EXPECT_EQ(chain.TestClearYoungFastOnly(kRange), row.both);
  }
}

TEST(NotifierChainTest, TestAndClearIsOneCallToEach) {
  EpochDomain<> domain;
  NotifierChain<EpochDomain<>> chain(domain);
  FixedNotifier notifier(kCold);
  ASSERT_TRUE(chain.Register(notifier).ok());
  chain.TestClearYoung(kRange);
  EXPECT_EQ(notifier.calls, 1);
  EXPECT_EQ(notifier.last_action, AgeAction::kTestAndClear);
  EXPECT_EQ(notifier.last_mode, AgeMode::kSlow);
  chain.TestClearYoungFastOnly(kRange);
  EXPECT_EQ(notifier.calls, 2);
  EXPECT_EQ(notifier.last_mode, AgeMode::kFastOnly);
  chain.TestYoung(kRange);
  EXPECT_EQ(notifier.last_action, AgeAction::kTest);
}

TEST(NotifierChainTest, RegistrationIsChecked) {
  EpochDomain<> domain;
  NotifierChain<EpochDomain<>> chain(domain);
  FixedNotifier notifier(kCold, /*fast=*/false);
  EXPECT_EQ(chain.Unregister(notifier).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(chain.Register(notifier).ok());
  EXPECT_FALSE(chain.fast());
  EXPECT_EQ(chain.Register(notifier).code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(chain.Unregister(notifier).ok());
  EXPECT_TRUE(chain.fast());
  chain.TestClearYoung(kRange);
  EXPECT_EQ(notifier.calls, 0);
}

TEST(NotifierChainTest, InvalidationsReachEveryNotifier) {
  EpochDomain<> domain;
  NotifierChain<EpochDomain<>> chain(domain);
  FixedNotifier a(kCold), b(kCold);
  ASSERT_TRUE(chain.Register(a).ok());
  ASSERT_TRUE(chain.Register(b).ok());
  int zapped = 0;
  EXPECT_EQ(chain.Invalidate(kRange, [&](const ZappedLeaf&) { ++zapped; }), 2u);
  EXPECT_EQ(zapped, 2);
}

TEST(NotifierChainTest, UnregisterWaitsForTheQuestionUnderWay) {
  EpochDomain<> domain;
  NotifierChain<EpochDomain<>> chain(domain);
  auto notifier = std::make_unique<FixedNotifier>(kCold);
  std::atomic<bool> inside{false}, leave{false}, left{false};
  notifier->during = [&] {
    inside.store(true);
    while (!leave.load()) std::this_thread::yield();
    left.store(true);
  };
  ASSERT_TRUE(chain.Register(*notifier).ok());
  std::thread asker([&] { chain.TestClearYoung(kRange); });
  while (!inside.load()) std::this_thread::yield();
  std::thread unregisterer([&] {
    EXPECT_TRUE(chain.Unregister(*notifier).ok());
    EXPECT_TRUE(left.load());
    notifier.reset();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  leave.store(true);
  asker.join();
  unregisterer.join();
  EXPECT_EQ(notifier, nullptr);
}

TEST(NotifierChainTest, WithoutAPlaceToWalkFastOnlyIsUnknown) {
  AnonymousEpochDomain<1> domain;
  NotifierChain<AnonymousEpochDomain<1>> chain(domain);
  FixedNotifier notifier(kYoungFast);
  ASSERT_TRUE(chain.Register(notifier).ok());
  const LocklessWalk<AnonymousEpochDomain<1>> taken(domain);
  test::Answer answer(Gfn{0}, 64);
  EXPECT_EQ(chain.TestClearYoungFastOnly(kRange, answer.output()), kUnknown);
  EXPECT_TRUE(answer.Unknown(Gfn{0}));
  EXPECT_TRUE(answer.Unknown(Gfn{63}));
  EXPECT_EQ(notifier.calls, 0);
}

TEST(NotifierChainTest, ComesAndGoesWhileOthersAsk) {
  EpochDomain<> domain;
  NotifierChain<EpochDomain<>> chain(domain);
  std::atomic<bool> stop{false};
  std::atomic<int> asked{0};
  std::vector<std::thread> askers;
  for (int i = 0; i < 2; ++i) {
    askers.emplace_back([&] {
      while (!stop.load()) {
        chain.TestClearYoungFastOnly(kRange);
        asked.fetch_add(1);
      }
    });
  }
  for (int i = 0; i < 300 || asked.load() < 300; ++i) {
    // Freed at the end of each turn: a call after that is a use after free.
    auto notifier =
        std::make_unique<test::Machine<Ept, test::SingleRmaps<Ept>>>(8, 8);
    VmNotifier adapter(*notifier->vm);
    ASSERT_TRUE(chain.Register(adapter).ok());
    ASSERT_TRUE(chain.Unregister(adapter).ok());
  }
  stop.store(true);
  for (std::thread& asker : askers) asker.join();
}

// A guest uses all its pages, a notification unmaps half of them, and the guest
// has not come back to these when somebody asks. Where the sink drops what it
// is handed, as upstream does since 6.13, half of the guest reads idle.
TEST(NotifierChainTest, WhatAnInvalidationUnmapsDoesNotLookIdle) {
  using Guest = test::Machine<Ept, test::LocklessRmapsUnderLock<Ept>>;
  constexpr GfnRange kHalf{Gfn{0}, Gfn{32}};
  for (const bool recorded : {false, true}) {
    Guest guest(64, 256, Level{1});
    ASSERT_TRUE(guest.vm->AddMemslot(kRange, Pfn{512}, Rights::kAll).ok());
    VmNotifier<Guest::VmType> notifier(*guest.vm);
    EpochDomain<> domain;
    NotifierChain<EpochDomain<>> chain(domain);
    ASSERT_TRUE(chain.Register(notifier).ok());
    std::vector<Cell<std::uint64_t>> words(
        PageHistory::WordsFor(kRange.Frames()), Cell<std::uint64_t>(0));
    PageHistory history(words.data(), kRange);
    const auto used = [&](AgeAction action) {
      test::Answer answer(kRange.begin, kRange.Frames());
      (void)AgeWithHistory(history, kRange, action, answer.output(), [&] {
        return chain.Age(kRange, action, AgeMode::kFastOnly, answer.output());
      });
      std::uint64_t pages = 0;
      for (Gfn gfn = kRange.begin; gfn < kRange.end; gfn = gfn + 1) {
        pages += answer.Young(gfn) ? 1 : 0;
      }
      return pages;
    };
    for (Gfn gfn = kRange.begin; gfn < kRange.end; gfn = gfn + 1) {
      ASSERT_EQ(guest.vm->Fault(gfn, Rights::kWrite), FaultOutcome::kMapped);
    }
    EXPECT_EQ(chain.Invalidate(kHalf,
                               [&](const ZappedLeaf& leaf) {
                                 if (!recorded) return;
                                 history.Record(
                                     GfnRange{leaf.gfn, leaf.gfn + 1},
                                     leaf.accessed, leaf.dirty);
                               }),
              32u);
    EXPECT_EQ(used(AgeAction::kTest), recorded ? 64u : 32u);
    // The guest comes back to one of them; it stays one page, told of once.
    ASSERT_EQ(guest.vm->Fault(Gfn{5}, Rights::kRead), FaultOutcome::kMapped);
    EXPECT_EQ(used(AgeAction::kTestAndClear), recorded ? 64u : 33u);
    EXPECT_EQ(used(AgeAction::kTest), 0u);
    // It was written before it was unmapped, though not since.
    test::Answer written(kRange.begin, kRange.Frames());
    (void)history.Written(kRange, AgeAction::kTest, written.output());
    EXPECT_EQ(written.Young(Gfn{5}), recorded);
    ASSERT_TRUE(chain.Unregister(notifier).ok());
  }
}

}  // namespace
}  // namespace ptage
