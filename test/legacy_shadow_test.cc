// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/legacy_shadow.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "ptage/guest_walk.h"
#include "ptage/invalidate.h"
#include "ptage/legacy_shadow/protected_frames.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/spte/arm64.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/legacy_guest.h"
#include "test/machine.h"
#include "test/scheme.h"

namespace ptage {
namespace {

// Where the dirty bit is the permission, a leaf cannot be read-only and dirty.
static_assert(ProtectableFormat<X86_64> && ProtectableFormat<Ept> &&
              ProtectableFormat<RiscvSv48>);
static_assert(!ProtectableFormat<Arm64Stage2Of4K>);

// Frames of the guest's tables: the root, and one of each level below.
constexpr std::uint64_t kCr3 = 4;
constexpr std::uint64_t kL3 = 3;
constexpr std::uint64_t kL2 = 2;
constexpr std::uint64_t kL1 = 1;
// A second root, over the same tables below.
constexpr std::uint64_t kOtherCr3 = 5;
constexpr GfnRange kAll{Gfn{0}, Gfn{64}};

template <class D>
class LegacyShadowTest : public testing::Test {
 protected:
  using Guest = test::LegacyGuest<D>;
  using Root = typename Guest::Root;
  static_assert(AgeableMmu<typename Guest::Mmu>);
  static_assert(Guest::Mmu::kFastAging == D::kFastAging);

  void SetUp() override { Start({}); }
  void Start(const typename Guest::Options& options) {
    guest_.reset();
    guest_ = std::make_unique<Guest>(options);
    guest_->AddMemory();
    // Pages 0 … 511, of which p maps frame p mod 64: as a direct map with
    // aliases.
    Put(kCr3, 0, kL3, Guest::kTable);
    Put(kOtherCr3, 0, kL3, Guest::kTable);
    Put(kL3, 0, kL2, Guest::kTable);
    Put(kL2, 0, kL1, Guest::kTable);
    for (std::uint64_t i = 0; i < 512; ++i) {
      Put(kL1, i, i % 64, Guest::kWritable);
    }
  }
  // Before the guest runs.
  void Put(std::uint64_t frame, std::uint64_t index, std::uint64_t to,
           std::uint64_t bits) {
    WriteOnce(guest().WordAt(frame, index), Guest::Entry(to, bits), kRelaxed);
  }
  Guest& guest() { return *guest_; }
  typename Guest::Mmu& mmu() { return *guest_->mmu; }

 private:
  std::unique_ptr<Guest> guest_;
};

using Disciplines =
    testing::Types<test::BitRmaps<X86_64>, test::LocklessRmapsInOrder<X86_64>>;
TYPED_TEST_SUITE(LegacyShadowTest, Disciplines);

TYPED_TEST(LegacyShadowTest, APageIsTranslatedStraightToTheHost) {
  const auto root = this->guest().Load(kCr3);
  EXPECT_EQ(this->guest().Read(root, 20), 20u);
  EXPECT_EQ(this->guest().Read(root, 64 + 20), 20u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 2u);
  EXPECT_EQ(this->mmu().tables(), 4u);
  // Accessed, and not dirty, so not writable yet. The guest's own entries were
  // marked before.
  EXPECT_EQ(this->guest().Word(kL1, 20), 20u << 12 | 0x27);
  EXPECT_EQ(this->guest().Word(kL2, 0), kL1 << 12 | 0x27);
  EXPECT_EQ(this->guest().Word(kCr3, 0), kL3 << 12 | 0x27);
  EXPECT_EQ(this->guest().WritableLeaves(20), 0);
}

TYPED_TEST(LegacyShadowTest, TheFirstWriteSetsTheGuestsDirtyBit) {
  const auto root = this->guest().Load(kCr3);
  ASSERT_EQ(this->guest().Read(root, 20), 20u);
  ASSERT_EQ(this->guest().WriteTo(root, 20), 20u);
  EXPECT_EQ(this->guest().Word(kL1, 20), 20u << 12 | 0x67);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 1u);
  EXPECT_EQ(this->guest().WritableLeaves(20), 1);
}

TYPED_TEST(LegacyShadowTest, AWriteToATableIsTrapped) {
  const auto root = this->guest().Load(kCr3);
  for (const std::uint64_t table : {kCr3, kL3, kL2, kL1}) {
    EXPECT_EQ(this->guest().Read(root, table), table);
    EXPECT_EQ(this->guest().WriteTo(root, table), std::nullopt);
    EXPECT_EQ(this->guest().outcome, FaultOutcome::kGuestTable);
    EXPECT_EQ(this->guest().walked.gfn, Gfn{table});
    EXPECT_EQ(this->guest().WritableLeaves(table), 0);
    EXPECT_TRUE(this->mmu().IsTable(Gfn{table}));
  }
  EXPECT_FALSE(this->mmu().IsTable(Gfn{20}));
}

TYPED_TEST(LegacyShadowTest, AChangedEntryIsNeverUsedAgain) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  ASSERT_EQ(guest.WriteTo(root, 20), 20u);
  ASSERT_EQ(guest.Read(root, 21), 21u);
  EXPECT_EQ(guest.Write(kL1, 20, 30 << 12 | 0x7), 1u);
  EXPECT_EQ(guest.Read(root, 20), 30u);
  EXPECT_EQ(guest.Read(root, 21), 21u);
  EXPECT_EQ(guest.Write(kL1, 20, 0), 1u);
  EXPECT_EQ(guest.Read(root, 20), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kReflected);
  EXPECT_EQ(guest.walked.walk, GuestWalk::kNotPresent);
  EXPECT_EQ(guest.walked.level, Level{1});
  // An entry of the table above it, with all that is below.
  EXPECT_EQ(guest.Write(kL2, 0, 0), 1u);
  EXPECT_EQ(guest.Read(root, 21), std::nullopt);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{21}), 0u);
}

