// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/lru/eviction.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/hold.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/notifier.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/lru/eviction_fixture.h"
#include "test/machine.h"

namespace ptage {
namespace {

using test::PageOf;
using EvictionTest = test::EvictionTest<test::LocklessRmaps<Ept>>;
class LargeEvictionTest : public EvictionTest {
 protected:
  LargeEvictionTest()
      : test::EvictionTest<test::LocklessRmaps<Ept>>(Level{2}) {}
};

TEST_F(EvictionTest, APageThatWasNotWrittenIsStoredAsClean) {
  Map(7);
  MakeOld();
  const Eviction done = EvictPage(7);
  EXPECT_EQ(done.outcome, EvictOutcome::kEvicted);
  EXPECT_FALSE(done.dirty);
  EXPECT_FALSE(done.too_late);
  // What nobody maps is evicted as well.
  EXPECT_EQ(EvictPage(8).outcome, EvictOutcome::kEvicted);
}

// Who unmapped it may have yet to flush.
TEST_F(EvictionTest, APageThatNobodyMapsIsFlushedBeforeItIsStored) {
  const auto flush = [&](GfnRange) { events_.push_back("flush"); };
  process_.flusher.hook = flush;
  machine_.flusher.hook = flush;
  EXPECT_EQ(EvictPage(8).outcome, EvictOutcome::kEvicted);
  EXPECT_EQ(events_, (std::vector<std::string>{"flush", "flush", "store"}));
  process_.flusher.hook = nullptr;
  machine_.flusher.hook = nullptr;
}

// An entry that somebody keeps for ever.
TEST_F(EvictionTest, AFrozenEntryIsNotWaitedFor) {
  Map(7, Rights::kWrite);
  MakeOld();
  const std::vector<std::uint64_t> before = WordsOf(7);
  SpteCell<Ept>& entry =
      *vm().tdp()
           .tree()
           .Lookup(LocklessWalk(machine_.domain, WalkEntry::kWait), Gfn{7})
           .entry;
  ASSERT_TRUE(Freeze<Ept>(entry, before[1]));
  EXPECT_EQ(mmu().TakeIfIdle(
                PageOf(7), [](const ZappedLeaf&) { FAIL(); },
                [] { return TakeOutcome::kTaken; }),
            TakeOutcome::kInUse);
  EXPECT_EQ(EvictPage(7).outcome, EvictOutcome::kYoung);
  Restore<Ept>(entry, before[1]);
  ExpectKept(7, before);
}

TEST_F(EvictionTest, AnAccessThatAnUnmapTookIsOneToThePage) {
  Map(7);
  MakeOld();
  // Of the VM's entries: into its history.
  ASSERT_EQ(vm().Invalidate(PageOf(7), [](const ZappedLeaf&) {}), 2u);
  ASSERT_EQ(FaultNested(7), FaultOutcome::kMapped);
  ASSERT_EQ(vm().Invalidate(PageOf(7), [](const ZappedLeaf&) {}), 1u);
  EXPECT_EQ(mmu().TakeIfIdle(
                PageOf(7), [](const ZappedLeaf&) { FAIL(); },
                [] { return TakeOutcome::kTaken; }),
            TakeOutcome::kInUse);
  EXPECT_EQ(EvictPage(7).outcome, EvictOutcome::kYoung);
  EXPECT_EQ(EvictPage(7).outcome, EvictOutcome::kEvicted);
}

TEST_F(LargeEvictionTest, ALargeLeafIsSplitFirstOrTakenWhole) {
  process_.level = Level{2};
  ASSERT_EQ(process_.Fault(600, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(vm().Fault(Gfn{600}, Rights::kRead), FaultOutcome::kMapped);
  MakeOld();
  ASSERT_EQ(process_.Find(600).level, Level{2});
  const Eviction one = EvictPage(600);
  EXPECT_EQ(one.outcome, EvictOutcome::kEvicted);
  EXPECT_TRUE(one.dirty);
  EXPECT_EQ(process_.WordAt(600), X86_64::kEmpty);
  EXPECT_EQ(DirectWord(600), Ept::kEmpty);
  // Its neighbours stay, dirty as the large leaf was.
  EXPECT_TRUE(IsDirty<X86_64>(process_.WordAt(601)));
  EXPECT_TRUE(Ept::IsPresent(DirectWord(601)));

  ASSERT_EQ(process_.Fault(100), FaultOutcome::kMapped);
  ASSERT_EQ(vm().Fault(Gfn{100}, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(process_.Find(100).level, Level{2});
  MakeOld();
  events_.clear();
  EXPECT_EQ(EvictRange({Gfn{0}, Gfn{512}}).outcome, EvictOutcome::kEvicted);
  EXPECT_EQ(events_, (std::vector<std::string>{"clean", "clean", "store"}));
}

// It need not be split where all of it goes.
TEST_F(LargeEvictionTest, ANestedGuestsLargePageIsTakenWhole) {
  // L2's frame 10240 + n is L1's frame n.
  ASSERT_EQ(vm().NestedFault(NestedGfn{10240 + 7}, Rights::kWrite,
                             [](NestedGfn) {
                               return std::optional(NestedMapping(
                                   Gfn{7}, Rights::kAll, Level{2}));
                             }),
            FaultOutcome::kMapped);
  MakeOld();
  const auto word = [&] { return NestedEntry(10240 + 7 - kNested).word; };
  const Eviction whole = EvictRange({Gfn{0}, Gfn{512}});
  EXPECT_EQ(whole.outcome, EvictOutcome::kEvicted);
  EXPECT_TRUE(whole.dirty);
  EXPECT_EQ(word(), Ept::kEmpty);
}

TEST_F(LargeEvictionTest, WithoutMemoryForASplitThePageStays) {
  process_.level = Level{2};
  ASSERT_EQ(process_.Fault(600), FaultOutcome::kMapped);
  MakeOld();
  while (process_.arena.Allocate(TableKind::kDirect) != nullptr) {
  }
  EXPECT_EQ(EvictPage(600).outcome, EvictOutcome::kLarge);
  EXPECT_EQ(events_, std::vector<std::string>{});
  EXPECT_EQ(process_.Fault(600), FaultOutcome::kSpurious);
}

// No mapping comes while the entries are frozen: who faults tries again, and
// says so.
TEST_F(EvictionTest, FaultsMeanwhileRetryAndKeepThePage) {
  ASSERT_EQ(process_.Fault(7), FaultOutcome::kMapped);
  MakeOld();
  marks_.before_take = [&] {
    marks_.before_take = nullptr;
    EXPECT_EQ(process_.FaultElsewhere(7), FaultOutcome::kRetry);
    int faults = 0;
    const FaultOutcome outcome = RetryMarking(
        marks_, PageOf(7),
        [&] {
          return ++faults == 1 ? vm().Fault(Gfn{7}, Rights::kRead)
                               : FaultOutcome::kSpurious;
        },
        [] {});
    EXPECT_EQ(outcome, FaultOutcome::kSpurious);
    EXPECT_EQ(faults, 2);
  };
  EXPECT_EQ(EvictPage(7).outcome, EvictOutcome::kYoung);
}

TEST_F(EvictionTest, ASpecialMappingIsNotEvicted) {
  ASSERT_EQ(process_.Fault(2001), FaultOutcome::kMapped);
  EXPECT_EQ(EvictPage(2001).outcome, EvictOutcome::kYoung);
  EXPECT_NE(process_.WordAt(2001), X86_64::kEmpty);
}

// Of frames that an evictor has claimed no VM makes an entry.
TEST_F(EvictionTest, AVmMapsOnlyWhatItMay) {
  bool may = false;
  Machine::VmType vm(
      {.memory = machine_.arena,
       .reclaimer = machine_.domain,
       .flusher = machine_.flusher,
       .rmaps = machine_.rmaps,
       .mmu_lock = machine_.mmu_lock,
       .may_map =
           [&](GfnRange frames) { return may || !frames.Contains(Gfn{7}); }},
      Level{1});
  ASSERT_TRUE(
      vm.AddMemslot(Process::kOrdinary, Pfn{0x10000}, Rights::kAll).ok());
  const auto nested = [&] {
    return vm.NestedFault(NestedGfn{9}, Rights::kRead, [](NestedGfn) {
      return std::optional<NestedMapping>(Gfn{7});
    });
  };
  EXPECT_EQ(vm.Fault(Gfn{7}, Rights::kRead), FaultOutcome::kRetry);
  EXPECT_EQ(nested(), FaultOutcome::kRetry);
  EXPECT_EQ(vm.Fault(Gfn{8}, Rights::kRead), FaultOutcome::kMapped);
  may = true;
  EXPECT_EQ(vm.Fault(Gfn{7}, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(nested(), FaultOutcome::kMapped);
}

// What else is in a large page does not wait for the one that is away, nor is
// that mapped with it.
TEST_F(LargeEvictionTest, NeighboursOfAnEvictedPageAreMappedBySmallLeaves) {
  std::set<Gfn> away;
  Machine::VmType vm({.memory = machine_.arena,
                      .reclaimer = machine_.domain,
                      .flusher = machine_.flusher,
                      .rmaps = machine_.rmaps,
                      .mmu_lock = machine_.mmu_lock,
                      .may_map =
                          [&](GfnRange frames) {
                            EXPECT_TRUE(Process::kOrdinary.Contains(frames));
                            const auto first = away.lower_bound(frames.begin);
                            return first == away.end() || *first >= frames.end;
                          }},
                     Level{2});
  ASSERT_TRUE(
      vm.AddMemslot(Process::kOrdinary, Pfn{0x10000}, Rights::kAll).ok());
  const auto direct = [&](std::uint64_t gfn) {
    return vm.tdp().tree().Lookup(
        LocklessWalk(machine_.domain, WalkEntry::kWait), Gfn{gfn});
  };
  const auto nested = [&](std::uint64_t gfn) {
    return vm.NestedFault(
        NestedGfn{10240 + gfn}, Rights::kRead, [&](NestedGfn) {
          return std::optional(NestedMapping(Gfn{gfn}, Rights::kAll, Level{2}));
        });
  };
  const auto nested_entry = [&](std::uint64_t gfn) {
    return vm.shadow().tree().Lookup(
        LocklessWalk(machine_.domain, WalkEntry::kWait), Gfn{10240 + gfn});
  };

  // It was evicted before anything was mapped there.
  away = {Gfn{100}};
  EXPECT_EQ(vm.Fault(Gfn{101}, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(direct(101).level, Level{1});
  EXPECT_EQ(nested(101), FaultOutcome::kMapped);
  EXPECT_EQ(nested_entry(101).level, Level{1});
  EXPECT_EQ(vm.Fault(Gfn{100}, Rights::kRead), FaultOutcome::kRetry);
  EXPECT_EQ(nested(100), FaultOutcome::kRetry);
  EXPECT_EQ(direct(100).word, Ept::kEmpty);
  EXPECT_EQ(nested_entry(100).word, Ept::kEmpty);

  // It is taken out of a large leaf.
  ASSERT_EQ(vm.Fault(Gfn{600}, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(direct(600).level, Level{2});
  away.insert(Gfn{600});
  ASSERT_TRUE(vm.Split(PageOf(600)));
  (void)vm.TestClearYoung(Process::kOrdinary);
  ASSERT_EQ(vm.TakeIfIdle(
                PageOf(600), [](const ZappedLeaf&) {},
                [] { return TakeOutcome::kTaken; }),
            TakeOutcome::kTaken);
  EXPECT_EQ(vm.Fault(Gfn{601}, Rights::kRead), FaultOutcome::kSpurious);
  (void)vm.Invalidate(Process::kOrdinary, [](const ZappedLeaf&) {});
  EXPECT_EQ(vm.Fault(Gfn{601}, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(direct(601).level, Level{1});
  EXPECT_EQ(vm.Fault(Gfn{600}, Rights::kRead), FaultOutcome::kRetry);

  // L1's page reaches beyond the slot.
  EXPECT_EQ(nested(1400), FaultOutcome::kMapped);

  away.clear();
  EXPECT_EQ(vm.Fault(Gfn{600}, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(nested(100), FaultOutcome::kMapped);
}

// One that has a way to say young, and a way to unmap, and no way back.
class PlainNotifier : public Notifier {
 public:
  AgeResult Age(GfnRange, AgeAction, AgeMode, const AgeOutput&) override {
    ++asked;
    if (before_answer) before_answer();
    return answer;
  }
  std::uint64_t Invalidate(GfnRange range, ZapSink sink) override {
    if (at_invalidate) at_invalidate();
    sink(ZappedLeaf{range.begin, Level{1}, Pfn{1}, accessed, true});
    return 1;
  }
  [[nodiscard]] bool fast() const override { return true; }

  int asked = 0;
  AgeResult answer;
  bool accessed = false;
  std::function<void()> before_answer;
  std::function<void()> at_invalidate;
};

TEST_F(EvictionTest, WhoCanOnlyInvalidateIsToldLast) {
  PlainNotifier plain;
  ASSERT_TRUE(chain().Unregister(notifier_).ok());
  ASSERT_TRUE(chain().Register(plain).ok());
  ASSERT_TRUE(chain().Register(notifier_).ok());
  Map(7);
  MakeOld();
  const std::vector<std::uint64_t> before = WordsOf(7);
  // The filter asks it, and who holds the others' entries asks again.
  plain.asked = 0;
  marks_.MarkReferenced(PageOf(7));
  EXPECT_EQ(EvictPage(7).outcome, EvictOutcome::kYoung);
  EXPECT_EQ(plain.asked, 2);
  // It was not told to unmap a page that others wanted to keep.
  ExpectKept(7, before);

  // What it says by then is heeded.
  plain.before_answer = [&] {
    if (plain.asked == 2) plain.answer = AgeResult{.young = true};
  };
  plain.asked = 0;
  EXPECT_EQ(EvictPage(7).outcome, EvictOutcome::kYoung);
  ExpectKept(7, before);
  plain.before_answer = nullptr;
  plain.answer = AgeResult{};

  plain.accessed = true;
  plain.at_invalidate = [&] {
    events_.push_back("invalidate");
    EXPECT_EQ(process_.WordAt(7), X86_64::kFrozen);
  };
  const Eviction done = EvictPage(7);
  EXPECT_EQ(done.outcome, EvictOutcome::kEvicted);
  EXPECT_TRUE(done.dirty);
  EXPECT_TRUE(done.too_late);
  EXPECT_EQ(events_, (std::vector<std::string>{"invalidate", "dirty", "clean",
                                               "clean", "clean", "store"}));
  ASSERT_TRUE(chain().Unregister(plain).ok());
}

}  // namespace
}  // namespace ptage
