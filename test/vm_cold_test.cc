// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A VM that is aged without what cannot have changed being read: what both
// forms find of direct and nested entries, of all address spaces and of the
// history; and what the best effort loses.

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_history.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/rmap.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/sim/walk_cache.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/machine.h"

namespace ptage {
namespace {

using F = Ept;
using Rmaps = test::LocklessRmapsUnderLock<F>;

// The frames of two leaf tables.
constexpr GfnRange kAll{Gfn{0}, Gfn{1024}};
constexpr AgeAction kTest = AgeAction::kTest;
constexpr AgeAction kClear = AgeAction::kTestAndClear;
constexpr Pruning kForms[] = {Pruning::kExact, Pruning::kBestEffort};

const auto kDrop = [](const ZappedLeaf&) {};

// Calls a function at the next flush, if there is one.
struct HookedFlusher {
  void Flush(GfnRange range) {
    flushed.push_back(range);
    if (hook) std::exchange(hook, nullptr)();
  }
  std::vector<GfnRange> flushed;
  std::function<void()> hook;
};

// Young frames, with the answer.
struct Told {
  AgeResult result;
  AgeCounts counts;
  std::vector<std::uint64_t> young;
};

enum class With { kNoHistory, kHistory };

// Its pages are small.
template <class D = Rmaps, Flusher Fl = HookedFlusher, std::size_t kSpaces = 1>
class Guest {
 public:
  using Machine = test::Machine<F, D, Fl, kSpaces, InnerAging::kSkipCold>;

  explicit Guest(With with = With::kNoHistory)
      : words_(PageHistory::WordsFor(kAll.Frames()), Cell<std::uint64_t>(0)),
        history_(words_.data(), kAll),
        machine_(64, 256, Level{1},
                 with == With::kHistory ? &history_ : nullptr) {
    EXPECT_TRUE(vm().AddMemslot(kAll, Pfn{1024}, Rights::kAll).ok());
  }
  auto& vm() { return *machine_.vm; }
  Machine& machine() { return machine_; }
  Fl& flusher() { return machine_.flusher; }

  void Fault(std::uint64_t gfn, AddressSpace space = AddressSpace::kFirst) {
    ASSERT_EQ(vm().Fault(Gfn{gfn}, Rights::kRead, space),
              FaultOutcome::kMapped);
  }
  void NestedFault(std::uint64_t nested, std::uint64_t gfn) {
    ASSERT_EQ(
        vm().NestedFault(NestedGfn{nested}, Rights::kRead,
                         [&](NestedGfn) { return std::optional(Gfn{gfn}); }),
        FaultOutcome::kMapped);
  }
  Told Age(Pruning pruning, AgeAction action = kClear, GfnRange range = kAll) {
    test::Answer answer(Gfn{0}, kAll.Frames());
    Told told;
    told.result = vm().AgeSkippingCold(range, pruning, action, answer.output());
    told.counts = answer.counts;
    for (std::uint64_t i = 0; i < kAll.Frames(); ++i) {
      if (answer.Young(Gfn{i})) told.young.push_back(i);
    }
    return told;
  }

