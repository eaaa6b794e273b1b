// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/primary_mmu.h"

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/no_allocations.h"
#include "test/process.h"

namespace ptage {
namespace {

using Process = test::Process<>;
using Word = X86_64::Word;

constexpr AgeResult kCold{};
constexpr AgeResult kYoungFast{.young = true, .was_fast = true};

class PrimaryMmuTest : public testing::Test {
 protected:
  auto& mmu() { return process_.mmu; }
  auto& others() { return process_.others; }
  Process process_;
};

TEST_F(PrimaryMmuTest, MappingsAreChecked) {
  const auto add = [&](std::uint64_t begin, std::uint64_t end) {
    return mmu().AddMapping({Gfn{begin}, Gfn{end}}, Rights::kAll).code();
  };
  EXPECT_EQ(add(3000, 3100), absl::StatusCode::kOk);
  EXPECT_EQ(add(3100, 3200), absl::StatusCode::kOk);
  EXPECT_EQ(add(2990, 3001), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(add(3199, 3300), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(add(3300, 3300), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(add(3400, 3300), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(add(4000, 4097), absl::StatusCode::kInvalidArgument);
  const auto sink = [](const ZappedLeaf&) {};
  EXPECT_EQ(mmu().RemoveMapping({Gfn{3000}, Gfn{3050}}, sink).code(),
            absl::StatusCode::kNotFound);
  EXPECT_TRUE(mmu().RemoveMapping({Gfn{3000}, Gfn{3100}}, sink).ok());
  EXPECT_FALSE(mmu().MappingAt(Gfn{3099}).has_value());
  EXPECT_TRUE(mmu().MappingAt(Gfn{3100}).has_value());
}

TEST_F(PrimaryMmuTest, AFaultMapsWhatTheResolverSays) {
  EXPECT_EQ(process_.Fault(5000), FaultOutcome::kNoSlot);
  EXPECT_EQ(process_.Fault(2500), FaultOutcome::kNoSlot);
  EXPECT_EQ(process_.Fault(2010, Rights::kWrite), FaultOutcome::kNotPermitted);
  EXPECT_EQ(process_.Fault(7, Rights::kWrite), FaultOutcome::kMapped);
  // Frame 0x10007, dirty, accessed, user, writable, present: SDM 3A table 4-20.
  EXPECT_EQ(process_.WordAt(7), 0x1000'7067u);
  EXPECT_EQ(process_.Fault(7), FaultOutcome::kSpurious);
  process_.resident = [](Gfn) { return false; };
  EXPECT_EQ(process_.Fault(8), FaultOutcome::kRetry);
  EXPECT_EQ(process_.WordAt(8), X86_64::kEmpty);
}

TEST_F(PrimaryMmuTest, AFaultWaitsForNoLockAndNoFrozenEntry) {
  {
    const auto lock = mmu().LockTable(Gfn{7});
    EXPECT_EQ(process_.FaultElsewhere(7), FaultOutcome::kRetry);
    EXPECT_EQ(process_.FaultElsewhere(511), FaultOutcome::kRetry);
    // Another table's.
    EXPECT_EQ(process_.FaultElsewhere(512), FaultOutcome::kMapped);
  }
  ASSERT_EQ(process_.Fault(7), FaultOutcome::kMapped);
  SpteCell<X86_64>& entry = process_.EntryAt(7);
  const Word seen = ReadOnce(entry, kRelaxed);
  ASSERT_TRUE(Freeze<X86_64>(entry, seen));
  EXPECT_EQ(process_.FaultElsewhere(7), FaultOutcome::kRetry);
  Restore<X86_64>(entry, seen);
  EXPECT_EQ(process_.FaultElsewhere(7), FaultOutcome::kSpurious);
}

TEST_F(PrimaryMmuTest, ALargePageIsMappedWhereItFits) {
  process_.level = Level{2};
  // Cut off by the mapping's end at 1500.
  EXPECT_EQ(process_.Fault(1030), FaultOutcome::kMapped);
  EXPECT_EQ(process_.Fault(600), FaultOutcome::kMapped);
  EXPECT_EQ(process_.Find(1030).level, Level{1});
  EXPECT_EQ(process_.Find(600).level, Level{2});
  EXPECT_EQ(process_.Find(1023).word, process_.Find(512).word);
}

TEST_F(PrimaryMmuTest, TheOwnEntryIsAskedAndThenTheOthersOnceEach) {
  ASSERT_EQ(process_.Fault(7), FaultOutcome::kMapped);
  const GfnRange page{Gfn{7}, Gfn{8}};
  others().answer = kCold;
  EXPECT_EQ(mmu().TestYoung(page), kYoungFast);
  EXPECT_EQ(mmu().TestClearYoung(page), kYoungFast);
  EXPECT_EQ(mmu().TestClearYoungFastOnly(page), kCold);
  EXPECT_EQ(others().asked,
            (std::vector<test::Question>{
                {page, AgeAction::kTest, AgeMode::kSlow},
                {page, AgeAction::kTestAndClear, AgeMode::kSlow},
                {page, AgeAction::kTestAndClear, AgeMode::kFastOnly}}));
  others().answer = AgeResult{.young = true};
  EXPECT_EQ(mmu().TestClearYoung(page), AgeResult{.young = true});
  others().answer = AgeResult{.complete = false};
  EXPECT_EQ(mmu().TestClearYoung(page), AgeResult{.complete = false});
}

TEST_F(PrimaryMmuTest, AnswersForFramesGoToTheBitmap) {
  for (const std::uint64_t gfn : {3u, 64u, 70u}) {
    ASSERT_EQ(process_.Fault(gfn), FaultOutcome::kMapped);
  }
  std::uint64_t young[2] = {};
  const AgeOutput output{.begin = Gfn{0}, .young = Bitmap(young, 128)};
  EXPECT_EQ(mmu().TestClearYoung({Gfn{0}, Gfn{128}}, output), kYoungFast);
  EXPECT_EQ(young[0], 1u << 3);
  EXPECT_EQ(young[1], 1u << 0 | 1u << 6);
}

TEST_F(PrimaryMmuTest, SpecialMappingsAreNotAged) {
  // 2000 … 2099, in the middle of a table.
  ASSERT_EQ(process_.Fault(2050), FaultOutcome::kMapped);
  EXPECT_EQ(mmu().TestClearYoung({Gfn{1990}, Gfn{2110}}), kCold);
  EXPECT_EQ(mmu().TestClearYoung({Gfn{2040}, Gfn{2060}}), kCold);
  const auto slow = AgeMode::kSlow;
  const auto clear = AgeAction::kTestAndClear;
  EXPECT_EQ(others().asked, (std::vector<test::Question>{
                                {{Gfn{1990}, Gfn{2000}}, clear, slow},
                                {{Gfn{2100}, Gfn{2110}}, clear, slow}}));
  EXPECT_TRUE(IsYoung<X86_64>(process_.WordAt(2050)));
}

TEST_F(PrimaryMmuTest, UnmapHandsOnAccessedAndDirtyOfAll) {
  ASSERT_EQ(process_.Fault(7), FaultOutcome::kMapped);
  ASSERT_EQ(process_.Fault(600, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(process_.Fault(601), FaultOutcome::kMapped);
  mmu().TestClearYoung({Gfn{7}, Gfn{8}});
  std::vector<std::uint64_t> accessed, dirty;
  const auto sink = [&](const ZappedLeaf& leaf) {
    if (leaf.accessed) accessed.push_back(leaf.gfn.value);
    if (leaf.dirty) dirty.push_back(leaf.gfn.value);
  };
  EXPECT_EQ(mmu().Unmap({Gfn{0}, Gfn{601}}, sink), 2u);
  EXPECT_EQ(accessed, (std::vector<std::uint64_t>{600}));
  EXPECT_EQ(dirty, (std::vector<std::uint64_t>{600}));
  EXPECT_EQ(others().invalidated, (std::vector<GfnRange>{{Gfn{0}, Gfn{601}}}));
  EXPECT_EQ(process_.WordAt(7), X86_64::kEmpty);
  EXPECT_NE(process_.WordAt(601), X86_64::kEmpty);
  // With its mapping the last one goes, too.
  EXPECT_TRUE(mmu().RemoveMapping({Gfn{0}, Gfn{1500}}, sink).ok());
  EXPECT_EQ(accessed, (std::vector<std::uint64_t>{600, 601}));
  EXPECT_EQ(process_.Fault(7), FaultOutcome::kNoSlot);
}

TEST_F(PrimaryMmuTest, UnmapWaitsForTheLockOfTheTable) {
  ASSERT_EQ(process_.Fault(7), FaultOutcome::kMapped);
  std::thread unmapper;
  {
    const auto lock = mmu().LockTable(Gfn{100});
    unmapper = std::thread(
        [&] { mmu().Unmap({Gfn{7}, Gfn{8}}, [](const ZappedLeaf&) {}); });
    absl::SleepFor(absl::Milliseconds(20));
    EXPECT_NE(process_.WordAt(7), X86_64::kEmpty);
  }
  unmapper.join();
  EXPECT_EQ(process_.WordAt(7), X86_64::kEmpty);
}

// Others take whatever they want while an ager goes on: each lock of a table
// is held by a thread, and so is one entry.
TEST_F(PrimaryMmuTest, FastOnlyAgingWaitsForNothingAndAllocatesNothing) {
  ASSERT_EQ(process_.Fault(7), FaultOutcome::kMapped);
  ASSERT_EQ(process_.Fault(8), FaultOutcome::kMapped);
  const Word frozen = process_.WordAt(8);
  const test::HoldsElsewhere holds([&](auto&& wait) {
    std::vector<std::unique_ptr<typename Process::Mmu::TableLock>> locks;
    for (std::uint64_t table = 0; table < Process::kFrames / 512; ++table) {
      locks.emplace_back(new typename Process::Mmu::TableLock(
          mmu().LockTable(Gfn{table * 512})));
    }
    ASSERT_TRUE(Freeze<X86_64>(process_.EntryAt(8), frozen));
    wait();
    Restore<X86_64>(process_.EntryAt(8), frozen);
  });
  std::uint64_t young = 0, unknown = 0;
  const AgeOutput output{.begin = Gfn{0},
                         .young = Bitmap(&young, 64),
                         .unknown = Bitmap(&unknown, 64)};
  // The others are no subject here, and remember what they are asked.
  others().asked.reserve(8);
  AgeResult answer;
  {
    const test::NoAllocations none;
    answer = mmu().TestClearYoungFastOnly({Gfn{0}, Gfn{64}}, output);
    EXPECT_FALSE(none.Asked());
  }
  EXPECT_EQ(answer, (AgeResult{true, true, false}));
  EXPECT_EQ(young, 1u << 7);
  EXPECT_EQ(unknown, 1u << 8);
}

}  // namespace
}  // namespace ptage
