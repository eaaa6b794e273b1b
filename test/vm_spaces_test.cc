// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A VM with two address spaces, as an x86 guest has: the second is that of
// system-management mode, which alone sees its memory. vCPUs go from one to the
// other; what they have cached shows what a switch, and what an invalidation,
// has to flush.

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/address_spaces.h"
#include "ptage/hold.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/page_table.h"
#include "ptage/sim/space_cache.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "ptage/vm.h"
#include "test/machine.h"

namespace ptage {
namespace {

using F = Ept;
using Rmaps = test::LocklessRmapsUnderLock<F>;

constexpr AddressSpace kNormal = AddressSpace::kFirst;
constexpr AddressSpace kManagement{1};
constexpr GfnRange kRam{Gfn{0}, Gfn{64}};
constexpr GfnRange kManagementRam{Gfn{160}, Gfn{192}};
constexpr GfnRange kAll{Gfn{0}, Gfn{192}};

// One vCPU, flushed by requests.
struct OneCpu : sim::VcpuSet {
  OneCpu() : VcpuSet(1) {}
};

template <Flusher Fl>
class Guest {
 public:
  using Machine = test::Machine<F, Rmaps, Fl, 2>;

  Guest() {
    EXPECT_TRUE(vm().AddMemslot(kRam, Pfn{512}, Rights::kAll).ok());
    EXPECT_TRUE(vm().AddMemslot(kManagementRam, Pfn{1024}, Rights::kAll,
                                SpaceSet::Only(kManagement))
                    .ok());
  }
  auto& vm() { return *machine_.vm; }
  Machine& machine() { return machine_; }
  Table<F>& RootOf(AddressSpace space) {
    return *vm().tdp(space).tree().root();
  }
  FoundEntry<F> Find(AddressSpace space, std::uint64_t gfn) {
    return vm().tdp(space).tree().Lookup(LocklessWalk(machine_.domain),
                                         Gfn{gfn});
  }

