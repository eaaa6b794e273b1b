// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The MMUs over formats whose walkers set no bits: faults fix what aging left,
// before they take a lock or translate.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <type_traits>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "ptage/guest_walk.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/mmu.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/ept_tracked.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/machine.h"
#include "test/stress.h"

namespace ptage {
namespace {

constexpr std::uint64_t kFrames = 64;
constexpr GfnRange kAll{Gfn{0}, Gfn{kFrames}};

template <class F>
class FastFaultMmuTest : public ::testing::Test {
 protected:
  using Machine = test::Machine<F, test::LocklessRmapsUnderLock<F>>;

  void SetUp() override {
    ASSERT_TRUE(vm().AddMemslot(kAll, Pfn{512}, Rights::kAll).ok());
    ASSERT_TRUE(
        vm().AddMemslot({Gfn{100}, Gfn{110}}, Pfn{1024}, Rights::kRead).ok());
  }
  auto& vm() { return *machine_.vm; }
  FaultOutcome Fault(std::uint64_t gfn, Rights access) {
    return vm().Fault(Gfn{gfn}, access);
  }
  // L2's frame n is L1's n.
  FaultOutcome NestedFault(std::uint64_t nested, Rights access) {
    return vm().NestedFault(NestedGfn{nested}, access,
                            [&](NestedGfn frame) -> std::optional<Gfn> {
                              ++translated_;
                              return Gfn{frame.value};
                            });
  }
  bool Age() { return vm().TestClearYoungFastOnly(kAll).young; }
  std::vector<ZappedLeaf> Invalidate(GfnRange range) {
    std::vector<ZappedLeaf> zapped;
    vm().Invalidate(range,
                    [&](const ZappedLeaf& leaf) { zapped.push_back(leaf); });
    return zapped;
  }

