// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/shadow_dirty.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/dirty.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/ept_tracked.h"
#include "ptage/types.h"
#include "test/machine.h"

namespace ptage {
namespace {

using Translation = std::optional<NestedMapping>;

// One frame of L1 more than rmaps are asked at once, and large pages.
constexpr GfnRange kAll{Gfn{0}, Gfn{5000}};

template <class D>
class ShadowDirtyTest : public testing::Test {
 protected:
  using F = typename D::Format;
  using Machine = test::Machine<F, D>;
  using Shadow = typename Machine::VmType::Shadow;

  void SetUp() override {
    ASSERT_TRUE(vm().AddMemslot(kAll, Pfn{0x10000}, Rights::kAll).ok());
  }
  auto& vm() { return *machine_.vm; }
  FaultOutcome Fault(std::uint64_t nested, NestedMapping mapping,
                     Rights access) {
    return vm().NestedFault(NestedGfn{nested}, access,
                            [&](NestedGfn) { return Translation(mapping); });
  }
  FoundEntry<F> Find(std::uint64_t nested) {
    return vm().shadow().tree().Lookup(LocklessWalk(machine_.domain),
                                       Gfn{nested});
  }
  std::uint64_t WordOf(std::uint64_t nested) { return Find(nested).word; }
  // Entries that were examined, and that were dirty.
  using Counts = std::pair<unsigned, unsigned>;
  static Counts Of(const AgeCounts& counts) {
    return {static_cast<unsigned>(counts.examined),
            static_cast<unsigned>(counts.young)};
  }
  Counts Clear(GfnRange range, test::Answer& answer) {
    const LocklessWalk walk(machine_.domain);
    return Of(ClearNestedDirty(vm().shadow(), walk, vm().fault_lock(),
                               machine_.flusher, range, answer.output()));
  }
  Counts Protect(GfnRange range, test::Answer& answer) {
    const LocklessWalk walk(machine_.domain);
    return Of(WriteProtectNested(vm().shadow(), walk, vm().fault_lock(),
                                 machine_.flusher, range, answer.output()));
  }
  std::uint64_t Lift(GfnRange range) {
    const LocklessWalk walk(machine_.domain);
    return LiftNestedProtection(vm().shadow(), walk, vm().fault_lock(), range);
  }
  // The frames that an answer told of.
  static std::vector<std::uint64_t> Told(test::Answer& answer) {
    std::vector<std::uint64_t> told;
    for (std::uint64_t i = 0; i < kAll.Frames(); ++i) {
      if (answer.Young(Gfn{i})) told.push_back(i);
    }
    return told;
  }
  std::vector<GfnRange> Flushed() {
    return std::move(machine_.flusher.flushed);
  }