// What docs/legacy_shadow.md says of the cost.
TYPED_TEST(LegacyShadowTest, ATrappedWriteCostsAZapForEachEntryAndOneFlush) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  ASSERT_EQ(guest.Read(root, 20), 20u);
  guest.cpus.TakeFlushes();
  EXPECT_EQ(guest.Write(kL1, 20, 30 << 12 | 0x7), 1u);
  EXPECT_EQ(guest.cpus.TakeFlushes(), 1u);
  // Nothing was built from this one, as when a guest fills a new table.
  EXPECT_EQ(guest.Write(kL1, 22, 30 << 12 | 0x7), 0u);
  EXPECT_EQ(guest.cpus.TakeFlushes(), 0u);
  // Nor from a frame that is no table.
  EXPECT_EQ(guest.Write(40, 22, 30 << 12 | 0x7), 0u);
  EXPECT_EQ(guest.cpus.TakeFlushes(), 0u);
  EXPECT_EQ(guest.Word(40, 22), 30u << 12 | 0x7);
}

TYPED_TEST(LegacyShadowTest, AWriteOfAPartOfAnEntryLeavesTheRest) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  ASSERT_EQ(guest.Read(root, 20), 20u);
  ASSERT_EQ(guest.Read(root, 21), 21u);
  // The upper half of one entry, and the lower half of the next: no-execute,
  // and another frame.
  const std::uint32_t halves[2] = {0x8000'0000, 30 << 12 | 0x7};
  const auto bytes = absl::MakeConstSpan(
      reinterpret_cast<const std::byte*>(halves), sizeof(halves));
  EXPECT_EQ(this->mmu().GuestWrite(Gfn{kL1}, 20 * 8 + 4, bytes, guest.sink()),
            2u);
  EXPECT_EQ(guest.Word(kL1, 20), 0x8000'0000'0001'4027u);
  EXPECT_EQ(guest.Word(kL1, 21), 30u << 12 | 0x7);
  EXPECT_EQ(guest.Use(root, 20, Rights::kReadExecute), std::nullopt);
  EXPECT_EQ(guest.Read(root, 20), 20u);
  EXPECT_EQ(guest.Read(root, 21), 30u);
  EXPECT_EQ(this->mmu().GuestWrite(Gfn{64}, 0, bytes, guest.sink()),
            std::nullopt);
}

TYPED_TEST(LegacyShadowTest, APageGrantsWhatItsWholePathGrants) {
  auto& guest = this->guest();
  this->Put(kL2, 1, kL1, TestFixture::Guest::kReadOnly);
  this->Put(kL2, 2, kL1, 1ull << 63 | 0x7);
  const auto root = guest.Load(kCr3);
  EXPECT_EQ(guest.WriteTo(root, 20), 20u);
  EXPECT_EQ(guest.Use(root, 20, Rights::kAll), 20u);
  // The same table, below an entry that is read-only, and one that lets nothing
  // execute.
  EXPECT_EQ(guest.Read(root, 512 + 20), 20u);
  EXPECT_EQ(guest.WriteTo(root, 512 + 20), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kReflected);
  EXPECT_EQ(guest.walked.walk, GuestWalk::kForbidden);
  EXPECT_EQ(guest.WriteTo(root, 1024 + 20), 20u);
  EXPECT_EQ(guest.Use(root, 1024 + 20, Rights::kReadExecute), std::nullopt);
  // Three shadow tables stand for one: a change is one in all.
  EXPECT_EQ(this->mmu().tables(), 6u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 3u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}, Rights::kWrite), 2u);
  EXPECT_EQ(guest.Write(kL1, 20, 0), 3u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 0u);
}

