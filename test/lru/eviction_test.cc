// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/lru/eviction.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/fault_lock.h"
#include "ptage/hold.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/notifier.h"
#include "ptage/once.h"
#include "ptage/page_history.h"
#include "ptage/page_table.h"
#include "ptage/primary_mmu.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/no_allocations.h"
#include "test/process.h"
#include "test/scheme.h"

namespace ptage {
namespace {

using Chain = NotifierChain<test::Scheme>;

// Calls a function at each flush, if there is one.
struct HookedFlusher {
  void Flush(GfnRange range) {
    if (hook) hook(range);
  }
  std::function<void(GfnRange)> hook;
};

constexpr GfnRange PageOf(std::uint64_t gfn) {
  return GfnRange{Gfn{gfn}, Gfn{gfn + 1}};
}

// A process, and a VM in it, whose frames are the process's pages. L2's frame
// n + 10000 is L1's frame n.
template <class D>
class EvictionTest : public testing::Test {
 protected:
  using Process = test::Process<Chain, HookedFlusher>;
  using Machine = test::Machine<Ept, D, HookedFlusher>;
  static constexpr std::uint64_t kNested = 10000;

  // `largest` is of the VM's leaves.
  explicit EvictionTest(Level largest = Level{1})
      : words_(PageHistory::WordsFor(1500), Cell<std::uint64_t>(0)),
        history_(words_.data(), Process::kOrdinary),
        process_(chain_domain_),
        machine_(64, 256, largest, &history_),
        notifier_(*machine_.vm) {}
  void SetUp() override {
    ASSERT_TRUE(
        vm().AddMemslot(Process::kOrdinary, Process::kFirst, Rights::kAll)
            .ok());
    ASSERT_TRUE(chain().Register(notifier_).ok());
  }

  auto& mmu() { return process_.mmu; }
  auto& vm() { return *machine_.vm; }
  Chain& chain() { return process_.others; }

  FaultOutcome FaultNested(std::uint64_t gfn, Rights access = Rights::kRead) {
    return vm().NestedFault(NestedGfn{kNested + gfn}, access, [&](NestedGfn) {
      return std::optional<NestedMapping>(Gfn{gfn});
    });
  }
  // Maps a page in all three.
  void Map(std::uint64_t gfn, Rights access = Rights::kRead) {
    ASSERT_EQ(process_.Fault(gfn, access), FaultOutcome::kMapped);
    ASSERT_EQ(vm().Fault(Gfn{gfn}, access), FaultOutcome::kMapped);
    ASSERT_EQ(FaultNested(gfn, access), FaultOutcome::kMapped);
  }
  void MakeOld(GfnRange range = Process::kOrdinary) {
    (void)mmu().TestClearYoung(range);
  }
  Ept::Word DirectWord(std::uint64_t gfn) {
    return vm()
        .tdp()
        .tree()
        .Lookup(LocklessWalk(machine_.domain, WalkEntry::kWait), Gfn{gfn})
        .word;
  }
  FoundEntry<Ept> NestedEntry(std::uint64_t gfn) {
    return vm().shadow().tree().Lookup(
        LocklessWalk(machine_.domain, WalkEntry::kWait), Gfn{kNested + gfn});
  }
  // What maps the page, in all three.
  std::vector<std::uint64_t> WordsOf(std::uint64_t gfn) {
    return {process_.WordAt(gfn), DirectWord(gfn), NestedEntry(gfn).word};
  }
  static std::vector<std::uint64_t> Nothing() {
    return {X86_64::kEmpty, Ept::kEmpty, Ept::kEmpty};
  }
  Eviction EvictPage(std::uint64_t gfn) { return EvictRange(PageOf(gfn)); }
  Eviction EvictRange(GfnRange page) {
    return Evict(
        mmu(), page, marks_,
        [&](const ZappedLeaf& leaf) {
          events_.push_back(leaf.dirty ? "dirty" : "clean");
        },
        [&](bool) { events_.push_back("store"); });
  }
  // A page that was kept is as it was before.
  void ExpectKept(std::uint64_t gfn, const std::vector<std::uint64_t>& before) {
    EXPECT_EQ(WordsOf(gfn), before);
    EXPECT_EQ(events_, std::vector<std::string>{});
    // Nothing is left that keeps faults out.
    EXPECT_EQ(process_.Fault(gfn), FaultOutcome::kSpurious);
    EXPECT_EQ(vm().Fault(Gfn{gfn}, Rights::kRead), FaultOutcome::kSpurious);
    EXPECT_EQ(FaultNested(gfn), FaultOutcome::kSpurious);
  }

