// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/tdp_mmu.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/memory/stable_arena.h"
#include "ptage/mmu.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/spte/ept.h"
#include "test/machine.h"

namespace ptage {
namespace {

using Domain = AnonymousEpochDomain<2>;
using Tdp = TdpMmu<Ept, test::Arena<Ept>, Domain, test::RecordingFlusher>;
static_assert(AgeableMmu<Tdp> && Tdp::kFastAging);

constexpr Level k4K{1};
constexpr Level k2M{2};

class TdpMmuTest : public testing::Test {
 protected:
  FaultOutcome Fault(std::uint64_t gfn, Level level, Rights access) {
    const LocklessWalk walk(domain_);
    return tdp_.Fault(walk, Gfn{gfn}, Pfn{gfn + 512}, level, Rights::kAll,
                      access);
  }
  std::uint64_t WordOf(std::uint64_t gfn) {
    const LocklessWalk walk(domain_);
    return tdp_.tree().Lookup(walk, Gfn{gfn}).word;
  }

  test::TableBlock<Ept> block_{16};
  test::Arena<Ept> arena_{block_.tables.data(), block_.infos.data(),
                          block_.gfns.data(), 16, Pfn{0}};
  Domain domain_;
  test::RecordingFlusher flusher_;
  Tdp tdp_{arena_, domain_, flusher_};
};

TEST_F(TdpMmuTest, AFaultMakesAnAccessedEntryAndAWriteADirtyOne) {
  ASSERT_EQ(Fault(3, k4K, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(Fault(4, k4K, Rights::kWrite), FaultOutcome::kMapped);
  // By hand: frame << 12, suppress-#VE 63, write-back 6 << 3, RWX 7; accessed
  // is bit 8, dirty bit 9 (SDM 3C, format of an EPT page-table entry).
  EXPECT_EQ(WordOf(3), 0x8000'0000'0020'3137u);
  EXPECT_EQ(WordOf(4), 0x8000'0000'0020'4337u);
  EXPECT_EQ(Fault(4, k4K, Rights::kRead), FaultOutcome::kSpurious);
}

TEST_F(TdpMmuTest, AFaultUnderATableMapsASmallerPage) {
  ASSERT_EQ(Fault(1024, k4K, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(Fault(1030, k2M, Rights::kRead), FaultOutcome::kMapped);
  const LocklessWalk walk(domain_);
  EXPECT_EQ(tdp_.tree().Lookup(walk, Gfn{1030}).level, k4K);
  EXPECT_EQ(Ept::FrameOf(tdp_.tree().Lookup(walk, Gfn{1030}).word), Pfn{1542});
}

TEST_F(TdpMmuTest, AFaultInsideALargePageMapsAllOfIt) {
  ASSERT_EQ(Fault(1030, k2M, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(Ept::FrameOf(WordOf(1024)), Pfn{1536});
  EXPECT_EQ(Fault(1025, k4K, Rights::kRead), FaultOutcome::kSpurious);
}

TEST_F(TdpMmuTest, AYoungAnswerIsFast) {
  ASSERT_EQ(Fault(3, k4K, Rights::kRead), FaultOutcome::kMapped);
  const GfnRange range{Gfn{0}, Gfn{64}};
  const AgeResult young{.young = true, .was_fast = true};
  EXPECT_EQ(tdp_.TestYoung(range), young);
  EXPECT_EQ(tdp_.TestClearYoungFastOnly(range), young);
  EXPECT_EQ(tdp_.TestClearYoung(range), AgeResult{});
}

TEST_F(TdpMmuTest, AFaultUnderAClearParentIsFoundWhereColdOnesAreSkipped) {
  TdpMmu<Ept, test::Arena<Ept>, Domain, test::RecordingFlusher,
         InnerAging::kSkipCold>
      tdp(arena_, domain_, flusher_);
  const auto fault = [&](std::uint64_t gfn) {
    const LocklessWalk walk(domain_);
    return tdp.Fault(walk, Gfn{gfn}, Pfn{gfn}, k4K, Rights::kAll,
                     Rights::kRead);
  };
  const auto age = [&](Pruning pruning) {
    return tdp.AgeSkippingCold(GfnRange{Gfn{0}, Gfn{1024}}, pruning,
                               AgeAction::kTestAndClear, AgeOutput{});
  };
  ASSERT_EQ(fault(3), FaultOutcome::kMapped);
  EXPECT_EQ(age(Pruning::kExact),
            (AgeResult{.young = true, .was_fast = false}));
  EXPECT_EQ(age(Pruning::kExact), AgeResult{});
  // The parent is clear now.
  ASSERT_EQ(fault(4), FaultOutcome::kMapped);
  EXPECT_EQ(age(Pruning::kBestEffort),
            (AgeResult{.young = true, .was_fast = true}));
  EXPECT_EQ(age(Pruning::kBestEffort), AgeResult{});
}

TEST_F(TdpMmuTest, AFrozenEntryIsUnknownToFastOnlyAndSlowlyYoung) {
  ASSERT_EQ(Fault(3, k4K, Rights::kRead), FaultOutcome::kMapped);
  const GfnRange range{Gfn{0}, Gfn{64}};
  {
    const LocklessWalk walk(domain_);
    const FoundEntry<Ept> found = tdp_.tree().Lookup(walk, Gfn{3});
    ASSERT_TRUE(Freeze<Ept>(*found.entry, found.word));
  }
  test::Answer fast(Gfn{0}, 64);
  EXPECT_EQ(tdp_.TestClearYoungFastOnly(range, fast.output()),
            AgeResult{.complete = false});
  EXPECT_TRUE(fast.Unknown(Gfn{3}));
  EXPECT_FALSE(fast.Unknown(Gfn{4}));
  test::Answer slow(Gfn{0}, 64);
  // Young, though nobody saw it young: so not fast.
  EXPECT_EQ(tdp_.TestClearYoung(range, slow.output()),
            AgeResult{.young = true});
  EXPECT_TRUE(slow.Young(Gfn{3}));
}

TEST_F(TdpMmuTest, WithoutAPlaceToWalkFastOnlyIsUnknown) {
  const LocklessWalk one(domain_);
  const LocklessWalk two(domain_);
  test::Answer answer(Gfn{0}, 64);
  EXPECT_EQ(tdp_.TestClearYoungFastOnly({Gfn{0}, Gfn{64}}, answer.output()),
            AgeResult{.complete = false});
  EXPECT_TRUE(answer.Unknown(Gfn{63}));
}

TEST_F(TdpMmuTest, AZapFlushesEachPageUnlessTheCallerWill) {
  for (const std::uint64_t gfn : {3u, 4u, 5u}) {
    ASSERT_EQ(Fault(gfn, k4K, Rights::kWrite), FaultOutcome::kMapped);
  }
  const LocklessWalk walk(domain_);
  std::vector<Gfn> zapped;
  const auto sink = [&](const ZappedLeaf& leaf) {
    EXPECT_TRUE(leaf.accessed && leaf.dirty);
    EXPECT_EQ(leaf.pfn, Pfn{leaf.gfn.value + 512});
    zapped.push_back(leaf.gfn);
  };
  EXPECT_EQ(tdp_.Zap(walk, {Gfn{3}, Gfn{5}}, ZapFlush::kEach, sink), 2u);
  EXPECT_THAT(flusher_.flushed, testing::ElementsAre(GfnRange{Gfn{3}, Gfn{4}},
                                                     GfnRange{Gfn{4}, Gfn{5}}));
  EXPECT_EQ(tdp_.Zap(walk, {Gfn{0}, Gfn{64}}, ZapFlush::kByCaller, sink), 1u);
  EXPECT_EQ(flusher_.flushed.size(), 2u);
  EXPECT_THAT(zapped, testing::ElementsAre(Gfn{3}, Gfn{4}, Gfn{5}));
}

TEST_F(TdpMmuTest, RemovedTablesGoBackAfterTheWalksThatMaySeeThem) {
  ASSERT_EQ(Fault(3, k4K, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_EQ(arena_.InUse(), 4u);
  {
    const LocklessWalk walk(domain_);
    int handed_over = 0;
    EXPECT_EQ(tdp_.RemoveTables(walk, {Gfn{0}, Gfn{512 * 512}},
                                [&](const ZappedLeaf& leaf) {
                                  EXPECT_TRUE(leaf.accessed && leaf.dirty);
                                  ++handed_over;
                                }),
              2u);
    EXPECT_EQ(handed_over, 1);
    EXPECT_EQ(arena_.InUse(), 4u);
  }
  domain_.Synchronize();
  EXPECT_EQ(arena_.InUse(), 2u);
}

// The same MMU over other schemes: one that holds nothing back, and one that
// holds back until the walk ends.
TEST(TdpMmuOverSchemesTest, ATypeStableTableIsFreeBeforeTheWalkEnds) {
  test::TableBlock<Ept> block(16);
  std::vector<TableIdentity> identities(16);
  StableArena<Ept> arena(block.tables.data(), block.infos.data(),
                         identities.data(), 16, Pfn{0});
  TypeStable reclaimer;
  test::RecordingFlusher flusher;
  TdpMmu<Ept, StableArena<Ept>, TypeStable, test::RecordingFlusher> tdp(
      arena, reclaimer, flusher);
  const LocklessWalk walk(reclaimer);
  ASSERT_EQ(
      tdp.Fault(walk, Gfn{3}, Pfn{515}, k4K, Rights::kAll, Rights::kWrite),
      FaultOutcome::kMapped);
  EXPECT_EQ(arena.InUse(), 4u);
  const GfnRange range{Gfn{0}, Gfn{512 * 512}};
  EXPECT_TRUE(tdp.TestClearYoungFastOnly(range).young);
  EXPECT_FALSE(tdp.TestYoung(range).young);
  EXPECT_EQ(tdp.RemoveTables(walk, range, [](const ZappedLeaf&) {}), 2u);
  EXPECT_EQ(arena.InUse(), 2u);
}

}  // namespace
}  // namespace ptage
