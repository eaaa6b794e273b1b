// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/sim/walk_cache.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "ptage/memory.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::sim {
namespace {

using Walked = WalkedTable<Ept>;

class WalkCacheTest : public ::testing::Test {
 protected:
  WalkCache<Ept, 4> cache_;
  Table<Ept> tables_[4];
};

TEST_F(WalkCacheTest, FindsTheLowestTableOnThePath) {
  EXPECT_EQ(cache_.FindTable(Gfn{5}).table, nullptr);
  cache_.AddTable(Gfn{5}, Walked{&tables_[2], Level{2}, Rights::kRead});
  EXPECT_EQ(cache_.FindTable(Gfn{5}).table, &tables_[2]);
  cache_.AddTable(Gfn{5}, Walked{&tables_[1], Level{1}, Rights::kReadWrite});
  const Walked found = cache_.FindTable(Gfn{511});
  EXPECT_EQ(found.table, &tables_[1]);
  EXPECT_EQ(found.level, Level{1});
  EXPECT_EQ(found.rights, Rights::kReadWrite);
}

TEST_F(WalkCacheTest, ATableServesItsOwnFramesOnly) {
  cache_.AddTable(Gfn{512}, Walked{&tables_[1], Level{1}, Rights::kAll});
  cache_.AddTable(Gfn{512}, Walked{&tables_[2], Level{2}, Rights::kAll});
  EXPECT_EQ(cache_.FindTable(Gfn{1023}).table, &tables_[1]);
  // The next leaf table, and the one before: their parent is known.
  EXPECT_EQ(cache_.FindTable(Gfn{1024}).table, &tables_[2]);
  EXPECT_EQ(cache_.FindTable(Gfn{511}).table, &tables_[2]);
  // Beyond the 262,144 frames of a table of level 2.
  EXPECT_EQ(cache_.FindTable(Gfn{262144 + 512}).table, nullptr);
}

TEST_F(WalkCacheTest, ATableTakesThePlaceOfAnother) {
  // Numbers 0 and 4 share one of four entries.
  cache_.AddTable(Gfn{0}, Walked{&tables_[0], Level{1}, Rights::kAll});
  cache_.AddTable(Gfn{512 * 4}, Walked{&tables_[1], Level{1}, Rights::kAll});
  EXPECT_EQ(cache_.FindTable(Gfn{0}).table, nullptr);
  EXPECT_EQ(cache_.FindTable(Gfn{512 * 4}).table, &tables_[1]);
}

TEST_F(WalkCacheTest, ForgetDropsTheWholePath) {
  for (int level = 1; level <= 3; ++level) {
    cache_.AddTable(Gfn{0},
                    Walked{&tables_[level], Level{level}, Rights::kAll});
  }
  cache_.AddTable(Gfn{512}, Walked{&tables_[0], Level{1}, Rights::kAll});
  cache_.Forget(Gfn{3});
  EXPECT_EQ(cache_.FindTable(Gfn{0}).table, nullptr);
  EXPECT_EQ(cache_.FindTable(Gfn{512}).table, &tables_[0]);
}

TEST_F(WalkCacheTest, FlushDropsEverything) {
  for (int level = 1; level <= 3; ++level) {
    cache_.AddTable(Gfn{0},
                    Walked{&tables_[level], Level{level}, Rights::kAll});
  }
  cache_.Flush();
  EXPECT_EQ(cache_.FindTable(Gfn{0}).table, nullptr);
}

}  // namespace
}  // namespace ptage::sim