 private:
  Machine machine_{64, 64, Level{1}};
};

const auto kDrop = [](const ZappedLeaf&) {};

TEST(VmSpacesTest, ASlotIsSeenWhereItIsMeantToBe) {
  Guest<test::RecordingFlusher> guest;
  auto& vm = guest.vm();
  EXPECT_EQ(vm.Fault(Gfn{5}, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(vm.Fault(Gfn{5}, Rights::kRead, kManagement),
            FaultOutcome::kMapped);
  EXPECT_EQ(vm.Fault(Gfn{160}, Rights::kRead), FaultOutcome::kNoSlot);
  EXPECT_EQ(vm.Fault(Gfn{160}, Rights::kRead, kManagement),
            FaultOutcome::kMapped);
  EXPECT_EQ(F::FrameOf(guest.Find(kManagement, 160).word), Pfn{1024});
  EXPECT_FALSE(F::IsPresent(guest.Find(kNormal, 160).word));
  // A guest of its own must not get there either.
  EXPECT_EQ(vm.NestedFault(NestedGfn{7}, Rights::kRead,
                           [](NestedGfn) { return std::optional(Gfn{160}); }),
            FaultOutcome::kNoSlot);
  // Moved, it is seen by the same.
  ASSERT_TRUE(vm.MoveMemslot(kManagementRam, Gfn{128}, kDrop).ok());
  EXPECT_EQ(vm.Fault(Gfn{128}, Rights::kRead), FaultOutcome::kNoSlot);
  EXPECT_EQ(vm.Fault(Gfn{128}, Rights::kRead, kManagement),
            FaultOutcome::kMapped);
}

TEST(VmSpacesTest, AGfnNamesOnePageWhoeverSeesIt) {
  Guest<test::RecordingFlusher> guest;
  auto& vm = guest.vm();
  // Seen by others, in vain.
  EXPECT_EQ(vm.AddMemslot({Gfn{180}, Gfn{200}}, Pfn{2048}, Rights::kAll,
                          SpaceSet::Only(kNormal))
                .code(),
            absl::StatusCode::kAlreadyExists);
  const absl::Status none =
      vm.AddMemslot({Gfn{300}, Gfn{301}}, Pfn{2048}, Rights::kAll,
                    SpaceSet::Only(AddressSpace{2}));
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(none.message(), testing::HasSubstr("[300, 301)"));
}

TEST(VmSpacesTest, APageIsTakenFromAllSpacesOrFromNone) {
  Guest<test::RecordingFlusher> guest;
  auto& vm = guest.vm();
  ASSERT_EQ(vm.Fault(Gfn{5}, Rights::kRead), FaultOutcome::kMapped);
  const GfnRange page{Gfn{5}, Gfn{6}};
  (void)vm.TestClearYoung(page);
  ASSERT_EQ(vm.Fault(Gfn{5}, Rights::kWrite, kManagement),
            FaultOutcome::kMapped);
  const auto take = [] { return TakeOutcome::kTaken; };
  const F::Word idle = guest.Find(kNormal, 5).word;
  EXPECT_EQ(vm.TakeIfIdle(page, kDrop, take), TakeOutcome::kInUse);
  EXPECT_EQ(guest.Find(kNormal, 5).word, idle);
  (void)vm.TestClearYoung(page);
  int dirty = 0;
  EXPECT_EQ(
      vm.TakeIfIdle(
          page, [&](const ZappedLeaf& leaf) { dirty += leaf.dirty; }, take),
      TakeOutcome::kTaken);
  EXPECT_EQ(dirty, 1);
  EXPECT_EQ(guest.Find(kNormal, 5).word, F::kEmpty);
  EXPECT_EQ(guest.Find(kManagement, 5).word, F::kEmpty);
}

TEST(VmSpacesTest, QuestionsAndInvalidationsAreAboutAllSpaces) {
  Guest<test::RecordingFlusher> guest;
  auto& vm = guest.vm();
  const auto fault = [&](std::uint64_t gfn, AddressSpace space) {
    ASSERT_EQ(vm.Fault(Gfn{gfn}, Rights::kWrite, space), FaultOutcome::kMapped);
  };
  fault(5, kNormal);
  fault(5, kManagement);
  fault(6, kManagement);
  fault(161, kManagement);
  test::Answer dirty(Gfn{0}, kAll.Frames());
  EXPECT_EQ(vm.ClearDirty(kAll, dirty.output()).young, 4u);
  EXPECT_TRUE(dirty.Young(Gfn{5}) && dirty.Young(Gfn{6}) &&
              dirty.Young(Gfn{161}));
  EXPECT_THAT(guest.machine().flusher.flushed, testing::ElementsAre(kAll));
  test::Answer young(Gfn{0}, kAll.Frames());
  EXPECT_EQ(vm.TestClearYoungFastOnly(kAll, young.output()),
            (AgeResult{.young = true, .was_fast = true}));
  EXPECT_EQ(young.counts.young, 4u);
  EXPECT_TRUE(young.Young(Gfn{6}) && young.Young(Gfn{161}));
  EXPECT_EQ(vm.TestYoung(kAll), AgeResult{});
  // Used in one of them.
  fault(7, kManagement);
  EXPECT_TRUE(vm.TestClearYoung(kAll).young);
  EXPECT_EQ(vm.WriteProtect(kAll, AgeOutput{}).young, 1u);
  EXPECT_EQ(vm.LiftProtection(kAll), 5u);
  guest.machine().flusher.flushed.clear();
  EXPECT_EQ(vm.Invalidate({Gfn{5}, Gfn{6}}, kDrop), 2u);
  EXPECT_THAT(guest.machine().flusher.flushed,
              testing::ElementsAre(GfnRange{Gfn{5}, Gfn{6}}));
  ASSERT_TRUE(vm.RemoveMemslot(kManagementRam, kDrop).ok());
  EXPECT_FALSE(F::IsPresent(guest.Find(kManagement, 161).word));
}

// --- What a switch, and what an invalidation, flushes.

template <class G, class V>
Pfn Use(G& guest, V& vcpu, AddressSpace space, std::uint64_t gfn) {
  for (;;) {
    if (const sim::Translation at = vcpu.Translate(Gfn{gfn}, Rights::kRead)) {
      return at.pfn;
    }
    const sim::NotRunning<V> out(vcpu);
    if (guest.vm().Fault(Gfn{gfn}, Rights::kRead, space) ==
        FaultOutcome::kNoSlot) {
      return Pfn{0};
    }
  }
}

using Plain = sim::Vcpu<F, test::Arena<F>>;
using Tagged =
    sim::Vcpu<F, test::Arena<F>, sim::SpaceCache<F, sim::DefaultCache<F>, 2>>;

// Else the guest's own code would read what it is not allowed to see.
TEST(VmSpacesTest, AVcpuLeavesNothingOfTheSpaceItComesFrom) {
  Guest<OneCpu> guest;
  Plain vcpu(guest.machine().flusher, 0, guest.machine().arena,
             guest.RootOf(kManagement));
  const sim::Running<Plain> running(vcpu);
  EXPECT_EQ(Use(guest, vcpu, kManagement, 161), Pfn{1025});
  vcpu.SwitchTo(guest.RootOf(kNormal));
  EXPECT_EQ(Use(guest, vcpu, kNormal, 161), Pfn{0});
  EXPECT_EQ(Use(guest, vcpu, kNormal, 5), Pfn{517});
  vcpu.SwitchTo(guest.RootOf(kManagement));
  const std::uint64_t walks = vcpu.stats().walks;
  EXPECT_EQ(Use(guest, vcpu, kManagement, 161), Pfn{1025});
  EXPECT_EQ(vcpu.stats().walks, walks + 1);
}

TEST(VmSpacesTest, AVcpuThatTagsFindsItsTranslationsAgain) {
  Guest<OneCpu> guest;
  Tagged vcpu(guest.machine().flusher, 0, guest.machine().arena,
              guest.RootOf(kManagement));
  const sim::Running<Tagged> running(vcpu);
  EXPECT_EQ(Use(guest, vcpu, kManagement, 161), Pfn{1025});
  vcpu.SwitchTo(guest.RootOf(kNormal));
  EXPECT_EQ(Use(guest, vcpu, kNormal, 161), Pfn{0});
  vcpu.SwitchTo(guest.RootOf(kManagement));
  const std::uint64_t walks = vcpu.stats().walks;
  EXPECT_EQ(Use(guest, vcpu, kManagement, 161), Pfn{1025});
  EXPECT_EQ(vcpu.stats().walks, walks);
}

// The vCPU is in the other space when a page is taken away, and comes back.
template <class V, class G>
Pfn UseAfterInvalidation(G& guest) {
  V vcpu(guest.machine().flusher, 0, guest.machine().arena,
         guest.RootOf(kManagement));
  const sim::Running<V> running(vcpu);
  EXPECT_EQ(Use(guest, vcpu, kManagement, 161), Pfn{1025});
  EXPECT_EQ(Use(guest, vcpu, kManagement, 5), Pfn{517});
  vcpu.SwitchTo(guest.RootOf(kNormal));
  EXPECT_EQ(Use(guest, vcpu, kNormal, 5), Pfn{517});
  {
    const sim::NotRunning<V> out(vcpu);
    EXPECT_EQ(guest.vm().Invalidate(kAll, kDrop), 3u);
    // The memory behind the frames is another's.
    EXPECT_TRUE(guest.vm().RemoveMemslot(kManagementRam, kDrop).ok());
  }
  vcpu.SwitchTo(guest.RootOf(kManagement));
  return Use(guest, vcpu, kManagement, 161);
}

TEST(VmSpacesTest, AnInvalidationReachesTheSpaceThatAVcpuIsNotIn) {
  Guest<OneCpu> plain;
  EXPECT_EQ(UseAfterInvalidation<Plain>(plain), Pfn{0});
  Guest<OneCpu> tagged;
  EXPECT_EQ(UseAfterInvalidation<Tagged>(tagged), Pfn{0});
}

// Without the flush the vCPU goes on with what it has. One that does not tag
// dropped it when it switched.
struct ForgetfulCpu : OneCpu {
  void Flush(GfnRange) {}
};

TEST(VmSpacesTest, WithoutTheFlushAVcpuUsesAPageThatWasTakenAway) {
  Guest<ForgetfulCpu> tagged;
  EXPECT_EQ(UseAfterInvalidation<Tagged>(tagged), Pfn{1025});
  Guest<ForgetfulCpu> plain;
  EXPECT_EQ(UseAfterInvalidation<Plain>(plain), Pfn{0});
}

}  // namespace
}  // namespace ptage
