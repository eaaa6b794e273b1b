// SPDX-License-Identifier: MIT OR Apache-2.0

#include "tools/trace/tlb_model.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace ptage::trace {
namespace {

TEST(TlbModelTest, HoldsAsManyPagesAsItHasEntries) {
  TlbModel tlb;
  for (std::uint32_t page = 0; page < 512; ++page) {
    EXPECT_FALSE(tlb.Translate(page));
  }
  for (std::uint32_t page = 0; page < 512; ++page) {
    EXPECT_TRUE(tlb.Translate(page));
  }
}

// Pages 0, 64, 128 … share set 0, which has eight ways.
TEST(TlbModelTest, ReplacesTheLeastRecentlyUsedOfASet) {
  TlbModel tlb;
  for (std::uint32_t i = 0; i < 8; ++i) EXPECT_FALSE(tlb.Translate(64 * i));
  EXPECT_TRUE(tlb.Translate(0));
  EXPECT_FALSE(tlb.Translate(64 * 8));  // replaces 64
  EXPECT_TRUE(tlb.Translate(0));
  EXPECT_TRUE(tlb.Translate(128));
  EXPECT_FALSE(tlb.Translate(64));  // replaces 192
  EXPECT_FALSE(tlb.Translate(192));
  EXPECT_FALSE(tlb.Translate(1));  // another set
}

TEST(TlbModelTest, HoldsNothingAfterAFlush) {
  TlbModel tlb;
  tlb.Translate(5);
  tlb.Flush();
  EXPECT_FALSE(tlb.Translate(5));
}

}  // namespace
}  // namespace ptage::trace
