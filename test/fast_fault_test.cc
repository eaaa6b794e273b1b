// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/fast_fault.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/page_table_fixture.h"

namespace ptage {
namespace {

using test::Truth;

static_assert(kHardwareAccessed<Ept> && kHardwareDirty<X86_64>);
static_assert(!kMarkedByFaults<Ept> && !kMarkedByFaults<test::TinyFormat>);
static_assert(kMarkedByFaults<EptTracked> && kMarkedByFaults<RiscvSv39Svade>);

// --- One entry.

template <class F>
class FastFaultTest : public test::PageTableFixture<F> {
 protected:
  using Word = typename F::Word;

  static FastFaultOutcome Fault(SpteCell<F>& entry, Rights access) {
    return FastFaultSeen<F>(entry, ReadOnce(entry, kAcquire), access);
  }
  // What an entry is after a fault.
  struct Row {
    Word before;
    Rights access;
    FastFaultOutcome outcome;
    Word after;
  };
  static void Check(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      SpteCell<F> entry(row.before);
      EXPECT_EQ(Fault(entry, row.access), row.outcome)
          << std::hex << row.before << " " << static_cast<int>(row.access);
      EXPECT_EQ(ReadOnce(entry, kRelaxed), row.after)
          << std::hex << row.before << " " << static_cast<int>(row.access);
    }
  }
};
TYPED_TEST_SUITE(FastFaultTest, test::MarkedByFaults, test::FormatNames);

TYPED_TEST(FastFaultTest, AnAccessMakesAPageYoungAndAWriteDirtyToo) {
  using T = Truth<TypeParam>;
  constexpr FastFaultOutcome kFixed = FastFaultOutcome::kFixed;
  this->Check({
      {T::kCold, Rights::kRead, kFixed, T::kYoung},
      {T::kCold, Rights::kExecute, kFixed, T::kYoung},
      {T::kCold, Rights::kWrite, kFixed, T::kYoungDirty},
      {T::kCold, Rights::kReadWrite, kFixed, T::kYoungDirty},
      {T::kYoung, Rights::kWrite, kFixed, T::kYoungDirty},
      {T::kDirty, Rights::kWrite, kFixed, T::kYoungDirty},
  });
}

TYPED_TEST(FastFaultTest, ThereIsNothingToDoWhereTheAccessIsLetThrough) {
  using T = Truth<TypeParam>;
  constexpr FastFaultOutcome kSpurious = FastFaultOutcome::kSpurious;
  this->Check({
      {T::kYoung, Rights::kRead, kSpurious, T::kYoung},
      {T::kYoungDirty, Rights::kWrite, kSpurious, T::kYoungDirty},
      {T::kYoungDirty, Rights::kExecute, kSpurious, T::kYoungDirty},
      {T::kYoungReadOnly, Rights::kRead, kSpurious, T::kYoungReadOnly},
  });
}

TYPED_TEST(FastFaultTest, NothingIsAddedThatTheLeafDoesNotGrant) {
  using F = TypeParam;
  using T = Truth<F>;
  constexpr FastFaultOutcome kNot = FastFaultOutcome::kNotPermitted;
  const auto old_read_only =
      static_cast<typename F::Word>(T::kYoungReadOnly & ~test::kGoesWithAge<F>);
  this->Check({
      {T::kYoungReadOnly, Rights::kWrite, kNot, T::kYoungReadOnly},
      {old_read_only, Rights::kWrite, kNot, old_read_only},
      {old_read_only, Rights::kRead, FastFaultOutcome::kFixed,
       T::kYoungReadOnly},
  });
}

TYPED_TEST(FastFaultTest, EmptyAndFrozenAreNotTouched) {
  using F = TypeParam;
  constexpr FastFaultOutcome kNotHere = FastFaultOutcome::kNotHere;
  for (const Rights access : {Rights::kRead, Rights::kWrite}) {
    this->Check({{F::kEmpty, access, kNotHere, F::kEmpty},
                 {F::kFrozen, access, kNotHere, F::kFrozen}});
  }
  EXPECT_TRUE(NeedsSlowPath(kNotHere));
  EXPECT_TRUE(NeedsSlowPath(FastFaultOutcome::kNotPermitted));
  EXPECT_FALSE(NeedsSlowPath(FastFaultOutcome::kFixed));
  EXPECT_FALSE(NeedsSlowPath(FastFaultOutcome::kSpurious));
  EXPECT_FALSE(NeedsSlowPath(FastFaultOutcome::kLostRace));
}

// The entry changes between the read and the compare-and-swap.
TYPED_TEST(FastFaultTest, ALostRaceLeavesTheOthersValue) {
  using F = TypeParam;
  using T = Truth<F>;
  for (const auto other :
       {T::kYoung, T::kYoungDirty, T::kDirty, T::kOtherYoung,
        typename F::Word{F::kEmpty}, typename F::Word{F::kFrozen}}) {
    SpteCell<F> entry(other);
    EXPECT_EQ(FastFaultSeen<F>(entry, T::kCold, Rights::kRead),
              FastFaultOutcome::kLostRace);
    EXPECT_EQ(ReadOnce(entry, kRelaxed), other);
  }
}

// --- Age and dirt.

TYPED_TEST(FastFaultTest, AParkedLeafIsPresentGrantsWhatItDidAndLetsNothingBy) {
  using F = TypeParam;
  using T = Truth<F>;
  EXPECT_TRUE(F::IsPresent(T::kCold));
  EXPECT_EQ(F::RightsOf(T::kCold), Rights::kAll);
  EXPECT_EQ(LiveRights<F>(T::kCold), Rights::kNone);
  EXPECT_EQ(LiveRights<F>(T::kDirty), Rights::kNone);
  EXPECT_EQ(LiveRights<F>(T::kYoung), Rights::kReadExecute);
  EXPECT_EQ(LiveRights<F>(T::kYoungDirty), Rights::kAll);
  EXPECT_EQ(LiveRights<F>(T::kYoungReadOnly), Rights::kReadExecute);
}

TYPED_TEST(FastFaultTest, AgingAndAReadLeaveAWrittenPageDirty) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(T::kYoungDirty);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(TestClearYoung<F>(entry).young);
    EXPECT_EQ(ReadOnce(entry, kRelaxed), T::kDirty);
    EXPECT_EQ(this->Fault(entry, Rights::kRead), FastFaultOutcome::kFixed);
    EXPECT_TRUE(IsDirty<F>(ReadOnce(entry, kRelaxed)));
  }
}

