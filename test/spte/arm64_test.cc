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
#include "ptage/config.h"
#include "ptage/once.h"
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

// D8.2, stage 2: as many bits as levels of whole tables resolve, and up to four
// more in a root of 2 to 16 tables.
using K4At40 = Arm64Stage2Of4KWith40Bits;
using K16At48 = Arm64Stage2Of16KWith48Bits;
using K64At46 = Arm64Stage2Of64KWith46Bits;
static_assert(K4At40::kLevels == 3 && kRootTables<K4At40> == 2);
static_assert(K16At48::kLevels == 3 && kRootTables<K16At48> == 2);
static_assert(K64At46::kLevels == 2 && kRootTables<K64At46> == 16);
static_assert(kRootTables<K4> == 1 && kRootTables<K16> == 1);
static_assert(kRootTables<Arm64Stage2<Arm64Granule::k4K, 39>> == 1);
static_assert(kRootTables<Arm64Stage2<Arm64Granule::k4K, 43>> == 16);
static_assert(kRootTables<Arm64Stage2<Arm64Granule::k16K, 40>> == 16 &&
              Arm64Stage2<Arm64Granule::k16K, 40>::kLevels == 2);
static_assert(K4At40::kLargestLeaf == Level{3});
// A root that holds blocks of 2 MiB.
static_assert(Arm64Stage2<Arm64Granule::k4K, 32>::kLargestLeaf == Level{2});

TEST(Arm64Test, HowManyTablesTheRootHasChangesNoDescriptor) {
  EXPECT_EQ(K4At40::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x0008'0001'2345'637Fu);
  EXPECT_EQ(K16At48::MakeLeaf(Pfn{0x12345}, Level{1}, Rights::kAll),
            0x0008'0000'48D1'437Fu);
  EXPECT_EQ(K64At46::MakeLeaf(Pfn{0x12345}, Level{1}, Rights::kAll),
            0x0008'0001'2345'037Fu);
}

// --- The contiguous hint, bit 52.

// One access flag would stand for a group: nothing here could say whose.
static_assert(!CheckedFormat<K4> && !CheckedFormat<K16> && !CheckedFormat<K64>);

TEST(Arm64Test, NoLeafIsContiguousNorIsAPartOfOne) {
  constexpr std::uint64_t kContiguous = 0x0010'0000'0000'0000;
  EXPECT_EQ(kRefusedBits<K4>, kContiguous);
  EXPECT_EQ(kRefusedBits<K16At48>, kContiguous);
  for (const Level level : {Level{1}, Level{2}, Level{3}}) {
    for (unsigned rights = 0; rights < 8; ++rights) {
      const std::uint64_t leaf =
          K4::MakeLeaf(Pfn{0xF'FFFC'0000}, level, static_cast<Rights>(rights));
      EXPECT_EQ(leaf & kContiguous, 0u);
      if (level == Level{1}) continue;
      EXPECT_EQ(K4::SplitLeaf(leaf, level, 511) & kContiguous, 0u);
    }
  }
  EXPECT_EQ(K4::MakeInner(Pfn{0xF'FFFF'FFFF}) & kContiguous, 0u);
}

#if PTAGE_HARDENED
TEST(Arm64Test, WhoInstallsAContiguousLeafIsRefused) {
  constexpr std::uint64_t kLeaf = 0x0018'0001'2345'637F;
  SpteCell<K4> entry(K4::kEmpty);
  EXPECT_DEATH((void)Install<K4>(entry, kLeaf), "");
  ASSERT_TRUE(Freeze<K4>(entry, K4::kEmpty));
  EXPECT_DEATH(Publish<K4>(entry, kLeaf), "");
  Publish<K4>(entry, 0x0008'0001'2345'637F);
  EXPECT_EQ(ReadOnce(entry, kRelaxed), 0x0008'0001'2345'637Fu);
}
#endif

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
