// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Words by hand from the Intel SDM, volume 3A, 4.5 "4-Level Paging", tables
// "Format of a Page-Table Entry …" and so on, and the AMD APM, volume 2, 5.3
// and 5.4:
//   0 present · 1 writable · 2 user · 5 accessed · 6 dirty · 7 maps a page
//   (levels 2 and 3) · 51:12 address · 63 no-execute
// Nested walks are user accesses (APM 15.25.5).

#include "ptage/spte/x86_64.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {
namespace {

static_assert(SpteFormat<X86_64>);
static_assert(X86_64::kLevels == 4 && kEntriesPerTable<X86_64> == 512);
static_assert(X86_64::kPageBits == 12 && X86_64::kLargestLeaf == Level{3});
// SDM 3A 4.8: the accessed flag is in entries of every level.
static_assert(X86_64::kInnerAccessed);

// CR4.LA57: tables of five levels, of the same entries; none of level 5 maps a
// page.
static_assert(X86_64La57::kLevels == 5 && X86_64La57::kLargestLeaf == Level{3});
static_assert(X86_64La57::kInnerAccessed && kRootTables<X86_64La57> == 1);

TEST(X86_64Test, FiveLevelsHaveTheSameEntries) {
  EXPECT_EQ(FramesAt<X86_64La57>(Level{5}), 0x10'0000'0000u);  // 256 TiB
  EXPECT_EQ(X86_64La57::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x0000'0001'2345'6007u);
  EXPECT_EQ(X86_64La57::MakeLeaf(Pfn{0x4'0000}, Level{3}, Rights::kReadWrite),
            0x8000'0000'4000'0087u);
  EXPECT_EQ(X86_64La57::MakeInner(Pfn{0xABCDE}), 0xABCD'E027u);
  EXPECT_FALSE(X86_64La57::IsLeaf(0xABCD'E027, Level{5}));
}

TEST(X86_64Test, AnEntryCovers4KiB2MiB1GiBAnd512GiB) {
  EXPECT_EQ(FramesAt<X86_64>(Level{1}), 1u);
  EXPECT_EQ(FramesAt<X86_64>(Level{2}), 0x200u);
  EXPECT_EQ(FramesAt<X86_64>(Level{3}), 0x4'0000u);
  EXPECT_EQ(FramesAt<X86_64>(Level{4}), 0x800'0000u);
}

TEST(X86_64Test, LeavesOf4KiB) {
  EXPECT_EQ(X86_64::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x0000'0001'2345'6007u);
  EXPECT_EQ(X86_64::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadExecute),
            0x0000'0001'2345'6005u);
  EXPECT_EQ(X86_64::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadWrite),
            0x8000'0001'2345'6007u);
  EXPECT_EQ(X86_64::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kRead),
            0x8000'0001'2345'6005u);
  // The highest frame of a 52-bit address.
  EXPECT_EQ(X86_64::MakeLeaf(Pfn{0xFF'FFFF'FFFF}, Level{1}, Rights::kAll),
            0x000F'FFFF'FFFF'F007u);
}

TEST(X86_64Test, RightsWithoutReadGrantIt) {
  EXPECT_EQ(X86_64::MakeLeaf(Pfn{0x1}, Level{1}, Rights::kWrite),
            0x8000'0000'0000'1007u);
}

TEST(X86_64Test, LargeLeavesHaveBit7) {
  EXPECT_EQ(X86_64::MakeLeaf(Pfn{0x200}, Level{2}, Rights::kAll),
            0x0000'0000'0020'0087u);
  EXPECT_EQ(X86_64::MakeLeaf(Pfn{0x4'0000}, Level{3}, Rights::kReadWrite),
            0x8000'0000'4000'0087u);
}

TEST(X86_64Test, AnInnerEntryGrantsEverythingAndIsAccessed) {
  EXPECT_EQ(X86_64::MakeInner(Pfn{0xABCDE}), 0xABCD'E027u);
}

TEST(X86_64Test, PresentIsBit0) {
  EXPECT_TRUE(X86_64::IsPresent(0x1));
  EXPECT_FALSE(X86_64::IsPresent(0));
  EXPECT_FALSE(X86_64::IsPresent(0xFFFF'FFFF'FFFF'FFFE));
}

TEST(X86_64Test, EmptyIsZeroAndFrozenIsNot) {
  EXPECT_EQ(X86_64::kEmpty, 0u);
  EXPECT_NE(X86_64::kFrozen, 0u);
  EXPECT_EQ(X86_64::kFrozen & 0x1, 0u);
  EXPECT_EQ(X86_64::kFrozen & 0x60, 0u);
}

TEST(X86_64Test, AccessedIsBit5AndDirtyIsBit6) {
  EXPECT_EQ(X86_64::kAccessed, 0x20u);
  EXPECT_EQ(X86_64::kDirty, 0x40u);
}

TEST(X86_64Test, ALeafIsAnythingAtLevel1AndBit7Above) {
  EXPECT_TRUE(X86_64::IsLeaf(0x1'2345'6007, Level{1}));
  EXPECT_FALSE(X86_64::IsLeaf(0xABCD'E027, Level{2}));
  EXPECT_TRUE(X86_64::IsLeaf(0x20'0087, Level{2}));
  EXPECT_TRUE(X86_64::IsLeaf(0x4000'0087, Level{3}));
}

TEST(X86_64Test, TheFrameIsBits51To12) {
  EXPECT_EQ(X86_64::FrameOf(0xFFFF'FFFF'FFFF'FFFF), Pfn{0xFF'FFFF'FFFF});
  EXPECT_EQ(X86_64::FrameOf(0xFFF0'0000'0000'0FFF), Pfn{0});
  EXPECT_EQ(X86_64::FrameOf(0x8000'0001'2345'6067), Pfn{0x123456});
}

TEST(X86_64Test, RightsAreBit1AndNotBit63) {
  EXPECT_EQ(X86_64::RightsOf(0x0000'0001'2345'6067), Rights::kAll);
  EXPECT_EQ(X86_64::RightsOf(0x0000'0001'2345'6065), Rights::kReadExecute);
  EXPECT_EQ(X86_64::RightsOf(0x8000'0001'2345'6067), Rights::kReadWrite);
  EXPECT_EQ(X86_64::RightsOf(0x8000'0001'2345'6065), Rights::kRead);
}

// Nested walks are a user's accesses: of a nested table's entry the user bit,
// 2, is wanted, as it is not of a host's own.
TEST(X86_64Test, ANestedEntryWithoutTheUserBitGrantsNothing) {
  EXPECT_EQ(Npt::RightsOf(0x0000'0001'2345'6067), Rights::kAll);
  EXPECT_EQ(Npt::RightsOf(0x8000'0001'2345'6065), Rights::kRead);
  EXPECT_EQ(Npt::RightsOf(0x0000'0001'2345'6063), Rights::kNone);
  EXPECT_EQ(NptLa57::RightsOf(0x0000'0000'ABCD'E023), Rights::kNone);
  EXPECT_EQ(X86_64::RightsOf(0x0000'0001'2345'6063), Rights::kAll);
  EXPECT_EQ(Npt::MakeInner(Pfn{0xABCDE}), 0xABCD'E027u);
  EXPECT_EQ(NptLa57::kLevels, 5);
}

// Bit 7 of a 4 KiB leaf is the PAT bit.
TEST(X86_64Test, ASplitOf2MiBLosesBit7AndKeepsAccessedAndDirty) {
  constexpr std::uint64_t kLarge = 0x8000'0000'0040'00E7;
  EXPECT_EQ(X86_64::SplitLeaf(kLarge, Level{2}, 0), 0x8000'0000'0040'0067u);
  EXPECT_EQ(X86_64::SplitLeaf(kLarge, Level{2}, 1), 0x8000'0000'0040'1067u);
  EXPECT_EQ(X86_64::SplitLeaf(kLarge, Level{2}, 511), 0x8000'0000'005F'F067u);
}

TEST(X86_64Test, ASplitOf1GiBKeepsBit7) {
  constexpr std::uint64_t kHuge = 0x0000'0000'4000'00A5;
  EXPECT_EQ(X86_64::SplitLeaf(kHuge, Level{3}, 0), 0x0000'0000'4000'00A5u);
  EXPECT_EQ(X86_64::SplitLeaf(kHuge, Level{3}, 1), 0x0000'0000'4020'00A5u);
  EXPECT_EQ(X86_64::SplitLeaf(kHuge, Level{3}, 511), 0x0000'0000'7FE0'00A5u);
}

}  // namespace
}  // namespace ptage
