// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Words by hand from the Arm ARM (DDI 0487), D8.3.1 "VMSAv8-64 descriptor
// formats", stage 2:
//   0 valid · 1 table (above the last level) or page (at it) · 5:2 MemAttr (15
//   normal, write-back) · 6 S2AP read · 7 S2AP write · 9:8 SH (3 inner) · 10 AF
//   · 47:n address · 51 DBM · 52 contiguous · 54:53 XN
// A writable page that was not written yet has DBM set and S2AP write clear
// (D8.5.2 "Hardware updates to the dirty state").

#include "ptage/spte/arm64.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {
namespace {

using K4 = Arm64Stage2Of4K;
using K16 = Arm64Stage2Of16K;
using K64 = Arm64Stage2Of64K;

static_assert(kEntriesPerTable<K4> == 512 && K4::kLevels == 4);
static_assert(kEntriesPerTable<K16> == 2048 && K16::kLevels == 3);
static_assert(kEntriesPerTable<K64> == 8192 && K64::kLevels == 2);

TEST(Arm64Test, ATableFillsAGranule) {
  EXPECT_EQ(sizeof(std::uint64_t) * kEntriesPerTable<K4>, 0x1000u);
  EXPECT_EQ(sizeof(std::uint64_t) * kEntriesPerTable<K16>, 0x4000u);
  EXPECT_EQ(sizeof(std::uint64_t) * kEntriesPerTable<K64>, 0x1'0000u);
}

// In frames of the granule's size.
TEST(Arm64Test, BlocksOf2MiBAnd1GiB32MiBAnd512MiB) {
  EXPECT_EQ(K4::kLargestLeaf, Level{3});
  EXPECT_EQ(FramesAt<K4>(Level{2}) << 12, std::uint64_t{2} << 20);
  EXPECT_EQ(FramesAt<K4>(Level{3}) << 12, std::uint64_t{1} << 30);
  EXPECT_EQ(K16::kLargestLeaf, Level{2});
  EXPECT_EQ(FramesAt<K16>(Level{2}) << 14, std::uint64_t{32} << 20);
  EXPECT_EQ(K64::kLargestLeaf, Level{2});
  EXPECT_EQ(FramesAt<K64>(Level{2}) << 16, std::uint64_t{512} << 20);
}

TEST(Arm64Test, APageIsReadableAndWritableWhenItIsFirstWritten) {
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x0008'0001'2345'637Fu);
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadExecute),
            0x0000'0001'2345'637Fu);
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadWrite),
            0x0048'0001'2345'637Fu);
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kRead),
            0x0040'0001'2345'637Fu);
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kExecute),
            0x0000'0001'2345'633Fu);
  // The highest frame of a 48-bit address.
  EXPECT_EQ(K4::MakeLeaf(Pfn{0xF'FFFF'FFFF}, Level{1}, Rights::kReadExecute),
            0x0000'FFFF'FFFF'F37Fu);
}