TYPED_TEST(LegacyShadowTest, ASlotGrantsNoMoreThanItHas) {
  auto& guest = this->guest();
  ASSERT_TRUE(this->mmu().RemoveMemslot(kAll, guest.sink()).ok());
  ASSERT_TRUE(
      this->mmu().AddMemslot(kAll, guest.kBase, Rights::kReadExecute).ok());
  const auto root = guest.Load(kCr3);
  EXPECT_EQ(guest.Read(root, 20), 20u);
  EXPECT_EQ(guest.WriteTo(root, 20), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kNotPermitted);
  // Beyond all slots.
  guest.Write(kL1, 20, 100 << 12 | 0x7);
  EXPECT_EQ(guest.Read(root, 20), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kNoSlot);
  EXPECT_EQ(guest.walked.gfn, Gfn{100});
}

TYPED_TEST(LegacyShadowTest, SpacesShareTheTablesThatTheGuestsDo) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  const auto other = guest.Load(kOtherCr3);
  ASSERT_EQ(guest.Read(root, 20), 20u);
  EXPECT_EQ(this->mmu().tables(), 5u);
  ASSERT_EQ(guest.Read(other, 20), 20u);
  EXPECT_EQ(this->mmu().tables(), 5u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 1u);
  // One space is gone: the tables below are still used.
  this->mmu().UnloadRoot(root);
  EXPECT_TRUE(this->mmu().DropRoot(Gfn{kCr3}, guest.sink()));
  EXPECT_EQ(this->mmu().tables(), 4u);
  EXPECT_FALSE(this->mmu().IsTable(Gfn{kCr3}));
  EXPECT_EQ(guest.WriteTo(other, 20), 20u);
  // And the other.
  this->mmu().UnloadRoot(other);
  EXPECT_TRUE(this->mmu().DropRoot(Gfn{kOtherCr3}, guest.sink()));
  EXPECT_EQ(this->mmu().tables(), 0u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 0u);
  ASSERT_EQ(guest.zapped.size(), 1u);
  EXPECT_EQ(guest.zapped[0].gfn, Gfn{20});
  EXPECT_TRUE(guest.zapped[0].accessed && guest.zapped[0].dirty);
}

