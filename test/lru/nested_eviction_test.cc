// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Eviction, and aging that waits for nothing, with nested guests: by each
// discipline of rmaps.

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/fault_lock.h"
#include "ptage/hold.h"
#include "ptage/lru/eviction.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
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
