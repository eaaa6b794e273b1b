// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A VM with a history: what a zap hands over is seen by the questions that come
// after it, whether the page was mapped again or not. And what invalidations
// and dirty collection that meet flush for each other.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_history.h"
#include "ptage/page_table.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/machine.h"

namespace ptage {
namespace {

using F = Ept;
constexpr GfnRange kAll{Gfn{0}, Gfn{256}};

// Calls a function at the next flush, if there is one.
struct HookedFlusher {
  void Flush(GfnRange range) {
    flushed.push_back(range);
    if (hook) std::exchange(hook, nullptr)();
  }
  std::vector<GfnRange> flushed;
  std::function<void()> hook;
};

enum class With { kNoHistory, kHistory };

template <class D>
class Guest {
 public:
  using Machine = test::Machine<F, D, HookedFlusher>;

  explicit Guest(With with, Level largest = Level{1})
      : words_(PageHistory::WordsFor(kAll.Frames()), Cell<std::uint64_t>(0)),
        history_(words_.data(), kAll),
        machine_(64, 256, largest,
                 with == With::kHistory ? &history_ : nullptr) {
    EXPECT_TRUE(
        vm().AddMemslot({Gfn{0}, Gfn{1024}}, Pfn{1024}, Rights::kAll).ok());
  }
  auto& vm() { return *machine_.vm; }
  HookedFlusher& flusher() { return machine_.flusher; }
  PageHistory& history() { return history_; }

  FaultOutcome NestedFault(std::uint64_t nested, std::uint64_t gfn,
                           Rights access) {
    return vm().NestedFault(NestedGfn{nested}, access,
                            [&](NestedGfn) { return std::optional(Gfn{gfn}); });
  }
  // Frames of kAll that are not young in an answer.
  std::uint64_t Idle(AgeAction action, AgeMode mode = AgeMode::kSlow) {
    test::Answer answer(Gfn{0}, kAll.Frames());
    (void)vm().Age(kAll, action, mode, answer.output());
    return kAll.Frames() - Told(answer).size();
  }
  // Frames that a collection told of.
  std::vector<std::uint64_t> Dirty(bool protect = false) {
    test::Answer answer(Gfn{0}, kAll.Frames());
    if (protect) {
      (void)vm().WriteProtect(kAll, answer.output());
    } else {
      (void)vm().ClearDirty(kAll, answer.output());
    }
    return Told(answer);
  }

 private:
  static std::vector<std::uint64_t> Told(test::Answer& answer) {
    std::vector<std::uint64_t> told;
    for (std::uint64_t i = 0; i < kAll.Frames(); ++i) {
      if (answer.Young(Gfn{i})) told.push_back(i);
    }
    return told;
  }

