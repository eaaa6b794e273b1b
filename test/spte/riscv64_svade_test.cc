// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Words by hand from the RISC-V Privileged Architecture, "Sv39", as in
// riscv64_test.cc: V 0, R 1, W 2, X 3, U 4, A 6, D 7, frame number 53:10.
// Svade: without A each access is a page fault, without D each write.

#include "ptage/spte/riscv64_svade.h"

#include "gtest/gtest.h"
#include "ptage/spte.h"
#include "ptage/spte/riscv64.h"
#include "ptage/types.h"

namespace ptage {
namespace {

using F = RiscvSv39Svade;

static_assert(!kHardwareAccessed<F> && !kHardwareDirty<F>);
static_assert(kHardwareAccessed<RiscvSv39> && kHardwareDirty<RiscvSv39>);
static_assert(RiscvSv39Svade::kLevels == 3 && RiscvSv48Svade::kLevels == 4 &&
              RiscvSv57Svade::kLevels == 5);
static_assert(RiscvSv39x4Svade::kLevels == 3 &&
              RiscvSv48x4Svade::kLevels == 4 && RiscvSv57x4Svade::kLevels == 5);
static_assert(kRootTables<RiscvSv39x4Svade> == 4 &&
              kRootTables<RiscvSv39Svade> == 1);
static_assert(kMarkedByFaults<RiscvSv57x4Svade>);

TEST(RiscvSvadeTest, LeavesAreThoseOfSv39) {
  EXPECT_EQ(F::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll), 0x48D1'581Fu);
  EXPECT_EQ(F::MakeInner(Pfn{0xABCDE}), 0x2AF3'7801u);
}

TEST(RiscvSvadeTest, WhatHardwareLetsThrough) {
  EXPECT_EQ(LiveRights<F>(0x48D1'581F), Rights::kNone);
  EXPECT_EQ(LiveRights<F>(0x48D1'589F), Rights::kNone);
  EXPECT_EQ(LiveRights<F>(0x48D1'585F), Rights::kReadExecute);
  EXPECT_EQ(LiveRights<F>(0x48D1'58DF), Rights::kAll);
  EXPECT_EQ(LiveRights<F>(0x48D1'5853), Rights::kRead);
}

TEST(RiscvSvadeTest, InTheSecondStageALeafIsAUsers) {
  EXPECT_EQ(RiscvSv39x4Svade::MakeLeaf(Pfn{0x123456}, Level{1}, Rights::kAll),
            0x48D1'581Fu);
  EXPECT_EQ(LiveRights<RiscvSv39x4Svade>(0x48D1'58DF), Rights::kAll);
  EXPECT_EQ(LiveRights<RiscvSv39x4Svade>(0x48D1'58CF), Rights::kNone);
}

TEST(RiscvSvadeTest, AFaultSetsAAndForAWriteD) {
  EXPECT_EQ(Used<F>(0x48D1'581F, Rights::kRead), 0x48D1'585Fu);
  EXPECT_EQ(Used<F>(0x48D1'581F, Rights::kWrite), 0x48D1'58DFu);
  EXPECT_EQ(Aged<F>(0x48D1'58DF), 0x48D1'589Fu);
  EXPECT_EQ(Cleaned<F>(0x48D1'58DF), 0x48D1'585Fu);
}

}  // namespace
}  // namespace ptage
