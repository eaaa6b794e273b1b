// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/live_guest/roots.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/types.h"
#include "test/live_guest/images.h"

namespace ptage::live_guest {
namespace {

using test::Image;
using test::kInner;

CpuRegisters Loaded(std::uint64_t root) {
  // Paging and long mode on; with a number in the low bits of CR3.
  return CpuRegisters{.cr0 = 0x8005'0033,
                      .cr3 = root << 12 | 5,
                      .cr4 = 0x6F0,
                      .efer = 0xD01,
                      .cpl = 3};
}

class RootsTest : public ::testing::Test {
 protected:
  RootsTest() {
    // Two processes' roots, and a thin one that has part of the kernel's half.
    for (const std::uint64_t root : {1u, 2u, 3u}) {
      image_.At(root, 511) = 0x80'000 | kInner;
      if (root != 3) image_.At(root, 300) = 0x81'000 | kInner;
    }
  }
  void See(const std::vector<CpuRegisters>& cpus) {
    roots_.See(cpus, image_.ram().memory());
  }
  std::size_t DropStale() { return roots_.DropStale(image_.ram().memory()); }

  Image image_{256};
  Roots roots_;
};

TEST_F(RootsTest, AreKeptWhileTheyLookLikeThoseThatAreLoaded) {
  See({Loaded(1)});
  See({Loaded(2), Loaded(3)});
  EXPECT_EQ(roots_.all(), (std::set<Pfn>{Pfn{1}, Pfn{2}, Pfn{3}}));
  EXPECT_EQ(DropStale(), 0u);
  See({Loaded(3)});
  EXPECT_EQ(DropStale(), 0u);
  // Used for something else, or given back as zeros.
  image_.At(1, 400) = 0x1234'5000 | 1;
  EXPECT_EQ(DropStale(), 1u);
  for (const unsigned i : {300u, 511u}) image_.At(2, i) = 0;
  EXPECT_EQ(DropStale(), 1u);
  EXPECT_EQ(roots_.all(), (std::set<Pfn>{Pfn{3}}));
}

TEST_F(RootsTest, OneThatIsLoadedIsARootWhateverItLooksLike) {
  See({Loaded(1), Loaded(2)});
  image_.At(2, 400) = 0x1234'5000 | 1;
  EXPECT_EQ(DropStale(), 0u);
  See({Loaded(1)});
  // What it had when it was loaded is known by now.
  EXPECT_EQ(DropStale(), 1u);
}

TEST_F(RootsTest, ACpuWithoutSuchTablesHasNone) {
  CpuRegisters off = Loaded(1);
  off.cr0 = 0;
  CpuRegisters old = Loaded(2);
  old.efer = 0;
  See({off, old, Loaded(1000)});  // no RAM
  EXPECT_TRUE(roots_.all().empty());
}

TEST_F(RootsTest, WhatWasSeenLongAgoIsForgotten) {
  See({Loaded(1)});
  See({Loaded(3)});
  for (std::uint64_t i = 0; i <= Roots::kLately; ++i) See({Loaded(3)});
  // Its entry 300 was not seen lately: a kernel may have been started anew.
  EXPECT_EQ(DropStale(), 1u);
}

}  // namespace
}  // namespace ptage::live_guest