  Machine machine_;
};

using Disciplines = testing::Types<test::SingleRmaps<Ept>, test::BitRmaps<Ept>,
                                   test::LocklessRmapsUnderLock<Ept>>;
TYPED_TEST_SUITE(ShadowDirtyTest, Disciplines);

// Bits by hand (SDM 3C, format of an EPT page-table entry): RWX 7, write-back
// 0x30, large 0x80, accessed 0x100, dirty 0x200, suppress-#VE 63; and 55, which
// hardware ignores, for "may be written".

TYPED_TEST(ShadowDirtyTest, WhatL2WroteIsToldOfByFramesOfL1AndFlushedByItsOwn) {
  ASSERT_EQ(this->Fault(9000, Gfn{7}, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(this->Fault(8000, Gfn{8}, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(this->Fault(8005, Gfn{4999}, Rights::kWrite),
            FaultOutcome::kMapped);
  test::Answer answer(Gfn{0}, kAll.Frames());
  EXPECT_EQ(this->Clear(kAll, answer), std::pair(3u, 2u));
  EXPECT_EQ(answer.counts.young, 2u);
  EXPECT_THAT(this->Told(answer), testing::ElementsAre(7, 4999));
  EXPECT_THAT(this->Flushed(),
              testing::ElementsAre(GfnRange{Gfn{8005}, Gfn{9001}}));
  // Clean, accessed as before, and as writable.
  EXPECT_EQ(this->WordOf(9000), 0x8000'0000'1000'7137u);
  EXPECT_EQ(this->WordOf(8000), 0x8000'0000'1000'8137u);
  test::Answer again(Gfn{0}, kAll.Frames());
  EXPECT_EQ(this->Clear(kAll, again).second, 0u);
  EXPECT_THAT(this->Told(again), testing::IsEmpty());
  EXPECT_THAT(this->Flushed(), testing::IsEmpty());
}

TYPED_TEST(ShadowDirtyTest, OfAliasesOneThatWroteIsEnoughAndAllAreCleaned) {
  for (std::uint64_t i = 0; i < 20; ++i) {
    ASSERT_EQ(this->Fault(1000 + i, Gfn{7},
                          i % 2 == 1 ? Rights::kWrite : Rights::kRead),
              FaultOutcome::kMapped);
  }
  test::Answer answer(Gfn{0}, kAll.Frames());
  EXPECT_EQ(this->Clear({Gfn{7}, Gfn{8}}, answer), std::pair(20u, 10u));
  EXPECT_THAT(this->Told(answer), testing::ElementsAre(7));
  for (std::uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(this->WordOf(1000 + i), 0x8000'0000'1000'7137u);
  }
}

TYPED_TEST(ShadowDirtyTest, AProtectedEntryFaultsAndIsDirtyWhenItIsGranted) {
  ASSERT_EQ(this->Fault(1000, Gfn{7}, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(this->Fault(1001, NestedMapping(Gfn{8}, Rights::kReadExecute),
                        Rights::kRead),
            FaultOutcome::kMapped);
  test::Answer answer(Gfn{0}, kAll.Frames());
  EXPECT_EQ(this->Protect(kAll, answer), std::pair(2u, 1u));
  EXPECT_THAT(this->Told(answer), testing::ElementsAre(7));
  EXPECT_EQ(this->Flushed().size(), 1u);
  EXPECT_EQ(this->WordOf(1000), 0x8080'0000'1000'7135u);
  // It could not be written, and is not said to.
  EXPECT_EQ(this->WordOf(1001), 0x8000'0000'1000'8135u);

  EXPECT_EQ(this->Fault(1000, Gfn{7}, Rights::kRead), FaultOutcome::kSpurious);
  EXPECT_EQ(this->Fault(1000, Gfn{7}, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_EQ(this->WordOf(1000), 0x8000'0000'1000'7337u);
  EXPECT_EQ(this->vm().shadow().live(), 2u);
  test::Answer again(Gfn{0}, kAll.Frames());
  EXPECT_EQ(this->Protect(kAll, again).second, 1u);
  EXPECT_THAT(this->Told(again), testing::ElementsAre(7));
  test::Answer none(Gfn{0}, kAll.Frames());
  (void)this->Flushed();
  EXPECT_EQ(this->Protect(kAll, none).second, 0u);
  EXPECT_THAT(this->Flushed(), testing::IsEmpty());

  EXPECT_EQ(this->Lift(kAll), 1u);
  EXPECT_EQ(this->WordOf(1000), 0x8000'0000'1000'7137u);
  EXPECT_EQ(this->WordOf(1001), 0x8000'0000'1000'8135u);
  EXPECT_THAT(this->Flushed(), testing::IsEmpty());
}

// L1 allows more than it did, and a fault that does not write gets it.
TYPED_TEST(ShadowDirtyTest, AFaultThatDoesNotWriteLeavesAPageProtected) {
  ASSERT_EQ(this->Fault(1000, NestedMapping(Gfn{7}, Rights::kReadWrite),
                        Rights::kRead),
            FaultOutcome::kMapped);
  ASSERT_EQ(this->WordOf(1000), 0x8000'0000'1000'7133u);
  test::Answer answer(Gfn{0}, kAll.Frames());
  (void)this->Protect(kAll, answer);
  ASSERT_EQ(this->Fault(1000, Gfn{7}, Rights::kExecute), FaultOutcome::kMapped);
  EXPECT_EQ(this->WordOf(1000), 0x8080'0000'1000'7135u);
  ASSERT_EQ(this->Fault(1000, Gfn{7}, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_EQ(this->WordOf(1000), 0x8000'0000'1000'7337u);
}

// Frames 512 on, by one entry.
TYPED_TEST(ShadowDirtyTest, ALargePageIsToldOfByItsFramesAndLeftIfItIsAPart) {
  ASSERT_EQ(
      this->Fault(5120 + 9, NestedMapping(Gfn{512 + 9}, Rights::kAll, Level{2}),
                  Rights::kWrite),
      FaultOutcome::kMapped);
  const std::uint64_t word = this->WordOf(5120);
  ASSERT_EQ(word, 0x8000'0000'1020'03B7u);
  for (const bool protect : {false, true}) {
    test::Answer part(Gfn{0}, kAll.Frames());
    const GfnRange range{Gfn{1000}, Gfn{2000}};
    EXPECT_EQ(protect ? this->Protect(range, part) : this->Clear(range, part),
              std::pair(1u, 1u));
    EXPECT_EQ(this->Told(part).size(), 24u);
    EXPECT_TRUE(part.Young(Gfn{1000}) && part.Young(Gfn{1023}));
    EXPECT_EQ(this->WordOf(5120), word);
    EXPECT_THAT(this->Flushed(), testing::IsEmpty());
  }
  test::Answer all(Gfn{0}, kAll.Frames());
  EXPECT_EQ(this->Protect({Gfn{512}, Gfn{1024}}, all).second, 1u);
  EXPECT_EQ(this->Told(all).size(), 512u);
  EXPECT_THAT(this->Flushed(),
              testing::ElementsAre(GfnRange{Gfn{5120}, Gfn{5632}}));
  EXPECT_EQ(this->WordOf(5120), 0x8080'0000'1020'01B5u);
  ASSERT_EQ(
      this->Fault(5120 + 3, NestedMapping(Gfn{512 + 3}, Rights::kAll, Level{2}),
                  Rights::kWrite),
      FaultOutcome::kMapped);
  EXPECT_EQ(this->WordOf(5120), word);
}

// What a VM answers: both MMUs, one bitmap, one flush.
TYPED_TEST(ShadowDirtyTest, AVmTellsOfBothMmusAndFlushesOnce) {
  ASSERT_EQ(this->Fault(9000, Gfn{7}, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(this->Fault(9001, Gfn{9}, Rights::kWrite), FaultOutcome::kMapped);
  // Frames of the slot that a large page cannot map.
  ASSERT_EQ(this->vm().Fault(Gfn{4997}, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(this->vm().Fault(Gfn{4998}, Rights::kRead), FaultOutcome::kMapped);
  for (const bool protect : {false, true}) {
    test::Answer answer(Gfn{0}, kAll.Frames());
    EXPECT_EQ(this->Of(protect ? this->vm().WriteProtect(kAll, answer.output())
                               : this->vm().ClearDirty(kAll, answer.output())),
              std::pair(4u, protect ? 0u : 3u));
    EXPECT_EQ(answer.counts.young, protect ? 0u : 3u);
    if (!protect) {
      EXPECT_THAT(this->Told(answer), testing::ElementsAre(7, 9, 4997));
    }
    // The direct ones are asked for as a range, the nested ones by entries.
    EXPECT_THAT(this->Flushed(),
                testing::ElementsAre(GfnRange{Gfn{0}, Gfn{9002}}));
  }
  ASSERT_EQ(this->vm().Fault(Gfn{4998}, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(this->Fault(9001, Gfn{9}, Rights::kWrite), FaultOutcome::kMapped);
  test::Answer answer(Gfn{0}, kAll.Frames());
  EXPECT_EQ(this->vm().ClearDirty(kAll, answer.output()).young, 2u);
  EXPECT_THAT(this->Told(answer), testing::ElementsAre(9, 4998));
  // The others are still protected.
  EXPECT_EQ(this->vm().LiftProtection(kAll), 2u);
  // Only nested entries change: only their frames are flushed.
  (void)this->Flushed();
  ASSERT_EQ(this->Fault(8999, Gfn{3}, Rights::kWrite), FaultOutcome::kMapped);
  (void)this->vm().ClearDirty(kAll, AgeOutput{});
  EXPECT_THAT(this->Flushed(),
              testing::ElementsAre(GfnRange{Gfn{8999}, Gfn{9000}}));
}

TYPED_TEST(ShadowDirtyTest, AgingAndDirtyTrackingLeaveEachOthersBits) {
  ASSERT_EQ(this->Fault(9000, Gfn{7}, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_TRUE(this->vm().TestClearYoung(kAll).young);
  EXPECT_EQ(this->WordOf(9000), 0x8000'0000'1000'7237u);
  test::Answer answer(Gfn{0}, kAll.Frames());
  EXPECT_EQ(this->Protect(kAll, answer).second, 1u);
  EXPECT_EQ(this->WordOf(9000), 0x8080'0000'1000'7035u);
  EXPECT_FALSE(this->vm().TestYoung(kAll).young);
  ASSERT_EQ(this->Fault(9000, Gfn{7}, Rights::kWrite), FaultOutcome::kMapped);
  // By the walk that comes next.
  EXPECT_FALSE(this->vm().TestClearYoung(kAll).young);
  EXPECT_EQ(this->Clear(kAll, answer).second, 1u);
}

TYPED_TEST(ShadowDirtyTest, EveryGuestIsToldOf) {
  const std::optional<NestedGuest> second = this->vm().AddNestedGuest();
  ASSERT_TRUE(second.has_value());
  ASSERT_EQ(this->vm().NestedFault(
                NestedGfn{40}, Rights::kWrite,
                [](NestedGfn) { return Translation(Gfn{7}); }, *second),
            FaultOutcome::kMapped);
  test::Answer answer(Gfn{0}, kAll.Frames());
  EXPECT_EQ(this->vm().ClearDirty(kAll, answer.output()).young, 1u);
  EXPECT_THAT(this->Told(answer), testing::ElementsAre(7));
}

// The lock is let go on the way: a thread that wants it every now and then gets
// it before all is asked.
TYPED_TEST(ShadowDirtyTest, TheLockIsHeldForSoManyRmapsAtATime) {
  ASSERT_EQ(this->Fault(1, Gfn{1}, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(this->Fault(2, Gfn{4999}, Rights::kWrite), FaultOutcome::kMapped);
  static_assert(TestFixture::Shadow::kRmapsAtOnce < 4999);
  const LocklessWalk walk(this->machine_.domain);
  std::vector<GfnRange> visited;
  this->vm().shadow().ForEachEntry(walk, kAll, this->vm().fault_lock(),
                                   [&](SpteCell<Ept>&, GfnRange frames) {
                                     this->machine_.mmu_lock.AssertHeld();
                                     visited.push_back(frames);
                                   });
  EXPECT_THAT(visited, testing::ElementsAre(GfnRange{Gfn{1}, Gfn{2}},
                                            GfnRange{Gfn{4999}, Gfn{5000}}));
}

// Where faults set the dirty bit: a clean page is as good as protected.
TEST(ShadowDirtyTrackedTest, AWriteToAPageThatWasCleanedIsAFaultAndIsToldOf) {
  using F = EptTracked;
  test::Machine<F, test::LocklessRmapsUnderLock<F>> machine;
  auto& vm = *machine.vm;
  ASSERT_TRUE(vm.AddMemslot({Gfn{0}, Gfn{64}}, Pfn{512}, Rights::kAll).ok());
  const auto fault = [&](Rights access) {
    return vm.NestedFault(NestedGfn{1000}, access,
                          [](NestedGfn) { return Translation(Gfn{7}); });
  };
  ASSERT_EQ(fault(Rights::kWrite), FaultOutcome::kMapped);
  test::Answer answer(Gfn{0}, 64);
  EXPECT_EQ(vm.ClearDirty({Gfn{0}, Gfn{64}}, answer.output()).young, 1u);
  EXPECT_TRUE(answer.Young(Gfn{7}));
  EXPECT_EQ(vm.ClearDirty({Gfn{0}, Gfn{64}}, AgeOutput{}).young, 0u);
  EXPECT_EQ(fault(Rights::kRead), FaultOutcome::kSpurious);
  EXPECT_EQ(fault(Rights::kWrite), FaultOutcome::kFixed);
  EXPECT_EQ(vm.ClearDirty({Gfn{0}, Gfn{64}}, AgeOutput{}).young, 1u);
}

}  // namespace
}  // namespace ptage
