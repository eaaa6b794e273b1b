// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Words by hand from the RISC-V Privileged Architecture, "Sv39" (12.4; 10.4
// before 2024), figure "Sv39 page table entry":
//   0 V · 1 R · 2 W · 3 X · 4 U · 5 G · 6 A · 7 D · 9:8 RSW · 53:10 frame
//   number · 60:54 reserved · 62:61 PBMT · 63 N
// An entry with R, W and X clear points to a table.

#include "ptage/spte/riscv64.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {
namespace {

static_assert(RiscvSv39::kLevels == 3 && kEntriesPerTable<RiscvSv39> == 512);
static_assert(RiscvSv48::kLevels == 4 && kEntriesPerTable<RiscvSv48> == 512);
static_assert(RiscvSv57::kLevels == 5 && kEntriesPerTable<RiscvSv57> == 512);

// "Guest Physical Address Translation": two more bits of address, resolved by a
// root of 16 KiB.
static_assert(RiscvSv39x4::kLevels == 3 && kRootTables<RiscvSv39x4> == 4);
static_assert(RiscvSv48x4::kLevels == 4 && kRootTables<RiscvSv48x4> == 4);
static_assert(RiscvSv57x4::kLevels == 5 && kRootTables<RiscvSv57x4> == 4);
static_assert(kRootTables<RiscvSv39> == 1 && kRootTables<RiscvSv57> == 1);
static_assert(sizeof(std::uint64_t) * kEntriesPerTable<RiscvSv39x4> *
                  kRootTables<RiscvSv39x4> ==
              16 << 10);

// Every access of a guest is a user's: U is set. G (bit 5) is not.
TEST(Riscv64Test, AGuestsLeafIsAUsers) {
  EXPECT_EQ(RiscvSv39x4::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x48D1'581Fu);
  EXPECT_EQ(RiscvSv57x4::MakeLeaf(Pfn{0x200}, Level{2}, Rights::kRead),
            0x8'0013u);
  EXPECT_EQ(RiscvSv48x4::MakeInner(Pfn{0xABCDE}), 0x2AF3'7801u);
}

#if PTAGE_HARDENED
// N, bit 63: entries of a contiguous page, of which any may be marked.
TEST(Riscv64Test, WhoInstallsAContiguousLeafIsRefused) {
  SpteCell<RiscvSv39> entry(RiscvSv39::kEmpty);
  EXPECT_DEATH((void)Install<RiscvSv39>(entry, 0x8000'0000'48D1'601F), "");
}
#endif

TEST(Riscv64Test, AnEntryCovers4KiB2MiB1GiB) {
  EXPECT_EQ(FramesAt<RiscvSv39>(Level{1}), 1u);
  EXPECT_EQ(FramesAt<RiscvSv39>(Level{2}), 0x200u);
  EXPECT_EQ(FramesAt<RiscvSv39>(Level{3}), 0x4'0000u);
}

TEST(Riscv64Test, LeavesOfAnyLevelLookAlike) {
  EXPECT_EQ(RiscvSv39::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x48D1'581Fu);
  EXPECT_EQ(RiscvSv39::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kRead),
            0x48D1'5813u);
  EXPECT_EQ(RiscvSv39::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadWrite),
            0x48D1'5817u);
  EXPECT_EQ(RiscvSv39::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kReadExecute),
            0x48D1'581Bu);
  EXPECT_EQ(RiscvSv39::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kExecute),
            0x48D1'5819u);
  EXPECT_EQ(RiscvSv39::MakeLeaf(Pfn{0x200}, Level{2}, Rights::kAll), 0x8'001Fu);
  EXPECT_EQ(RiscvSv39::MakeLeaf(Pfn{0x4'0000}, Level{3}, Rights::kAll),
            0x1000'001Fu);
  // The highest frame of a 56-bit address.
  EXPECT_EQ(RiscvSv39::MakeLeaf(Pfn{0xFFF'FFFF'FFFF}, Level{1}, Rights::kAll),
            0x003F'FFFF'FFFF'FC1Fu);
}

#if PTAGE_HARDENED
TEST(Riscv64Test, ALeafGrantsSomethingAndNoWriteWithoutRead) {
  EXPECT_DEATH((void)RiscvSv39::MakeLeaf(Pfn{1}, Level{1}, Rights::kNone), "");
  EXPECT_DEATH((void)RiscvSv39::MakeLeaf(Pfn{1}, Level{1}, Rights::kWrite), "");
}
#endif

// A, D and U are reserved in it.
TEST(Riscv64Test, AnInnerEntryIsValidAndNothingElse) {
  EXPECT_EQ(RiscvSv39::MakeInner(Pfn{0xABCDE}), 0x2AF3'7801u);
  EXPECT_FALSE(RiscvSv39::kInnerAccessed);
}

TEST(Riscv64Test, PresentMeansValid) {
  EXPECT_TRUE(RiscvSv39::IsPresent(1));
  EXPECT_FALSE(RiscvSv39::IsPresent(0xFFFF'FFFF'FFFF'FFFE));
}

TEST(Riscv64Test, ALeafReadsWritesOrExecutes) {
  EXPECT_TRUE(RiscvSv39::IsLeaf(0x48D1'5813, Level{1}));
  EXPECT_TRUE(RiscvSv39::IsLeaf(0x8'0019, Level{2}));
  EXPECT_TRUE(RiscvSv39::IsLeaf(0x1000'0017, Level{3}));
  EXPECT_FALSE(RiscvSv39::IsLeaf(0x2AF3'7801, Level{2}));
}

TEST(Riscv64Test, AccessedIsBit6AndDirtyIsBit7) {
  EXPECT_EQ(RiscvSv39::kAccessed, 0x40u);
  EXPECT_EQ(RiscvSv39::kDirty, 0x80u);
}

TEST(Riscv64Test, TheFrameIsBits53To10) {
  EXPECT_EQ(RiscvSv39::FrameOf(0xFFFF'FFFF'FFFF'FFFF), Pfn{0xFFF'FFFF'FFFF});
  EXPECT_EQ(RiscvSv39::FrameOf(0xFFC0'0000'0000'03FF), Pfn{0});
  EXPECT_EQ(RiscvSv39::FrameOf(0x48D1'585F), Pfn{0x123456});
}

TEST(Riscv64Test, RightsAreBits3To1) {
  EXPECT_EQ(RiscvSv39::RightsOf(0x48D1'58D3), Rights::kRead);
  EXPECT_EQ(RiscvSv39::RightsOf(0x48D1'58D7), Rights::kReadWrite);
  EXPECT_EQ(RiscvSv39::RightsOf(0x48D1'58DB), Rights::kReadExecute);
  EXPECT_EQ(RiscvSv39::RightsOf(0x48D1'58DF), Rights::kAll);
}

// Nested walks are a user's accesses.
TEST(Riscv64Test, InTheSecondStageALeafWithoutUGrantsNothing) {
  EXPECT_EQ(RiscvSv39x4::RightsOf(0x48D1'58DF), Rights::kAll);
  EXPECT_EQ(RiscvSv39x4::RightsOf(0x48D1'58CF), Rights::kNone);
  EXPECT_EQ(RiscvSv57x4::RightsOf(0x48D1'58C3), Rights::kNone);
  EXPECT_EQ(RiscvSv39::RightsOf(0x48D1'58CF), Rights::kAll);
}

TEST(Riscv64Test, AWriteWithoutAReadIsReserved) {
  for (const std::uint64_t word : {0x48D1'5815u, 0x48D1'581Du}) {
    EXPECT_TRUE(RiscvSv39::IsMisconfigured(word, EntryKind::kLeaf));
    EXPECT_TRUE(RiscvSv48x4::IsMisconfigured(word, EntryKind::kLeaf));
  }
  for (const std::uint64_t word : {0x48D1'5813u, 0x48D1'5817u, 0x48D1'5819u}) {
    EXPECT_FALSE(RiscvSv39::IsMisconfigured(word, EntryKind::kLeaf));
  }
  EXPECT_FALSE(RiscvSv39::IsMisconfigured(0x2AF3'7801, EntryKind::kTable));
}

TEST(Riscv64Test, ASplitKeepsAccessedAndDirty) {
  // 4 MiB, at level 2: frame 0x400.
  EXPECT_EQ(RiscvSv39::SplitLeaf(0x10'00DF, Level{2}, 0), 0x10'00DFu);
  EXPECT_EQ(RiscvSv39::SplitLeaf(0x10'00DF, Level{2}, 1), 0x10'04DFu);
  EXPECT_EQ(RiscvSv39::SplitLeaf(0x10'00DF, Level{2}, 511), 0x17'FCDFu);
  // 1 GiB, at level 3: frame 0x4'0000.
  EXPECT_EQ(RiscvSv39::SplitLeaf(0x1000'005B, Level{3}, 1), 0x1008'005Bu);
  EXPECT_EQ(RiscvSv39::SplitLeaf(0x1000'005B, Level{3}, 511), 0x1FF8'005Bu);
}

}  // namespace
}  // namespace ptage
