// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/shadow_mmu.h"

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/fault_lock.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/prune.h"
#include "ptage/spte/ept.h"
#include "test/machine.h"

namespace ptage {
namespace {

constexpr GfnRange kAll{Gfn{0}, Gfn{64}};

template <class D>
class ShadowMmuTest : public testing::Test {
 protected:
  using Machine = test::Machine<Ept, D>;
  using Shadow = typename Machine::VmType::Shadow;
  static_assert(AgeableMmu<Shadow>);
  static constexpr bool kFast = D::kFastAging;
  static_assert(Shadow::kFastAging == kFast);

  void SetUp() override {
    ASSERT_TRUE(
        machine_.vm->AddMemslot(kAll, Pfn{512}, Rights::kReadWrite).ok());
  }
  FaultOutcome Map(std::uint64_t nested, std::uint64_t gfn,
                   Rights access = Rights::kRead) {
    return machine_.vm->NestedFault(
        NestedGfn{nested}, access,
        [&](NestedGfn) -> std::optional<Gfn> { return Gfn{gfn}; });
  }
  Shadow& shadow() { return machine_.vm->shadow(); }

  Machine machine_{32, 16};
};

using Disciplines =
    testing::Types<test::SingleRmaps<Ept>, test::BitRmaps<Ept>,
                   test::LocklessRmaps<Ept>, test::LocklessRmapsUnderLock<Ept>>;
TYPED_TEST_SUITE(ShadowMmuTest, Disciplines);

TYPED_TEST(ShadowMmuTest, AFaultTranslatesL2StraightToTheHost) {
  ASSERT_EQ(this->Map(1000, 7, Rights::kWrite), FaultOutcome::kMapped);
  const LocklessWalk walk(this->machine_.domain);
  const FoundEntry<Ept> found = this->shadow().tree().Lookup(walk, Gfn{1000});
  // Frame 519 << 12; #VE suppressed, dirty, accessed, write-back, RW.
  EXPECT_EQ(found.word, 0x8000'0000'0020'7333u);
  EXPECT_EQ(RecordedFrame<Ept>(this->machine_.arena, *found.entry), Gfn{7});
  EXPECT_EQ(this->Map(1000, 7), FaultOutcome::kSpurious);
  EXPECT_EQ(this->shadow().live(), 1u);
}

TYPED_TEST(ShadowMmuTest, AYoungAnswerIsFastIfTheDisciplineIs) {
  ASSERT_EQ(this->Map(1000, 7), FaultOutcome::kMapped);
  EXPECT_EQ(this->shadow().TestClearYoungFastOnly(kAll),
            (AgeResult{.young = true, .was_fast = TestFixture::kFast}));
  EXPECT_EQ(this->shadow().TestClearYoung(kAll), AgeResult{});
}

TYPED_TEST(ShadowMmuTest, AnAliasedFrameIsUnknownToFastOnlyAndSpoilsNoOther) {
  if constexpr (TestFixture::kFast) GTEST_SKIP() << "it is answered";
  ASSERT_EQ(this->Map(1000, 7), FaultOutcome::kMapped);
  ASSERT_EQ(this->Map(2000, 7), FaultOutcome::kMapped);
  ASSERT_EQ(this->Map(1001, 8), FaultOutcome::kMapped);
  test::Answer fast(Gfn{0}, 64);
  EXPECT_EQ(this->shadow().TestClearYoungFastOnly(kAll, fast.output()),
            (AgeResult{.young = true, .complete = false}));
  EXPECT_TRUE(fast.Unknown(Gfn{7}) && !fast.Young(Gfn{7}));
  EXPECT_TRUE(fast.Young(Gfn{8}) && !fast.Unknown(Gfn{8}));
  // Left untouched: slow finds both names young.
  test::Answer slow(Gfn{0}, 64);
  EXPECT_EQ(this->shadow().TestClearYoung(kAll, slow.output()),
            AgeResult{.young = true});
  EXPECT_EQ(slow.counts.young, 2u);
}

TYPED_TEST(ShadowMmuTest, AnAliasedFrameIsAnsweredByAFastDiscipline) {
  if constexpr (!TestFixture::kFast) GTEST_SKIP() << "it is unknown";
  ASSERT_EQ(this->Map(1000, 7), FaultOutcome::kMapped);
  ASSERT_EQ(this->Map(2000, 7), FaultOutcome::kMapped);
  test::Answer fast(Gfn{0}, 64);
  EXPECT_EQ(this->shadow().TestClearYoungFastOnly(kAll, fast.output()),
            (AgeResult{.young = true, .was_fast = true}));
  EXPECT_TRUE(fast.Young(Gfn{7}) && !fast.Unknown(Gfn{7}));
  EXPECT_EQ(fast.counts.young, 2u);
  EXPECT_EQ(this->shadow().TestClearYoung(kAll), AgeResult{});
}

TYPED_TEST(ShadowMmuTest, AZapOfAFrameFindsEveryNameAndFlushesThem) {
  ASSERT_EQ(this->Map(1000, 7, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(this->Map(2000, 7), FaultOutcome::kMapped);
  ASSERT_EQ(this->Map(3000, 9), FaultOutcome::kMapped);
  int dirty = 0;
  int clean = 0;
  EXPECT_EQ(this->machine_.vm->Invalidate({Gfn{7}, Gfn{8}},
                                          [&](const ZappedLeaf& leaf) {
                                            EXPECT_EQ(leaf.gfn, Gfn{7});
                                            EXPECT_EQ(leaf.pfn, Pfn{519});
                                            EXPECT_TRUE(leaf.accessed);
                                            ++(leaf.dirty ? dirty : clean);
                                          }),
            2u);
  EXPECT_EQ(dirty, 1);
  EXPECT_EQ(clean, 1);
  // By names of L2, from the lowest to the highest.
  EXPECT_THAT(this->machine_.flusher.flushed,
              testing::ElementsAre(GfnRange{Gfn{1000}, Gfn{2001}}));
  EXPECT_EQ(this->shadow().live(), 1u);
  EXPECT_EQ(this->machine_.pool.InUse(), 0u);
}

// Else a question between the two would find no entry, and call the page cold
// and complete, before its access is on record.
TYPED_TEST(ShadowMmuTest, TheRmapAnswersUntilTheBitsAreHandedOver) {
  ASSERT_EQ(this->Map(1000, 7), FaultOutcome::kMapped);
  AgeResult meanwhile;
  const auto sink = [&](const ZappedLeaf&) {
    meanwhile = this->shadow().TestClearYoungFastOnly({Gfn{7}, Gfn{8}});
  };
  ASSERT_EQ(this->machine_.vm->Invalidate({Gfn{7}, Gfn{8}}, sink), 1u);
  EXPECT_EQ(meanwhile, AgeResult{.complete = false});
}

TYPED_TEST(ShadowMmuTest, AnEntryThatMovedToAnotherFrameIsNotAgedForTheOld) {
  ASSERT_EQ(this->Map(1000, 7), FaultOutcome::kMapped);
  this->machine_.vm->InvalidateNested(
      {NestedGfn{1000}, NestedGfn{1001}}, [](const ZappedLeaf&) {}, [] {});
  ASSERT_EQ(this->Map(1000, 8), FaultOutcome::kMapped);
  EXPECT_EQ(this->shadow().TestClearYoung({Gfn{7}, Gfn{8}}), AgeResult{});
  EXPECT_EQ(this->shadow().TestClearYoung({Gfn{8}, Gfn{9}}),
            (AgeResult{.young = true, .was_fast = TestFixture::kFast}));
}

// A table stands in the way of a large page until it is removed.
TYPED_TEST(ShadowMmuTest, WhatARemovedTableMapsIsHandedOverAndLeavesItsRmap) {
  ASSERT_EQ(this->Map(512, 7, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(this->Map(1023, 8), FaultOutcome::kMapped);
  ASSERT_EQ(this->Map(1024, 7), FaultOutcome::kMapped);
  std::vector<std::uint64_t> handed;
  {
    const LocklessWalk walk(this->machine_.domain);
    const FaultLock::Exclusive hold(this->machine_.vm->fault_lock());
    const auto sink = [&](const ZappedLeaf& leaf) {
      EXPECT_TRUE(leaf.accessed);
      EXPECT_EQ(leaf.dirty, leaf.gfn == Gfn{7});
      handed.push_back(leaf.gfn.value);
    };
    // Page 1,024 lies in a table of its own, which is not asked for.
    EXPECT_EQ(this->shadow().RemoveTables(
                  walk, NestedRange{NestedGfn{512}, NestedGfn{1025}}, sink),
              1u);
    EXPECT_FALSE(
        Ept::IsPresent(this->shadow().tree().Lookup(walk, Gfn{512}).word));
    EXPECT_EQ(this->shadow().tree().Lookup(walk, Gfn{512}).level, Level{2});
  }
  EXPECT_THAT(handed, testing::ElementsAre(7u, 8u));
  EXPECT_EQ(this->shadow().live(), 1u);
  test::Answer answer(Gfn{0}, 64);
  (void)this->shadow().TestClearYoung(kAll, answer.output());
  EXPECT_EQ(answer.counts.young, 1u);
  EXPECT_TRUE(answer.Young(Gfn{7}) && !answer.Young(Gfn{8}));
}

TYPED_TEST(ShadowMmuTest, WithoutMemoryForAListTheFaultLeavesNothingBehind) {
  // One chunk for each of 16 frames; the next list finds none.
  for (std::uint64_t gfn = 0; gfn < 17; ++gfn) {
    ASSERT_EQ(this->Map(1000 + gfn, gfn), FaultOutcome::kMapped);
  }
  for (std::uint64_t gfn = 0; gfn < 16; ++gfn) {
    ASSERT_EQ(this->Map(2000 + gfn, gfn), FaultOutcome::kMapped);
  }
  EXPECT_EQ(this->Map(2016, 16), FaultOutcome::kNoMemory);
  EXPECT_EQ(this->shadow().live(), 33u);
  const LocklessWalk walk(this->machine_.domain);
  EXPECT_EQ(this->shadow().tree().Lookup(walk, Gfn{2016}).word, Ept::kEmpty);
  EXPECT_TRUE(this->shadow().TestClearYoung({Gfn{16}, Gfn{17}}).young);
}

TYPED_TEST(ShadowMmuTest,
           AFaultUnderAClearParentIsFoundWhereColdOnesAreSkipped) {
  auto& machine = this->machine_;
  ShadowMmu<Ept, test::Arena<Ept>, typename TestFixture::Machine::Domain,
            test::RecordingFlusher, TypeParam, InnerAging::kSkipCold>
      shadow(machine.arena, machine.domain, machine.flusher, machine.rmaps,
             machine.vm->memslots());
  const auto fault = [&](std::uint64_t nested, std::uint64_t gfn) {
    const LocklessWalk walk(machine.domain);
    absl::MutexLock lock(&machine.mmu_lock);
    return shadow.Fault(
        walk, NestedGfn{nested}, *machine.vm->memslots().Find(walk, Gfn{gfn}),
        Gfn{gfn}, Rights::kRead, MmuLock::kExclusive, [](const ZappedLeaf&) {});
  };
  const auto age = [&](GfnRange range, Pruning pruning) {
    test::Answer answer(Gfn{0}, 64);
    const AgeResult result = shadow.AgeSkippingCold(
        range, pruning, AgeAction::kTestAndClear, answer.output());
    EXPECT_EQ(result.young, answer.Young(Gfn{7}) || answer.Young(Gfn{8}));
    return result;
  };
  EXPECT_EQ(age(kAll, Pruning::kExact), AgeResult{});
  ASSERT_EQ(fault(1000, 7), FaultOutcome::kMapped);
  EXPECT_EQ(age({Gfn{8}, Gfn{64}}, Pruning::kExact), AgeResult{});
  EXPECT_EQ(age(kAll, Pruning::kExact), AgeResult{.young = true});
  EXPECT_EQ(age(kAll, Pruning::kExact), AgeResult{});
  // The parent is clear now.
  ASSERT_EQ(fault(1001, 8), FaultOutcome::kMapped);
  EXPECT_EQ(age(kAll, Pruning::kBestEffort),
            (AgeResult{.young = true, .was_fast = TestFixture::kFast}));
  EXPECT_EQ(age(kAll, Pruning::kBestEffort), AgeResult{});
  // A second name for a gfn, which not every discipline's own answer finds
  // without waiting.
  ASSERT_EQ(fault(2000, 7), FaultOutcome::kMapped);
  EXPECT_TRUE(age({Gfn{7}, Gfn{8}}, Pruning::kExact).young);
  const LocklessWalk walk(machine.domain);
  absl::MutexLock lock(&machine.mmu_lock);
  EXPECT_EQ(shadow.ZapFrames(walk, kAll, [](const ZappedLeaf&) {}), 3u);
}

}  // namespace
}  // namespace ptage
