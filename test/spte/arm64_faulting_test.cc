// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Words by hand from the Arm ARM (DDI 0487), D8.3.1 "VMSAv8-64 descriptor
// formats", stage 2: as arm64_test.cc, but that a page that may be written is
// told by bit 55, of software's 58:55, and not by DBM (51), which says nothing
// while VTCR_EL2.HD is clear. S2AP[1], bit 7, is the permission to write, AF,
// bit 10, the access flag: clear, an access is an Access flag fault.

#include "ptage/spte/arm64_faulting.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/spte.h"
#include "ptage/spte/arm64.h"
#include "ptage/types.h"

namespace ptage {
namespace {

using K4 = Arm64FaultingOf4K;
using K16 = Arm64FaultingOf16K;
using K64 = Arm64FaultingOf64K;

using W4 = Arm64WriteFaultingOf4K;

static_assert(!kHardwareAccessed<K4> && !kHardwareDirty<K4>);
static_assert(SpteFormat<W4> && SpteFormat<Arm64WriteFaultingOf16K> &&
              SpteFormat<Arm64WriteFaultingOf64K>);
static_assert(kHardwareAccessed<W4> && !kHardwareDirty<W4>);
static_assert(kMarkedByFaults<W4>);
static_assert(kHardwareAccessed<Arm64Stage2Of4K>);
static_assert(kEntriesPerTable<K4> == 512 && K4::kLevels == 4);
static_assert(kEntriesPerTable<K16> == 2048 && K16::kLevels == 3);
static_assert(kEntriesPerTable<K64> == 8192 && K64::kLevels == 2);
static_assert(Arm64FaultingOf4KWith40Bits::kLevels == 3 &&
              kRootTables<Arm64FaultingOf4KWith40Bits> == 2);
static_assert(Arm64FaultingOf16KWith48Bits::kLevels == 3 &&
              kRootTables<Arm64FaultingOf16KWith48Bits> == 2);
static_assert(Arm64FaultingOf64KWith46Bits::kLevels == 2 &&
              kRootTables<Arm64FaultingOf64KWith46Bits> == 16);
static_assert(kMarkedByFaults<Arm64FaultingOf4KWith40Bits>);

TEST(Arm64FaultingTest, APageThatMayBeWrittenHasBit55AndNoWritePermission) {
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x0080'0001'2345'637Fu);
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadExecute),
            0x0000'0001'2345'637Fu);
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadWrite),
            0x00C0'0001'2345'637Fu);
  EXPECT_EQ(K16::MakeLeaf(Pfn{0x12345}, Level{1}, Rights::kAll),
            0x0080'0000'48D1'437Fu);
  EXPECT_EQ(K64::MakeLeaf(Pfn{0x12345}, Level{1}, Rights::kAll),
            0x0080'0001'2345'037Fu);
}

TEST(Arm64FaultingTest, HowManyTablesTheRootHasChangesNoDescriptor) {
  EXPECT_EQ(Arm64FaultingOf4KWith40Bits::MakeLeaf(Pfn{0x123456}, Level{1},
                                                  Rights::kAll),
            0x0080'0001'2345'637Fu);
  EXPECT_EQ(Arm64FaultingOf16KWith48Bits::MakeLeaf(Pfn{0x12345}, Level{1},
                                                   Rights::kAll),
            0x0080'0000'48D1'437Fu);
  EXPECT_EQ(Arm64FaultingOf64KWith46Bits::MakeLeaf(Pfn{0x12345}, Level{1},
                                                   Rights::kAll),
            0x0080'0001'2345'037Fu);
  EXPECT_EQ(LiveRights<Arm64FaultingOf4KWith40Bits>(0x0080'0001'2345'677F),
            Rights::kReadExecute);
}

TEST(Arm64FaultingTest, ABlockHasBit1Clear) {
  EXPECT_EQ(K4::MakeLeaf(Pfn{0x200}, Level{2}, Rights::kAll),
            0x0080'0000'0020'037Du);
}

TEST(Arm64FaultingTest, RightsDoNotDependOnWhatWasWritten) {
  EXPECT_EQ(K4::RightsOf(0x0080'0001'2345'637F), Rights::kAll);
  EXPECT_EQ(K4::RightsOf(0x0080'0001'2345'67FF), Rights::kAll);
  EXPECT_EQ(K4::RightsOf(0x0000'0001'2345'677F), Rights::kReadExecute);
  // DBM is ignored.
  EXPECT_EQ(K4::RightsOf(0x0008'0001'2345'677F), Rights::kReadExecute);
}

TEST(Arm64FaultingTest, WhatHardwareLetsThrough) {
  EXPECT_EQ(LiveRights<K4>(0x0080'0001'2345'637F), Rights::kNone);
  EXPECT_EQ(LiveRights<K4>(0x0080'0001'2345'63FF), Rights::kNone);
  EXPECT_EQ(LiveRights<K4>(0x0080'0001'2345'677F), Rights::kReadExecute);
  EXPECT_EQ(LiveRights<K4>(0x0080'0001'2345'67FF), Rights::kAll);
}

// VTCR_EL2.HA set: the flag is no reason to fault.
TEST(Arm64FaultingTest, WhereHardwareSetsTheFlagOnlyWritesFault) {
  EXPECT_EQ(W4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x0080'0001'2345'637Fu);
  EXPECT_EQ(LiveRights<W4>(0x0080'0001'2345'637F), Rights::kReadExecute);
  EXPECT_EQ(LiveRights<W4>(0x0080'0001'2345'677F), Rights::kReadExecute);
  EXPECT_EQ(LiveRights<W4>(0x0080'0001'2345'63FF), Rights::kAll);
  EXPECT_EQ(Used<W4>(0x0080'0001'2345'637F, Rights::kWrite),
            0x0080'0001'2345'67FFu);
}

TEST(Arm64FaultingTest, AFaultSetsTheFlagAndForAWriteThePermission) {
  EXPECT_EQ(Used<K4>(0x0080'0001'2345'637F, Rights::kRead),
            0x0080'0001'2345'677Fu);
  EXPECT_EQ(Used<K4>(0x0080'0001'2345'637F, Rights::kWrite),
            0x0080'0001'2345'67FFu);
  EXPECT_EQ(Aged<K4>(0x0080'0001'2345'67FF), 0x0080'0001'2345'63FFu);
  EXPECT_EQ(Cleaned<K4>(0x0080'0001'2345'67FF), 0x0080'0001'2345'677Fu);
}

TEST(Arm64FaultingTest, FrozenHasNoBitThatIsSetInALeaf) {
  EXPECT_EQ(K4::kEmpty, 0u);
  EXPECT_EQ(K4::kFrozen & 0x0088'0000'0000'0481, 0u);
}

}  // namespace
}  // namespace ptage