TYPED_TEST(LegacyShadowTest, ARootStaysAsLongAsItIsLoaded) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  const auto again = guest.Load(kCr3);
  EXPECT_EQ(root.table, again.table);
  ASSERT_EQ(guest.Read(root, 20), 20u);
  this->mmu().UnloadRoot(again);
  EXPECT_FALSE(this->mmu().DropRoot(Gfn{kCr3}, guest.sink()));
  EXPECT_EQ(this->mmu().Reclaim(100, guest.sink()), 3u);
  EXPECT_EQ(guest.Read(root, 20), 20u);
  this->mmu().UnloadRoot(root);
  // Kept, for it may be loaded again.
  EXPECT_EQ(this->mmu().tables(), 4u);
  EXPECT_EQ(guest.Load(kCr3).table, root.table);
  EXPECT_FALSE(this->mmu().DropRoot(Gfn{kL1}, guest.sink()));
  EXPECT_EQ(this->mmu().LoadRoot(Gfn{64}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// A page that the guest has written becomes one of its tables.
TYPED_TEST(LegacyShadowTest, AFrameThatBecomesATableLosesItsWritableNames) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  for (std::uint64_t page = 20; page < 512; page += 64) {
    ASSERT_EQ(guest.WriteTo(root, page), 20u);
  }
  ASSERT_EQ(guest.WritableLeaves(20), 8);
  this->Put(20, 0, 33, TestFixture::Guest::kWritable);
  guest.Write(kL2, 1, 20 << 12 | 0x7);
  EXPECT_FALSE(this->mmu().IsTable(Gfn{20}));
  guest.cpus.TakeFlushes();
  EXPECT_EQ(guest.Read(root, 512), 33u);
  EXPECT_TRUE(this->mmu().IsTable(Gfn{20}));
  EXPECT_EQ(guest.cpus.TakeFlushes(), 1u);
  EXPECT_EQ(guest.WritableLeaves(20), 0);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 8u);
  // By no name may it be written, not by a new one either.
  EXPECT_EQ(guest.WriteTo(root, 64 + 20), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kGuestTable);
  guest.Write(kL1, 40, 20 << 12 | 0x7);
  EXPECT_EQ(guest.WriteTo(root, 40), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kGuestTable);
  // What was written before is still known.
  EXPECT_EQ(this->mmu().ZapFrames({Gfn{21}, Gfn{22}}, guest.sink()), 0u);
  guest.zapped.clear();
  EXPECT_EQ(this->mmu().ZapFrames({Gfn{20}, Gfn{21}}, guest.sink()), 10u);
  int dirty = 0;
  for (const ZappedLeaf& leaf : guest.zapped) {
    if (leaf.gfn == Gfn{20}) dirty += leaf.dirty ? 1 : 0;
  }
  EXPECT_EQ(dirty, 8);
}

// Until the flush a CPU may write through what it has cached.
TYPED_TEST(LegacyShadowTest, ANewTableIsReadAfterItIsProtected) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  ASSERT_EQ(guest.WriteTo(root, 20), 20u);
  this->Put(20, 0, 33, TestFixture::Guest::kWritable);
  guest.Write(kL2, 1, 20 << 12 | 0x7);
  guest.cpus.before = [&] { this->Put(20, 0, 34, 0x7); };
  EXPECT_EQ(guest.Read(root, 512), 34u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{33}), 0u);
}

TYPED_TEST(LegacyShadowTest, AFrameThatIsNoTableAnyMoreMayBeWrittenAgain) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  this->Put(20, 0, 33, TestFixture::Guest::kWritable);
  guest.Write(kL2, 1, 20 << 12 | 0x7);
  ASSERT_EQ(guest.Read(root, 512), 33u);
  EXPECT_EQ(guest.WriteTo(root, 20), std::nullopt);
  EXPECT_EQ(guest.Write(kL2, 1, 0), 1u);
  EXPECT_FALSE(this->mmu().IsTable(Gfn{20}));
  EXPECT_EQ(this->mmu().CountEntries(Gfn{33}), 0u);
  EXPECT_EQ(guest.WriteTo(root, 20), 20u);
  EXPECT_EQ(this->mmu().tables(), 4u);
}