  std::vector<Cell<std::uint64_t>> words_;
  PageHistory history_;
  Machine machine_;
};

template <class D>
class VmHistoryTest : public testing::Test {};
using Disciplines = testing::Types<test::SingleRmaps<F>, test::BitRmaps<F>,
                                   test::LocklessRmapsUnderLock<F>>;
TYPED_TEST_SUITE(VmHistoryTest, Disciplines);

const auto kDrop = [](const ZappedLeaf&) {};
constexpr AgeAction kTest = AgeAction::kTest;
constexpr AgeAction kClear = AgeAction::kTestAndClear;

// What upstream lost: a guest uses all of its pages, automatic balancing unmaps
// half of them, and the guest comes back to a quarter. (Its own test calls more
// than one page in ten that was used and reads idle a failure.)
TYPED_TEST(VmHistoryTest, AUsedPageIsNotIdleThoughItWasUnmapped) {
  for (const With with : {With::kNoHistory, With::kHistory}) {
    const bool recorded = with == With::kHistory;
    Guest<TypeParam> guest(with);
    auto& vm = guest.vm();
    for (Gfn gfn = kAll.begin; gfn < kAll.end; gfn = gfn + 1) {
      ASSERT_EQ(vm.Fault(gfn, Rights::kWrite), FaultOutcome::kMapped);
    }
    std::uint64_t handed = 0;
    for (std::uint64_t gfn = 0; gfn < 256; gfn += 2) {
      ASSERT_EQ(vm.Invalidate({Gfn{gfn}, Gfn{gfn + 1}},
                              [&](const ZappedLeaf& leaf) {
                                handed += leaf.accessed && leaf.dirty ? 1 : 0;
                              }),
                1u);
    }
    // The caller's sink gets them, too.
    EXPECT_EQ(handed, 128u);
    EXPECT_EQ(guest.Idle(kTest), recorded ? 0u : 128u);
    for (std::uint64_t gfn = 0; gfn < 256; gfn += 4) {
      ASSERT_EQ(vm.Fault(Gfn{gfn}, Rights::kRead), FaultOutcome::kMapped);
    }
    EXPECT_EQ(guest.Idle(kTest, AgeMode::kFastOnly), recorded ? 0u : 64u);
    EXPECT_EQ(guest.Idle(kClear, AgeMode::kFastOnly), recorded ? 0u : 64u);
    // Told once.
    EXPECT_EQ(guest.Idle(kTest), 256u);
    // Each was written, and the new mappings are clean.
    EXPECT_EQ(guest.Dirty().size(), recorded ? 256u : 128u);
    EXPECT_EQ(guest.Dirty().size(), 0u);
  }
}

TYPED_TEST(VmHistoryTest, ARefaultedPageIsYoungAndDirtyAsItWas) {
  Guest<TypeParam> guest(With::kHistory);
  auto& vm = guest.vm();
  const GfnRange page{Gfn{9}, Gfn{10}};
  ASSERT_EQ(vm.Fault(Gfn{9}, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(vm.Invalidate(page, kDrop), 1u);
  // Young, and from no fast MMU: none has it.
  EXPECT_EQ(vm.TestYoung(page), AgeResult{.young = true});
  ASSERT_EQ(vm.Fault(Gfn{9}, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(vm.TestClearYoung(page),
            (AgeResult{.young = true, .was_fast = true}));
  EXPECT_EQ(vm.TestYoung(page), AgeResult{});
  EXPECT_THAT(guest.Dirty(/*protect=*/true), testing::ElementsAre(9));
  EXPECT_THAT(guest.Dirty(/*protect=*/true), testing::IsEmpty());
  // A page that was neither leaves nothing.
  ASSERT_EQ(vm.Invalidate(page, kDrop), 1u);
  EXPECT_EQ(vm.TestYoung(page), AgeResult{});
}

TYPED_TEST(VmHistoryTest, WhateverZapsANestedEntryLeavesItsBits) {
  Guest<TypeParam> guest(With::kHistory);
  auto& vm = guest.vm();
  // L1 changes its tables and says so.
  ASSERT_EQ(guest.NestedFault(1000, 3, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(
      vm.InvalidateNested({NestedGfn{1000}, NestedGfn{1001}}, kDrop, [] {}),
      1u);
  EXPECT_THAT(guest.Dirty(), testing::ElementsAre(3));
  // It says nothing.
  ASSERT_EQ(guest.NestedFault(1000, 4, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(guest.NestedFault(1000, 5, Rights::kRead), FaultOutcome::kRetry);
  EXPECT_THAT(guest.Dirty(), testing::ElementsAre(4));
  // The host takes the page away.
  ASSERT_EQ(guest.NestedFault(1000, 5, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(vm.Invalidate({Gfn{5}, Gfn{6}}, kDrop), 1u);
  EXPECT_THAT(guest.Dirty(), testing::ElementsAre(5));
  EXPECT_EQ(guest.Idle(kClear), 253u);
  EXPECT_EQ(guest.Idle(kTest), 256u);
}

// A slot's going leaves what it was under its old number; a large page, of all
// of its frames that the history is about.
TYPED_TEST(VmHistoryTest, ALargePageLeavesAllOfItsFrames) {
  Guest<TypeParam> guest(With::kHistory, Level{2});
  auto& vm = guest.vm();
  ASSERT_EQ(vm.Fault(Gfn{9}, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(vm.Invalidate({Gfn{400}, Gfn{401}}, kDrop), 1u);
  EXPECT_EQ(guest.Idle(kClear), 0u);
  ASSERT_EQ(vm.Fault(Gfn{9}, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_TRUE(vm.RemoveMemslot({Gfn{0}, Gfn{1024}}, kDrop).ok());
  EXPECT_EQ(guest.Idle(kTest), 0u);
}

// --- Who flushes.

// A zap has recorded a write, and not flushed yet. The collector that tells of
// it must not return before CPUs have dropped what they write through.
TYPED_TEST(VmHistoryTest, WhatTheHistoryTellsOfIsFlushedBeforeItIsTold) {
  for (const bool protect : {false, true}) {
    Guest<TypeParam> guest(With::kHistory);
    ASSERT_EQ(guest.vm().Fault(Gfn{9}, Rights::kWrite), FaultOutcome::kMapped);
    std::vector<std::uint64_t> told;
    std::vector<GfnRange> by_collector;
    guest.flusher().hook = [&] {
      const std::size_t before = guest.flusher().flushed.size();
      told = guest.Dirty(protect);
      by_collector.assign(
          guest.flusher().flushed.begin() + static_cast<long>(before),
          guest.flusher().flushed.end());
    };
    ASSERT_EQ(guest.vm().Invalidate({Gfn{9}, Gfn{10}}, kDrop), 1u);
    EXPECT_THAT(told, testing::ElementsAre(9));
    EXPECT_THAT(by_collector, testing::ElementsAre(kAll));
  }
}

// The first invalidation has zapped, and not flushed yet. The second finds
// nothing, and its caller gives the frame away.
TYPED_TEST(VmHistoryTest, AnInvalidationThatFindsNothingFlushesForAnother) {
  Guest<TypeParam> guest(With::kNoHistory);
  auto& vm = guest.vm();
  const GfnRange page{Gfn{9}, Gfn{10}};
  ASSERT_EQ(vm.Fault(Gfn{9}, Rights::kWrite), FaultOutcome::kMapped);
  std::size_t when_second_returned = 0;
  guest.flusher().hook = [&] {
    EXPECT_EQ(vm.Invalidate(page, kDrop), 0u);
    when_second_returned = guest.flusher().flushed.size();
  };
  ASSERT_EQ(vm.Invalidate(page, kDrop), 1u);
  EXPECT_EQ(when_second_returned, 2u);
  // Alone, there is nothing to flush.
  EXPECT_EQ(vm.Invalidate(page, kDrop), 0u);
  EXPECT_EQ(guest.flusher().flushed.size(), 2u);
}

}  // namespace
}  // namespace ptage
