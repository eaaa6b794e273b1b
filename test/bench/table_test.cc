// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/table.h"

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

TEST(TableTest, ColumnsAreAsWideAsTheirWidestCell) {
  TextTable table({"name", "µs", "x"});
  table.Add({"a", "1.5", "10"});
  table.Add({"longer", "12", "1"});
  EXPECT_EQ(table.ToString(),
            "name     µs   x\n"
            "a       1.5  10\n"
            "longer   12   1\n");
}

TEST(TableTest, AHeadingWidensNoColumn) {
  TextTable table({"a", "b"});
  table.AddHeading("all of this line");
  table.Add({"1", "2"});
  EXPECT_EQ(table.ToString(),
            "a  b\n"
            "all of this line\n"
            "1  2\n");
}

TEST(TableTest, NumbersKeepThreeDigits) {
  EXPECT_EQ(Compact(0), "0");
  EXPECT_EQ(Compact(1.234), "1.23");
  EXPECT_EQ(Compact(12.34), "12.3");
  EXPECT_EQ(Compact(999.4), "999");
  EXPECT_EQ(Compact(999.6), "1.00k");
  EXPECT_EQ(Compact(1'234'567), "1.23M");
  EXPECT_EQ(Compact(2.5e9), "2.50G");
}

TEST(TableTest, DurationsChooseTheirUnit) {
  EXPECT_EQ(Duration(150), "150ns");
  EXPECT_EQ(Duration(12'345), "12.3us");
  EXPECT_EQ(Duration(3.2e6), "3.20ms");
  EXPECT_EQ(Duration(1.5e9), "1.50s");
}

}  // namespace
}  // namespace ptage::bench