// Entry 256 of the root leads to the root, so that the guest finds each of its
// tables as a page.
TYPED_TEST(LegacyShadowTest, ATableMayLeadToItself) {
  auto& guest = this->guest();
  constexpr std::uint64_t kSelf = 256;
  this->Put(kCr3, kSelf, kCr3, TestFixture::Guest::kTable);
  const auto root = guest.Load(kCr3);
  const std::uint64_t as_l1 = kSelf << 27;
  const std::uint64_t as_l2 = as_l1 | kSelf << 18;
  const std::uint64_t as_l3 = as_l2 | kSelf << 9;
  EXPECT_EQ(guest.Read(root, as_l1), kL1);
  EXPECT_EQ(guest.Read(root, as_l2), kL2);
  EXPECT_EQ(guest.Read(root, as_l3), kL3);
  EXPECT_EQ(guest.Read(root, as_l3 | kSelf), kCr3);
  ASSERT_EQ(guest.Read(root, 20), 20u);
  for (const std::uint64_t page : {as_l1, as_l2, as_l3, as_l3 | kSelf}) {
    EXPECT_EQ(guest.WriteTo(root, page), std::nullopt);
    EXPECT_EQ(guest.outcome, FaultOutcome::kGuestTable);
  }
  // One entry, which was read as one of level 4, 3 and 2, and at level 1 as
  // that of a page.
  EXPECT_EQ(guest.Write(kCr3, 0, kOtherCr3 << 12 | 0x7), 4u);
  EXPECT_EQ(guest.Read(root, 20), std::nullopt);
  EXPECT_EQ(guest.Read(root, as_l3), kOtherCr3);
  // And the one that does it, which all four have too.
  EXPECT_EQ(guest.Write(kCr3, kSelf, 0), 4u);
  EXPECT_EQ(guest.Read(root, as_l3), std::nullopt);
  EXPECT_EQ(this->mmu().tables(), 1u);
}

TYPED_TEST(LegacyShadowTest, ALargePageIsMadeOfSmallOnesSoTablesInItAreSafe) {
  this->Start({.frames = 1024});
  auto& guest = this->guest();
  this->Put(kL2, 1, 0, 0x87);
  // 1 GiB, of which there are but two.
  this->Put(kL3, 1, 0, 0x87);
  const auto root = guest.Load(kCr3);
  EXPECT_EQ(guest.WriteTo(root, 512 + 77), 77u);
  EXPECT_EQ(guest.Word(kL2, 1), 0xE7u);
  EXPECT_EQ(guest.WriteTo(root, (1 << 18) + 512 + 77), 512 + 77);
  EXPECT_EQ(guest.Read(root, (1 << 18) + 77), 77u);
  EXPECT_EQ(guest.Read(root, (1 << 18) + 1024), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kNoSlot);
  for (const std::uint64_t table : {kCr3, kL3, kL2}) {
    EXPECT_EQ(guest.WriteTo(root, 512 + table), std::nullopt);
    EXPECT_EQ(guest.outcome, FaultOutcome::kGuestTable);
    EXPECT_EQ(guest.WriteTo(root, (1 << 18) + table), std::nullopt);
    EXPECT_EQ(guest.outcome, FaultOutcome::kGuestTable);
  }
  // kL1 was not needed yet.
  EXPECT_EQ(guest.WriteTo(root, 512 + kL1), kL1);
  EXPECT_EQ(guest.Read(root, 20), 20u);
  EXPECT_EQ(guest.WriteTo(root, 512 + kL1), std::nullopt);
  // Three of levels 4 to 2, one of level 1, one of parts of the 2 MiB, three of
  // the 1 GiB.
  EXPECT_EQ(this->mmu().tables(), 8u);
  // The page is made read-only, and clean.
  EXPECT_EQ(guest.Write(kL2, 1, 0x85), 1u);
  EXPECT_EQ(this->mmu().tables(), 7u);
  EXPECT_EQ(guest.WriteTo(root, 512 + 77), std::nullopt);
  EXPECT_EQ(guest.Read(root, 512 + 77), 77u);
  EXPECT_EQ(guest.Write(kL3, 1, 0), 1u);
  EXPECT_EQ(this->mmu().tables(), 5u);
  EXPECT_EQ(guest.Read(root, (1 << 18) + 77), std::nullopt);
}

// A clean large page and a dirty one of the same frames are two, or the write
// through one would go by the other's dirty bit.
TYPED_TEST(LegacyShadowTest, EachNameOfALargePageHasItsOwnDirtyBit) {
  this->Start({.frames = 1024});
  auto& guest = this->guest();
  this->Put(kL2, 1, 512, 0x87);
  this->Put(kL2, 2, 512, 0x87);
  const auto root = guest.Load(kCr3);
  EXPECT_EQ(guest.WriteTo(root, 512 + 77), 512 + 77);
  EXPECT_EQ(guest.Read(root, 1024 + 77), 512 + 77);
  EXPECT_EQ(guest.Word(kL2, 2), 512u << 12 | 0xA7);
  EXPECT_EQ(guest.WritableLeaves(512 + 77), 1);
  EXPECT_EQ(guest.WriteTo(root, 1024 + 77), 512 + 77);
  EXPECT_EQ(guest.Word(kL2, 2), 512u << 12 | 0xE7);
}

