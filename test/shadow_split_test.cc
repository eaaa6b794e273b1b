// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Large leaves of nested guests become smaller ones.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/dirty.h"
#include "ptage/fault_lock.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/reclaim.h"
#include "ptage/shadow_mmu.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/scheme.h"

namespace ptage {
namespace {

constexpr Level kSmall{1};
constexpr Level k2MiB{2};
constexpr Level k1GiB{3};

// L1's frames 512 to 1023 are a large page, which L2 sees from kNested on.
// Frame 700 is wanted alone.
constexpr GfnRange kFrames{Gfn{0}, Gfn{1536}};
constexpr GfnRange kLarge{Gfn{512}, Gfn{1024}};
constexpr GfnRange kPage{Gfn{700}, Gfn{701}};
constexpr std::uint64_t kNested = 10240;

// Remembers what was flushed, and calls a function, if there is one.
struct HookedFlusher {
  void Flush(GfnRange range) {
    flushed.push_back(range);
    if (hook) hook();
  }
  std::vector<GfnRange> flushed;
  std::function<void()> hook;
};

template <class D>
class ShadowSplitTest : public testing::Test {
 protected:
  using Machine = test::Machine<Ept, D, HookedFlusher>;
  static constexpr bool kFast = D::kFastAging;

  explicit ShadowSplitTest(std::size_t tables = 32, std::size_t chunks = 600)
      : machine_(tables, chunks) {}
  void SetUp() override {
    ASSERT_TRUE(vm().AddMemslot(kFrames, Pfn{0x10000}, Rights::kAll).ok());
  }
  auto& vm() { return *machine_.vm; }
  auto& shadow() { return vm().shadow(); }
  FaultOutcome Fault(std::uint64_t nested, NestedMapping mapping,
                     Rights access = Rights::kRead,
                     NestedGuest guest = NestedGuest::kFirst) {
    return vm().NestedFault(
        NestedGfn{nested}, access,
        [&](NestedGfn) { return std::optional<NestedMapping>(mapping); },
        guest);
  }
  void MapLarge(std::uint64_t nested, Rights granted, Rights access,
                NestedGuest guest = NestedGuest::kFirst) {
    ASSERT_EQ(Fault(nested, NestedMapping(kLarge.begin, granted, k2MiB), access,
                    guest),
              FaultOutcome::kMapped);
    ASSERT_EQ(Find(nested, guest).level, k2MiB);
    machine_.flusher.flushed.clear();
  }
  Resized Split(Level level = kSmall, GfnRange range = kPage) {
    const LocklessWalk walk(machine_.domain);
    const FaultLock::Exclusive lock(vm().fault_lock());
    return shadow().SplitLarge(walk, range, level);
  }
  FoundEntry<Ept> Find(std::uint64_t nested,
                       NestedGuest guest = NestedGuest::kFirst) {
    return shadow().tree(guest).Lookup(LocklessWalk(machine_.domain),
                                       Gfn{nested});
  }
  std::uint32_t InRmap(std::uint64_t gfn, Level level) {
    const LocklessWalk walk(machine_.domain);
    return shadow().CountEntries(*vm().memslots().Find(walk, Gfn{gfn}),
                                 Gfn{gfn}, level);
  }
  bool IsInRmap(std::uint64_t gfn, Level level, SpteCell<Ept>& entry) {
    const LocklessWalk walk(machine_.domain);
    return machine_.rmaps.Contains(
        vm().memslots().Find(walk, Gfn{gfn})->HeadOf(Gfn{gfn}, level), entry);
  }

