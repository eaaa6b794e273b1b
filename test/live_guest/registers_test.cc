// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/live_guest/registers.h"

#include "gtest/gtest.h"

namespace ptage::live_guest {
namespace {

// As QEMU 7.2 prints it, shortened.
constexpr char kText[] =
    "\r\nCPU#0\r\n"
    "RAX=0000000000000000 RBX=0000000000000001\r\n"
    "RIP=0000000000401000 RFL=00000202 [-------] CPL=3 II=0 A20=1 SMM=0 HLT=0\r"
    "\nCR0=80050033 CR2=00000000004c1000 CR3=8000000002a12805 CR4=000006f0\r\n"
    "DR6=00000000ffff0ff0 DR7=0000000000000400\r\n"
    "EFER=0000000000000d01\r\n"
    "\r\nCPU#1\r\n"
    "RIP=ffffffff81001000 RFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r"
    "\nCR0=80050033 CR2=0000000000000000 CR3=0000000002a10000 CR4=000016f0\r\n"
    "EFER=0000000000000d01\r\n"
    "\r\nCPU#2\r\n"
    "EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n"
    "CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000\r\n"
    "EFER=0000000000000000\r\n"
    "\r\nCPU#3\r\n"
    "EIP=c1000000 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n"
    "CR0=80000011 CR2=00000000 CR3=00003000 CR4=00000020\r\n"
    "EFER=0000000000000000\r\n"
    "\r\nCPU#4\r\nCR0=80000011\r\n";

TEST(RegistersTest, AreThoseOfEachCpu) {
  const auto cpus = ParseRegisters(kText);
  ASSERT_EQ(cpus.size(), 4u);
  EXPECT_EQ(cpus[0].GetPaging(), Paging::kFourLevels);
  // Neither the flags above nor the number below.
  EXPECT_EQ(cpus[0].Root(), Pfn{0x2a12});
  EXPECT_EQ(cpus[0].cpl, 3);
  EXPECT_EQ(cpus[1].GetPaging(), Paging::kFiveLevels);
  EXPECT_EQ(cpus[1].Root(), Pfn{0x2a10});
  EXPECT_EQ(cpus[1].cpl, 0);
  EXPECT_EQ(cpus[2].GetPaging(), Paging::kOff);
  EXPECT_EQ(cpus[3].GetPaging(), Paging::kUnsupported);
  EXPECT_TRUE(ParseRegisters("").empty());
}

}  // namespace
}  // namespace ptage::live_guest