  Machine machine_{32, 128, Level{1}};
  int translated_ = 0;
};
TYPED_TEST_SUITE(FastFaultMmuTest, test::MarkedByFaults, test::FormatNames);

TYPED_TEST(FastFaultMmuTest, AnAgedPageIsFixedWithoutTheMmuLock) {
  ASSERT_EQ(this->Fault(3, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_TRUE(this->Age());
  EXPECT_FALSE(this->Age());
  // Held by this thread: who waits for it waits for ever.
  const FaultLock::Exclusive hold(this->vm().fault_lock());
  EXPECT_EQ(this->Fault(3, Rights::kRead), FaultOutcome::kFixed);
  EXPECT_EQ(this->Fault(3, Rights::kRead), FaultOutcome::kSpurious);
  EXPECT_EQ(this->Fault(3, Rights::kWrite), FaultOutcome::kFixed);
  EXPECT_EQ(this->Fault(3, Rights::kWrite), FaultOutcome::kSpurious);
  EXPECT_TRUE(this->Age());
}

TYPED_TEST(FastFaultMmuTest, ANestedPageIsFixedWithoutTheLockOrATranslation) {
  ASSERT_EQ(this->NestedFault(3, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(this->translated_, 1);
  EXPECT_TRUE(this->Age());
  EXPECT_FALSE(this->Age());
  {
    const FaultLock::Exclusive hold(this->vm().fault_lock());
    EXPECT_EQ(this->NestedFault(3, Rights::kWrite), FaultOutcome::kFixed);
    EXPECT_EQ(this->NestedFault(3, Rights::kRead), FaultOutcome::kSpurious);
  }
  EXPECT_EQ(this->translated_, 1);
  EXPECT_TRUE(this->Age());
  const std::vector<ZappedLeaf> zapped = this->Invalidate(kAll);
  ASSERT_EQ(zapped.size(), 1u);
  EXPECT_TRUE(zapped[0].dirty && !zapped[0].accessed);
  // What was zapped is not fixed, but mapped anew.
  EXPECT_EQ(this->NestedFault(3, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(this->translated_, 2);
}

// Whoever tries a fault again may have the walk before in the same place.
TEST(FastFaultWalkTest, AFaultWithoutAWalkIsNotBusyAsTheOneBefore) {
  test::Machine<EptTracked, test::LocklessRmapsUnderLock<EptTracked>> machine(
      32, 128, Level{1});
  ASSERT_TRUE(machine.vm->AddMemslot(kAll, Pfn{512}, Rights::kAll).ok());
  const auto same = [](NestedGfn nested) -> std::optional<Gfn> {
    return Gfn{nested.value};
  };
  ASSERT_EQ(machine.vm->NestedFault(NestedGfn{3}, Rights::kRead, same),
            FaultOutcome::kMapped);
  const ForeignRam none(nullptr, 0);
  const GuestWalker<Ept, ForeignRam> tables(none, Pfn{0}, GuestBits::kMarked,
                                            40);
  GuestTranslation walked{.walk = GuestWalk::kBusy};
  EXPECT_EQ(
      machine.vm->NestedFault(NestedGfn{3}, Rights::kRead, tables, walked),
      FaultOutcome::kSpurious);
  EXPECT_NE(walked.walk, GuestWalk::kBusy);
}

TYPED_TEST(FastFaultMmuTest, TheDirectMmuFixesWhatItFindsThere) {
  using F = TypeParam;
  auto& tdp = this->vm().tdp();
  const LocklessWalk walk(this->machine_.domain);
  const auto fault = [&](std::uint64_t gfn, Level level, Rights access) {
    return tdp.Fault(walk, Gfn{gfn}, Pfn{gfn}, level, Rights::kAll, access);
  };
  ASSERT_EQ(fault(3, Level{1}, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(fault(3, Level{1}, Rights::kWrite), FaultOutcome::kFixed);
  EXPECT_EQ(fault(3, Level{1}, Rights::kWrite), FaultOutcome::kSpurious);
  const std::uint64_t large = FramesAt<F>(Level{2});
  ASSERT_EQ(fault(large, Level{2}, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(fault(large + 1, Level{1}, Rights::kWrite), FaultOutcome::kFixed);
  EXPECT_TRUE(IsDirty<F>(tdp.tree().Lookup(walk, Gfn{large}).word));
}

TYPED_TEST(FastFaultMmuTest, AFaultThatTheSlotForbidsIsNotFixed) {
  ASSERT_EQ(this->Fault(100, Rights::kRead), FaultOutcome::kMapped);
  EXPECT_EQ(this->Fault(100, Rights::kWrite), FaultOutcome::kNotPermitted);
  EXPECT_EQ(this->Fault(99, Rights::kRead), FaultOutcome::kNoSlot);
  EXPECT_EQ(this->NestedFault(std::uint64_t{1} << 60, Rights::kRead),
            FaultOutcome::kNoSlot);
}

// What a page is to a machine without tables.
struct Page {
  bool young = true;
  bool dirty = false;
  // A write was seen since it is young: another needs no fault.
  bool writable = false;
};

TYPED_TEST(FastFaultMmuTest, RandomFaultsAndAgingAgreeWithAPlainModel) {
  // A written page that is old is written next through a fault in each of the
  // formats; after a read only where the permission goes with the age.
  constexpr bool kParksWriting = std::is_same_v<TypeParam, EptTracked>;
  std::mt19937_64 random(1);
  std::map<std::uint64_t, Page> pages[2];  // direct, nested
  std::uint64_t fixed = 0;
  for (int step = 0; step < 20000; ++step) {
    const std::uint64_t gfn = random() % kFrames;
    switch (random() % 8) {
      default: {
        const bool nested = random() % 2 != 0;
        const bool write = random() % 2 != 0;
        const Rights access = write ? Rights::kWrite : Rights::kRead;
        FaultOutcome expected = FaultOutcome::kMapped;
        const auto [page, fresh] = pages[nested].try_emplace(gfn);
        Page& at = page->second;
        if (!fresh) {
          const bool allowed = at.young && (!write || at.writable);
          expected = allowed ? FaultOutcome::kSpurious : FaultOutcome::kFixed;
        }
        ASSERT_EQ(
            nested ? this->NestedFault(gfn, access) : this->Fault(gfn, access),
            expected)
            << step;
        at.young = true;
        at.dirty |= write;
        at.writable |= write;
        fixed += expected == FaultOutcome::kFixed;
        break;
      }
      case 0: {
        const GfnRange range{Gfn{gfn}, Gfn{gfn + random() % 8 + 1}};
        const GfnRange asked = range.Clip(kAll);
        std::uint64_t expected = 0;
        for (auto& map : pages) {
          for (auto& [at, page] : map) {
            if (!asked.Contains(Gfn{at}) || !page.young) continue;
            expected |= std::uint64_t{1} << at;
            page.young = false;
            if (kParksWriting) page.writable = false;
          }
        }
        std::uint64_t young = 0;
        const AgeOutput output{.begin = Gfn{0}, .young = Bitmap(&young, 64)};
        ASSERT_TRUE(this->vm().TestClearYoungFastOnly(asked, output).complete);
        ASSERT_EQ(young, expected) << step;
        break;
      }
      case 1: {
        std::size_t expected = 0;
        for (const auto& map : pages) expected += map.count(gfn);
        const std::vector<ZappedLeaf> zapped =
            this->Invalidate(GfnRange{Gfn{gfn}, Gfn{gfn + 1}});
        ASSERT_EQ(zapped.size(), expected) << step;
        std::size_t next = 0;
        for (auto& map : pages) {
          const auto page = map.find(gfn);
          if (page == map.end()) continue;
          EXPECT_EQ(zapped[next].accessed, page->second.young) << step;
          EXPECT_EQ(zapped[next].dirty, page->second.dirty) << step;
          ++next;
          map.erase(page);
        }
        break;
      }
    }
  }
  EXPECT_GT(fixed, 1000u);
}

// The same with all of it at once. A write that a fault let through is handed
// to somebody; at the end nothing is mapped.
TYPED_TEST(FastFaultMmuTest, NoWriteIsLostAmongThreads) {
  constexpr std::size_t kWriters = 2;
  std::array<std::array<bool, kFrames>, kWriters> written{};
  std::array<bool, kFrames> handed{};
  std::array<std::uint64_t, kWriters> fixed{};
  const auto sink = [&](const ZappedLeaf& leaf) {
    if (leaf.dirty) handed[leaf.gfn.value] = true;
  };
  const auto faulter = [&](std::size_t self, auto& random) {
    return [&, self] {
      const std::uint64_t gfn = random() % kFrames;
      const bool write = random() % 4 == 0;
      const Rights access = write ? Rights::kWrite : Rights::kRead;
      const FaultOutcome outcome =
          random() % 2 == 0 ? this->Fault(gfn, access)
                            : this->vm().NestedFault(
                                  NestedGfn{gfn}, access, [](NestedGfn frame) {
                                    return std::optional(Gfn{frame.value});
                                  });
      fixed[self] += outcome == FaultOutcome::kFixed;
      if (write && outcome != FaultOutcome::kRetry &&
          outcome != FaultOutcome::kNoMemory) {
        written[self][gfn] = true;
      }
    };
  };
  std::mt19937_64 random[kWriters + 1];
  for (std::size_t i = 0; i <= kWriters; ++i) random[i].seed(i);
  std::uint64_t turn = 0;
  test::Stress({faulter(0, random[0]), faulter(1, random[1]),
                [&] { (void)this->Age(); },
                [&] {
                  const Gfn gfn{random[kWriters]() % kFrames};
                  if (++turn % 8 == 0) {
                    this->vm().Invalidate(GfnRange{gfn, gfn + 1}, sink);
                  }
                }});
  this->vm().Invalidate(kAll, sink);
  for (std::uint64_t gfn = 0; gfn < kFrames; ++gfn) {
    EXPECT_TRUE(handed[gfn] || !(written[0][gfn] || written[1][gfn])) << gfn;
  }
  EXPECT_GT(fixed[0] + fixed[1], 0u);
  EXPECT_EQ(this->vm().shadow().live(), 0u);
}

}  // namespace
}  // namespace ptage
