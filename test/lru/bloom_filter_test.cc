// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/lru/bloom_filter.h"

#include <cstdint>
#include <memory>

#include "gtest/gtest.h"

namespace ptage {
namespace {

class BloomFiltersTest : public testing::Test {
 protected:
  BloomFilters<>& filters() { return *filters_; }

  std::unique_ptr<BloomFilters<>> filters_ = std::make_unique<BloomFilters<>>();
};

TEST_F(BloomFiltersTest, TheyTakeTwiceTwoToTheFifteenBits) {
  EXPECT_EQ(BloomFilters<>::kBits, 32'768u);
  EXPECT_LE(sizeof(BloomFilters<>), 2 * 32'768 / 8 + 8u);
}

TEST_F(BloomFiltersTest, AtFirstEverythingIsFound) {
  EXPECT_TRUE(filters().Contains(0));
  EXPECT_TRUE(filters().Contains(123'456'789));
}

TEST_F(BloomFiltersTest, WhatWasInsertedIsFoundInTheNextPassAndInNoOther) {
  filters().Turn();
  filters().Insert(7);
  EXPECT_FALSE(filters().Contains(7));
  filters().Turn();
  EXPECT_TRUE(filters().Contains(7));
  EXPECT_FALSE(filters().Contains(8));
  for (int pass = 0; pass < 2; ++pass) {
    filters().Turn();
    EXPECT_FALSE(filters().Contains(7));
  }
}

TEST_F(BloomFiltersTest, NothingThatWasInsertedIsMissed) {
  for (std::uint64_t key = 0; key < 5000; ++key) filters().Insert(3 * key);
  filters().Turn();
  for (std::uint64_t key = 0; key < 5000; ++key) {
    ASSERT_TRUE(filters().Contains(3 * key)) << key;
  }
}

// 1,000 keys set at most 2,000 of 32,768 bits, so that at most 0.4 % of others
// find both of theirs set; 10,000 keys, 20.9 %.
TEST_F(BloomFiltersTest, FewOthersAreFound) {
  struct Case {
    std::uint64_t keys;
    double most;
  };
  for (const Case& wanted : {Case{1'000, 0.006}, Case{10'000, 0.23}}) {
    BloomFilters<> own;
    for (std::uint64_t key = 0; key < wanted.keys; ++key) own.Insert(key);
    own.Turn();
    std::uint64_t found = 0;
    for (std::uint64_t key = 0; key < 10'000; ++key) {
      found += own.Contains(1'000'000 + key) ? 1u : 0u;
    }
    EXPECT_LE(static_cast<double>(found) / 10'000, wanted.most) << wanted.keys;
  }
}

}  // namespace
}  // namespace ptage