  Machine machine_;
};

using Disciplines =
    testing::Types<test::SingleRmaps<Ept>, test::BitRmaps<Ept>,
                   test::LocklessRmaps<Ept>, test::LocklessRmapsUnderLock<Ept>>;
TYPED_TEST_SUITE(ShadowSplitTest, Disciplines);

TYPED_TEST(ShadowSplitTest, EachPartMapsItsFrameWithTheRightsAndBitsOfTheLeaf) {
  this->MapLarge(kNested, Rights::kReadWrite, Rights::kWrite);
  // Frame 0x10200; #VE suppressed, dirty, accessed, large, write-back, RW.
  ASSERT_EQ(this->Find(kNested).word, 0x8000'0000'1020'03B3u);
  EXPECT_EQ(this->Split().done, 1u);
  for (std::uint64_t i = 0; i < 512; ++i) {
    const FoundEntry<Ept> part = this->Find(kNested + i);
    ASSERT_EQ(part.level, kSmall);
    ASSERT_EQ(part.word, 0x8000'0000'1020'0333u + (i << 12));
    ASSERT_EQ(RecordedFrame<Ept>(this->machine_.arena, *part.entry),
              Gfn{512 + i});
    ASSERT_TRUE(this->IsInRmap(512 + i, kSmall, *part.entry));
  }
  // Each in no other, and the large one in none.
  for (std::uint64_t gfn = 0; gfn < 1536; ++gfn) {
    ASSERT_EQ(this->InRmap(gfn, kSmall), gfn / 512 == 1 ? 1u : 0u) << gfn;
    ASSERT_EQ(this->InRmap(gfn, k2MiB), 0u) << gfn;
  }
  EXPECT_EQ(this->shadow().live(), 512u);
  EXPECT_THAT(this->machine_.flusher.flushed,
              testing::ElementsAre(GfnRange{Gfn{kNested}, Gfn{kNested + 512}}));
  // Once more there is nothing to split.
  EXPECT_EQ(this->Split().done, 0u);
  // A fault of a frame that was zapped finds the table in its way.
  EXPECT_EQ(this->vm().Invalidate(kPage,
                                  [](const ZappedLeaf& leaf) {
                                    EXPECT_EQ(leaf.gfn, Gfn{700});
                                    EXPECT_EQ(leaf.pfn, Pfn{0x10000 + 700});
                                    EXPECT_TRUE(leaf.accessed && leaf.dirty);
                                  }),
            1u);
  EXPECT_EQ(
      this->Fault(kNested + 188, NestedMapping(Gfn{700}, Rights::kAll, k2MiB)),
      FaultOutcome::kMapped);
  EXPECT_EQ(this->Find(kNested + 188).level, kSmall);
  EXPECT_EQ(this->shadow().live(), 512u);
}

TYPED_TEST(ShadowSplitTest, OneThatWasNotUsedHasPartsThatWereNot) {
  this->MapLarge(kNested, Rights::kReadExecute, Rights::kRead);
  EXPECT_TRUE(this->shadow().TestClearYoung(kFrames).young);
  EXPECT_EQ(this->Split().done, 1u);
  EXPECT_EQ(this->Find(kNested + 9).word, 0x8000'0000'1020'9035u);
  EXPECT_EQ(this->shadow().TestClearYoung(kFrames), AgeResult{});
}

TYPED_TEST(ShadowSplitTest, OtherPagesAndOtherLevelsStayAsTheyAre) {
  this->MapLarge(kNested, Rights::kAll, Rights::kRead);
  EXPECT_EQ(this->Split(k2MiB).done, 0u);
  EXPECT_EQ(this->Split(kSmall, {Gfn{0}, Gfn{512}}).done, 0u);
  EXPECT_EQ(this->Split(kSmall, {Gfn{1024}, Gfn{1536}}).done, 0u);
  EXPECT_EQ(this->Find(kNested).level, k2MiB);
  EXPECT_EQ(this->Split(kSmall, {Gfn{1023}, Gfn{1025}}).done, 1u);
}

// Two names in one tree, and one in that of another guest.
TYPED_TEST(ShadowSplitTest, EveryNameIsSplitInTheTreeOfItsGuest) {
  const std::optional<NestedGuest> other = this->vm().AddNestedGuest();
  ASSERT_TRUE(other.has_value());
  this->MapLarge(kNested, Rights::kAll, Rights::kRead);
  this->MapLarge(kNested + 1024, Rights::kAll, Rights::kWrite);
  this->MapLarge(kNested, Rights::kRead, Rights::kRead, *other);
  EXPECT_EQ(this->Split().done, 3u);
  EXPECT_EQ(this->Find(kNested + 7).word, 0x8000'0000'1020'7137u);
  EXPECT_EQ(this->Find(kNested + 1031).word, 0x8000'0000'1020'7337u);
  EXPECT_EQ(this->Find(kNested + 7, *other).word, 0x8000'0000'1020'7131u);
  EXPECT_EQ(this->InRmap(519, kSmall), 3u);
  EXPECT_EQ(this->InRmap(519, k2MiB), 0u);
  EXPECT_EQ(this->shadow().live(), 3 * 512u);
}

// Else a question meanwhile, which asks for the large page first, would find
// its access nowhere.
TYPED_TEST(ShadowSplitTest, TheRmapsAnswerWhileItIsSplit) {
  this->MapLarge(kNested, Rights::kAll, Rights::kRead);
  int flushes = 0;
  this->machine_.flusher.hook = [&] {
    ++flushes;
    EXPECT_EQ(this->Find(kNested).word, Ept::kFrozen);
    test::Answer answer(Gfn{0}, 1536);
    const AgeResult result = this->shadow().TestClearYoungFastOnly(
        {Gfn{700}, Gfn{702}}, answer.output());
    EXPECT_EQ(result,
              (AgeResult{.young = true, .was_fast = TestFixture::kFast}));
    EXPECT_TRUE(answer.Young(Gfn{700}) && answer.Young(Gfn{701}));
  };
  EXPECT_EQ(this->Split().done, 1u);
  EXPECT_EQ(flushes, 1);
  this->machine_.flusher.hook = nullptr;
}

TYPED_TEST(ShadowSplitTest, WhatIsWriteProtectedStaysSo) {
  this->MapLarge(kNested, Rights::kAll, Rights::kWrite);
  test::Answer answer(Gfn{0}, 1536);
  (void)this->vm().WriteProtect(kFrames, answer.output());
  EXPECT_TRUE(answer.Young(Gfn{512}));
  EXPECT_EQ(this->Split().done, 1u);
  for (std::uint64_t i = 0; i < 512; ++i) {
    const Ept::Word word = this->Find(kNested + i).word;
    ASSERT_TRUE(IsProtected<Ept>(word) && !IsDirty<Ept>(word));
    ASSERT_FALSE(Allows(Ept::RightsOf(word), Rights::kWrite));
  }
  // A write is granted to the page that it is to, and told of.
  const NestedMapping mapping(Gfn{700}, Rights::kAll, k2MiB);
  EXPECT_EQ(this->Fault(kNested + 188, mapping, Rights::kWrite),
            FaultOutcome::kMapped);
  test::Answer written(Gfn{0}, 1536);
  (void)this->vm().ClearDirty(kFrames, written.output());
  EXPECT_EQ(written.counts.young, 1u);
  EXPECT_TRUE(written.Young(Gfn{700}));
  EXPECT_EQ(this->vm().LiftProtection(kFrames), 511u);
}

// Who goes through all entries lets the lock go now and then. Were small ones
// gone through first, the write would be found nowhere.
TYPED_TEST(ShadowSplitTest, WhatIsSplitWhileOthersGoThroughAllIsNotPassedOver) {
  this->MapLarge(kNested, Rights::kAll, Rights::kWrite);
  // Behind the large page.
  ASSERT_EQ(this->Fault(0, NestedMapping(Gfn{1024})), FaultOutcome::kMapped);
  const LocklessWalk walk(this->machine_.domain);
  bool split = false;
  bool told = false;
  this->shadow().ForEachEntry(walk, kFrames, this->vm().fault_lock(),
                              [&](SpteCell<Ept>& entry, GfnRange covers) {
                                told |= covers.Contains(Gfn{700}) &&
                                        IsDirty<Ept>(ReadOnce(entry, kRelaxed));
                                if (covers.begin != Gfn{1024}) return;
                                split = true;
                                (void)this->shadow().SplitLarge(walk, kPage,
                                                                kSmall);
                              });
  EXPECT_TRUE(split);
  EXPECT_TRUE(told);
}

// The table that is new is not passed over where cold ones are.
TYPED_TEST(ShadowSplitTest,
           AnAccessIsFoundUnderTheTableWhereColdOnesAreSkipped) {
  auto& machine = this->machine_;
  ShadowMmu<Ept, test::Arena<Ept>, typename TestFixture::Machine::Domain,
            HookedFlusher, TypeParam, InnerAging::kSkipCold>
      shadow(machine.arena, machine.domain, machine.flusher, machine.rmaps,
             machine.vm->memslots());
  const LocklessWalk walk(machine.domain);
  {
    const FaultLock::Exclusive lock(machine.vm->fault_lock());
    ASSERT_EQ(shadow.Fault(walk, NestedGfn{kNested},
                           *machine.vm->memslots().Find(walk, Gfn{512}),
                           NestedMapping(Gfn{512}, Rights::kAll, k2MiB),
                           Rights::kRead, MmuLock::kExclusive,
                           [](const ZappedLeaf&) {}),
              FaultOutcome::kMapped);
    EXPECT_EQ(shadow.SplitLarge(walk, kPage, kSmall).done, 1u);
  }
  test::Answer answer(Gfn{0}, 1536);
  EXPECT_TRUE(shadow
                  .AgeSkippingCold(kPage, Pruning::kExact,
                                   AgeAction::kTestAndClear, answer.output())
                  .young);
  EXPECT_TRUE(answer.Young(Gfn{700}) && !answer.Young(Gfn{701}));
  EXPECT_FALSE(shadow
                   .AgeSkippingCold(kPage, Pruning::kExact,
                                    AgeAction::kTestAndClear, answer.output())
                   .young);
  const FaultLock::Exclusive lock(machine.vm->fault_lock());
  EXPECT_EQ(shadow.ZapFrames(walk, kFrames, [](const ZappedLeaf&) {}), 512u);
}

// --- Pages of 1 GiB, which take two steps.

TYPED_TEST(ShadowSplitTest, APageOf1GiBIsSplitWhereThePageIsAlone) {
  constexpr std::uint64_t kGiB = 1 << 18;
  constexpr GfnRange kAll{Gfn{kGiB}, Gfn{2 * kGiB}};
  ASSERT_TRUE(this->vm().AddMemslot(kAll, Pfn{4 * kGiB}, Rights::kAll).ok());
  const NestedMapping mapping(kAll.begin, Rights::kAll, k1GiB);
  ASSERT_EQ(this->Fault(5 * kGiB, mapping, Rights::kWrite),
            FaultOutcome::kMapped);
  ASSERT_EQ(this->Find(5 * kGiB).level, k1GiB);
  const std::uint64_t page = kGiB + 3 * 512 + 188;
  const GfnRange range{Gfn{page}, Gfn{page + 1}};
  EXPECT_EQ(this->Split(k2MiB, range).done, 1u);
  EXPECT_EQ(this->shadow().live(), 512u);
  // Frame 4 GiB + 511 × 2 MiB, as above, but for everything.
  EXPECT_EQ(this->Find(6 * kGiB - 1).word, 0x8000'0001'3FE0'03B7u);
  EXPECT_EQ(this->Find(6 * kGiB - 1).level, k2MiB);
  EXPECT_EQ(this->InRmap(page, k1GiB), 0u);
  EXPECT_EQ(this->InRmap(page, k2MiB), 1u);

  EXPECT_EQ(this->Split(kSmall, range).done, 1u);
  EXPECT_EQ(this->shadow().live(), 511u + 512u);
  const FoundEntry<Ept> small = this->Find(5 * kGiB + 3 * 512 + 188);
  EXPECT_EQ(small.level, kSmall);
  EXPECT_EQ(small.word, 0x8000'0001'006B'C337u);
  EXPECT_TRUE(this->IsInRmap(page, kSmall, *small.entry));
  EXPECT_EQ(this->InRmap(page, k2MiB), 0u);
  // Those beside it stay large.
  EXPECT_EQ(this->Find(5 * kGiB + 4 * 512).level, k2MiB);
}

TYPED_TEST(ShadowSplitTest, BothStepsAreOneCall) {
  constexpr std::uint64_t kGiB = 1 << 18;
  constexpr GfnRange kAll{Gfn{kGiB}, Gfn{2 * kGiB}};
  ASSERT_TRUE(this->vm().AddMemslot(kAll, Pfn{4 * kGiB}, Rights::kAll).ok());
  const NestedMapping mapping(kAll.begin, Rights::kAll, k1GiB);
  ASSERT_EQ(this->Fault(5 * kGiB, mapping), FaultOutcome::kMapped);
  EXPECT_EQ(this->Split(kSmall, {Gfn{kGiB}, Gfn{kGiB + 1}}).done, 2u);
  EXPECT_EQ(this->shadow().live(), 511u + 512u);
  // All that it mapped is asked for, whichever its size is, and zapped.
  test::Answer answer(kAll.begin, kGiB);
  EXPECT_TRUE(this->shadow().TestClearYoung(kAll, answer.output()).young);
  EXPECT_EQ(answer.counts.young, 511u + 512u);
  EXPECT_EQ(this->vm().Invalidate(kAll, [](const ZappedLeaf&) {}), 511u + 512u);
  EXPECT_EQ(this->shadow().live(), 0u);
}

// --- Without memory a leaf stays as it is.

template <class D>
class ShadowSplitWithoutMemoryTest : public ShadowSplitTest<D> {
 protected:
  // A chunk for one list.
  ShadowSplitWithoutMemoryTest() : ShadowSplitTest<D>(12, 1) {}

  void ExpectUnsplit(const FoundEntry<Ept>& before, std::uint64_t live) {
    const std::size_t tables = this->machine_.arena.InUse();
    const Resized resized = this->Split();
    test::FreeAll(this->machine_.domain);
    EXPECT_EQ(this->machine_.arena.InUse(), tables);
    EXPECT_TRUE(resized.no_memory);
    EXPECT_EQ(resized.done, 0u);
    const FoundEntry<Ept> after = this->Find(kNested);
    EXPECT_EQ(after.entry, before.entry);
    EXPECT_EQ(after.word, before.word);
    EXPECT_TRUE(this->IsInRmap(512, k2MiB, *after.entry));
    EXPECT_EQ(this->shadow().live(), live);
    std::uint64_t small = 0;
    for (std::uint64_t gfn = 0; gfn < 1536; ++gfn) {
      small += this->InRmap(gfn, kSmall);
    }
    EXPECT_EQ(small, live - 1);
    EXPECT_TRUE(this->machine_.flusher.flushed.empty());
  }
};
TYPED_TEST_SUITE(ShadowSplitWithoutMemoryTest, Disciplines);

TYPED_TEST(ShadowSplitWithoutMemoryTest, ForATableItIsAsItWas) {
  this->MapLarge(kNested, Rights::kAll, Rights::kWrite);
  std::uint64_t live = 1;
  // Each takes a table.
  while (this->Fault(live * 512, NestedMapping(Gfn{live})) ==
         FaultOutcome::kMapped) {
    ++live;
  }
  EXPECT_GT(live, 1u);
  this->ExpectUnsplit(this->Find(kNested), live);
  EXPECT_TRUE(this->shadow().TestClearYoung(kPage).young);
}

TYPED_TEST(ShadowSplitWithoutMemoryTest, ForAListItIsAsItWas) {
  this->MapLarge(kNested, Rights::kAll, Rights::kWrite);
  // Frame 513 has a list, with the only chunk; frame 700 would need one.
  for (const std::uint64_t nested : {8192u, 8193u}) {
    ASSERT_EQ(this->Fault(nested, NestedMapping(Gfn{513})),
              FaultOutcome::kMapped);
  }
  ASSERT_EQ(this->Fault(8194, NestedMapping(Gfn{700})), FaultOutcome::kMapped);
  this->ExpectUnsplit(this->Find(kNested), 4);
  test::Answer answer(Gfn{0}, 1536);
  EXPECT_TRUE(this->shadow().TestClearYoung(kFrames, answer.output()).young);
  EXPECT_EQ(answer.counts.young, 4u);
  // With memory it is split.
  EXPECT_EQ(
      this->vm().InvalidateNested(
          {NestedGfn{8192}, NestedGfn{8195}}, [](const ZappedLeaf&) {}, [] {}),
      3u);
  test::FreeAll(this->machine_.domain);
  EXPECT_EQ(this->Split().done, 1u);
  EXPECT_EQ(this->shadow().live(), 512u);
  EXPECT_EQ(this->Find(kNested).word, 0x8000'0000'1020'0237u);
}

}  // namespace
}  // namespace ptage
