// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/notifier.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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
    if (during) during();
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

// What a chain is asked, or told, that a change of it has to wait for.
enum class Call { kQuestion, kInvalidation };

// Runs `change` while `call` is inside `notifier`, and expects it to return
// after that alone.
template <class Chain, class Change>
void ExpectToWait(Chain& chain, FixedNotifier& notifier, Call call,
                  Change&& change) {
  std::atomic<bool> inside{false}, leave{false}, left{false};
  notifier.during = [&] {
    inside.store(true);
    while (!leave.load()) std::this_thread::yield();
    left.store(true);
  };
  std::thread caller([&] {
    if (call == Call::kQuestion) {
      chain.TestClearYoung(kRange);
    } else {
      chain.Invalidate(kRange, [](const ZappedLeaf&) {});
    }
  });
  while (!inside.load()) std::this_thread::yield();
  std::thread changer([&] {
    change();
    EXPECT_TRUE(left.load());
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  leave.store(true);
  caller.join();
  changer.join();
  notifier.during = nullptr;
}

TEST(NotifierChainTest, UnregisterWaitsForWhatIsUnderWay) {
  for (const Call call : {Call::kQuestion, Call::kInvalidation}) {
    EpochDomain<> domain;
    NotifierChain<EpochDomain<>> chain(domain);
    FixedNotifier notifier(kCold);
    ASSERT_TRUE(chain.Register(notifier).ok());
    ExpectToWait(chain, notifier, call,
                 [&] { EXPECT_TRUE(chain.Unregister(notifier).ok()); });
  }
}

// Else the new one could map what the invalidation, of which it was not told,
// takes away.
TEST(NotifierChainTest, RegisterWaitsForTheInvalidationUnderWay) {
  EpochDomain<> domain;
  NotifierChain<EpochDomain<>> chain(domain);
  FixedNotifier first(kCold), late(kCold);
  ASSERT_TRUE(chain.Register(first).ok());
  ExpectToWait(chain, first, Call::kInvalidation,
               [&] { EXPECT_TRUE(chain.Register(late).ok()); });
  EXPECT_EQ(chain.Invalidate(kRange, [](const ZappedLeaf&) {}), 2u);
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

// --- Two virtual machines, one of which has rmaps that fast-only must not ask.

class MixedChainTest : public testing::Test {
 protected:
  using Fast = test::Machine<Ept, test::LocklessRmapsUnderLock<Ept>>;
  using Slow = test::Machine<Ept, test::BitRmaps<Ept>>;

  void SetUp() override {
    ASSERT_TRUE(fast_.vm->AddMemslot(kRange, Pfn{512}, Rights::kAll).ok());
    ASSERT_TRUE(slow_.vm->AddMemslot(kRange, Pfn{1024}, Rights::kAll).ok());
    ASSERT_TRUE(chain_.Register(fast_member_).ok());
    ASSERT_TRUE(chain_.Register(slow_member_).ok());
  }
  void TearDown() override {
    EXPECT_TRUE(chain_.Unregister(slow_member_).ok());
    EXPECT_TRUE(chain_.Unregister(fast_member_).ok());
  }
  // Frame `gfn`, by two names.
  template <class M>
  static void MapTwice(M& machine, std::uint64_t gfn) {
    for (const std::uint64_t name : {1000 + gfn, 2000 + gfn}) {
      ASSERT_EQ(machine.vm->NestedFault(
                    NestedGfn{name}, Rights::kRead,
                    [&](NestedGfn) { return std::optional(Gfn{gfn}); }),
                FaultOutcome::kMapped);
    }
  }
  AgeResult FastOnly(test::Answer& answer) {
    return chain_.TestClearYoungFastOnly(kRange, answer.output());
  }

  Fast fast_{64, 64, Level{1}};
  Slow slow_{64, 64, Level{1}};
  VmNotifier<Fast::VmType> fast_member_{*fast_.vm};
  VmNotifier<Slow::VmType> slow_member_{*slow_.vm};
  EpochDomain<> domain_;
  NotifierChain<EpochDomain<>> chain_{domain_};
};

TEST_F(MixedChainTest, EachFrameIsAnsweredByWhoCan) {
  EXPECT_FALSE(chain_.fast());
  MapTwice(fast_, 3);
  MapTwice(slow_, 4);
  MapTwice(fast_, 5);
  MapTwice(slow_, 5);
  ASSERT_EQ(slow_.vm->Fault(Gfn{6}, Rights::kRead), FaultOutcome::kMapped);
  test::Answer fast(Gfn{0}, 64);
  EXPECT_EQ(FastOnly(fast),
            (AgeResult{.young = true, .was_fast = true, .complete = false}));
  const auto young = [](test::Answer& answer) {
    std::vector<std::uint64_t> frames;
    for (std::uint64_t i = 0; i < 64; ++i) {
      if (answer.Young(Gfn{i})) frames.push_back(i);
    }
    return frames;
  };
  EXPECT_EQ(young(fast), (std::vector<std::uint64_t>{3, 5, 6}));
  for (std::uint64_t i = 0; i < 64; ++i) {
    EXPECT_EQ(fast.Unknown(Gfn{i}), i == 4 || i == 5) << i;
  }
  // The lists are left to slow, whose answer no fast MMU gave.
  test::Answer slow(Gfn{0}, 64);
  EXPECT_EQ(chain_.TestClearYoung(kRange, slow.output()),
            AgeResult{.young = true});
  EXPECT_EQ(young(slow), (std::vector<std::uint64_t>{4, 5}));
  EXPECT_EQ(slow.counts.young, 4u);
  EXPECT_EQ(chain_.TestYoung(kRange), kCold);
}

// A question that meets an invalidation in the middle of a chain. The sink is
// called while the entry is frozen, in the one and then in the other.
TEST_F(MixedChainTest, AnAccessIsToldByTheQuestionOrToTheSink) {
  constexpr GfnRange kPage{Gfn{7}, Gfn{8}};
  for (const AgeMode mode : {AgeMode::kFastOnly, AgeMode::kSlow}) {
    ASSERT_EQ(fast_.vm->Fault(Gfn{7}, Rights::kRead), FaultOutcome::kMapped);
    ASSERT_EQ(slow_.vm->Fault(Gfn{7}, Rights::kRead), FaultOutcome::kMapped);
    std::vector<bool> handed;
    std::vector<AgeResult> asked;
    const auto sink = [&](const ZappedLeaf& leaf) {
      handed.push_back(leaf.accessed);
      asked.push_back(
          chain_.Age(kPage, AgeAction::kTestAndClear, mode, AgeOutput{}));
    };
    EXPECT_EQ(chain_.Invalidate(kPage, sink), 2u);
    // The first has its access; the second's went to the question in between,
    // so that there was none left to hand over.
    EXPECT_EQ(handed, (std::vector<bool>{true, false}));
    const bool slow = mode == AgeMode::kSlow;
    ASSERT_EQ(asked.size(), 2u);
    EXPECT_EQ(asked[0],
              (AgeResult{.young = true, .was_fast = true, .complete = slow}));
    // Frozen again, and nothing else is there.
    EXPECT_EQ(asked[1], (AgeResult{.young = slow, .complete = slow}));
    // And after it, nothing of what it unmapped.
    test::Answer after(Gfn{0}, 64);
    EXPECT_EQ(
        chain_.Age(kRange, AgeAction::kTestAndClear, mode, after.output()),
        kCold);
    EXPECT_FALSE(after.Young(Gfn{7}));
  }
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