TYPED_TEST(LegacyShadowTest, WhatTheGuestDoesNotHaveBuildsNothing) {
  auto& guest = this->guest();
  this->Put(kL3, 1, 1000, TestFixture::Guest::kTable);  // no such frame
  this->Put(kL3, 2, 1ull << 29, 0x7);                   // reserved: bit 41
  this->Put(kCr3, 1, 20, 0x87);                         // reserved: bit 7
  const auto root = guest.Load(kCr3);
  struct Case {
    std::uint64_t page;
    GuestWalk walk;
    Level level;
  };
  for (const Case& bad : {Case{1 << 18, GuestWalk::kOutside, Level{2}},
                          Case{2 << 18, GuestWalk::kReserved, Level{3}},
                          Case{1 << 27, GuestWalk::kReserved, Level{4}},
                          Case{3 << 18, GuestWalk::kNotPresent, Level{3}},
                          Case{1ull << 36, GuestWalk::kNotPresent, Level{4}}}) {
    EXPECT_EQ(guest.Read(root, bad.page), std::nullopt);
    EXPECT_EQ(guest.outcome, FaultOutcome::kReflected);
    EXPECT_EQ(guest.walked.walk, bad.walk) << bad.page;
    EXPECT_EQ(guest.walked.level, bad.level) << bad.page;
  }
  EXPECT_EQ(this->mmu().tables(), 1u);
}

TYPED_TEST(LegacyShadowTest, AgingAsksEveryNameOfAFrame) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  ASSERT_EQ(guest.Read(root, 20), 20u);
  ASSERT_EQ(guest.Read(root, 64 + 20), 20u);
  ASSERT_EQ(guest.Read(root, 21), 21u);
  constexpr bool kFast = TypeParam::kFastAging;
  test::Answer fast(Gfn{0}, 64);
  EXPECT_EQ(this->mmu().TestClearYoungFastOnly(kAll, fast.output()),
            (AgeResult{.young = true, .was_fast = kFast, .complete = kFast}));
  EXPECT_EQ(fast.Young(Gfn{20}), kFast);
  EXPECT_EQ(fast.Unknown(Gfn{20}), !kFast);
  EXPECT_TRUE(fast.Young(Gfn{21}) && !fast.Unknown(Gfn{21}));
  EXPECT_EQ(this->mmu().TestClearYoung(kAll).young, !kFast);
  EXPECT_EQ(this->mmu().TestClearYoung(kAll), AgeResult{});
  // By one of them.
  ASSERT_EQ(guest.Read(root, 64 + 20), 20u);
  EXPECT_TRUE(this->mmu().TestYoung({Gfn{20}, Gfn{21}}).young);
  EXPECT_FALSE(this->mmu().TestYoung({Gfn{21}, Gfn{22}}).young);
  // The guest's own bits are the guest's.
  EXPECT_EQ(guest.Word(kL1, 20), 20u << 12 | 0x27);
}

TYPED_TEST(LegacyShadowTest, AZapOfAFrameHandsOnTheBitsOfAllNames) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  ASSERT_EQ(guest.WriteTo(root, 20), 20u);
  ASSERT_EQ(guest.Read(root, 64 + 20), 20u);
  ASSERT_EQ(guest.Read(root, 21), 21u);
  (void)this->mmu().TestClearYoung(kAll);
  ASSERT_EQ(guest.Read(root, 64 + 20), 20u);
  guest.cpus.TakeFlushes();
  EXPECT_EQ(this->mmu().ZapFrames({Gfn{20}, Gfn{21}}, guest.sink()), 2u);
  EXPECT_EQ(guest.cpus.TakeFlushes(), 1u);
  ASSERT_EQ(guest.zapped.size(), 2u);
  int accessed = 0;
  int dirty = 0;
  for (const ZappedLeaf& leaf : guest.zapped) {
    EXPECT_EQ(leaf.gfn, Gfn{20});
    EXPECT_EQ(leaf.pfn, Pfn{0x814});
    accessed += leaf.accessed ? 1 : 0;
    dirty += leaf.dirty ? 1 : 0;
  }
  EXPECT_EQ(accessed, 1);
  EXPECT_EQ(dirty, 1);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 0u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{21}), 1u);
  EXPECT_EQ(guest.Read(root, 20), 20u);
}