  std::vector<Cell<std::uint64_t>> words_;
  PageHistory history_;
  test::Scheme chain_domain_;
  Process process_;
  Machine machine_;
  VmNotifier<typename Machine::VmType> notifier_;
  test::Marks marks_;
  std::vector<std::string> events_;
};

using Disciplines = testing::Types<test::SingleRmaps<Ept>, test::BitRmaps<Ept>,
                                   test::LocklessRmaps<Ept>>;
TYPED_TEST_SUITE(EvictionTest, Disciplines);

// What is no matter of rmaps.
using PlainEvictionTest = EvictionTest<test::LocklessRmaps<Ept>>;
class LargeEvictionTest : public PlainEvictionTest {
 protected:
  LargeEvictionTest() : EvictionTest(Level{2}) {}
};

TYPED_TEST(EvictionTest, AnIdlePageIsFlushedHandedOverEmptiedAndStored) {
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

TEST_F(PlainEvictionTest, APageThatWasNotWrittenIsStoredAsClean) {
  Map(7);
  MakeOld();
  const Eviction done = EvictPage(7);
  EXPECT_EQ(done.outcome, EvictOutcome::kEvicted);
  EXPECT_FALSE(done.dirty);
  EXPECT_FALSE(done.too_late);
  // What nobody maps is evicted as well.
  EXPECT_EQ(EvictPage(8).outcome, EvictOutcome::kEvicted);
}

// Only L2 uses the page: its access is in no table but L2's.
TYPED_TEST(EvictionTest, APageThatOnlyANestedGuestUsesIsKept) {
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
TYPED_TEST(EvictionTest, AnAccessBehindTheFilterKeepsThePage) {
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

TYPED_TEST(EvictionTest, APageThatIsMarkedMeanwhileIsPutBackAsItWas) {
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

// An entry that somebody keeps for ever.
TEST_F(PlainEvictionTest, AFrozenEntryIsNotWaitedFor) {
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

TEST_F(PlainEvictionTest, AnAccessThatAnUnmapTookIsOneToThePage) {
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
TEST_F(PlainEvictionTest, FaultsMeanwhileRetryAndKeepThePage) {
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

TEST_F(PlainEvictionTest, ASpecialMappingIsNotEvicted) {
  ASSERT_EQ(process_.Fault(2001), FaultOutcome::kMapped);
  EXPECT_EQ(EvictPage(2001).outcome, EvictOutcome::kYoung);
  EXPECT_NE(process_.WordAt(2001), X86_64::kEmpty);
}

// Of frames that an evictor has claimed no VM makes an entry.
TEST_F(PlainEvictionTest, AVmMapsOnlyWhatItMay) {
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

// One that has a way to say young, and a way to unmap, and no way back.
class PlainNotifier : public Notifier {
 public:
  AgeResult Age(GfnRange, AgeAction, AgeMode, const AgeOutput&) override {
    ++asked;
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
  std::function<void()> at_invalidate;
};

TEST_F(PlainEvictionTest, WhoCanOnlyInvalidateIsToldLast) {
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

// Each lock of a table, the bit of each rmap that has one, and the MMU lock are
// another thread's, and there is no memory.
TYPED_TEST(EvictionTest, FastOnlyWaitsForNothingThatOthersHold) {
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
