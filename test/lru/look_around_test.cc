// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/lru/look_around.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/primary_mmu.h"
#include "ptage/spte.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/process.h"

namespace ptage {
namespace {

constexpr AgeResult kCold{};
constexpr AgeResult kYoungFast{.young = true, .was_fast = true};
constexpr AgeResult kYoungSlow{.young = true};

class LookAroundTest : public testing::Test {
 protected:
  using Process = test::Process<>;

  // Young pages.
  void Use(std::vector<std::uint64_t> pages) {
    for (const std::uint64_t page : pages) {
      ASSERT_EQ(process_.Fault(page), FaultOutcome::kMapped);
    }
  }
  bool Young(std::uint64_t page) {
    return IsYoung<X86_64>(process_.WordAt(page));
  }
  LookedAround LookAt(std::uint64_t page) {
    return LookAround(process_.mmu, Gfn{page});
  }
  test::FixedOthers& others() { return process_.others; }

  Process process_;
};

TEST_F(LookAroundTest, YoungNeighboursAreClearedAndReported) {
  Use({127, 128, 133, 160, 191, 192});
  const LookedAround seen = LookAt(133);
  EXPECT_EQ(seen.page, kYoungFast);
  EXPECT_EQ(seen.left_out, LeftOut::kNothing);
  EXPECT_EQ(seen.asked, (GfnRange{Gfn{128}, Gfn{192}}));
  EXPECT_EQ(seen.young, 1ull << 0 | 1ull << 5 | 1ull << 32 | 1ull << 63);
  for (const std::uint64_t page : {128u, 133u, 160u, 191u}) {
    EXPECT_FALSE(Young(page)) << page;
  }
  EXPECT_TRUE(Young(127));
  EXPECT_TRUE(Young(192));
}

TEST_F(LookAroundTest, TheOthersAreAskedByTheSlowQuestionThenFastOnly) {
  Use({133});
  LookAt(133);
  EXPECT_EQ(
      others().asked,
      (std::vector<test::Question>{
          {{Gfn{133}, Gfn{134}}, AgeAction::kTestAndClear, AgeMode::kSlow},
          {{Gfn{128}, Gfn{192}},
           AgeAction::kTestAndClear,
           AgeMode::kFastOnly}}));
}

TEST_F(LookAroundTest, APageThatIsNotYoungStopsThere) {
  Use({130, 133});
  process_.mmu.TestClearYoung({Gfn{133}, Gfn{134}});
  const LookedAround seen = LookAt(133);
  EXPECT_EQ(seen.page, kCold);
  EXPECT_EQ(seen.left_out, LeftOut::kNotYoung);
  EXPECT_TRUE(seen.asked.Empty());
  EXPECT_EQ(seen.young, 0u);
  EXPECT_TRUE(Young(130));
  // Unknown is not young, and no neighbour is asked on its account.
  others().answer = AgeResult{.complete = false};
  EXPECT_EQ(LookAt(133).page, AgeResult{.complete = false});
}

TEST_F(LookAroundTest, ASlowAnswerIsYoungAndLeavesTheNeighboursOut) {
  Use({130});
  others().answer = kYoungSlow;
  const LookedAround seen = LookAt(133);
  EXPECT_EQ(seen.page, kYoungSlow);
  EXPECT_EQ(seen.left_out, LeftOut::kNotFast);
  EXPECT_TRUE(Young(130));
}

TEST_F(LookAroundTest, AFastAnswerOfOthersIsEnough) {
  Use({130});
  others().answer = kYoungFast;
  const LookedAround seen = LookAt(133);
  EXPECT_EQ(seen.page, kYoungFast);
  EXPECT_EQ(seen.young, 1u << 2 | 1u << 5);
  // So is an own one, whatever the others' is.
  Use({140});
  others().answer = kYoungSlow;
  EXPECT_EQ(LookAt(140).left_out, LeftOut::kNothing);
}

TEST_F(LookAroundTest, AContendedLockLeavesTheNeighboursOutAndThePageYoung) {
  Use({130, 133});
  const test::HoldsElsewhere holds([&](auto&& wait) {
    const auto lock = process_.mmu.LockTable(Gfn{500});
    wait();
  });
  const LookedAround seen = LookAt(133);
  EXPECT_EQ(seen.page, kYoungFast);
  EXPECT_EQ(seen.left_out, LeftOut::kContended);
  EXPECT_FALSE(Young(133));
  EXPECT_TRUE(Young(130));
}

TEST_F(LookAroundTest, ASpecialMappingLeavesTheNeighboursOutAndThePageYoung) {
  Use({2001, 2002});
  const LookedAround seen = LookAt(2001);
  EXPECT_EQ(seen.page, kYoungFast);
  EXPECT_EQ(seen.left_out, LeftOut::kSpecial);
  EXPECT_TRUE(Young(2002));
}

TEST_F(LookAroundTest, ItStaysInOneMapping) {
  ASSERT_TRUE(
      process_.mmu.AddMapping({Gfn{1500}, Gfn{1510}}, Rights::kAll).ok());
  Use({1498, 1499, 1500});
  const LookedAround seen = LookAt(1499);
  // 1472 is a multiple of 64.
  EXPECT_EQ(seen.asked, (GfnRange{Gfn{1472}, Gfn{1500}}));
  EXPECT_EQ(seen.young, 1u << 26 | 1u << 27);
  EXPECT_TRUE(Young(1500));
  EXPECT_EQ(LookAt(1500).asked, (GfnRange{Gfn{1500}, Gfn{1510}}));
}

TEST_F(LookAroundTest, ALargeLeafIsTestedNotCleared) {
  process_.level = Level{2};
  Use({600});
  const LookedAround seen = LookAt(600);
  EXPECT_EQ(seen.page, kYoungFast);
  EXPECT_EQ(seen.young, ~std::uint64_t{0});
  EXPECT_TRUE(Young(600));
}

}  // namespace
}  // namespace ptage