TEST(Arm64Test, APageOf16KiBOr64KiB) {
  EXPECT_EQ(K16::MakeLeaf(Pfn{0x12345}, Level{1}, Rights::kAll),
            0x0008'0000'48D1'437Fu);
  EXPECT_EQ(K64::MakeLeaf(Pfn{0x12345}, Level{1}, Rights::kAll),
            0x0008'0001'2345'037Fu);
}

TEST(Arm64Test, ABlockHasBit1Clear) {
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x200}, Level{2}, Rights::kReadExecute),
            0x0020'037Du);
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x4'0000}, Level{3}, Rights::kReadExecute),
            0x4000'037Du);
  EXPECT_EQ(K16::MakeLeaf(Pfn{0x800}, Level{2}, Rights::kReadExecute),
            0x0200'037Du);
  EXPECT_EQ(K64::MakeLeaf(Pfn{0x2000}, Level{2}, Rights::kReadExecute),
            0x2000'037Du);
}

// A table descriptor of stage 2 has nothing but its address, bits 1:0.
TEST(Arm64Test, AnInnerEntryIsATableDescriptor) {
  EXPECT_EQ(K4::MakeInner(Pfn{0xABCDE}), 0xABCD'E003u);
  EXPECT_EQ(K16::MakeInner(Pfn{0x12345}), 0x48D1'4003u);
  EXPECT_EQ(K64::MakeInner(Pfn{0x1234}), 0x1234'0003u);
}

TEST(Arm64Test, PresentMeansValid) {
  EXPECT_TRUE(K4::IsPresent(1));
  EXPECT_FALSE(K4::IsPresent(0xFFFF'FFFF'FFFF'FFFE));
}

TEST(Arm64Test, ALeafIsAnythingAtLevel1AndABlockAbove) {
  EXPECT_TRUE(K4::IsLeaf(0x0008'0001'2345'637F, Level{1}));
  EXPECT_FALSE(K4::IsLeaf(0xABCD'E003, Level{2}));
  EXPECT_TRUE(K4::IsLeaf(0x0020'037D, Level{2}));
  EXPECT_TRUE(K4::IsLeaf(0x4000'037D, Level{3}));
}

// FEAT_HAFT apart, hardware marks leaves alone.
TEST(Arm64Test, AccessedIsBit10AndDirtyIsTheWritePermission) {
  EXPECT_EQ(K4::kAccessed, 0x400u);
  EXPECT_EQ(K4::kDirty, 0x80u);
  EXPECT_FALSE(K4::kInnerAccessed);
}

TEST(Arm64Test, TheFrameIsWhatLiesAboveThePage) {
  EXPECT_EQ(K4::FrameOf(0xFFFF'FFFF'FFFF'FFFF), Pfn{0xF'FFFF'FFFF});
  EXPECT_EQ(K16::FrameOf(0xFFFF'FFFF'FFFF'FFFF), Pfn{0x3'FFFF'FFFF});
  EXPECT_EQ(K64::FrameOf(0xFFFF'FFFF'FFFF'FFFF), Pfn{0xFFFF'FFFF});
  EXPECT_EQ(K4::FrameOf(0xFFFF'0000'0000'0FFF), Pfn{0});
}

TEST(Arm64Test, APageIsWritableBeforeAndAfterItWasWritten) {
  EXPECT_EQ(K4::RightsOf(0x0008'0001'2345'637F), Rights::kAll);
  EXPECT_EQ(K4::RightsOf(0x0008'0001'2345'63FF), Rights::kAll);
  EXPECT_EQ(K4::RightsOf(0x0000'0001'2345'63FF), Rights::kAll);
  EXPECT_EQ(K4::RightsOf(0x0000'0001'2345'637F), Rights::kReadExecute);
  EXPECT_EQ(K4::RightsOf(0x0040'0001'2345'637F), Rights::kRead);
  EXPECT_EQ(K4::RightsOf(0x0040'0001'2345'633F), Rights::kNone);
}

TEST(Arm64Test, ASplitOf2MiBMakesPagesAndKeepsAccessedAndDirty) {
  constexpr std::uint64_t kLarge = 0x0008'0000'0040'07FD;
  EXPECT_EQ(K4::SplitLeaf(kLarge, Level{2}, 0), 0x0008'0000'0040'07FFu);
  EXPECT_EQ(K4::SplitLeaf(kLarge, Level{2}, 1), 0x0008'0000'0040'17FFu);
  EXPECT_EQ(K4::SplitLeaf(kLarge, Level{2}, 511), 0x0008'0000'005F'F7FFu);
}

TEST(Arm64Test, ASplitOf1GiBMakesBlocks) {
  constexpr std::uint64_t kHuge = 0x4000'077D;
  EXPECT_EQ(K4::SplitLeaf(kHuge, Level{3}, 0), 0x4000'077Du);
  EXPECT_EQ(K4::SplitLeaf(kHuge, Level{3}, 1), 0x4020'077Du);
  EXPECT_EQ(K4::SplitLeaf(kHuge, Level{3}, 511), 0x7FE0'077Du);
}

TEST(Arm64Test, ASplitOf32MiBAndOf512MiB) {
  EXPECT_EQ(K16::SplitLeaf(0x0200'077D, Level{2}, 2047), 0x03FF'C77Fu);
  EXPECT_EQ(K64::SplitLeaf(0x2000'077D, Level{2}, 8191), 0x3FFF'077Fu);
}

}  // namespace
}  // namespace ptage