TYPED_TEST(FastFaultTest, TheFirstWriteAfterCleaningFaults) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(T::kYoungDirty);
  const SpteAge age = AgeSeen<F, F::kDirty>(
      entry, T::kYoungDirty, AgeAction::kTestAndClear, [] { return true; });
  EXPECT_EQ(age, SpteAge::kYoung);
  EXPECT_EQ(ReadOnce(entry, kRelaxed), T::kYoung);
  EXPECT_EQ(this->Fault(entry, Rights::kRead), FastFaultOutcome::kSpurious);
  EXPECT_EQ(this->Fault(entry, Rights::kWrite), FastFaultOutcome::kFixed);
  EXPECT_EQ(ReadOnce(entry, kRelaxed), T::kYoungDirty);
}

// --- A tree.

TYPED_TEST(FastFaultTest, ATreesLeafIsFixedAtWhateverLevel) {
  using F = TypeParam;
  auto& owner = this->owner_;
  owner.MustMap(this->kA, test::kLarge, this->Leaf(this->kA, test::kLarge));
  owner.MustMap(this->kB + 1, test::kSmall, this->Leaf(this->kB + 1));
  const typename test::TestTree<F>::Walk walk(owner.domain());
  const auto fault = [&](Gfn gfn, Rights access) {
    return FastFault(owner.tree(), walk, gfn, access);
  };
  EXPECT_EQ(fault(this->kA + 3, Rights::kWrite), FastFaultOutcome::kFixed);
  EXPECT_TRUE(IsYoung<F>(owner.Read(this->kA)));
  EXPECT_TRUE(IsDirty<F>(owner.Read(this->kA)));
  EXPECT_EQ(fault(this->kA, Rights::kWrite), FastFaultOutcome::kSpurious);
  EXPECT_EQ(fault(this->kB + 1, Rights::kRead), FastFaultOutcome::kFixed);
  EXPECT_EQ(fault(this->kB + 2, Rights::kRead), FastFaultOutcome::kNotHere);
  EXPECT_EQ(fault(Gfn{test::TestTree<F>::Tree::kFrames}, Rights::kRead),
            FastFaultOutcome::kNotHere);
}

TYPED_TEST(FastFaultTest, AHarvestFindsWhatWasFixedAndMakesItFaultAgain) {
  using F = TypeParam;
  auto& owner = this->owner_;
  owner.MustFill(this->kA);
  const typename test::TestTree<F>::Walk walk(owner.domain());
  for (const std::uint64_t i : {0u, 3u}) {
    ASSERT_EQ(FastFault(owner.tree(), walk, this->kA + i, Rights::kWrite),
              FastFaultOutcome::kFixed);
  }
  const auto harvest = [&](AgeAction action) {
    std::vector<std::uint64_t> young((this->kFrames + 63) / 64);
    (void)Harvest(owner.tree(), walk, this->kFirst, action, AgeMode::kFastOnly,
                  AgeOutput{.begin = this->kA,
                            .young = Bitmap(young.data(), this->kFrames)});
    return young;
  };
  std::vector<std::uint64_t> expected((this->kFrames + 63) / 64);
  expected[0] = 0b1001;
  EXPECT_EQ(harvest(AgeAction::kTestAndClear), expected);
  expected[0] = 0;
  EXPECT_EQ(harvest(AgeAction::kTest), expected);
  EXPECT_EQ(LiveRights<F>(owner.Read(this->kA + 3)), Rights::kNone);
  EXPECT_TRUE(IsDirty<F>(owner.Read(this->kA + 3)));
  // A write to a page of the other 510.
  EXPECT_FALSE(IsDirty<F>(owner.Read(this->kA + 1)));
}

