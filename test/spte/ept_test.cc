// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Words by hand from the Intel SDM, volume 3C, "EPT Translation Mechanism"
// (29.3.2; 28.3.2 before 2022), tables "Format of an EPT …":
//   0 read · 1 write · 2 execute · 5:3 memory type (6 write-back) · 7 maps a
//   page (levels 2 and 3) · 8 accessed · 9 dirty · 51:12 address · 63 suppress
//   #VE
// An entry with bits 2:0 clear is not present.

#include "ptage/spte/ept.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {
namespace {

static_assert(SpteFormat<Ept>);
static_assert(Ept::kLevels == 4 && kEntriesPerTable<Ept> == 512);
static_assert(Ept::kPageBits == 12 && Ept::kLargestLeaf == Level{3});
// SDM 29.3.5: the flags are in entries of every level.
static_assert(Ept::kInnerAccessed);

// A page-walk length of 5: the same entries; none of level 5 maps a page.
static_assert(Ept5Level::kLevels == 5 && Ept5Level::kLargestLeaf == Level{3});
static_assert(Ept5Level::kInnerAccessed && kRootTables<Ept5Level> == 1);

TEST(EptTest, FiveLevelsHaveTheSameEntries) {
  EXPECT_EQ(FramesAt<Ept5Level>(Level{5}), 0x10'0000'0000u);  // 256 TiB
  EXPECT_EQ(Ept5Level::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x8000'0001'2345'6037u);
  EXPECT_EQ(Ept5Level::MakeLeaf(Pfn{0x4'0000}, Level{3}, Rights::kReadWrite),
            0x8000'0000'4000'00B3u);
  EXPECT_EQ(Ept5Level::MakeInner(Pfn{0xABCDE}), 0xABCD'E107u);
  EXPECT_EQ(Ept5Level::kEmpty, 0x8000'0000'0000'0000u);
}

TEST(EptTest, AnEntryCovers4KiB2MiB1GiBAnd512GiB) {
  EXPECT_EQ(FramesAt<Ept>(Level{1}), 1u);
  EXPECT_EQ(FramesAt<Ept>(Level{2}), 0x200u);
  EXPECT_EQ(FramesAt<Ept>(Level{3}), 0x4'0000u);
  EXPECT_EQ(FramesAt<Ept>(Level{4}), 0x800'0000u);
}

TEST(EptTest, LeavesOf4KiB) {
  EXPECT_EQ(Ept::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x8000'0001'2345'6037u);
  EXPECT_EQ(Ept::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kRead),
            0x8000'0001'2345'6031u);
  EXPECT_EQ(Ept::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadWrite),
            0x8000'0001'2345'6033u);
  EXPECT_EQ(Ept::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadExecute),
            0x8000'0001'2345'6035u);
  // The highest frame of a 52-bit address.
  EXPECT_EQ(Ept::MakeLeaf(Pfn{0xFF'FFFF'FFFF}, Level{1}, Rights::kAll),
            0x800F'FFFF'FFFF'F037u);
}

#if PTAGE_HARDENED
// SDM 29.3.3.1: bit 1 without bit 0 is a misconfiguration.
TEST(EptTest, NothingIsWritableThatIsNotReadable) {
  EXPECT_DEATH((void)Ept::MakeLeaf(Pfn{1}, Level{1}, Rights::kWrite), "");
}
#endif

TEST(EptTest, LargeLeavesHaveBit7) {
  EXPECT_EQ(Ept::MakeLeaf(Pfn{0x200}, Level{2}, Rights::kAll),
            0x8000'0000'0020'00B7u);
  EXPECT_EQ(Ept::MakeLeaf(Pfn{0x4'0000}, Level{3}, Rights::kReadWrite),
            0x8000'0000'4000'00B3u);
}

TEST(EptTest, AnInnerEntryGrantsEverythingAndIsAccessed) {
  EXPECT_EQ(Ept::MakeInner(Pfn{0xABCDE}), 0xABCD'E107u);
}

TEST(EptTest, PresentMeansReadOrWriteOrExecute) {
  EXPECT_TRUE(Ept::IsPresent(0x1));
  EXPECT_TRUE(Ept::IsPresent(0x2));
  EXPECT_TRUE(Ept::IsPresent(0x4));
  EXPECT_FALSE(Ept::IsPresent(0));
  EXPECT_FALSE(Ept::IsPresent(0xFFFF'FFFF'FFFF'FFF8));
}

// A violation by an empty or a frozen entry is an exit, not a #VE in the guest.
TEST(EptTest, EmptyAndFrozenSuppressVirtualizationExceptions) {
  EXPECT_EQ(Ept::kEmpty, 0x8000'0000'0000'0000u);
  EXPECT_EQ(Ept::kFrozen >> 63, 1u);
  EXPECT_EQ(Ept::kFrozen & 0x7, 0u);
  EXPECT_EQ(Ept::kFrozen & 0x300, 0u);
  EXPECT_NE(Ept::kFrozen, Ept::kEmpty);
}

TEST(EptTest, AccessedIsBit8AndDirtyIsBit9) {
  EXPECT_EQ(Ept::kAccessed, 0x100u);
  EXPECT_EQ(Ept::kDirty, 0x200u);
}

TEST(EptTest, ALeafIsAnythingAtLevel1AndBit7Above) {
  EXPECT_TRUE(Ept::IsLeaf(0x8000'0001'2345'6037, Level{1}));
  EXPECT_FALSE(Ept::IsLeaf(0xABCD'E107, Level{2}));
  EXPECT_TRUE(Ept::IsLeaf(0x8000'0000'0020'00B7, Level{2}));
  EXPECT_TRUE(Ept::IsLeaf(0x8000'0000'4000'00B3, Level{3}));
}

TEST(EptTest, TheFrameIsBits51To12) {
  EXPECT_EQ(Ept::FrameOf(0xFFFF'FFFF'FFFF'FFFF), Pfn{0xFF'FFFF'FFFF});
  EXPECT_EQ(Ept::FrameOf(0xFFF0'0000'0000'0FFF), Pfn{0});
  EXPECT_EQ(Ept::FrameOf(0x8000'0001'2345'6137), Pfn{0x123456});
  EXPECT_EQ(Ept::FrameOf(0x8000'0000'0020'00B7), Pfn{0x200});
}

TEST(EptTest, RightsAreBits2To0) {
  EXPECT_EQ(Ept::RightsOf(0x8000'0001'2345'6331), Rights::kRead);
  EXPECT_EQ(Ept::RightsOf(0x8000'0001'2345'6333), Rights::kReadWrite);
  EXPECT_EQ(Ept::RightsOf(0x8000'0001'2345'6335), Rights::kReadExecute);
  EXPECT_EQ(Ept::RightsOf(0x8000'0001'2345'6337), Rights::kAll);
}

TEST(EptTest, ASplitOf2MiBLosesBit7AndKeepsAccessedAndDirty) {
  constexpr std::uint64_t kLarge = 0x8000'0000'0040'03B3;
  EXPECT_EQ(Ept::SplitLeaf(kLarge, Level{2}, 0), 0x8000'0000'0040'0333u);
  EXPECT_EQ(Ept::SplitLeaf(kLarge, Level{2}, 1), 0x8000'0000'0040'1333u);
  EXPECT_EQ(Ept::SplitLeaf(kLarge, Level{2}, 511), 0x8000'0000'005F'F333u);
}

TEST(EptTest, ASplitOf1GiBKeepsBit7) {
  constexpr std::uint64_t kHuge = 0x8000'0000'4000'01B5;
  EXPECT_EQ(Ept::SplitLeaf(kHuge, Level{3}, 0), 0x8000'0000'4000'01B5u);
  EXPECT_EQ(Ept::SplitLeaf(kHuge, Level{3}, 1), 0x8000'0000'4020'01B5u);
  EXPECT_EQ(Ept::SplitLeaf(kHuge, Level{3}, 511), 0x8000'0000'7FE0'01B5u);
}

}  // namespace
}  // namespace ptage
