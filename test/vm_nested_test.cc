// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Nested guests whose frames L1 translates by tables of its own: what a VM
// builds from them, at which size and with which rights.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/guest_walk.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "ptage/vm.h"
#include "test/machine.h"
#include "test/scheme.h"

namespace ptage {
namespace {

using Translation = std::optional<NestedMapping>;

// Calls a function at each flush, if there is one.
struct HookedFlusher {
  void Flush(GfnRange range) {
    if (hook) hook(range);
  }
  std::function<void(GfnRange)> hook;
};

template <class D>
class VmNestedTest : public testing::Test {
 protected:
  using Machine = test::Machine<Ept, D, HookedFlusher>;

  // Two large pages, aligned alike in guest and host, and some more.
  static constexpr GfnRange kAll{Gfn{0}, Gfn{1200}};

  void SetUp() override {
    ASSERT_TRUE(vm().AddMemslot(kAll, Pfn{0x10000}, Rights::kAll).ok());
  }
  auto& vm() { return *machine_.vm; }
  FaultOutcome Fault(std::uint64_t nested, NestedMapping mapping,
                     Rights access = Rights::kRead) {
    return vm().NestedFault(NestedGfn{nested}, access,
                            [&](NestedGfn) { return Translation(mapping); });
  }
  FoundEntry<Ept> Find(std::uint64_t nested) {
    return vm().shadow().tree().Lookup(LocklessWalk(machine_.domain),
                                       Gfn{nested});
  }
  std::uint64_t live() { return vm().shadow().live(); }

