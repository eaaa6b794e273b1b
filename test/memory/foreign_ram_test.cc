// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/memory/foreign_ram.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace ptage {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

alignas(4096) std::byte low[3 * 4096];
alignas(4096) std::byte high[2 * 4096];

// As a PC has it: a hole from 3 to 4 GiB, though of smaller blocks.
const RamBlock kBlocks[] = {{0, sizeof low, low},
                            {4 * kGiB, sizeof high, high}};

TEST(ForeignRamTest, AnAddressLeadsToItsBytes) {
  const ForeignRam ram(kBlocks, 2);
  EXPECT_EQ(ram.At(0, 4096), low);
  EXPECT_EQ(ram.At(0x2000, 4096), low + 0x2000);
  EXPECT_EQ(ram.At(0x2FF8, 8), low + 0x2FF8);
  EXPECT_EQ(ram.At(4 * kGiB + 0x1000, 4096), high + 0x1000);
  EXPECT_EQ(ram.Bytes(), 5u * 4096);
}

TEST(ForeignRamTest, WhatIsNotWhollyInsideIsRefused) {
  const ForeignRam ram(kBlocks, 2);
  EXPECT_EQ(ram.At(0x3000, 4096), nullptr);
  EXPECT_EQ(ram.At(0x2000, 8192), nullptr);
  EXPECT_EQ(ram.At(3 * kGiB, 4096), nullptr);
  EXPECT_EQ(ram.At(4 * kGiB - 4096, 4096), nullptr);
  EXPECT_EQ(ram.At(4 * kGiB + 0x2000, 8), nullptr);
}

TEST(ForeignRamTest, NoSumOverflows) {
  const ForeignRam ram(kBlocks, 2);
  EXPECT_EQ(ram.At(~std::uint64_t{0} - 4095, 4096), nullptr);
  EXPECT_EQ(ram.At(0x1000, std::uint64_t{1} << 63), nullptr);
  EXPECT_EQ(ram.At(std::uint64_t{1} << 63, std::uint64_t{1} << 63), nullptr);
}

TEST(ForeignRamTest, WithoutBlocksNothingIsAdmitted) {
  const ForeignRam none(nullptr, 0);
  EXPECT_EQ(none.At(0, 8), nullptr);
  EXPECT_EQ(none.Bytes(), 0u);
}

TEST(ForeignRamTest, OfBlocksThatOverlapTheFirstCounts) {
  const RamBlock blocks[] = {{0, sizeof low, low}, {0, sizeof high, high}};
  EXPECT_EQ(ForeignRam(blocks, 2).At(0x1000, 8), low + 0x1000);
}

}  // namespace
}  // namespace ptage
