// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Eviction, and aging that waits for nothing, with nested guests: by each
// discipline of rmaps.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/fault_lock.h"
#include "ptage/hold.h"
#include "ptage/lru/eviction.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/primary_mmu.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/lru/eviction_fixture.h"
#include "test/machine.h"
#include "test/no_allocations.h"
#include "test/process.h"

namespace ptage {
namespace {

using test::PageOf;

template <class D>
using NestedEvictionTest = test::EvictionTest<D>;

using Disciplines = testing::Types<test::SingleRmaps<Ept>, test::BitRmaps<Ept>,
                                   test::LocklessRmaps<Ept>>;
TYPED_TEST_SUITE(NestedEvictionTest, Disciplines);

TYPED_TEST(NestedEvictionTest, AnIdlePageIsFlushedHandedOverEmptiedAndStored) {
  this->Map(7, Rights::kWrite);
  this->MakeOld();
  const std::vector<std::uint64_t> frozen = {X86_64::kFrozen, Ept::kFrozen,
                                             Ept::kFrozen};
  this->marks_.before_take = [&] {
    EXPECT_EQ(this->WordsOf(7), frozen);
    this->events_.push_back("decide");
  };
  const auto flush = [&](GfnRange) {
    // Nothing was let go of before all agreed.
    EXPECT_EQ(this->process_.WordAt(7), X86_64::kFrozen);
    this->events_.push_back("flush");
  };
  this->process_.flusher.hook = flush;
  this->machine_.flusher.hook = flush;
  EXPECT_EQ(this->EvictPage(7).outcome, EvictOutcome::kEvicted);
  EXPECT_EQ(this->events_,
            (std::vector<std::string>{"decide", "flush", "dirty", "flush",
                                      "dirty", "flush", "dirty", "store"}));
  EXPECT_EQ(this->WordsOf(7), TestFixture::Nothing());
  EXPECT_EQ(this->vm().shadow().live(), 0u);
  this->machine_.flusher.hook = nullptr;
  this->process_.flusher.hook = nullptr;
  // And comes back.
  this->Map(7);
}

// Only L2 uses the page: its access is in no table but L2's.
TYPED_TEST(NestedEvictionTest, APageThatOnlyANestedGuestUsesIsKept) {
  this->Map(7);
  this->MakeOld();
  using Word = Ept::Word;
  SpteCell<Ept>& entry = *this->NestedEntry(7).entry;
  WriteOnce(entry, Word{ReadOnce(entry, kRelaxed) | Ept::kAccessed}, kRelaxed);
  const Eviction kept = this->EvictPage(7);
  EXPECT_EQ(kept.outcome, EvictOutcome::kYoung);
  EXPECT_EQ(kept.was_fast, TypeParam::kFastAging);
  EXPECT_NE(this->NestedEntry(7).word, Ept::kEmpty);
  EXPECT_EQ(this->events_, std::vector<std::string>{});
}

// The same, but L2 comes when the filter has been passed already.
TYPED_TEST(NestedEvictionTest, AnAccessBehindTheFilterKeepsThePage) {
  this->Map(7, Rights::kWrite);
  this->MakeOld();
  // An entry of each tree in turn.
  SpteCell<Ept>& direct =
      *this->vm()
           .tdp()
           .tree()
           .Lookup(LocklessWalk(this->machine_.domain, WalkEntry::kWait),
                   Gfn{7})
           .entry;
  for (SpteCell<Ept>* const entry : {&direct, this->NestedEntry(7).entry}) {
    const Ept::Word old = ReadOnce(*entry, kRelaxed);
    WriteOnce(*entry, Ept::Word{old | Ept::kAccessed}, kRelaxed);
    const std::vector<std::uint64_t> before = this->WordsOf(7);
    EXPECT_EQ(this->mmu().TakeIfIdle(
                  PageOf(7), [](const ZappedLeaf&) { FAIL(); },
                  [] { return TakeOutcome::kTaken; }),
              TakeOutcome::kInUse);
    this->ExpectKept(7, before);
    WriteOnce(*entry, old, kRelaxed);
  }
}

TYPED_TEST(NestedEvictionTest, APageThatIsMarkedMeanwhileIsPutBackAsItWas) {
  this->Map(7, Rights::kWrite);
  this->MakeOld();
  const std::vector<std::uint64_t> before = this->WordsOf(7);
  this->marks_.before_take = [&] { this->marks_.MarkReferenced(PageOf(7)); };
  EXPECT_EQ(this->EvictPage(7).outcome, EvictOutcome::kYoung);
  this->ExpectKept(7, before);
  // The mark is taken: it keeps the page once.
  this->marks_.before_take = nullptr;
  this->MakeOld();
  EXPECT_EQ(this->EvictPage(7).outcome, EvictOutcome::kEvicted);
}

// A nested guest maps frames 512 to 1023 by one leaf. Of these one page is
// idle.
TYPED_TEST(NestedEvictionTest, APageIsTakenOutOfALargeOneOfANestedGuest) {
  constexpr std::uint64_t kBase = 10240 - 512;
  const auto fault = [&](std::uint64_t gfn, Rights access) {
    return this->vm().NestedFault(
        NestedGfn{kBase + gfn}, access, [&](NestedGfn) {
          return std::optional(NestedMapping(Gfn{gfn}, Rights::kAll, Level{2}));
        });
  };
  const auto find = [&](std::uint64_t gfn) {
    return this->vm().shadow().tree().Lookup(
        LocklessWalk(this->machine_.domain, WalkEntry::kWait),
        Gfn{kBase + gfn});
  };
  ASSERT_EQ(fault(700, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(find(700).level, Level{2});
  // It was used: it is kept, whole.
  EXPECT_EQ(this->EvictPage(700).outcome, EvictOutcome::kYoung);
  EXPECT_EQ(find(700).level, Level{2});
  this->MakeOld();
  EXPECT_EQ(this->EvictPage(700).outcome, EvictOutcome::kEvicted);
  EXPECT_EQ(this->events_, (std::vector<std::string>{"dirty", "store"}));
  EXPECT_EQ(find(700).word, Ept::kEmpty);
  // The others are there, each by itself, and still not used.
  EXPECT_EQ(this->vm().shadow().live(), 511u);
  for (std::uint64_t gfn = 512; gfn < 1024; ++gfn) {
    if (gfn == 700) continue;
    const FoundEntry<Ept> other = find(gfn);
    ASSERT_EQ(other.level, Level{1});
    ASSERT_EQ(Ept::FrameOf(other.word), TestFixture::Process::kFirst + gfn);
    ASSERT_TRUE(IsDirty<Ept>(other.word) && !IsYoung<Ept>(other.word));
  }
  // One that is used stays.
  SpteCell<Ept>& used = *find(701).entry;
  const Ept::Word word = ReadOnce(used, kRelaxed) | Ept::kAccessed;
  WriteOnce(used, word, kRelaxed);
  EXPECT_EQ(this->EvictPage(701).outcome, EvictOutcome::kYoung);
  EXPECT_NE(find(701).word, Ept::kEmpty);
  // And the page comes back, small.
  EXPECT_EQ(fault(700, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(find(700).level, Level{1});
}

// Used between the split and the second try: it stays, in a small leaf.
TYPED_TEST(NestedEvictionTest, APageThatIsUsedWhenItIsSplitIsKept) {
  const auto fault = [&] {
    return this->vm().NestedFault(
        NestedGfn{10240 + 188}, Rights::kRead, [&](NestedGfn) {
          return std::optional(NestedMapping(Gfn{700}, Rights::kAll, Level{2}));
        });
  };
  ASSERT_EQ(fault(), FaultOutcome::kMapped);
  this->MakeOld();
  this->machine_.flusher.hook = [&](GfnRange) {
    // As the parts are there already, and nothing leads to them yet.
    EXPECT_EQ(this->vm().shadow().live(), 512u);
    this->marks_.MarkReferenced(PageOf(700));
  };
  EXPECT_EQ(this->EvictPage(700).outcome, EvictOutcome::kYoung);
  this->machine_.flusher.hook = nullptr;
  EXPECT_EQ(this->vm().shadow().live(), 512u);
  EXPECT_EQ(fault(), FaultOutcome::kSpurious);
}

// Each lock of a table, the bit of each rmap that has one, and the MMU lock are
// another thread's, and there is no memory.
TYPED_TEST(NestedEvictionTest, FastOnlyWaitsForNothingThatOthersHold) {
  using Mmu = typename TestFixture::Process::Mmu;
  this->Map(7);
  this->Map(8);
  const test::HoldsElsewhere holds([&](auto&& wait) {
    std::vector<std::unique_ptr<typename Mmu::TableLock>> locks;
    for (std::uint64_t i = 0; i < TestFixture::Process::kFrames / 512; ++i) {
      locks.emplace_back(
          new typename Mmu::TableLock(this->mmu().LockTable(Gfn{i * 512})));
    }
    const FaultLock::Exclusive lock(this->vm().fault_lock());
    const LocklessWalk walk(this->machine_.domain, WalkEntry::kWait);
    for (const std::uint64_t gfn : {7u, 8u}) {
      RmapHead& head = this->vm()
                           .memslots()
                           .Find(walk, Gfn{gfn})
                           ->HeadOf(Gfn{gfn}, Level{1});
      const std::uintptr_t word = ReadOnce(head.word, kRelaxed);
      if constexpr (!std::is_same_v<TypeParam, test::SingleRmaps<Ept>>) {
        WriteOnce(head.word, word | internal::RmapWord::kLocked, kRelaxed);
      }
    }
    wait();
    for (const std::uint64_t gfn : {7u, 8u}) {
      RmapHead& head = this->vm()
                           .memslots()
                           .Find(walk, Gfn{gfn})
                           ->HeadOf(Gfn{gfn}, Level{1});
      const std::uintptr_t word = ReadOnce(head.word, kRelaxed);
      WriteOnce(head.word, word & ~internal::RmapWord::kLocked, kRelaxed);
    }
  });
  std::uint64_t young = 0;
  const AgeOutput output{.begin = Gfn{0}, .young = Bitmap(&young, 64)};
  AgeResult answer;
  {
    const test::NoAllocations none;
    answer = this->mmu().TestClearYoungFastOnly({Gfn{0}, Gfn{64}}, output);
    EXPECT_FALSE(none.Asked());
  }
  // One entry to each rmap: every discipline knows it without the lock.
  EXPECT_EQ(answer, (AgeResult{true, true, true}));
  EXPECT_EQ(young, 3u << 7);
  EXPECT_FALSE(IsYoung<Ept>(this->NestedEntry(7).word));
  EXPECT_FALSE(IsYoung<Ept>(this->DirectWord(8)));
}

}  // namespace
}  // namespace ptage