  Machine machine_;
};

using Disciplines =
    testing::Types<test::SingleRmaps<Ept>, test::BitRmaps<Ept>,
                   test::LocklessRmaps<Ept>, test::LocklessRmapsUnderLock<Ept>>;
TYPED_TEST_SUITE(VmNestedTest, Disciplines);

TYPED_TEST(VmNestedTest, AnEntryGrantsWhatBothStagesGrantAndMoreLater) {
  EXPECT_EQ(
      this->Fault(3000, NestedMapping(Gfn{7}, Rights::kRead), Rights::kWrite),
      FaultOutcome::kReflected);
  ASSERT_EQ(this->Fault(3000, NestedMapping(Gfn{7}, Rights::kReadExecute)),
            FaultOutcome::kMapped);
  // Suppress #VE, frame 0x10007, accessed, write-back, read and execute.
  EXPECT_EQ(this->Find(3000).word, 0x8000'0000'1000'7135u);
  EXPECT_EQ(this->Fault(3000, NestedMapping(Gfn{7}, Rights::kReadExecute)),
            FaultOutcome::kSpurious);
  ASSERT_EQ(this->Fault(3000, NestedMapping(Gfn{7}), Rights::kReadWrite),
            FaultOutcome::kMapped);
  EXPECT_EQ(this->Find(3000).word, 0x8000'0000'1000'7337u);
  EXPECT_EQ(this->live(), 1u);
  // Of a slot that cannot be written L1 cannot give more.
  ASSERT_TRUE(this->vm()
                  .AddMemslot({Gfn{2000}, Gfn{2010}}, Pfn{9}, Rights::kRead)
                  .ok());
  EXPECT_EQ(this->Fault(3001, NestedMapping(Gfn{2000}), Rights::kWrite),
            FaultOutcome::kNotPermitted);
  ASSERT_EQ(this->Fault(3001, NestedMapping(Gfn{2000})), FaultOutcome::kMapped);
  EXPECT_EQ(Ept::RightsOf(this->Find(3001).word), Rights::kRead);
}

// L1 may change its tables and say so later. The fault in between must not be
// tried for ever.
TYPED_TEST(VmNestedTest, AnEntryThatL1HasReplacedMakesRoomForTheNewOne) {
  std::vector<std::uint64_t> zapped;
  typename TestFixture::Machine::VmType vm(
      {this->machine_.arena, this->machine_.domain, this->machine_.flusher,
       this->machine_.rmaps, this->machine_.mmu_lock},
      Level{1}, [&](const ZappedLeaf& leaf) {
        EXPECT_TRUE(leaf.accessed);
        zapped.push_back(leaf.gfn.value);
      });
  ASSERT_TRUE(vm.AddMemslot(this->kAll, Pfn{0x10000}, Rights::kAll).ok());
  const auto fault = [&](NestedMapping mapping, Rights access) {
    return vm.NestedFault(NestedGfn{3000}, access,
                          [&](NestedGfn) { return Translation(mapping); });
  };
  ASSERT_EQ(fault(NestedMapping(Gfn{7}, Rights::kRead), Rights::kRead),
            FaultOutcome::kMapped);
  EXPECT_EQ(fault(Gfn{8}, Rights::kWrite), FaultOutcome::kRetry);
  EXPECT_THAT(zapped, testing::ElementsAre(7));
  EXPECT_EQ(fault(Gfn{8}, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_EQ(vm.shadow().live(), 1u);
}

// L1 has a large page that cannot be written, puts small ones there, of which
// one can, and says so later. What it allows of one frame it does not allow of
// the others.
TYPED_TEST(VmNestedTest, ALargeEntryIsNotGivenWhatL1AllowsOfOneFrame) {
  ASSERT_EQ(this->Fault(5120 + 9,
                        NestedMapping(Gfn{512 + 9}, Rights::kRead, Level{2})),
            FaultOutcome::kMapped);
  const NestedMapping small(Gfn{512 + 9});
  // An access that both allow needs nothing.
  EXPECT_EQ(this->Fault(5120 + 9, small), FaultOutcome::kSpurious);
  EXPECT_EQ(this->Fault(5120 + 9, small, Rights::kWrite), FaultOutcome::kRetry);
  EXPECT_EQ(this->Fault(5120 + 9, small, Rights::kWrite),
            FaultOutcome::kMapped);
  EXPECT_EQ(this->Find(5120 + 9).level, Level{1});
  EXPECT_EQ(this->Find(5120 + 9).word, 0x8000'0000'1020'9337u);
  EXPECT_EQ(this->Find(5120 + 10).word, Ept::kEmpty);
  EXPECT_EQ(this->live(), 1u);
}

// L1 lets a page be written or executed, never both, and changes that when it
// is told of a fault, which leaves a processor nothing to invalidate (SDM 3C
// 29.4.3.1).
TYPED_TEST(VmNestedTest, WhatL1TakesWithTheRightThatItGivesIsGone) {
  const NestedMapping written(Gfn{7}, Rights::kReadWrite);
  const NestedMapping executed(Gfn{7}, Rights::kReadExecute);
  ASSERT_EQ(this->Fault(3000, written, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_EQ(this->Fault(3000, executed, Rights::kExecute),
            FaultOutcome::kRetry);
  EXPECT_EQ(this->Fault(3000, executed, Rights::kExecute),
            FaultOutcome::kMapped);
  // Suppress #VE, frame 0x10007, accessed, write-back, read and execute.
  EXPECT_EQ(this->Find(3000).word, 0x8000'0000'1000'7135u);
  EXPECT_EQ(this->Fault(3000, written, Rights::kWrite), FaultOutcome::kRetry);
  EXPECT_EQ(this->Fault(3000, written, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_EQ(this->Find(3000).word, 0x8000'0000'1000'7333u);
  EXPECT_EQ(this->live(), 1u);
}

TYPED_TEST(VmNestedTest, AFaultThatL1GetsLeavesNothingForTheFrame) {
  const NestedMapping written(Gfn{7}, Rights::kReadWrite);
  const auto fault = [this](Translation translation, Rights access) {
    return this->vm().NestedFault(NestedGfn{3000}, access,
                                  [&](NestedGfn) { return translation; });
  };
  ASSERT_EQ(this->Fault(3001, Gfn{8}), FaultOutcome::kMapped);
  // It forbids the access, or has nothing there.
  for (const Translation& now : {Translation(written), Translation()}) {
    ASSERT_EQ(this->Fault(3000, written, Rights::kWrite),
              FaultOutcome::kMapped);
    std::uint64_t flushed = 0;
    this->machine_.flusher.hook = [&](GfnRange range) {
      flushed += range.Contains(Gfn{3000}) ? 1 : 0;
    };
    EXPECT_EQ(fault(now, Rights::kExecute), FaultOutcome::kReflected);
    this->machine_.flusher.hook = nullptr;
    EXPECT_EQ(flushed, 1u);
    EXPECT_EQ(this->Find(3000).word, Ept::kEmpty);
    EXPECT_EQ(this->live(), 1u) << "the page beside it stays";
  }
  // So what L1 then allows is all there is.
  EXPECT_EQ(
      fault(NestedMapping(Gfn{7}, Rights::kReadExecute), Rights::kExecute),
      FaultOutcome::kMapped);
  EXPECT_EQ(this->Find(3000).word, 0x8000'0000'1000'7135u);
}

TYPED_TEST(VmNestedTest, WhatIsGivenMoreStaysDirty) {
  ASSERT_EQ(this->Fault(3000, NestedMapping(Gfn{7}, Rights::kReadWrite),
                        Rights::kWrite),
            FaultOutcome::kMapped);
  ASSERT_EQ(this->Fault(3000, NestedMapping(Gfn{7}), Rights::kExecute),
            FaultOutcome::kMapped);
  const Ept::Word word = this->Find(3000).word;
  EXPECT_EQ(Ept::RightsOf(word), Rights::kAll);
  EXPECT_TRUE(IsDirty<Ept>(word));
  EXPECT_TRUE(IsYoung<Ept>(word));
}

// A fault of another thread is under way all the time. Where writers of rmaps
// keep each other apart, that holds no fault up.
TYPED_TEST(VmNestedTest, FaultsThatZapNothingShareTheMmuLock) {
  if constexpr (TypeParam::kParallelWriters) {
    absl::ReaderMutexLock hold(&this->machine_.mmu_lock);
    std::thread([this] {
      EXPECT_EQ(this->Fault(3000, NestedMapping(Gfn{7}, Rights::kRead)),
                FaultOutcome::kMapped);
      EXPECT_EQ(this->Fault(3001, Gfn{7}), FaultOutcome::kMapped);
      EXPECT_EQ(this->Fault(3000, Gfn{7}, Rights::kWrite),
                FaultOutcome::kMapped);
      EXPECT_EQ(this->Fault(3000, Gfn{7}), FaultOutcome::kSpurious);
    }).join();
    EXPECT_EQ(this->live(), 2u);
  } else {
    static_assert(TestFixture::Machine::VmType::Shadow::kFaultLock ==
                  MmuLock::kExclusive);
  }
}

// A rmap has so many entries, and the next one makes room; no bit is lost.
TYPED_TEST(VmNestedTest, WhatIsZappedToMakeRoomGoesToTheSink) {
  std::uint64_t dirty = 0;
  std::uint64_t zapped = 0;
  // Chunks for one list that is full.
  typename TestFixture::Machine machine(64, 400, Level{1});
  typename TestFixture::Machine::VmType vm(
      {machine.arena, machine.domain, machine.flusher, machine.rmaps,
       machine.mmu_lock},
      Level{1}, [&](const ZappedLeaf& leaf) {
        ++zapped;
        dirty += leaf.dirty;
      });
  ASSERT_TRUE(vm.AddMemslot({Gfn{0}, Gfn{64}}, Pfn{512}, Rights::kAll).ok());
  const auto fault = [&](std::uint64_t nested) {
    return vm.NestedFault(NestedGfn{nested},
                          nested % 2 == 0 ? Rights::kWrite : Rights::kRead,
                          [](NestedGfn) { return Translation(Gfn{3}); });
  };
  for (std::uint64_t nested = 0; nested < kDefaultRmapCap; ++nested) {
    ASSERT_EQ(fault(nested), FaultOutcome::kMapped);
  }
  EXPECT_EQ(zapped, 0u);
  EXPECT_EQ(fault(kDefaultRmapCap), FaultOutcome::kMapped);
  EXPECT_EQ(zapped, std::uint64_t{kDefaultRmapCap});
  EXPECT_EQ(dirty, zapped / 2);
}

// A page in each part of a large one: as many tables as there are.
TYPED_TEST(VmNestedTest, TablesOfANestedGuestAreGivenBack) {
  typename TestFixture::Machine machine(16);
  auto& vm = *machine.vm;
  ASSERT_TRUE(vm.AddMemslot(this->kAll, Pfn{0x10000}, Rights::kAll).ok());
  const auto fault = [&](std::uint64_t page) {
    return vm.NestedFault(NestedGfn{page * 512}, Rights::kWrite,
                          [&](NestedGfn) { return Translation(Gfn{page}); });
  };
  std::uint64_t mapped = 0;
  FaultOutcome outcome;
  while ((outcome = fault(mapped)) == FaultOutcome::kMapped) ++mapped;
  ASSERT_EQ(outcome, FaultOutcome::kNoMemory);
  ASSERT_GT(mapped, 3u);
  std::vector<std::uint64_t> told;
  const auto sink = [&](const ZappedLeaf& leaf) {
    EXPECT_TRUE(leaf.accessed);
    EXPECT_TRUE(leaf.dirty);
    told.push_back(leaf.gfn.value);
  };
  // The first two and a part of the third, which stays.
  EXPECT_EQ(vm.RemoveNestedTables({NestedGfn{0}, NestedGfn{3 * 512 - 1}}, sink),
            2u);
  EXPECT_THAT(told, testing::ElementsAre(0, 1));
  EXPECT_EQ(vm.shadow().live(), mapped - 2);
  test::FreeAll(machine.domain);
  EXPECT_EQ(fault(mapped), FaultOutcome::kMapped);
  EXPECT_EQ(fault(0), FaultOutcome::kMapped);
  EXPECT_EQ(fault(mapped + 1), FaultOutcome::kNoMemory);
}

TYPED_TEST(VmNestedTest, ALargePageOfL1IsMappedAsOneAndAgedAsOne) {
  // L2's frames 5,120 on are L1's frames 512 on.
  ASSERT_EQ(this->Fault(5120 + 9,
                        NestedMapping(Gfn{512 + 9}, Rights::kAll, Level{2})),
            FaultOutcome::kMapped);
  const FoundEntry<Ept> found = this->Find(5120 + 100);
  EXPECT_EQ(found.level, Level{2});
  EXPECT_EQ(found.word, 0x8000'0000'1020'01B7u);
  EXPECT_EQ(RecordedFrame<Ept>(this->machine_.arena, *found.entry), Gfn{512});
  EXPECT_EQ(this->Fault(5120 + 10,
                        NestedMapping(Gfn{512 + 10}, Rights::kAll, Level{2})),
            FaultOutcome::kSpurious);
  EXPECT_EQ(this->vm().shadow().CountEntries(
                *this->vm().memslots().Find(LocklessWalk(this->machine_.domain),
                                            Gfn{600}),
                Gfn{600}, Level{2}),
            1u);
  // A part of it: tested. All of it: cleared.
  for (int i = 0; i < 2; ++i) {
    test::Answer part(Gfn{0}, this->kAll.Frames());
    EXPECT_TRUE(
        this->vm().TestClearYoung({Gfn{500}, Gfn{600}}, part.output()).young);
    EXPECT_TRUE(part.Young(Gfn{512}) && part.Young(Gfn{599}));
    EXPECT_FALSE(part.Young(Gfn{511}) || part.Young(Gfn{600}));
  }
  test::Answer all(Gfn{0}, this->kAll.Frames());
  EXPECT_TRUE(this->vm().TestClearYoung(this->kAll, all.output()).young);
  EXPECT_TRUE(all.Young(Gfn{512}) && all.Young(Gfn{1023}));
  EXPECT_FALSE(all.Young(Gfn{511}) || all.Young(Gfn{1024}));
  EXPECT_FALSE(this->vm().TestYoung(this->kAll).young);
  // One frame that is taken away takes all of it.
  std::vector<GfnRange> flushed;
  this->machine_.flusher.hook = [&](GfnRange range) {
    flushed.push_back(range);
  };
  int zapped = 0;
  EXPECT_EQ(this->vm().Invalidate({Gfn{700}, Gfn{701}},
                                  [&](const ZappedLeaf& leaf) {
                                    ++zapped;
                                    EXPECT_EQ(leaf.gfn, Gfn{512});
                                    EXPECT_EQ(leaf.level, Level{2});
                                  }),
            1u);
  EXPECT_EQ(zapped, 1);
  EXPECT_THAT(flushed,
              testing::ElementsAre(GfnRange{Gfn{5120}, Gfn{5120 + 512}}));
  EXPECT_EQ(this->live(), 0u);
  EXPECT_EQ(this->machine_.pool.InUse(), 0u);
}

TYPED_TEST(VmNestedTest, APageIsAsLargeAsAllOfThemAllow) {
  struct {
    std::uint64_t nested;
    std::uint64_t gfn;
    Level of_l1;
    Level level;
  } const cases[] = {
      {1024 + 3, 512 + 3, Level{2}, Level{2}},
      {2048 + 3, 512 + 3, Level{3}, Level{2}},  // the slot is no GiB
      {3072 + 3, 512 + 3, Level{1}, Level{1}},
      {4096 + 3, 1100, Level{2}, Level{1}},     // beyond the slot's last
      {5120 + 3, 512 + 4, Level{2}, Level{1}},  // L1 has no such page
  };
  for (const auto& page : cases) {
    ASSERT_EQ(this->Fault(page.nested, NestedMapping(Gfn{page.gfn},
                                                     Rights::kAll, page.of_l1)),
              FaultOutcome::kMapped);
    const FoundEntry<Ept> found = this->Find(page.nested);
    EXPECT_EQ(found.level, page.level) << page.nested;
    EXPECT_EQ(Ept::FrameOf(found.word),
              Pfn{0x10000 + page.gfn - page.nested % FramesAt<Ept>(page.level)})
        << page.nested;
  }
  // A table in the way.
  ASSERT_EQ(this->Fault(3072 + 4,
                        NestedMapping(Gfn{512 + 4}, Rights::kAll, Level{2})),
            FaultOutcome::kMapped);
  EXPECT_EQ(this->Find(3072 + 4).level, Level{1});
}

// Else the frame that is taken away would be mapped again, by a fault of its
// neighbour.
TYPED_TEST(VmNestedTest, ALargePageWaitsForTheInvalidationOfAnyPart) {
  const NestedMapping large(Gfn{512 + 9}, Rights::kAll, Level{2});
  ASSERT_EQ(this->Fault(5120 + 9, large), FaultOutcome::kMapped);
  ASSERT_EQ(this->vm().Fault(Gfn{600}, Rights::kRead), FaultOutcome::kMapped);
  // The direct page is zapped, and the invalidation still open.
  FaultOutcome direct = FaultOutcome::kMapped;
  FaultOutcome nested = FaultOutcome::kMapped;
  FaultOutcome other = FaultOutcome::kRetry;
  bool asked = false;
  this->machine_.flusher.hook = [&](GfnRange) {
    // The second flush is the nested MMU's, under the lock.
    if (asked) return;
    asked = true;
    direct = this->vm().Fault(Gfn{650}, Rights::kRead);
    nested = this->Fault(7168 + 9, large);
    other = this->vm().Fault(Gfn{3}, Rights::kRead);
  };
  EXPECT_EQ(
      this->vm().Invalidate({Gfn{700}, Gfn{701}}, [](const ZappedLeaf&) {}),
      2u);
  EXPECT_EQ(direct, FaultOutcome::kRetry);
  EXPECT_EQ(nested, FaultOutcome::kRetry);
  EXPECT_EQ(other, FaultOutcome::kMapped);
}

TYPED_TEST(VmNestedTest, SeveralGuestsShareAPageThroughOneRmap) {
  const std::optional<NestedGuest> second = this->vm().AddNestedGuest();
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(this->vm().shadow().guests(), 2u);
  const auto fault = [&](NestedGuest guest, std::uint64_t nested, Gfn gfn) {
    return this->vm().NestedFault(
        NestedGfn{nested}, Rights::kRead,
        [&](NestedGfn) { return Translation(NestedMapping(gfn)); }, guest);
  };
  // The same frame of both stands for different ones of L1; and one page of L1
  // is both's.
  ASSERT_EQ(fault(NestedGuest::kFirst, 40, Gfn{7}), FaultOutcome::kMapped);
  ASSERT_EQ(fault(*second, 40, Gfn{8}), FaultOutcome::kMapped);
  ASSERT_EQ(fault(*second, 41, Gfn{7}), FaultOutcome::kMapped);
  const LocklessWalk walk(this->machine_.domain);
  const auto& shadow = this->vm().shadow();
  EXPECT_EQ(Ept::FrameOf(shadow.tree().Lookup(walk, Gfn{40}).word),
            Pfn{0x10007});
  EXPECT_EQ(Ept::FrameOf(shadow.tree(*second).Lookup(walk, Gfn{40}).word),
            Pfn{0x10008});
  test::Answer answer(Gfn{0}, this->kAll.Frames());
  EXPECT_TRUE(this->vm().TestClearYoung(this->kAll, answer.output()).young);
  EXPECT_EQ(answer.counts.young, 3u);
  // A guest is emptied, and the others stay.
  EXPECT_EQ(this->vm().InvalidateNested(
                {NestedGfn{0}, NestedGfn{100}}, [](const ZappedLeaf&) {}, [] {},
                *second),
            2u);
  EXPECT_EQ(this->live(), 1u);
  ASSERT_EQ(fault(*second, 41, Gfn{7}), FaultOutcome::kMapped);
  // A page that is taken away is zapped in both.
  EXPECT_EQ(this->vm().Invalidate({Gfn{7}, Gfn{8}}, [](const ZappedLeaf&) {}),
            2u);
  EXPECT_EQ(this->live(), 0u);
}

// A young entry is put where only a look at its rmap finds it. While nothing is
// mapped nobody looks; with one page mapped, whichever, everybody does.
TYPED_TEST(VmNestedTest, RmapsAreVisitedWhileSomethingIsMappedAlone) {
  constexpr GfnRange kPage{Gfn{7}, Gfn{8}};
  ASSERT_EQ(this->Fault(3000, Gfn{7}), FaultOutcome::kMapped);
  const FoundEntry<Ept> found = this->Find(3000);
  const LocklessWalk walk(this->machine_.domain);
  auto& head =
      this->vm().memslots().Find(walk, Gfn{7})->HeadOf(Gfn{7}, Level{1});
  const auto single = ReadOnce(head.word, kRelaxed);
  const auto nothing = [](const ZappedLeaf&) {};
  ASSERT_EQ(this->vm().Invalidate(kPage, nothing), 1u);
  WriteOnce(*found.entry, found.word, kRelaxed);
  WriteOnce(head.word, single, kRelaxed);

  EXPECT_EQ(this->vm().TestClearYoungFastOnly(kPage), AgeResult{});
  EXPECT_EQ(this->vm().TestClearYoung(kPage), AgeResult{});
  EXPECT_EQ(this->vm().Invalidate(kPage, nothing), 0u);
  EXPECT_EQ(this->vm().ClearDirty(kPage, AgeOutput{}).examined, 0u);
  EXPECT_EQ(this->Find(3000).word, found.word);
  ASSERT_EQ(this->Fault(3001, Gfn{8}), FaultOutcome::kMapped);
  EXPECT_TRUE(this->vm().TestClearYoungFastOnly(kPage).young);

  WriteOnce(head.word, 0, kRelaxed);
  WriteOnce(*found.entry, Ept::kEmpty, kRelaxed);
}

TYPED_TEST(VmNestedTest, ThereAreSoManyGuestsAndNoMore) {
  for (std::uint32_t i = 1; i < this->vm().shadow().kMostGuests; ++i) {
    EXPECT_EQ(this->vm().AddNestedGuest(), NestedGuest{i});
  }
  EXPECT_FALSE(this->vm().AddNestedGuest().has_value());
}

// L1's tables: SDM 3C, read 1, write 2, execute 4, write-back 0x30, large 0x80,
// accessed 0x100, dirty 0x200.
class L1 {
 public:
  L1() {
    for (Table<Ept>& table : tables_) {
      for (SpteCell<Ept>& entry : table.entries) {
        WriteOnce(entry, std::uint64_t{0}, kRelaxed);
      }
    }
    Set(0, 0, 0x1007);
    Set(1, 0, 0x2007);
    Set(2, 0, 0x3007);
    Set(2, 1, 0x20'0000 | 0xB7);  // frames 512 on of L1
    Set(3, 4, 0x5000 | 0x37);
    Set(3, 5, 0x6000 | 0x35);
  }
  void Set(std::size_t table, unsigned entry, std::uint64_t word) {
    WriteOnce(tables_[table].entries[entry], word, kRelaxed);
  }
  std::uint64_t At(std::size_t table, unsigned entry) const {
    return ReadOnce(tables_[table].entries[entry], kRelaxed);
  }
  GuestWalker<Ept, ForeignRam> Walker() const {
    return {ram_, Pfn{0}, GuestBits::kMarked, 40};
  }

 private:
  alignas(4096) mutable Table<Ept> tables_[4];
  RamBlock block_{0, sizeof tables_, reinterpret_cast<std::byte*>(tables_)};
  ForeignRam ram_{&block_, 1};
};

TYPED_TEST(VmNestedTest, L1sTablesAreWalkedMarkedAndFollowed) {
  L1 l1;
  const auto fault = [&](std::uint64_t nested, Rights access) {
    GuestTranslation walked;
    const FaultOutcome outcome =
        this->vm().NestedFault(NestedGfn{nested}, access, l1.Walker(), walked);
    return std::pair(outcome, walked.walk);
  };
  EXPECT_EQ(fault(4, Rights::kRead),
            std::pair(FaultOutcome::kMapped, GuestWalk::kTranslated));
  EXPECT_EQ(l1.At(3, 4), 0x5137u);
  // Not writable before D is set in L1's leaf.
  EXPECT_EQ(this->Find(4).word, 0x8000'0000'1000'5135u);
  EXPECT_EQ(fault(4, Rights::kReadWrite),
            std::pair(FaultOutcome::kMapped, GuestWalk::kTranslated));
  EXPECT_EQ(l1.At(3, 4), 0x5337u);
  EXPECT_EQ(this->Find(4).word, 0x8000'0000'1000'5337u);
  EXPECT_EQ(fault(5, Rights::kWrite),
            std::pair(FaultOutcome::kReflected, GuestWalk::kForbidden));
  EXPECT_EQ(fault(6, Rights::kRead),
            std::pair(FaultOutcome::kReflected, GuestWalk::kNotPresent));
  EXPECT_EQ(fault(512 + 77, Rights::kReadWrite),
            std::pair(FaultOutcome::kMapped, GuestWalk::kTranslated));
  EXPECT_EQ(this->Find(512).level, Level{2});
  EXPECT_EQ(this->live(), 2u);
  // Our aging does not touch L1's bits.
  EXPECT_TRUE(this->vm().TestClearYoung(this->kAll).young);
  EXPECT_EQ(l1.At(3, 4), 0x5337u);
  // L1 takes the page away: it writes its table, and says so.
  EXPECT_EQ(this->vm().InvalidateNested(
                {NestedGfn{4}, NestedGfn{5}}, [](const ZappedLeaf&) {},
                [&] { l1.Set(3, 4, 0x7037); }),
            1u);
  EXPECT_EQ(this->Find(4).word, Ept::kEmpty);
  EXPECT_EQ(fault(4, Rights::kRead),
            std::pair(FaultOutcome::kMapped, GuestWalk::kTranslated));
  EXPECT_EQ(RecordedFrame<Ept>(this->machine_.arena, *this->Find(4).entry),
            Gfn{7});
}

}  // namespace
}  // namespace ptage