TYPED_TEST(LegacyShadowTest, AnInvalidatedFrameIsNotBelievedAsATable) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  ASSERT_EQ(guest.Read(root, 20), 20u);
  {
    const ScopedInvalidation open(this->mmu().invalidations(),
                                  {Gfn{kL1}, Gfn{kL1 + 1}});
    EXPECT_EQ(this->mmu().ZapFrames({Gfn{kL1}, Gfn{kL1 + 1}}, guest.sink()),
              1u);
    // The host gives the frame other contents.
    this->Put(kL1, 20, 30, TestFixture::Guest::kWritable);
    GuestTranslation walked;
    EXPECT_EQ(this->mmu().Fault(root, Gfn{20}, Rights::kRead, walked),
              FaultOutcome::kRetry);
    EXPECT_EQ(this->mmu().CountEntries(Gfn{30}), 0u);
  }
  EXPECT_EQ(guest.Read(root, 20), 30u);
}

TYPED_TEST(LegacyShadowTest, AnOpenInvalidationKeepsFaultsOut) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  const ScopedInvalidation open(this->mmu().invalidations(),
                                {Gfn{20}, Gfn{21}});
  GuestTranslation walked;
  EXPECT_EQ(this->mmu().Fault(root, Gfn{20}, Rights::kRead, walked),
            FaultOutcome::kRetry);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 0u);
  EXPECT_EQ(guest.Read(root, 22), 22u);
}

TYPED_TEST(LegacyShadowTest, AFaultThatComesToNothingLeavesNothing) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  const ScopedInvalidation open(this->mmu().invalidations(),
                                {Gfn{kL1}, Gfn{kL1 + 1}});
  GuestTranslation walked;
  EXPECT_EQ(this->mmu().Fault(root, Gfn{20}, Rights::kRead, walked),
            FaultOutcome::kRetry);
  EXPECT_EQ(this->mmu().tables(), 1u);
  EXPECT_FALSE(this->mmu().IsTable(Gfn{kL3}));
}

TYPED_TEST(LegacyShadowTest, ASlotThatIsGoneIsMappedByNothing) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  ASSERT_EQ(guest.WriteTo(root, 20), 20u);
  EXPECT_EQ(this->mmu().RemoveMemslot({Gfn{0}, Gfn{32}}, guest.sink()).code(),
            absl::StatusCode::kNotFound);
  ASSERT_TRUE(this->mmu().RemoveMemslot(kAll, guest.sink()).ok());
  EXPECT_EQ(
      this->mmu().AddMemslot({Gfn{60}, Gfn{65}}, Pfn{0}, Rights::kAll).code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(guest.Read(root, 20), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kNoSlot);
  // A table is protected from a slot that comes after it.
  guest.AddMemory();
  ASSERT_EQ(guest.Read(root, 20), 20u);
  EXPECT_EQ(guest.WriteTo(root, kL1), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kGuestTable);
}

TYPED_TEST(LegacyShadowTest, TheOldestTableThatIsNotUsedMakesRoom) {
  // Room for the path of one space, and of half another.
  this->Start({.limit = 6});
  auto& guest = this->guest();
  for (std::uint64_t i = 0; i < 8; ++i) {
    this->Put(kL2, i, kL1, TestFixture::Guest::kTable);
    this->Put(kL2, i, 10 + i, TestFixture::Guest::kTable);
    this->Put(10 + i, 0, 20 + i, TestFixture::Guest::kWritable);
  }
  const auto root = guest.Load(kCr3);
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 8; ++i) {
      ASSERT_EQ(guest.WriteTo(root, 512 * i), 20 + i);
      ASSERT_LE(this->mmu().tables(), 6u);
    }
  }
  // What had to go was told of.
  EXPECT_FALSE(guest.zapped.empty());
  for (const ZappedLeaf& leaf : guest.zapped) {
    EXPECT_TRUE(leaf.dirty);
  }
}