TYPED_TEST(FastFaultTest, AParkedLeafIsZappedWithItsDirtyBit) {
  using F = TypeParam;
  auto& owner = this->owner_;
  owner.MustMap(
      this->kA, test::kSmall,
      static_cast<typename F::Word>(this->Dirty(this->Leaf(this->kA))));
  std::vector<test::Taken<F>> taken;
  EXPECT_EQ(this->Zap(this->kFirst, taken), 1u);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_TRUE(IsDirty<F>(taken[0].word));
  EXPECT_FALSE(IsYoung<F>(taken[0].word));
}

// A promotion takes leaves of different age; so does one that is given up.
TYPED_TEST(FastFaultTest, APromotionGathersWhatFaultsMade) {
  using F = TypeParam;
  auto& owner = this->owner_;
  owner.MustFill(this->kA);
  {
    const typename test::TestTree<F>::Walk walk(owner.domain());
    ASSERT_EQ(FastFault(owner.tree(), walk, this->kA + 1, Rights::kWrite),
              FastFaultOutcome::kFixed);
    ASSERT_EQ(FastFault(owner.tree(), walk, this->kA + 2, Rights::kRead),
              FastFaultOutcome::kFixed);
  }
  ASSERT_EQ(this->Promote(this->kA), StructureOutcome::kDone);
  const auto large = owner.Read(this->kA);
  EXPECT_EQ(LiveRights<F>(large), Rights::kAll);
  EXPECT_TRUE(IsYoung<F>(large) && IsDirty<F>(large));
  ASSERT_EQ(this->Split(this->kA), StructureOutcome::kDone);
  EXPECT_EQ(LiveRights<F>(owner.Read(this->kA + 5)), Rights::kAll);
}

TYPED_TEST(FastFaultTest, APromotionThatIsGivenUpLetsNoWriteByThatWasNotSeen) {
  using F = TypeParam;
  auto& owner = this->owner_;
  owner.MustFill(this->kA);
  // The last one does not fit.
  const Gfn last = this->kA + (this->kFrames - 1);
  owner.Write(last, this->Leaf(last, test::kSmall, Rights::kRead));
  {
    const typename test::TestTree<F>::Walk walk(owner.domain());
    for (const auto& [i, access] :
         {std::pair{1u, Rights::kWrite}, std::pair{2u, Rights::kRead}}) {
      ASSERT_EQ(FastFault(owner.tree(), walk, this->kA + i, access),
                FastFaultOutcome::kFixed);
    }
  }
  ASSERT_EQ(this->Promote(this->kA), StructureOutcome::kUnsuitable);
  const auto written = owner.Read(this->kA + 1);
  EXPECT_TRUE(IsYoung<F>(written) && IsDirty<F>(written));
  EXPECT_TRUE(Allows(LiveRights<F>(written), Rights::kReadExecute));
  EXPECT_EQ(LiveRights<F>(owner.Read(this->kA + 2)), Rights::kReadExecute);
  EXPECT_FALSE(IsDirty<F>(owner.Read(this->kA + 2)));
  EXPECT_EQ(LiveRights<F>(owner.Read(this->kA + 3)), Rights::kNone);
}

// --- Formats that hardware marks are answered too.

TEST(FastFaultOfHardwareTest, WhatTheLeafGrantsIsLetThroughAtOnce) {
  SpteCell<Ept> entry(Truth<Ept>::kCold);
  const auto fault = [&](Rights access) {
    return FastFaultSeen<Ept>(entry, ReadOnce(entry, kAcquire), access);
  };
  EXPECT_EQ(fault(Rights::kWrite), FastFaultOutcome::kSpurious);
  EXPECT_EQ(ReadOnce(entry, kRelaxed), Truth<Ept>::kCold);
  WriteOnce(entry, Truth<Ept>::kYoungReadOnly, kRelaxed);
  EXPECT_EQ(fault(Rights::kWrite), FastFaultOutcome::kNotPermitted);
}

}  // namespace
}  // namespace ptage
