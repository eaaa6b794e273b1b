// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/tdp_mmu.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/address_spaces.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/memory/stable_arena.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_history.h"
#include "ptage/page_table.h"
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

// --- Write-protection and dirty bits.

TEST_F(TdpMmuTest, AWriteFaultOnAProtectedPageGrantsItAndIsToldOf) {
  ASSERT_EQ(Fault(3, k4K, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(Fault(4, k4K, Rights::kRead), FaultOutcome::kMapped);
  const LocklessWalk walk(domain_);
  const GfnRange range{Gfn{0}, Gfn{64}};
  test::Answer first(Gfn{0}, 64);
  EXPECT_EQ(tdp_.WriteProtect(walk, range, first.output()).young, 1u);
  EXPECT_TRUE(first.Young(Gfn{3}));
  EXPECT_FALSE(first.Young(Gfn{4}));
  // By hand: as above without W (bit 1), with bit 55.
  EXPECT_EQ(WordOf(3), 0x8080'0000'0020'3135u);
  EXPECT_EQ(WordOf(4), 0x8080'0000'0020'4135u);
  EXPECT_EQ(Fault(4, k4K, Rights::kRead), FaultOutcome::kSpurious);
  EXPECT_EQ(WordOf(4), 0x8080'0000'0020'4135u);
  EXPECT_EQ(Fault(4, k4K, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_EQ(WordOf(4), 0x8000'0000'0020'4337u);
  EXPECT_EQ(Fault(4, k4K, Rights::kWrite), FaultOutcome::kSpurious);
  test::Answer second(Gfn{0}, 64);
  EXPECT_EQ(tdp_.ClearDirty(walk, range, second.output()).young, 1u);
  EXPECT_TRUE(second.Young(Gfn{4}));
  EXPECT_EQ(tdp_.LiftProtection(walk, range), 1u);
  EXPECT_EQ(Fault(3, k4K, Rights::kWrite), FaultOutcome::kSpurious);
}

TEST_F(TdpMmuTest, AWriteFaultInAProtectedLargePageGrantsAllOfIt) {
  ASSERT_EQ(Fault(1024, k2M, Rights::kRead), FaultOutcome::kMapped);
  const LocklessWalk walk(domain_);
  const GfnRange range{Gfn{1024}, Gfn{1536}};
  EXPECT_EQ(tdp_.WriteProtect(walk, range, AgeOutput{}).young, 0u);
  EXPECT_EQ(Fault(1100, k4K, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_EQ(tdp_.tree().Lookup(walk, Gfn{1535}).level, k2M);
  test::Answer answer(Gfn{1024}, 512);
  EXPECT_EQ(tdp_.ClearDirty(walk, range, answer.output()).young, 1u);
  EXPECT_TRUE(answer.Young(Gfn{1024}) && answer.Young(Gfn{1535}));
}

// --- Pages change their sizes.

TEST_F(TdpMmuTest, ARangeIsSplitDownToALevelAndPromotedAgain) {
  ASSERT_EQ(Fault(1024, k2M, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(Fault(2048, k2M, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(Fault(3000, k4K, Rights::kRead), FaultOutcome::kMapped);
  const LocklessWalk walk(domain_);
  const GfnRange all{Gfn{0}, Gfn{4096}};
  EXPECT_EQ(tdp_.SplitLarge(walk, all, k2M).done, 0u);
  // The second large page has one frame inside.
  EXPECT_EQ(tdp_.SplitLarge(walk, {Gfn{1100}, Gfn{2049}}, k4K).done, 2u);
  for (const std::uint64_t gfn : {1024u, 1535u, 2048u, 2559u}) {
    EXPECT_EQ(tdp_.tree().Lookup(walk, Gfn{gfn}).level, k4K);
    EXPECT_EQ(Ept::FrameOf(WordOf(gfn)), Pfn{gfn + 512});
  }
  EXPECT_EQ(tdp_.SplitLarge(walk, all, k4K).done, 0u);
  // Dirty where it was, and not elsewhere.
  EXPECT_EQ(WordOf(1030), 0x8000'0000'0060'6337u);
  EXPECT_EQ(WordOf(2050), 0x8000'0000'00A0'2137u);
  // Only what lies in the range as a whole, and is full.
  EXPECT_EQ(tdp_.PromoteSmall(walk, {Gfn{1025}, Gfn{2560}}, k2M).done, 1u);
  EXPECT_EQ(tdp_.tree().Lookup(walk, Gfn{1024}).level, k4K);
  EXPECT_EQ(tdp_.PromoteSmall(walk, all, k2M).done, 1u);
  EXPECT_EQ(tdp_.tree().Lookup(walk, Gfn{1024}).level, k2M);
  EXPECT_EQ(tdp_.tree().Lookup(walk, Gfn{3000}).level, k4K);
}

TEST_F(TdpMmuTest, APageOf1GiBIsSplitLevelByLevel) {
  constexpr std::uint64_t kGiB = 512 * 512;
  const LocklessWalk walk(domain_);
  ASSERT_EQ(tdp_.Fault(walk, Gfn{kGiB}, Pfn{kGiB}, Level{3}, Rights::kAll,
                       Rights::kWrite),
            FaultOutcome::kMapped);
  // To 2 MiB, and one of these to 4 KiB.
  EXPECT_EQ(tdp_.SplitLarge(walk, {Gfn{kGiB}, Gfn{2 * kGiB}}, k2M).done, 1u);
  EXPECT_EQ(tdp_.tree().Lookup(walk, Gfn{kGiB + 512}).level, k2M);
  EXPECT_EQ(tdp_.SplitLarge(walk, {Gfn{kGiB + 600}, Gfn{kGiB + 601}}, k4K).done,
            1u);
  EXPECT_EQ(tdp_.tree().Lookup(walk, Gfn{kGiB + 512}).level, k4K);
  EXPECT_EQ(tdp_.tree().Lookup(walk, Gfn{kGiB + 1024}).level, k2M);
  EXPECT_EQ(Ept::FrameOf(WordOf(kGiB + 600)), Pfn{kGiB + 600});
  EXPECT_TRUE(IsDirty<Ept>(WordOf(kGiB + 600)));
}

TEST_F(TdpMmuTest, WithoutMemoryASplitStopsAndSaysSo) {
  std::uint64_t gfn = 0;
  // 16 tables: the root, two above the leaves, and the rest for splits.
  for (; gfn < 20 * 512; gfn += 512) {
    ASSERT_EQ(Fault(gfn, k2M, Rights::kRead), FaultOutcome::kMapped);
  }
  const LocklessWalk walk(domain_);
  const auto resized = tdp_.SplitLarge(walk, {Gfn{0}, Gfn{gfn}}, k4K);
  EXPECT_TRUE(resized.no_memory);
  EXPECT_EQ(resized.done, 13u);
  EXPECT_EQ(arena_.InUse(), 16u);
}

TEST_F(TdpMmuTest, ARecursiveZapTakesEveryLeafAndFreesTheTables) {
  ASSERT_EQ(Fault(3, k4K, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(Fault(1024, k2M, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(Fault(2050, k4K, Rights::kRead), FaultOutcome::kMapped);
  std::vector<ZappedLeaf> zapped;
  const auto sink = [&](const ZappedLeaf& leaf) { zapped.push_back(leaf); };
  {
    const LocklessWalk walk(domain_);
    // The table of frame 3 lies inside, that of frame 2050 does not.
    EXPECT_EQ(tdp_.ZapRecursive(walk, {Gfn{0}, Gfn{2051}}, sink), 3u);
    for (const std::uint64_t gfn : {3u, 1024u, 2050u}) {
      EXPECT_FALSE(Ept::IsPresent(tdp_.tree().Lookup(walk, Gfn{gfn}).word));
    }
  }
  ASSERT_EQ(zapped.size(), 3u);
  EXPECT_EQ(zapped[0].gfn, Gfn{3});
  EXPECT_TRUE(zapped[0].accessed && zapped[0].dirty);
  EXPECT_EQ(zapped[1].level, k2M);
  EXPECT_FALSE(zapped[1].dirty);
  domain_.Synchronize();
  // The root, two above the leaves, and the table of frame 2050.
  EXPECT_EQ(arena_.InUse(), 4u);
}

// --- What upstream lost (6.13): a page is used, a notifier unmaps it, and when
// it is asked for, or mapped again ahead of its use, it looks idle.

TEST_F(TdpMmuTest, APagesHistorySurvivesAnUnmapAndARefault) {
  constexpr std::uint64_t kPages = 256;
  const GfnRange all{Gfn{0}, Gfn{kPages}};
  const auto idle = [&](auto ask) {
    test::Answer answer(Gfn{0}, kPages);
    (void)ask(answer.output());
    std::uint64_t count = 0;
    for (std::uint64_t gfn = 0; gfn < kPages; ++gfn) {
      count += answer.Young(Gfn{gfn}) ? 0 : 1;
    }
    return count;
  };
  // All pages are used; every other one is unmapped, and half of those mapped
  // again, not accessed, as by a fault around another page.
  const auto use_and_unmap = [&](ZapSink sink) {
    for (std::uint64_t gfn = 0; gfn < kPages; ++gfn) {
      ASSERT_EQ(Fault(gfn, k4K, Rights::kWrite), FaultOutcome::kMapped);
    }
    const LocklessWalk walk(domain_);
    for (std::uint64_t gfn = 0; gfn < kPages; gfn += 2) {
      ASSERT_EQ(tdp_.Zap(walk, {Gfn{gfn}, Gfn{gfn + 1}}, ZapFlush::kEach, sink),
                1u);
      if (gfn % 4 != 0) continue;
      ASSERT_EQ(
          tdp_.tree().Map(walk, Gfn{gfn}, k4K,
                          Ept::MakeLeaf(Pfn{gfn + 512}, k4K, Rights::kAll)),
          MapOutcome::kDone);
    }
  };
  use_and_unmap([](const ZappedLeaf&) {});
  EXPECT_EQ(idle([&](const AgeOutput& output) {
              return tdp_.TestYoung(all, output);
            }),
            kPages / 2);

  // The same with a history.
  {
    const LocklessWalk walk(domain_);
    (void)tdp_.ZapRecursive(walk, {Gfn{0}, Gfn{512}}, [](const ZappedLeaf&) {});
  }
  std::vector<Cell<std::uint64_t>> words(PageHistory::WordsFor(kPages),
                                         Cell<std::uint64_t>(0));
  PageHistory history(words.data(), all);
  const auto age = [&](AgeAction action) {
    return [&, action](const AgeOutput& output) {
      return AgeWithHistory(history, all, action, output, [&] {
        return tdp_.Age(all, action, AgeMode::kFastOnly, output);
      });
    };
  };
  use_and_unmap([&](const ZappedLeaf& leaf) {
    history.Record(GfnRange{leaf.gfn, leaf.gfn + 1}, leaf.accessed, leaf.dirty);
  });
  EXPECT_EQ(idle(age(AgeAction::kTest)), 0u);
  EXPECT_EQ(idle(age(AgeAction::kTestAndClear)), 0u);
  // Told once, and what was written is on record until it is asked for.
  EXPECT_EQ(idle(age(AgeAction::kTest)), kPages);
  EXPECT_EQ(idle([&](const AgeOutput& output) {
              return history.Written(all, AgeAction::kTestAndClear, output);
            }),
            kPages / 2);
}

// --- Several address spaces.

TEST_F(TdpMmuTest, AddressSpacesAreAskedAndZappedAsOne) {
  AddressSpaces<Tdp, 2> spaces(arena_, domain_, flusher_);
  static_assert(AgeableMmu<AddressSpaces<Tdp, 2>>);
  ASSERT_TRUE(spaces.valid());
  const LocklessWalk walk(domain_);
  const auto fault = [&](std::size_t space, std::uint64_t gfn) {
    return spaces[space].Fault(walk, Gfn{gfn}, Pfn{gfn + 512 * (space + 1)},
                               k4K, Rights::kAll, Rights::kWrite);
  };
  ASSERT_EQ(fault(0, 3), FaultOutcome::kMapped);
  ASSERT_EQ(fault(1, 3), FaultOutcome::kMapped);
  ASSERT_EQ(fault(1, 4), FaultOutcome::kMapped);
  const GfnRange range{Gfn{0}, Gfn{64}};
  EXPECT_EQ(spaces.ClearDirty(walk, range, AgeOutput{}).young, 3u);
  test::Answer answer(Gfn{0}, 64);
  EXPECT_EQ(spaces.TestClearYoungFastOnly(range, answer.output()),
            (AgeResult{.young = true, .was_fast = true}));
  EXPECT_TRUE(answer.Young(Gfn{3}) && answer.Young(Gfn{4}));
  EXPECT_EQ(answer.counts.young, 3u);
  EXPECT_FALSE(spaces.TestYoung(range).young);
  // Young in one of them.
  EXPECT_EQ(spaces.WriteProtect(walk, range, AgeOutput{}).examined, 3u);
  ASSERT_EQ(fault(1, 3), FaultOutcome::kMapped);
  EXPECT_EQ(spaces.ClearDirty(walk, range, AgeOutput{}).young, 1u);
  std::vector<Pfn> pfns;
  EXPECT_EQ(
      spaces.Zap(walk, {Gfn{3}, Gfn{4}}, ZapFlush::kEach,
                 [&](const ZappedLeaf& leaf) { pfns.push_back(leaf.pfn); }),
      2u);
  EXPECT_THAT(pfns, testing::ElementsAre(Pfn{515}, Pfn{1027}));
  EXPECT_EQ(
      spaces.ZapRecursive(walk, {Gfn{0}, Gfn{512}}, [](const ZappedLeaf&) {}),
      1u);
  EXPECT_EQ(spaces.RemoveTables(walk, {Gfn{0}, Gfn{512 * 512}},
                                [](const ZappedLeaf&) {}),
            2u);
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
