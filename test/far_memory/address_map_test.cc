// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/far_memory/address_map.h"

#include <cstdint>
#include <optional>
#include <vector>

#include "examples/far_memory/page.h"
#include "gtest/gtest.h"
#include "ptage/types.h"

namespace ptage::far_memory {
namespace {

constexpr std::uintptr_t kBase = 0x10'0000;
constexpr std::uintptr_t kElsewhere = 0x90'0000;

// Pages 0 … 9, page n at kBase + n.
AddressMap TenPages() { return AddressMap({kBase, {Gfn{0}, Gfn{10}}}); }
constexpr std::uintptr_t At(std::uint64_t page) {
  return kBase + page * kPageBytes;
}
constexpr GfnRange Pages(std::uint64_t begin, std::uint64_t end) {
  return {Gfn{begin}, Gfn{end}};
}

TEST(AddressMapTest, APageIsWhereItsFirstAndLastByteAre) {
  const AddressMap map = TenPages();
  EXPECT_EQ(map.PageAt(At(3)), Gfn{3});
  EXPECT_EQ(map.PageAt(At(4) - 1), Gfn{3});
  EXPECT_EQ(map.PageAt(kBase - 1), std::nullopt);
  EXPECT_EQ(map.PageAt(At(10)), std::nullopt);
}

TEST(AddressMapTest, WhatIsUnmappedIsNowhereAndItsNeighboursStay) {
  AddressMap map = TenPages();
  EXPECT_EQ(map.Remove(At(3), 2 * kPageBytes),
            (std::vector<AddressRun>{{At(3), Pages(3, 5)}}));
  EXPECT_EQ(map.PageAt(At(2)), Gfn{2});
  EXPECT_EQ(map.PageAt(At(3)), std::nullopt);
  EXPECT_EQ(map.PageAt(At(4)), std::nullopt);
  EXPECT_EQ(map.PageAt(At(5)), Gfn{5});
  EXPECT_EQ(map.RunOf(Pages(3, 4)), std::nullopt);
}

TEST(AddressMapTest, WhatMovesIsAtItsNewPlaceAndNotAtTheOld) {
  AddressMap map = TenPages();
  map.Move(At(4), kElsewhere, 3 * kPageBytes);
  EXPECT_EQ(map.PageAt(At(4)), std::nullopt);
  EXPECT_EQ(map.PageAt(kElsewhere), Gfn{4});
  EXPECT_EQ(map.PageAt(kElsewhere + 3 * kPageBytes - 1), Gfn{6});
  EXPECT_EQ(map.PageAt(kElsewhere + 3 * kPageBytes), std::nullopt);
  // And back, over another page.
  map.Move(kElsewhere, At(3), 3 * kPageBytes);
  EXPECT_EQ(map.PageAt(At(3)), Gfn{4});
  EXPECT_EQ(map.PageAt(At(5)), Gfn{6});
  EXPECT_EQ(map.PageAt(At(6)), std::nullopt);
  EXPECT_EQ(map.RunOf(Pages(3, 4)), std::nullopt);
}

TEST(AddressMapTest, ARunEndsWhereItsPagesDoNotLieSideBySide) {
  AddressMap map = TenPages();
  map.Move(At(4), kElsewhere, 3 * kPageBytes);
  EXPECT_EQ(map.RunOf(Pages(2, 9)), (AddressRun{At(2), Pages(2, 4)}));
  EXPECT_EQ(map.RunOf(Pages(5, 9)),
            (AddressRun{kElsewhere + kPageBytes, Pages(5, 7)}));
  EXPECT_EQ(map.RunOf(Pages(8, 9)), (AddressRun{At(8), Pages(8, 9)}));
}

TEST(AddressMapTest, InFindsThePartsOfARange) {
  AddressMap map = TenPages();
  map.Move(At(4), kElsewhere, 3 * kPageBytes);
  EXPECT_EQ(
      map.In(At(3), 5 * kPageBytes),
      (std::vector<AddressRun>{{At(3), Pages(3, 4)}, {At(7), Pages(7, 8)}}));
  EXPECT_TRUE(map.In(At(4), 3 * kPageBytes).empty());
}

}  // namespace
}  // namespace ptage::far_memory
