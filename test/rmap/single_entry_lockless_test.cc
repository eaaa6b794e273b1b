// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What this discipline promises beyond rmap_test.cc: who takes the MMU lock.

#include "ptage/rmap/single_entry_lockless.h"

#include <cstddef>
#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/rmap_fixture.h"

namespace ptage {
namespace {

using test::RmapMachine;
using test::Truth;

template <class F>
class SingleEntryLocklessTest : public ::testing::Test {
 protected:
  static constexpr RmapFrame kFrame{Gfn{0x77}, Level{1}};

  void MustAdd(RmapHead& head, std::size_t i) {
    machine_.MustAdd(head, machine_.entry(i), kFrame.gfn, Truth<F>::kYoung);
  }
  AgeResult Age(AgeMode mode) {
    return machine_.rmaps().Age(head_, kFrame, AgeAction::kTestAndClear, mode,
                                counts_);
  }

  RmapMachine<test::SingleEntryRmaps<F>> machine_;
  RmapHead head_{};
  AgeCounts counts_;
};

TYPED_TEST_SUITE(SingleEntryLocklessTest, test::AllFormats, test::FormatNames);

// The lock is held by this very thread: to wait for it would be for ever.
TYPED_TEST(SingleEntryLocklessTest, FastOnlyNeverWaitsForTheMmuLock) {
  for (std::size_t n = 0; n < 3; ++n) {
    ScopedLock hold(this->machine_.mmu_lock());
    const AgeResult result = this->Age(AgeMode::kFastOnly);
    EXPECT_EQ(result.complete, n < 2);
    EXPECT_EQ(result.young, n == 1);
    if (n < 2) {
      this->machine_.Set(this->machine_.entry(n), this->kFrame.gfn,
                         Truth<TypeParam>::kYoung);
      ASSERT_EQ(
          this->machine_.rmaps().Add(this->head_, this->machine_.entry(n)),
          RmapAdd::kDone);
    }
  }
}

TYPED_TEST(SingleEntryLocklessTest, SlowTakesTheMmuLockForAListAlone) {
  const auto taken = [&] {
    const int before = this->machine_.mmu_lock().taken;
    (void)this->Age(AgeMode::kSlow);
    return this->machine_.mmu_lock().taken - before;
  };
  EXPECT_EQ(taken(), 0);
  this->MustAdd(this->head_, 0);
  EXPECT_EQ(taken(), 0);
  this->MustAdd(this->head_, 1);
  EXPECT_EQ(taken(), 1);
}

// The list goes while slow waits for the lock, and its chunk is given to
// another rmap: what counts is the head under the lock.
TYPED_TEST(SingleEntryLocklessTest, SlowReadsTheHeadAgainUnderTheLock) {
  using F = TypeParam;
  using T = Truth<F>;
  this->MustAdd(this->head_, 0);
  this->MustAdd(this->head_, 1);
  RmapHead other{};
  this->machine_.mmu_lock().hook = [&] {
    this->machine_.mmu_lock().hook = nullptr;
    auto& rmaps = this->machine_.rmaps();
    ASSERT_TRUE(rmaps.Remove(this->head_, this->machine_.entry(0)));
    for (const std::size_t i : {2u, 3u}) {
      this->machine_.Set(this->machine_.entry(i), Gfn{0x99}, T::kOtherYoung);
      ASSERT_EQ(rmaps.Add(other, this->machine_.entry(i)), RmapAdd::kDone);
    }
  };
  EXPECT_EQ(this->Age(AgeMode::kSlow),
            (AgeResult{.young = true, .was_fast = false, .complete = true}));
  EXPECT_EQ(ReadOnce(this->machine_.entry(1), kRelaxed), T::kCold);
  EXPECT_EQ(this->counts_.examined, 1u);
  EXPECT_EQ(ReadOnce(this->machine_.entry(2), kRelaxed), T::kOtherYoung);
}

}  // namespace
}  // namespace ptage