 private:
  std::vector<Cell<std::uint64_t>> words_;
  PageHistory history_;
  Machine machine_;
};

// It is there for who asked for it alone.
template <class V>
constexpr bool kSkipsCold = requires(V& vm, const AgeOutput& output) {
  vm.AgeSkippingCold(kAll, Pruning::kExact, kTest, output);
};
static_assert(kSkipsCold<Guest<>::Machine::VmType>);
static_assert(!kSkipsCold<test::Machine<F, Rmaps>::VmType>);

TEST(VmColdTest, AFaultUnderAClearEntryIsFoundByBothForms) {
  for (const Pruning form : kForms) {
    Guest<> guest;
    guest.Fault(5);
    EXPECT_THAT(guest.Age(form).young, testing::ElementsAre(5));
    EXPECT_EQ(guest.Age(form).result, AgeResult{});
    // The entry above is clear now.
    guest.Fault(6);
    const Told told = guest.Age(form);
    EXPECT_THAT(told.young, testing::ElementsAre(6));
    EXPECT_EQ(
        told.result,
        (AgeResult{.young = true, .was_fast = form == Pruning::kBestEffort}));
  }
}

TEST(VmColdTest, WhatIsUnderAClearEntryIsNotRead) {
  Guest<> guest;
  for (std::uint64_t gfn = 0; gfn < 1000; gfn += 10) guest.Fault(gfn);
  EXPECT_EQ(guest.Age(Pruning::kExact).counts.examined, 100u);
  guest.Fault(7);
  // One of the two tables.
  EXPECT_EQ(guest.Age(Pruning::kExact).counts.examined, 53u);
  EXPECT_EQ(guest.Age(Pruning::kExact).counts.examined, 0u);
}

TEST(VmColdTest, ATestChangesNothing) {
  Guest<> guest;
  guest.Fault(5);
  guest.NestedFault(3000, 700);
  for (const Pruning form : kForms) {
    EXPECT_THAT(guest.Age(form, kTest).young, testing::ElementsAre(5, 700));
  }
  EXPECT_TRUE(guest.flusher().flushed.empty());
}

TEST(VmColdTest, OnlyTheExactFormFlushesAndOnlyWhereSomethingIsYoung) {
  Guest<> guest;
  auto& flushed = guest.flusher().flushed;
  guest.Fault(5);
  (void)guest.Age(Pruning::kBestEffort);
  EXPECT_TRUE(flushed.empty());
  guest.Fault(6);
  guest.Fault(600);
  guest.NestedFault(3000, 7);
  (void)guest.Age(Pruning::kExact);
  // Once in each tree.
  EXPECT_EQ(flushed.size(), 2u);
  (void)guest.Age(Pruning::kExact);
  EXPECT_EQ(flushed.size(), 2u);
}

template <class D>
class VmColdNestedTest : public testing::Test {};
using Disciplines = testing::Types<test::SingleRmaps<F>, test::BitRmaps<F>,
                                   test::LocklessRmaps<F>>;
TYPED_TEST_SUITE(VmColdNestedTest, Disciplines);

TYPED_TEST(VmColdNestedTest, ANestedGuestsAccessIsFoundByItsFrameOfL1) {
  for (const Pruning form : kForms) {
    Guest<TypeParam> guest;
    guest.NestedFault(3000, 7);
    EXPECT_THAT(guest.Age(form).young, testing::ElementsAre(7));
    EXPECT_EQ(guest.Age(form).result, AgeResult{});
    // A second entry for the frame, which not every discipline's fast-only
    // question can ask; and one that is not asked for.
    guest.NestedFault(4000, 7);
    guest.NestedFault(4001, 9);
    const Told told = guest.Age(form, kClear, GfnRange{Gfn{7}, Gfn{8}});
    EXPECT_THAT(told.young, testing::ElementsAre(7));
    EXPECT_TRUE(told.result.complete);
    EXPECT_EQ(told.result.was_fast,
              form == Pruning::kBestEffort && TypeParam::kFastAging);
    EXPECT_THAT(guest.Age(form).young, testing::ElementsAre(9));
  }
}

TYPED_TEST(VmColdNestedTest, NoLockIsTaken) {
  Guest<TypeParam> guest;
  guest.Fault(5);
  guest.NestedFault(3000, 7);
  guest.NestedFault(4000, 7);
  absl::MutexLock lock(&guest.machine().mmu_lock);
  EXPECT_THAT(guest.Age(Pruning::kExact).young, testing::ElementsAre(5, 7));
}

TEST(VmColdTest, BothMmusAnswerForAFrame) {
  Guest<> guest;
  guest.Fault(7);
  guest.NestedFault(3000, 7);
  EXPECT_EQ(guest.Age(Pruning::kExact).counts.young, 2u);
  EXPECT_EQ(guest.vm().TestYoung(kAll), AgeResult{});
}

TEST(VmColdTest, AllAddressSpacesAreAsked) {
  constexpr AddressSpace kSecond{1};
  for (const Pruning form : kForms) {
    Guest<Rmaps, HookedFlusher, 2> guest;
    guest.Fault(5);
    guest.Fault(6, kSecond);
    EXPECT_THAT(guest.Age(form).young, testing::ElementsAre(5, 6));
    EXPECT_EQ(guest.Age(form).result, AgeResult{});
    // Used in one of them.
    guest.Fault(7, kSecond);
    const Told told = guest.Age(form);
    EXPECT_THAT(told.young, testing::ElementsAre(7));
    EXPECT_EQ(told.counts.examined, 2u);
  }
}

TEST(VmColdTest, WhatAZapHandedOverIsFoundWhateverIsClear) {
  for (const Pruning form : kForms) {
    Guest<> guest(With::kHistory);
    guest.Fault(5);
    guest.NestedFault(3000, 7);
    ASSERT_EQ(guest.vm().Invalidate(kAll, kDrop), 2u);
    // No MMU says so.
    for (const AgeAction action : {kTest, kClear}) {
      const Told told = guest.Age(form, action);
      EXPECT_THAT(told.young, testing::ElementsAre(5, 7));
      EXPECT_EQ(told.result, AgeResult{.young = true});
    }
    EXPECT_EQ(guest.Age(form).result, AgeResult{});
  }
}

// Were the history asked first, neither place would tell of it.
TEST(VmColdTest, WhatIsZappedDuringTheFlushIsInTheHistory) {
  Guest<> guest(With::kHistory);
  guest.Fault(5);
  guest.flusher().hook = [&] {
    EXPECT_EQ(guest.vm().Invalidate(kAll, kDrop), 1u);
  };
  EXPECT_THAT(guest.Age(Pruning::kExact).young, testing::ElementsAre(5));
}

// --- What a vCPU hides.

struct OneCpu : sim::VcpuSet {
  OneCpu() : VcpuSet(1) {}
};
// It keeps inner entries, and no translation.
using Cpu = sim::Vcpu<F, test::Arena<F>,
                      sim::SplitCache<F, sim::NoTlb, sim::WalkCache<F>>>;

class OfACpu {
 public:
  OfACpu() {
    guest.Fault(5);
    Use();
  }
  void Use() {
    const sim::Running<Cpu> running(cpu_);
    ASSERT_TRUE(cpu_.Translate(Gfn{5}, Rights::kRead));
  }
  Guest<Rmaps, OneCpu> guest;

 private:
  Cpu cpu_{guest.flusher(), 0, guest.machine().arena,
           *guest.vm().tdp().tree().root()};
};

TEST(VmColdTest, TheExactFormFindsWhatACpuDoesByWhatItHasCached) {
  OfACpu of;
  for (int round = 0; round < 3; ++round) {
    EXPECT_THAT(of.guest.Age(Pruning::kExact).young, testing::ElementsAre(5));
    of.Use();
  }
}

TEST(VmColdTest, WhatABestEffortLosesTheThreeQuestionsFind) {
  OfACpu of;
  EXPECT_THAT(of.guest.Age(Pruning::kBestEffort).young,
              testing::ElementsAre(5));
  // By an entry that it has cached, which stays clear.
  of.Use();
  EXPECT_EQ(of.guest.Age(Pruning::kBestEffort).result, AgeResult{});
  EXPECT_EQ(of.guest.Age(Pruning::kExact).result, AgeResult{});
  EXPECT_TRUE(of.guest.vm().TestYoung(kAll).young);
  // Until it is marked for another page.
  of.guest.Fault(6);
  EXPECT_THAT(of.guest.Age(Pruning::kBestEffort).young,
              testing::ElementsAre(5, 6));
}

}  // namespace
}  // namespace ptage