TYPED_TEST(LegacyShadowTest, AUsedTableIsPassedOverOnce) {
  auto& guest = this->guest();
  for (const std::uint64_t table : {10u, 11u}) {
    this->Put(kL2, table, table, TestFixture::Guest::kTable);
    this->Put(table, 0, 20, TestFixture::Guest::kWritable);
  }
  const auto root = guest.Load(kCr3);
  for (const std::uint64_t page : {0u, 10u * 512, 11u * 512}) {
    ASSERT_TRUE(guest.Read(root, page).has_value());
  }
  // All three were used since they were built: the oldest.
  EXPECT_EQ(this->mmu().Reclaim(1, guest.sink()), 1u);
  EXPECT_FALSE(this->mmu().IsTable(Gfn{kL1}));
  // Now the older of two is used, and the other is not.
  ASSERT_EQ(guest.Read(root, 10 * 512), 20u);
  EXPECT_EQ(this->mmu().Reclaim(1, guest.sink()), 1u);
  EXPECT_TRUE(this->mmu().IsTable(Gfn{10}));
  EXPECT_FALSE(this->mmu().IsTable(Gfn{11}));
  EXPECT_EQ(this->mmu().Reclaim(0, guest.sink()), 0u);
  EXPECT_EQ(this->mmu().Reclaim(1, guest.sink()), 1u);
  EXPECT_TRUE(this->mmu().IsTable(Gfn{kL2}));
}

TYPED_TEST(LegacyShadowTest, WithoutMemoryForAPathThereIsNone) {
  this->Start({.limit = 3});
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  EXPECT_EQ(guest.Read(root, 20), std::nullopt);
  EXPECT_EQ(guest.outcome, FaultOutcome::kNoMemory);
  // Nothing is left behind, and no frame protected for nothing.
  EXPECT_EQ(this->mmu().tables(), 1u);
  EXPECT_FALSE(this->mmu().IsTable(Gfn{kL3}));
  const auto other = guest.Load(kOtherCr3);
  const auto third = guest.Load(40);
  EXPECT_EQ(this->mmu().LoadRoot(Gfn{41}).status().code(),
            absl::StatusCode::kResourceExhausted);
  this->mmu().UnloadRoot(third);
  EXPECT_TRUE(this->mmu().LoadRoot(Gfn{41}).ok());
  EXPECT_EQ(root.table != other.table, true);
}

TYPED_TEST(LegacyShadowTest, AListThatIsFullIsEmptied) {
  this->Start({.cap = 4});
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  for (std::uint64_t i = 0; i < 8; ++i) {
    ASSERT_EQ(guest.Read(root, 64 * i + 20), 20u);
    EXPECT_LE(this->mmu().CountEntries(Gfn{20}), 4u);
  }
  EXPECT_EQ(guest.zapped.size(), 4u);
  EXPECT_EQ(this->mmu().CountEntries(Gfn{20}), 4u);
}

TYPED_TEST(LegacyShadowTest, WithoutMemoryForListsTablesMakeRoom) {
  this->Start({.chunks = 1});
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  for (std::uint64_t i = 0; i < 4; ++i) {
    ASSERT_EQ(guest.Read(root, 20 + i), 20 + i);
    ASSERT_EQ(guest.Read(root, 64 + 20 + i), 20 + i);
  }
}

TYPED_TEST(LegacyShadowTest, TheGuestsInvlpgHasNothingToDo) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  ASSERT_EQ(guest.Read(root, 20), 20u);
  guest.Write(kL1, 20, 30 << 12 | 0x7);
  guest.mmu->InvalidatePage(root, Gfn{20});
  EXPECT_EQ(guest.Read(root, 20), 30u);
}

TYPED_TEST(LegacyShadowTest, AllMemoryComesBack) {
  auto& guest = this->guest();
  const auto root = guest.Load(kCr3);
  for (std::uint64_t page = 0; page < 512; ++page) {
    ASSERT_EQ(guest.Read(root, page), page % 64);
  }
  guest.mmu.reset();
  test::FreeAll(guest.domain);
  EXPECT_EQ(guest.arena.InUse(), 0u);
}

}  // namespace
}  // namespace ptage
