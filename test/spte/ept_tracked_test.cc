// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Words by hand from the Intel SDM, volume 3C, "EPT Translation Mechanism"
// (29.3.2; 28.3.2 before 2022), tables "Format of an EPT …", EPTP bit 6 clear:
//   0 read · 1 write · 2 execute · 5:3 memory type (6 write-back) · 7 maps a
//   page (levels 2 and 3) · 8 and 9 ignored (here: accessed, dirty) · 51:12
//   address · 54:52 ignored (here: what is granted) · 63 suppress #VE
// An entry with bits 2:0 clear is not present to the processor.

#include "ptage/spte/ept_tracked.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {
namespace {

using F = EptTracked;

static_assert(EptTracked5Level::kLevels == 5 &&
              EptTracked5Level::kLargestLeaf == Level{3});
static_assert(EptTracked::kLevels == 4);
static_assert(SpteFormat<F> && VectorTestable<F>);
// Not for tables of others, whose bits 54:52 mean nothing.
static_assert(!CheckedFormat<F>);
static_assert(F::kLevels == 4 && kEntriesPerTable<F> == 512);
static_assert(F::kPageBits == 12 && F::kLargestLeaf == Level{3});
static_assert(!F::kInnerAccessed && kMarkedByFaults<F>);

// What the processor would let through.
constexpr std::uint64_t Processor(std::uint64_t word) { return word & 7; }

TEST(EptTrackedTest, ANewLeafIsParked) {
  EXPECT_EQ(F::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x8070'0001'2345'6030u);
  EXPECT_EQ(F::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kRead),
            0x8010'0001'2345'6030u);
  EXPECT_EQ(F::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadWrite),
            0x8030'0001'2345'6030u);
  EXPECT_EQ(F::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadExecute),
            0x8050'0001'2345'6030u);
  EXPECT_EQ(F::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kExecute),
            0x8040'0001'2345'6030u);
  // The highest frame of a 52-bit address.
  EXPECT_EQ(F::MakeLeaf(Pfn{0xFF'FFFF'FFFF}, Level{1}, Rights::kAll),
            0x807F'FFFF'FFFF'F030u);
}

TEST(EptTrackedTest, LargeLeavesHaveBit7) {
  EXPECT_EQ(F::MakeLeaf(Pfn{0x200}, Level{2}, Rights::kAll),
            0x8070'0000'0020'00B0u);
  EXPECT_EQ(F::MakeLeaf(Pfn{0x4'0000}, Level{3}, Rights::kReadWrite),
            0x8030'0000'4000'00B0u);
}

#if PTAGE_HARDENED
TEST(EptTrackedTest, ALeafGrantsSomethingAndNoWriteWithoutRead) {
  EXPECT_DEATH((void)F::MakeLeaf(Pfn{1}, Level{1}, Rights::kNone), "");
  EXPECT_DEATH((void)F::MakeLeaf(Pfn{1}, Level{1}, Rights::kWrite), "");
}
#endif

TEST(EptTrackedTest, AReadBringsBackReadAndExecuteAsFarAsGranted) {
  EXPECT_EQ(F::Used(0x8070'0001'2345'6030, Rights::kRead),
            0x8070'0001'2345'6135u);
  EXPECT_EQ(F::Used(0x8070'0001'2345'6030, Rights::kExecute),
            0x8070'0001'2345'6135u);
  EXPECT_EQ(F::Used(0x8030'0001'2345'6030, Rights::kRead),
            0x8030'0001'2345'6131u);
  EXPECT_EQ(F::Used(0x8040'0001'2345'6030, Rights::kExecute),
            0x8040'0001'2345'6134u);
}

// Its permission to write stays with the write's fault, dirty or not.
TEST(EptTrackedTest, AReadNeverMakesAPageWritable) {
  EXPECT_EQ(F::Used(0x8070'0001'2345'6230, Rights::kRead),
            0x8070'0001'2345'6335u);
  // A page that is writable stays so.
  EXPECT_EQ(F::Used(0x8070'0001'2345'6337, Rights::kRead),
            0x8070'0001'2345'6337u);
}

TEST(EptTrackedTest, AWriteMakesItWritableAndDirty) {
  EXPECT_EQ(F::Used(0x8070'0001'2345'6030, Rights::kWrite),
            0x8070'0001'2345'6337u);
  EXPECT_EQ(F::Used(0x8030'0001'2345'6131, Rights::kWrite),
            0x8030'0001'2345'6333u);
}

TEST(EptTrackedTest, AgingParksAllPermissionsAndKeepsDirty) {
  EXPECT_EQ(F::Aged(0x8070'0001'2345'6337), 0x8070'0001'2345'6230u);
  EXPECT_EQ(F::Aged(0x8070'0001'2345'6135), 0x8070'0001'2345'6030u);
  EXPECT_EQ(Processor(F::Aged(0xFFFF'FFFF'FFFF'FFFF)), 0u);
  EXPECT_TRUE(F::IsPresent(F::Aged(0x8040'0001'2345'6134)));
}

TEST(EptTrackedTest, CleaningTakesDirtyAndTheWritePermission) {
  EXPECT_EQ(F::Cleaned(0x8070'0001'2345'6337), 0x8070'0001'2345'6135u);
  EXPECT_EQ(F::Cleaned(0x8070'0001'2345'6230), 0x8070'0001'2345'6030u);
}

// To the processor they are present always: no walk may end there.
TEST(EptTrackedTest, AnInnerEntryGrantsEverything) {
  EXPECT_EQ(F::MakeInner(Pfn{0xABCDE}), 0x0070'0000'ABCD'E007u);
  EXPECT_TRUE(F::IsPresent(0x0070'0000'ABCD'E007));
  EXPECT_EQ(F::RightsOf(0x0070'0000'ABCD'E007), Rights::kAll);
}

TEST(EptTrackedTest, PresentMeansThatSomethingIsGranted) {
  EXPECT_TRUE(F::IsPresent(std::uint64_t{1} << 52));
  EXPECT_TRUE(F::IsPresent(std::uint64_t{1} << 53));
  EXPECT_TRUE(F::IsPresent(std::uint64_t{1} << 54));
  EXPECT_FALSE(F::IsPresent(0xFF8F'FFFF'FFFF'FFFF));
}

// And neither looks like a leaf that is parked, which has one of bits 54:52.
TEST(EptTrackedTest, EmptyAndFrozenSuppressVirtualizationExceptions) {
  EXPECT_EQ(F::kEmpty, 0x8000'0000'0000'0000u);
  EXPECT_EQ(F::kFrozen >> 63, 1u);
  EXPECT_EQ(F::kFrozen & 0x7, 0u);
  EXPECT_EQ(F::kFrozen & 0x300, 0u);
  EXPECT_EQ(F::kFrozen >> 52 & 0x7, 0u);
  EXPECT_NE(F::kFrozen, F::kEmpty);
}

TEST(EptTrackedTest, RightsAreWhatIsGrantedLiveRightsWhatTheProcessorSees) {
  EXPECT_EQ(F::RightsOf(0x8070'0001'2345'6030), Rights::kAll);
  EXPECT_EQ(F::LiveRights(0x8070'0001'2345'6030), Rights::kNone);
  EXPECT_EQ(F::RightsOf(0x8070'0001'2345'6135), Rights::kAll);
  EXPECT_EQ(F::LiveRights(0x8070'0001'2345'6135), Rights::kReadExecute);
  EXPECT_EQ(F::LiveRights(0x8070'0001'2345'6337), Rights::kAll);
  EXPECT_EQ(F::RightsOf(0x8010'0001'2345'6131), Rights::kRead);
}

TEST(EptTrackedTest, TheFrameIsBits51To12) {
  EXPECT_EQ(F::FrameOf(0xFFFF'FFFF'FFFF'FFFF), Pfn{0xFF'FFFF'FFFF});
  EXPECT_EQ(F::FrameOf(0xFFF0'0000'0000'0FFF), Pfn{0});
}

TEST(EptTrackedTest, ASplitKeepsAgeDirtAndRights) {
  constexpr std::uint64_t kLarge = 0x8070'0000'0040'02B0;
  EXPECT_EQ(F::SplitLeaf(kLarge, Level{2}, 0), 0x8070'0000'0040'0230u);
  EXPECT_EQ(F::SplitLeaf(kLarge, Level{2}, 511), 0x8070'0000'005F'F230u);
  constexpr std::uint64_t kHuge = 0x8050'0000'4000'01B5;
  EXPECT_EQ(F::SplitLeaf(kHuge, Level{3}, 511), 0x8050'0000'7FE0'01B5u);
}

}  // namespace
}  // namespace ptage
